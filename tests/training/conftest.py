"""The tiny corpus, prepared once for all tests of training."""

import json
import multiprocessing

import pytest
import tiny_training


@pytest.fixture(scope="session")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    tiny_training.prepare(folder)
    return folder


@pytest.fixture
def run(corpus):
    """Train into a folder, with overrides: the progress."""
    return lambda exp, *overrides, **options: tiny_training.run(corpus, exp, *overrides, **options)


@pytest.fixture
def content():
    """Bytes of a checkpoint of an experiment."""
    return lambda exp, name="last": (exp / "checkpoints" / f"{name}.safetensors").read_bytes()


@pytest.fixture
def records():
    """Lines of a log of an experiment."""
    return lambda exp, name="train.jsonl": [json.loads(x) for x in (exp / name).read_text().splitlines()]


@pytest.fixture(scope="session")
def processes():
    """Processes that begin with everything imported."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["asvtk.training.trainer", "asvtk.frontends.extraction", "torch._dynamo"]  # what optimisers import
    )
    return context
