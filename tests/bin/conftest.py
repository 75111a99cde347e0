"""What the tests of verbs share: a trained experiment."""

import pytest
import yaml
from tiny_corpus import write_tiny_corpus

from asvtk.bin.main import main

CONFIG = {
    "frontend": {"name": "lfcc", "crop": {"samples": 6000}},
    "model": {"name": "moe_mamba", "d_model": 16, "blocks": 2, "d_state": 4, "d_expert": 8, "d_embedding": 8},
    "loss": {"name": "oc_softmax"},
    "training": {"epochs": 1, "warmup_epochs": 0},
}


def run(*words):
    assert main([str(word) for word in words]) == 0


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """A folder with data/, dump/ and exp/, trained for one epoch; others read it, too."""
    folder = tmp_path_factory.mktemp("trained")
    config = folder / "config.yaml"
    config.write_text(yaml.safe_dump(CONFIG))
    run("prepare", write_tiny_corpus(folder / "corpus"), folder / "data")
    for split in ("train", "dev", "eval"):
        given = ["--config", config, "--data", folder / "data" / split, "--dump", folder / "dump", "--nj", 1]
        for step in (["begin"], ["job", "--job", 1], ["join"]):
            run("extract", step[0], *given, *step[1:])
    sets = [word for name in ("train", "dev") for word in (f"--{name}-data", folder / "data" / name)]
    run("train", "--config", config, "--exp", folder / "exp", "--dump", folder / "dump", *sets)
    return folder
