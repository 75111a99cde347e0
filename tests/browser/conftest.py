"""A real browser with a microphone that is a file, and a service for it."""

import shutil

import pytest
from tiny_service import Service, make_model, make_speech


@pytest.fixture(scope="session")
def clip(tmp_path_factory, shared_data):
    """A WAV file of 12 s of speech."""
    path = tmp_path_factory.mktemp("speech") / "clip.wav"
    make_speech(shared_data, path, 12)
    return path


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="session")
def service(tmp_path_factory, model):
    served = Service(model, tmp_path_factory.mktemp("service"), "--max-mb", 2)
    yield served
    assert served.stop() == 0 and served.written() == []


@pytest.fixture(scope="session")
def browser(clip):
    playwright = pytest.importorskip("playwright.sync_api")
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("no chromium here: apt-get install chromium")
    microphone = [
        "--use-fake-device-for-media-stream",
        "--use-fake-ui-for-media-stream",
        f"--use-file-for-fake-audio-capture={clip}",
    ]
    with playwright.sync_playwright() as started:
        launched = started.chromium.launch(executable_path=chromium, args=microphone)
        yield launched
        launched.close()


@pytest.fixture
def page(browser, service):
    """The page, just opened; what its console complains of fails the test."""
    context = browser.new_context(permissions=["microphone"])
    opened = context.new_page()
    complaints = []
    opened.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.goto(service.url)
    opened.get_by_text("Detector: tiny").wait_for()
    yield opened
    context.close()
    # The browser itself logs answers of 400 and above.
    assert [text for text in complaints if "Failed to load resource" not in text] == []
