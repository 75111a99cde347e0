"""The service's page in Chromium: as a person uses it, by mouse, by keyboard, on a phone, in the dark."""

import base64

import pytest
from tiny_service import Service

NEVER_A_MICROPHONE = """() => {
  navigator.mediaDevices.getUserMedia = async () => { throw new DOMException("", "NotFoundError"); };
}"""


def drop(page, name: str, content: bytes) -> None:
    """Drop a file on the page, as from a file manager."""
    page.evaluate(
        """([name, text]) => {
          const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0)), data = new DataTransfer();
          data.items.add(new File([bytes], name));
          for (const type of ["dragover", "drop"]) {
            document.getElementById("drop").dispatchEvent(
              new DragEvent(type, { dataTransfer: data, bubbles: true, cancelable: true }));
          }
        }""",
        [name, base64.b64encode(content).decode()],
    )


def shown_error(page) -> str:
    page.locator("#error").wait_for()
    return page.locator("#error").inner_text()


def focused(page) -> str:
    return page.evaluate("document.activeElement.id")


def test_a_dropped_recording_is_judged_and_can_be_heard_and_saved(page, clip, tmp_path):
    drop(page, "a call.wav", clip.read_bytes())
    page.locator("#result").wait_for()
    assert page.locator("#result-name").inner_text() == "a call.wav" and focused(page) == "result-name"
    assert page.locator(".verdict .headline").inner_text().startswith("Sounds like ")
    assert page.get_by_text("Probability of spoof").count() >= 1
    assert page.locator("svg.waveform path.wave").count() == 1 == page.locator("svg.timeline").count()
    assert page.get_by_role("heading", name="What a verdict is not").is_visible()
    assert "a call.wav: Sounds like" in page.locator("#status").inner_text()
    assert page.evaluate("document.querySelector('audio').duration") == pytest.approx(12, abs=0.2)
    page.locator("button.seek").first.click()
    page.wait_for_function("!document.querySelector('audio').paused")
    page.locator(".tracks").click(position={"x": 200, "y": 50})
    assert page.locator(".playhead").is_visible() and "LLR" in page.locator(".readout").inner_text()
    with page.expect_download() as download:
        page.locator("#save").click()
    download.value.save_as(tmp_path / "saved.html")
    assert download.value.suggested_filename == "a call.wav.html"
    assert "What a verdict is not" in (tmp_path / "saved.html").read_text()


def test_the_microphone_is_answered_while_it_records_and_judged_at_the_end(page, service):
    page.get_by_role("button", name="Record", exact=True).click()
    page.locator("#live").wait_for()
    assert focused(page) == "stop"
    page.locator("#answers li").nth(2).wait_for(state="attached", timeout=30_000)
    assert page.locator("#answer").inner_text().startswith("So far: ")
    assert page.locator("#elapsed").inner_text() >= "0:03"
    page.get_by_role("button", name="Stop and judge").click()
    page.locator("#result").wait_for(timeout=30_000)
    assert page.locator("#result-name").inner_text() == "recording.wav"
    assert page.locator("svg.waveform").is_visible() and not page.locator("#live").is_visible()
    page.get_by_role("button", name="Record", exact=True).click()
    page.locator("#live").wait_for()
    page.get_by_role("button", name="Discard").click()
    assert page.locator("#drop").is_visible() and not page.locator("#live").is_visible()
    page.wait_for_timeout(500)
    assert service.metric("asvtk_streams") == 0


