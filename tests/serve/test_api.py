"""The service over real sockets: what it answers, to whom, within which limits."""

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import soundfile
from page_reader import Page
from tiny_service import Service, form
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

import asvtk
from asvtk.bin.main import main
from asvtk.inference.detector import DetectConfig


def posted(service, content: bytes, query="", name="clip.wav", **headers):
    body, kind = form(content, name)
    return service.ask(f"detect{query}", body, Content_Type=kind, **headers)


def samples_of(clip) -> bytes:
    return (soundfile.read(clip, dtype="int16")[0]).tobytes()


def heard(socket) -> list[dict]:
    """All messages until the server closes."""
    messages = []
    with contextlib.suppress(ConnectionClosed):
        while True:
            messages.append(json.loads(socket.recv(timeout=60)))
    return messages


def stream(service, audio: bytes, piece: int, query="", **options):
    """Answers, and the last message."""
    with connect(f"ws://127.0.0.1:{service.port}/stream{query}", **options) as socket:
        with contextlib.suppress(ConnectionClosed):
            for begin in range(0, len(audio), piece):
                socket.send(audio[begin : begin + piece])
            socket.send("end")
        messages = heard(socket)
    return messages[:-1], messages[-1]


def test_an_upload_is_judged_as_by_the_library_in_either_form(service, model, clip):
    expected = asvtk.load(model).detect(clip, prior=0.2).to_dict()
    answer = posted(service, clip.read_bytes(), "?prior=0.2", name="an interview.wav")
    raw = service.ask("detect?prior=0.2", clip.read_bytes(), Content_Type="audio/wav")
    assert answer.status == 200 and answer.headers["Cache-Control"] == "no-store"
    assert (answer.json["file"], raw.json["file"]) == ("an interview.wav", "recording")
    for found in (answer.json, raw.json):
        assert found["verdict"] == expected["verdict"] and found["probability"] is not None
        for name in ("score", "llr", "probability", "threshold", "speech", "duration"):
            assert found[name] == pytest.approx(expected[name], abs=2e-5), name
        assert found["model_sha256"] == expected["model_sha256"] and len(found["timeline"]) == 6
    line = service.log[-1]
    assert (line["method"], line["path"], line["status"], line["audio_seconds"]) == (
        "POST",
        "/detect",
        200,
        6.0,
    )
    assert line["verdict"] == expected["verdict"] and line["bytes"] > len(clip.read_bytes()) - 100


def test_the_page_about_a_recording_is_that_of_detect(service, clip):
    answer = posted(service, clip.read_bytes(), Accept="text/html,*/*")
    text = answer.body.decode()
    assert answer.headers["Content-Type"].startswith("text/html")
    page = Page(text.replace("<audio", "<span").replace("</audio", "</span"))
    assert "clip.wav" in page.text and "What a verdict is not" in page.text
    assert hashlib.sha256(clip.read_bytes()).hexdigest() in page.text and "data:audio/mpeg" in text
    assert "/proc/" not in text


def test_what_the_service_says_of_itself(service, model):
    answer = service.ask("model").json
    detector = asvtk.load(model)
    assert (answer["name"], answer["sha256"]) == ("tiny", detector.sha256)
    assert answer["threshold"] == 0 and answer["calibration"]["errors_measured_on"] == "eval"
    assert answer["limits"]["max_bytes"] == 2 << 20 and answer["limits"]["streams"] == 3
    assert service.ask("healthz").json == {"status": "ok"}
    paths = service.ask("openapi.json").json["paths"]
    assert {"/detect", "/healthz", "/model", "/metrics"} == paths.keys()
    assert "prior" in [one["name"] for one in paths["/detect"]["post"]["parameters"]]
    assert service.ask("docs").status == 404  # it would be fetched from elsewhere
    home = service.ask("/")
    assert "default-src 'none'" in home.headers["Content-Security-Policy"]
    assert b"http://" not in home.body and b"https://" not in home.body


def test_metrics(service, clip):
    name = 'asvtk_requests_total{method="POST",path="/detect",status="200"}'
    posted(service, clip.read_bytes())
    before, heard = service.metric(name), service.metric("asvtk_audio_seconds_total")
    posted(service, clip.read_bytes())
    assert service.metric(name) == before + 1
    assert service.metric("asvtk_audio_seconds_total") == heard + 6
    assert service.metric("asvtk_recordings") == 0 and service.metric("asvtk_batch_windows_count") > 0


