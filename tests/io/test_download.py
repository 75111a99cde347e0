"""Downloads from a server that cuts connections, knows no ranges, redirects, or has another file."""

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from asvtk.io import download as module
from asvtk.io.download import cache_home, download
from asvtk.io.errors import AsvtkError

CONTENT = np.random.default_rng(0).bytes(200_000)
DIGEST, SIZE = hashlib.sha256(CONTENT).hexdigest(), len(CONTENT)


class _Handler(BaseHTTPRequestHandler):
    """/KIND/file: how it is sent. ``server.asked`` has (path, range) of all requests."""

    def do_GET(self):
        _, kind, _ = self.path.split("/")
        self.server.asked.append((kind, self.headers.get("Range")))
        begin = int((self.headers.get("Range") or "bytes=0-").split("=")[1].split("-")[0])
        content = {"wrong": CONTENT[::-1], "short": CONTENT[:999], "long": CONTENT * 2}.get(kind, CONTENT)
        if kind == "moved":
            self.send_response(302)
            self.send_header("Location", "/whole/file")
            return self.end_headers()
        if kind in ("404", "503"):
            return self.send_error(int(kind))
        if begin >= len(content):
            return self.send_error(416)
        begin = 0 if kind == "rangeless" else begin
        self.send_response(206 if begin else 200)
        self.send_header("Content-Length", str(len(content) - begin))
        if begin:
            self.send_header("Content-Range", f"bytes {begin}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        self.wfile.write(content[begin:][: 70_000 if kind == "cut" else None])
        return None

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def server():
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.asked = []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()


@pytest.fixture
def fetch(server, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_PAUSES", (0, 0, 0))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    server.asked.clear()
    path = tmp_path / "cache" / "file"

    def fetch(kind):
        download(f"http://127.0.0.1:{server.server_port}/{kind}/file", path, DIGEST, SIZE)
        return path

    fetch.part = path.with_name("file.part")
    return fetch


@pytest.mark.parametrize("kind", ["whole", "moved", "cut", "rangeless"])
def test_the_file_comes_whole(fetch, server, kind):
    assert fetch(kind).read_bytes() == CONTENT and not fetch.part.exists()
    asked = list(server.asked)
    assert [span for _, span in asked if span] == (["bytes=70000-", "bytes=140000-"] if kind == "cut" else [])
    fetch(kind)  # is there, and sound
    assert server.asked == asked


def test_what_came_before_is_not_fetched_again(fetch, server):
    fetch.part.parent.mkdir()
    for kind, begin in ("whole", CONTENT[:150_000]), ("whole", CONTENT), ("rangeless", CONTENT[:9]):
        fetch.part.write_bytes(begin)
        path = fetch(kind)
        assert path.read_bytes() == CONTENT
        path.unlink()
    assert server.asked == [("whole", "bytes=150000-"), ("rangeless", "bytes=9-")]


def test_the_beginning_of_an_older_file_is_thrown_away(fetch, server):
    fetch.part.parent.mkdir()
    for old in (b"old" * 100, b"old" * SIZE):
        fetch.part.write_bytes(old)
        path = fetch("whole")
        assert path.read_bytes() == CONTENT
        path.write_bytes(old)  # damaged since
        assert fetch("whole").read_bytes() == CONTENT
        path.unlink()


@pytest.mark.parametrize("kind", ["wrong", "short", "long"])
def test_another_file_is_refused_and_removed(fetch, server, kind):
    with pytest.raises(AsvtkError, match=f"{kind}/file: is another file than expected: .* thrown away"):
        fetch(kind)
    assert [path.name for path in fetch.part.parent.iterdir()] == [".file.lock"] and len(server.asked) == 1


@pytest.mark.parametrize("kind, asked", [("404", 1), ("503", 4)])
def test_what_is_not_to_be_had_is_told(fetch, server, kind, asked):
    with pytest.raises(AsvtkError, match=f"{kind} .*; without a network, fetch the file elsewhere"):
        fetch(kind)
    assert len(server.asked) == asked


def test_without_a_server_what_came_is_kept(fetch, tmp_path):
    fetch.part.parent.mkdir()
    fetch.part.write_bytes(CONTENT[:9])
    with pytest.raises(
        AsvtkError, match=r"refused.*what came stays in .*file\.part, and the next call goes on"
    ):
        download("http://127.0.0.1:9/file", fetch.part.with_name("file"), DIGEST, SIZE)
    assert fetch.part.read_bytes() == CONTENT[:9]
    with pytest.raises(AsvtkError, match="No such file"):
        download((tmp_path / "none").as_uri(), tmp_path / "x", DIGEST, SIZE)
    (tmp_path / "plain").touch()
    with pytest.raises(AsvtkError, match="cannot be written: .*; ASVTK_HOME names another folder"):
        download("http://127.0.0.1:9/file", tmp_path / "plain" / "file", DIGEST, SIZE)


def test_the_cache_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", "/home/somebody")
    for home, xdg, expected in (
        ("~/models", "/xdg", "/home/somebody/models"),
        ("", "/xdg", "/xdg/asvtk"),
        ("", "relative", "/home/somebody/.cache/asvtk"),
        ("", "", "/home/somebody/.cache/asvtk"),
    ):
        monkeypatch.setenv("ASVTK_HOME", home)
        monkeypatch.setenv("XDG_CACHE_HOME", xdg)
        assert str(cache_home()) == expected
