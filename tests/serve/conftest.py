"""What the tests of the service share: a tiny model, speech, and a service with tight limits."""

import pytest
from tiny_service import Service, make_model, make_speech


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="session")
def clip(tmp_path_factory, shared_data):
    """A WAV file of 6 s of speech."""
    path = tmp_path_factory.mktemp("speech") / "clip.wav"
    make_speech(shared_data, path, 6)
    return path


@pytest.fixture(scope="module")
def service(tmp_path_factory, model):
    words = ["--timeout", 3, "--max-mb", 2, "--max-seconds", 30, "--streams", 3, "--queue", 4]
    served = Service(model, tmp_path_factory.mktemp("service"), *words)
    yield served
    assert served.stop() == 0
    assert [line for line in served.log if "traceback" in line or line["level"] == "error"] == []
    assert served.written() == []