def test_uploads_at_once_are_scored_as_alone(service, clip):
    pieces = [np.roll(soundfile.read(clip)[0], -k * 8_000) for k in range(6)]
    files = []
    for k, piece in enumerate(pieces):
        soundfile.write(clip.parent / f"{k}.flac", piece, 16_000)
        files.append((clip.parent / f"{k}.flac").read_bytes())
    alone = [posted(service, file).json for file in files]
    together = [None] * 18

    def ask(k: int) -> None:
        together[k] = posted(service, files[k % 6])

    threads = [threading.Thread(target=ask, args=(k,)) for k in range(18)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for k, answer in enumerate(together):
        assert answer.status == 200
        assert answer.json["score"] == pytest.approx(alone[k % 6]["score"], abs=2e-5)
        assert answer.json["verdict"] == alone[k % 6]["verdict"]


@pytest.mark.parametrize("piece", [320, 3_333, 50_000])
def test_a_stream_answers_while_it_comes_and_ends_with_the_whole(service, model, clip, piece):
    audio = samples_of(clip)
    live = asvtk.load(model).stream(DetectConfig())
    live.push(np.frombuffer(audio, np.int16).astype(np.float32) / 32768)
    expected = live.finish()
    answers, last = stream(service, audio, piece)
    times = [answer["t"] for answer in answers]
    assert times == sorted(times) and len(times) >= 3
    assert all(answer.keys() == {"t", "llr", "verdict"} for answer in answers)
    assert last["score"] == pytest.approx(expected.score, abs=2e-5) and last["duration"] == 6.0
    assert (last["verdict"], last["file"]) == (expected.verdict, "stream")
    time.sleep(0.1)
    line = service.log[-1]
    assert (line["method"], line["status"], line["bytes"]) == ("WS", 1000, len(audio))


def test_streams_are_refused_in_one_line(service, clip):
    audio = samples_of(clip)
    for query, audio_or_text, reason in (
        ("?prior=2", b"", "prior 2.0: expected a probability"),
        ("?url=http://x", b"", "url: no such parameter"),
        ("", "stop", "expected binary s16le"),
        ("", "end", "stream: holds no samples"),
    ):
        with connect(f"ws://127.0.0.1:{service.port}/stream{query}") as socket:
            if audio_or_text:
                socket.send(audio_or_text)
            message = json.loads(socket.recv())
            assert message.keys() == {"error"} and reason in message["error"]
            with pytest.raises(ConnectionClosed):
                socket.recv()
    with contextlib.ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(connect(f"ws://127.0.0.1:{service.port}/stream")).send(audio[:3_200])
        time.sleep(0.3)
        _, last = stream(service, b"", 1)
        assert "busy" in last["error"] and service.metric("asvtk_streams") == 3
    time.sleep(0.3)
    assert service.metric("asvtk_streams") == 0


def test_a_stream_that_is_too_long_or_says_nothing_is_ended(service, clip):
    answers, last = stream(service, samples_of(clip) * 6, 100_000)
    assert last["duration"] == 30.0 and answers[-1]["t"] >= 28.0
    with connect(f"ws://127.0.0.1:{service.port}/stream") as socket:
        audio = samples_of(clip)
        for begin in range(0, len(audio), 3_200):  # the last ones complete no window
            socket.send(audio[begin : begin + 3_200])
        began = time.monotonic()
        messages = heard(socket)
        assert messages[-1]["duration"] == 6.0 and time.monotonic() - began < 10
        assert socket.protocol.close_code == 1001


def test_limits_of_uploads(service, clip, tmp_path):
    soundfile.write(tmp_path / "long.flac", np.zeros(31 * 16_000), 16_000)
    large = posted(service, bytes(3 << 20))
    assert large.status == 413 and "2 MiB" in large.json["error"]
    long = posted(service, (tmp_path / "long.flac").read_bytes(), name="long.flac")
    assert long.status == 413 and long.json["error"].startswith("long.flac: by its header it lasts 31 s")
    text = service.ask("detect", b'{"url": "http://127.0.0.1/x.wav"}', Content_Type="application/json")
    assert text.status == 415 and "a URL is not fetched" in text.json["error"]
    fault = posted(service, b"this is no recording\n", name="../../notes.m4a")
    assert (fault.status, fault.json["error"]) == (422, "notes.m4a: is text, not a sound file")
    cut = posted(service, clip.read_bytes()[:50_000])
    assert cut.status == 422 and cut.json["error"].startswith("clip.wav: is cut off")
    with service.connect() as slow:
        slow.sendall(b"POST /detect HTTP/1.1\r\nHost: x\r\nContent-Length: 9000\r\n\r\n")
        assert slow.recv(100).startswith(b"HTTP/1.1 408")


def test_pages_of_other_sites_are_kept_out(service, clip):
    theirs = posted(service, clip.read_bytes(), Origin="http://elsewhere.example")
    ours = posted(service, clip.read_bytes(), Origin=service.url.rstrip("/"))
    assert (theirs.status, ours.status) == (403, 200)
    with pytest.raises(InvalidStatus):
        connect(f"ws://127.0.0.1:{service.port}/stream", origin="http://elsewhere.example")


def test_the_token_opens_and_is_never_logged(model, clip, tmp_path):
    (tmp_path / "token").write_text("s3cret\n")
    service = Service(model, tmp_path, "--token-file", tmp_path / "token")
    audio = samples_of(clip)
    try:
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic s3cret"}):
            for path in ("model", "metrics"):
                answer = service.ask(path, **headers)
                assert (answer.status, answer.headers["WWW-Authenticate"]) == (401, "Bearer")
            assert posted(service, clip.read_bytes(), **headers).status == 401
        good = {"Authorization": "Bearer s3cret"}
        assert service.ask("model", **good).status == posted(service, clip.read_bytes(), **good).status == 200
        assert service.ask("healthz").status == service.ask("/").status == 200
        assert stream(service, audio, 32_000, additional_headers=good)[1]["duration"] == 6.0
        for first, reason in (
            ('{"token": "s3cret"}', None),
            ('{"token": "wrong"}', "wrong token"),
            ("{", "a token is needed"),
        ):
            with connect(f"ws://127.0.0.1:{service.port}/stream") as socket:
                with contextlib.suppress(ConnectionClosed):
                    socket.send(first)
                    socket.send(audio)
                    socket.send("end")
                last = heard(socket)[-1]
            assert last.get("error", "").startswith(reason) if reason else last["duration"] == 6.0
    finally:
        assert service.stop() == 0
    assert "s3cret" not in json.dumps(service.log)


def test_a_full_queue_says_when_to_come_again_and_sigterm_finishes_what_runs(model, clip, tmp_path):
    service = Service(model, tmp_path, "--parallel", 1, "--queue", 1, "--timeout", 20)
    audio, content = samples_of(clip), clip.read_bytes()
    head = b"POST /detect HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(content)
    waiting = [service.connect() for _ in range(2)]
    for upload in waiting:
        upload.sendall(head)
    time.sleep(0.5)
    refused = posted(service, content)
    assert refused.status == 429 and int(refused.headers["Retry-After"]) >= 1
    assert service.ask("healthz").status == 200 and service.metric("asvtk_recordings") == 2
    for upload in waiting:
        upload.sendall(content)
        assert upload.recv(100).startswith(b"HTTP/1.1 200")
    assert posted(service, content).status == 200

    upload = service.connect()
    upload.sendall(head)
    with connect(f"ws://127.0.0.1:{service.port}/stream") as socket:
        socket.send(audio)
        json.loads(socket.recv())
        service.process.send_signal(signal.SIGTERM)
        messages = heard(socket)
        assert messages[-1]["duration"] == 6.0 and socket.protocol.close_code == 1001
    with pytest.raises(ConnectionError):
        service.connect()
    upload.sendall(content)
    answer = b""
    while block := upload.recv(1 << 16):
        answer += block
    assert answer.startswith(b"HTTP/1.1 200") and b'"verdict"' in answer
    assert service.process.wait(30) == 0 and service.log[-1]["message"] == "stopped"


def test_killed_outright_it_leaves_no_process_and_starts_again_on_its_port(model, clip, tmp_path):
    service = Service(model, tmp_path)
    posted(service, clip.read_bytes())
    group = set(_descendants(service.process.pid))
    socket = service.connect()
    socket.sendall(b"POST /detect HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n")
    assert group and service.stop(signal.SIGKILL) == -signal.SIGKILL
    end = time.monotonic() + 10
    while any(os.path.exists(f"/proc/{pid}/fd/0") for pid in group) and time.monotonic() < end:
        time.sleep(0.1)
    assert not [pid for pid in group if os.path.exists(f"/proc/{pid}/fd/0")]
    assert service.written() == []
    again = Service(model, tmp_path, "--port", service.port)
    assert again.port == service.port and posted(again, clip.read_bytes()).status == 200
    assert again.stop() == 0


def _descendants(pid: int):
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/children") as file:
            for child in map(int, file.read().split()):
                yield child
                yield from _descendants(child)


def test_what_cannot_be_served_is_told_in_one_line(model, service, tmp_path, capsys):
    (tmp_path / "empty").write_text("\n")

    def told(*words):
        assert main(["serve", *map(str, words)]) in (1, 2)
        said = capsys.readouterr()
        (line,) = said.err.splitlines()
        assert said.out == ""
        return line

    assert "in use" in told("--model", model, "--port", service.port)
    assert "no such file" in told("--model", tmp_path / "gone.pth", "--port", 0).lower()
    assert "--token-file" in told("--model", model, "--host", "0.0.0.0")
    assert "first line" in told("--model", model, "--token-file", tmp_path / "empty")
    assert "--host nowhere.invalid" in told("--model", model, "--host", "nowhere.invalid")
    (tmp_path / "fastapi.py").write_text("raise ImportError('No module named fastapi')\n")
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    answer = subprocess.run(
        [sys.executable, "-m", "asvtk", "serve", "--model", model],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
    )
    (line,) = answer.stderr.splitlines()
    assert answer.returncode == 1 and answer.stdout == "" and "pip install 'asvtk[serve]'" in line
