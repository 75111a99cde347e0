"""MHFA: its size, and heads that look at frames of their own."""

import torch

from asvtk.models import Batch
from asvtk.models.mhfa import Mhfa, MhfaConfig


def test_number_of_parameters_is_that_of_the_papers_layers_less_the_idle_biases():
    model = Mhfa(MhfaConfig(), 13, 768)  # WavLM Base+
    published = 2 * 13 + 2 * (768 + 1) * 128 + (128 + 1) * 64 + (64 * 128 + 1) * 256
    idle = 128 + 64  # of keys and scores, which a softmax over frames undoes
    assert sum(p.numel() for p in model.parameters()) + idle == published == 2_302_554


def test_a_head_that_looks_at_one_frame_takes_its_value():
    model = Mhfa(MhfaConfig(heads=2, d_compressed=3, d_embedding=6), 1, 3).eval()
    with torch.no_grad():
        for layer in (model.key, model.value, model.embedding):
            layer.weight.copy_(torch.eye(*layer.weight.shape))
        model.value.bias.zero_()
        model.embedding.bias.zero_()
        model.attention.weight.copy_(100.0 * torch.eye(2, 3))
        features = torch.zeros(1, 1, 5, 3)
        features[0, 0, 1] = torch.tensor([9.0, 0.0, 1.0])
        features[0, 0, 3] = torch.tensor([0.0, 9.0, 2.0])
        features[0, 0, 4] = 99.0  # padding
        embedding = model(Batch(features, torch.tensor([4]), None, None)).embedding
    torch.testing.assert_close(embedding, torch.tensor([[9.0, 0.0, 1.0, 0.0, 9.0, 2.0]]))
