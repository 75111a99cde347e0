"""Graph attention and pooling against their definitions, node by node."""

import pytest
import torch

from asvtk.nn.graph_attention import GraphAttention, GraphPool, HeterogeneousGraphAttention

SELU_SCALE, SELU_ALPHA = 1.0507009873554805, 1.6732632423543772


def randomise(module):
    """Evaluation mode, in float64, with nothing at a neutral value."""
    generator = torch.Generator().manual_seed(0)
    for name, tensor in module.double().state_dict().items():
        if tensor.is_floating_point():
            tensor.copy_(torch.randn(tensor.shape, generator=generator, dtype=tensor.dtype))
            if name.endswith("running_var"):
                tensor.abs_().add_(0.5)
    return module.eval()


def nodes(count, d, seed=1):
    return torch.randn(2, count, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def finish(norm, x):
    """Batch norm in evaluation mode, then SELU, of one node."""
    x = (x - norm.running_mean) / (norm.running_var + 1e-5).sqrt() * norm.weight + norm.bias
    return SELU_SCALE * torch.where(x > 0, x, SELU_ALPHA * (x.exp() - 1))


def attend(layer, node, others, vectors):
    """The sum of ``others`` weighted by the attention that ``node`` pays to each."""
    scores = [
        torch.tanh(layer.att_proj.weight @ (node * other) + layer.att_proj.bias) @ vector.squeeze(1)
        for other, vector in zip(others, vectors, strict=True)
    ]
    weights = [(score / layer.temperature).exp() for score in scores]
    return sum(w * other for w, other in zip(weights, others, strict=True)) / sum(weights)


def test_a_node_attends_to_all_by_the_product_of_their_vectors():
    layer, x = randomise(GraphAttention(6, 5, temperature=2.0)), nodes(4, 6)
    found = layer(x)
    for b in range(2):
        for i in range(4):
            heard = attend(layer, x[b, i], x[b], [layer.att_weight] * 4)
            expected = finish(layer.bn, layer.proj_with_att(heard) + layer.proj_without_att(x[b, i]))
            torch.testing.assert_close(found[b, i], expected)


def test_heterogeneous_attention_has_a_vector_for_each_combination_of_types():
    layer = randomise(HeterogeneousGraphAttention(6, 5, temperature=3.0))
    x1, x2, master = nodes(3, 6), nodes(4, 6, seed=2), nodes(1, 6, seed=3)
    found1, found2, found_master = layer(x1, x2, master)
    assert found1.shape == (2, 3, 5) and found2.shape == (2, 4, 5) and found_master.shape == (2, 1, 5)
    w11, w22, w12 = layer.att_weight11, layer.att_weight22, layer.att_weight12
    for b in range(2):
        projected = [layer.proj_type1(x) for x in x1[b]] + [layer.proj_type2(x) for x in x2[b]]
        for i, node in enumerate(projected):
            vectors = [w11] * 3 + [w12] * 4 if i < 3 else [w12] * 3 + [w22] * 4
            heard = attend(layer, node, projected, vectors)
            expected = finish(layer.bn, layer.proj_with_att(heard) + layer.proj_without_att(node))
            torch.testing.assert_close(found1[b, i] if i < 3 else found2[b, i - 3], expected)
        scores = [
            torch.tanh(layer.att_projM(node * master[b, 0])) @ layer.att_weightM.squeeze(1) / 3
            for node in projected
        ]
        weights = torch.stack(scores).exp()
        heard = sum(w * node for w, node in zip(weights / weights.sum(), projected, strict=True))
        expected = layer.proj_with_attM(heard) + layer.proj_without_attM(master[b, 0])
        torch.testing.assert_close(found_master[b, 0], expected)


def test_one_master_serves_the_whole_batch():
    layer, master = randomise(HeterogeneousGraphAttention(6, 5, 1.0)), nodes(1, 6, seed=3)[:1]
    ours = layer(nodes(3, 6), nodes(4, 6), master)
    theirs = layer(nodes(3, 6), nodes(4, 6), master.expand(2, 1, 6))
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("ratio, kept", [(0.5, 3), (0.7, 4), (1.0, 7), (0.01, 1)])
def test_pooling_keeps_the_best_nodes_best_first_scaled_by_their_scores(ratio, kept):
    pool, x = randomise(GraphPool(6, ratio)), nodes(7, 6)
    found = pool(x)
    assert found.shape == (2, kept, 6)
    for b in range(2):
        scores = [(1 / (1 + (-pool.proj(node)).exp())).item() for node in x[b]]
        ranking = sorted(range(7), key=lambda i: -scores[i])[:kept]
        for place, i in enumerate(ranking):
            torch.testing.assert_close(found[b, place], scores[i] * x[b, i])


@pytest.mark.parametrize("layer", [GraphAttention(6, 5, 2.0), GraphPool(6, 0.7)])
def test_order_of_the_nodes_does_not_matter(layer):
    layer, x = randomise(layer), nodes(8, 6)
    shuffled = torch.tensor([3, 0, 7, 2, 1, 6, 5, 4])
    found, of_shuffled = layer(x), layer(x[:, shuffled])
    if isinstance(layer, GraphAttention):
        found = found[:, shuffled]
    torch.testing.assert_close(of_shuffled, found)


def test_batch_norm_in_training_is_over_all_nodes_of_the_batch():
    layer, x = GraphAttention(6, 5, 2.0, dropout=0.0).double().train(), nodes(4, 6)
    before = []
    layer.bn.register_forward_pre_hook(lambda module, inputs: before.append(inputs[0]))
    layer(x)
    assert before[0].shape == (8, 5)
    torch.testing.assert_close(layer.bn.running_mean, 0.1 * before[0].mean(0))
