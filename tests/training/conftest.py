"""The tiny corpus, prepared once for all tests of training."""

import json
import multiprocessing

import pytest
import tiny_training

from asvtk.io.stamps import digest


@pytest.fixture(scope="session")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    tiny_training.prepare(folder)
    return folder


@pytest.fixture(scope="session")
def cropped(tmp_path_factory):
    """The same, all of it equally long."""
    folder = tmp_path_factory.mktemp("cropped")
    tiny_training.prepare(folder, tiny_training.FRONTEND.replace("null", "6000"))
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


@pytest.fixture
def killed_run(run, corpus, tmp_path, monkeypatch, content, records):
    """Train, be killed in a step, and go on: weights and log are those of a run that was not killed."""

    def check(killed_in, *settings):
        undisturbed = corpus / f"undisturbed {digest(settings)}"  # it is the same for all kills
        if not undisturbed.exists():
            run(undisturbed, *settings)
        tiny_training.kill_at(monkeypatch, killed_in, run, tmp_path, *settings)
        run(tmp_path, *settings)
        for name in ("last", "best"):
            assert content(tmp_path, name) == content(undisturbed, name)
        logs = [records(folder) for folder in (tmp_path, undisturbed)]
        assert [{**line, "seconds": 0} for line in logs[0]] == [{**line, "seconds": 0} for line in logs[1]]

    return check


@pytest.fixture(scope="session")
def processes():
    """Processes that begin with everything imported."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        # torch._dynamo is what optimisers import
        ["asvtk.training.trainer", "asvtk.frontends.cache.extraction", "torch._dynamo"]
    )
    return context
