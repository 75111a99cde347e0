"""Eight clips of real and synthetic speech, learned until no error is left.

LFCC stand in for self-supervised layers: static coefficients, first and second differences are three
layers of 20 numbers.
"""

import numpy as np
import pytest
import torch

from asvtk.frontends.base import Crop
from asvtk.frontends.cache.extractor import Extractor
from asvtk.frontends.lfcc import Lfcc, LfccConfig
from asvtk.io.audio import read_audio
from asvtk.io.protocols import read_protocol
from asvtk.metrics.eer import compute_eer
from asvtk.models import Batch
from asvtk.models.attentive_layers import AttentiveLayersConfig
from asvtk.models.cascade_mamba import CascadeMambaConfig
from asvtk.models.dual_stream import DualStreamConfig
from asvtk.models.logistic import LogisticConfig
from asvtk.models.mhfa import MhfaConfig
from asvtk.models.moe_mamba import MoeMambaConfig
from asvtk.models.nes2net import Nes2NetConfig
from asvtk.models.plain_mamba import PlainMambaConfig
from asvtk.models.sls import SlsConfig
from asvtk.models.ssl_aasist import SslAasistConfig
from asvtk.models.tcm import TcmConfig
from asvtk.nn.losses import LogitConfig
from asvtk.testing import detector_for

SMALL = dict(d_model=24, blocks=1, d_state=4, d_embedding=16, heads=2)
MOE = dict(**SMALL, d_expert=32)
DUAL = dict(**MOE, filters=20, taps=65, channels=(4, 4, 8, 8, 8, 8), hop=40)
SYSTEMS = {
    "S1": CascadeMambaConfig(**SMALL),
    "S2": PlainMambaConfig(**SMALL, stack=2),
    "S3": MoeMambaConfig(**MOE, stack=2),
    "S4": DualStreamConfig(**DUAL, stack=2),
    "S4, audio alone": DualStreamConfig(**DUAL, streams="audio"),
    "AASIST on features": SslAasistConfig(channels=(8, 8, 16), d_projection=24, d_graph=16, d_stack=12),
    "SLS": SlsConfig(columns=10, d_embedding=16),
    "Nes2Net-X": Nes2NetConfig(groups=2, scale=2),
    "attentive merging": AttentiveLayersConfig(d_model=16, d_embedding=16),
    "TCM": TcmConfig(d_model=24, blocks=2, heads=2, taps=9),
    "MHFA": MhfaConfig(heads=4, d_compressed=12, d_embedding=16),
}
STEPS = {
    "AASIST on features": 120,
    "SLS": 80,
    "Nes2Net-X": 80,
}  # where there is much dropout or one norm for all; else 30


@pytest.fixture(scope="module")
def clips(shared_data) -> tuple[Batch, torch.Tensor]:
    """The first second of the first four clips of either class."""
    corpus = shared_data / "la_real" / "LA"
    trials = read_protocol(corpus / "ASVspoof2019_LA_cm_protocols" / "ASVspoof2019.LA.cm.train.trn.txt")
    bonafide = np.asarray(trials.bonafide)
    chosen = [*np.flatnonzero(bonafide)[:4], *np.flatnonzero(~bonafide)[:4]]
    lfcc = Lfcc(LfccConfig(crop=Crop(16_000)))
    folder = corpus / "ASVspoof2019_LA_train" / "flac"
    audio = [lfcc.prepare(read_audio(folder / f"{trials.utterances[index]}.flac")) for index in chosen]
    features = torch.from_numpy(np.stack([found[0] for found in Extractor(lfcc)(audio, (0,))]))
    features = features.unflatten(-1, (3, 20)).transpose(1, 2)
    lengths, samples = (torch.full((8,), length) for length in (features.shape[2], 16_000))
    return Batch(features, lengths, torch.from_numpy(np.stack(audio)), samples), torch.tensor(
        bonafide[chosen]
    )


@pytest.mark.parametrize("name", SYSTEMS)
def test_eight_clips_are_learned_to_zero_error(clips, name):
    config, steps, (inputs, bonafide) = SYSTEMS[name], STEPS.get(name, 30), clips
    torch.manual_seed(0)
    detector = detector_for(config, layers=3, width=20)
    if detector.model.uses_features:
        detector.model.mvn.fit(inputs.features)
    optimiser = torch.optim.Adam(detector.parameters())
    for remaining in range(steps, 0, -1):
        optimiser.param_groups[0]["lr"] = 5e-3 * remaining / steps
        optimiser.zero_grad()
        detector(inputs, bonafide).backward()
        optimiser.step()
    with torch.inference_mode():
        for _ in range(20):  # running averages lag behind such quick learning
            detector(inputs, bonafide)
        scores = detector.eval().score_prepared(inputs).double().numpy()
    assert compute_eer(scores[bonafide.numpy()], scores[~bonafide.numpy()])[0] == 0
    assert scores[bonafide.numpy()].min() - scores[~bonafide.numpy()].max() > 0.2


def test_eight_clips_are_solved_for_to_zero_error(clips):
    inputs, bonafide = clips
    detector = detector_for(LogisticConfig(statistics="mean_std", C=1.0), LogitConfig(), layers=3, width=20)
    detector.model.mvn.fit(inputs.features)
    detector.model.fit(detector.model.summary(inputs), bonafide, [str(row) for row in range(8)])
    with torch.inference_mode():
        scores = detector.score_prepared(inputs)
    assert scores[bonafide].min() > 1 and scores[~bonafide].max() < -1