def test_faults_are_told_in_one_line_and_the_next_recording_is_judged(page, clip):
    for name, content, reason in (
        ("notes.txt", b"this is no recording\n", "notes.txt: is text, not a sound file"),
        ("cut.wav", clip.read_bytes()[:90_000], "cut.wav: is cut off"),
        ("empty.wav", b"", "empty.wav: the file is empty"),
        ("large.wav", bytes(3 << 20), "large.wav: has more than 2 MiB"),
    ):
        drop(page, name, content)
        page.locator("#error", has_text=reason).wait_for()
        assert "\n" not in shown_error(page) and not page.locator("#result").is_visible()
    page.evaluate(NEVER_A_MICROPHONE)
    page.get_by_role("button", name="Record", exact=True).click()
    page.locator("#error", has_text="There is no microphone here").wait_for()
    page.route("**/detect*", lambda route: route.fulfill(
        status=429, json={"error": "busy: try again later"}, headers={"Retry-After": "7"}))  # fmt: skip
    drop(page, "call.wav", clip.read_bytes())
    page.locator("#error", has_text="busy: try again later (in about 7 s)").wait_for()
    page.unroute("**/detect*")
    page.route("**/detect*", lambda route: route.abort())
    drop(page, "call.wav", clip.read_bytes())
    page.locator("#error", has_text="The service cannot be reached").wait_for()
    page.unroute("**/detect*")
    drop(page, "call.wav", clip.read_bytes())
    page.locator("#result").wait_for()
    assert not page.locator("#error").is_visible()


def test_the_prior_changes_the_probability(page, clip):
    page.get_by_text("How common are spoofs?").click()
    page.get_by_label("Of 100 recordings").fill("1")
    page.set_input_files("#file", clip)
    page.locator("#result").wait_for()
    assert page.get_by_text("if 1 % of such recordings were spoofed").count() >= 1
    page.get_by_label("Of 100 recordings").fill("100")
    page.set_input_files("#file", clip)
    assert "expected a number above 0 and below 100" in shown_error(page)


def test_by_keyboard_and_by_name(page):
    for name in ("file", "record"):
        page.keyboard.press("Tab")
        assert focused(page) == name
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "How common are spoofs?"
    assert page.get_by_label("Choose a recording").count() == 1
    page.locator("#record").focus()
    page.keyboard.press("Enter")
    page.locator("#live").wait_for()
    page.keyboard.press("Tab")
    assert focused(page) == "discard"
    page.keyboard.press("Space")
    assert focused(page) == "record"
    for tag, role in (("#status", "status"), ("#error", "alert")):
        assert page.locator(tag).get_attribute("role") == role
    assert page.locator("#answer").get_attribute("aria-live") == "polite"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_a_phone_and_in_the_dark(browser, service, clip, scheme):
    context = browser.new_context(viewport={"width": 390, "height": 844}, color_scheme=scheme, has_touch=True)
    page = context.new_page()
    page.goto(service.url)
    page.set_input_files("#file", clip)
    page.locator("#result").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    for selector in ("#record", "label[for=file]", "#save"):
        assert page.locator(selector).bounding_box()["height"] >= 44
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, paper[4:-1].split(","))) < 200) == (scheme == "dark")
    context.close()


def test_the_page_asks_for_the_token(browser, model, clip, tmp_path):
    service = Service(model, tmp_path, "--token", "s3cret")
    context = browser.new_context(permissions=["microphone"])
    try:
        page = context.new_page()
        page.goto(service.url)
        page.get_by_label("Access token").wait_for()
        page.get_by_label("Access token").fill("wrong")
        page.keyboard.press("Enter")
        assert shown_error(page) == "Wrong token."
        page.get_by_label("Access token").fill("s3cret")
        page.keyboard.press("Enter")
        page.get_by_text("Detector: tiny").wait_for()
        assert not page.locator("#access").is_visible() and not page.locator("#error").is_visible()
        page.set_input_files("#file", clip)
        page.locator("#result").wait_for()
        page.get_by_role("button", name="Record", exact=True).click()
        page.locator("#answers li").first.wait_for(state="attached", timeout=30_000)
    finally:
        context.close()
        assert service.stop() == 0
    assert "s3cret" not in str(service.log)


def test_when_the_service_has_stopped_the_page_says_so(browser, model, clip, tmp_path):
    service = Service(model, tmp_path)
    page = browser.new_page()
    page.goto(service.url)
    page.get_by_text("Detector: tiny").wait_for()
    assert service.stop() == 0
    drop(page, "call.wav", clip.read_bytes())
    assert "cannot be reached" in shown_error(page)
    page.close()
