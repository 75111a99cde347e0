"""Small detectors of any system, with random weights, whose scores vary."""

import tiny_models
import torch

from asvtk.frontends import FRONTENDS, build_frontend
from asvtk.inference.parity import speech_like
from asvtk.inference.torch_detector import TorchDetector
from asvtk.models import MODELS, assemble
from asvtk.nn.losses import OcSoftmaxConfig

WINDOW = 8_000
LFCC = dict(name="lfcc")


def make_detector(front_end: dict, model: dict, folder, **crop) -> TorchDetector:
    """A small detector whose scores vary: fresh ones are nearly the same for everything."""
    front_end = front_end | {"crop": {"samples": WINDOW, **crop}}
    if "model" in front_end:
        large = tiny_models.LARGE if front_end["model"] == "Wav2Vec2" else {}
        front_end["model"] = tiny_models.save_model(folder / "encoder", front_end["model"], **large)
    torch.manual_seed(0)
    frontend = build_frontend(FRONTENDS.config(front_end, "frontend")).load()
    made = TorchDetector.of(assemble(frontend, MODELS.config(model, "model"), OcSoftmaxConfig()))
    for module in made.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.momentum = 1.0  # its averages are those of one batch
    with torch.no_grad():
        made.train().embed(made.prepare(speech_like(6, 0.7, seed=2)))
    made.name, made.sha256, made.threshold = model["name"], "0" * 64, 0.25
    return made.eval()
