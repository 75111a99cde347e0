"""utils/get_corpus.sh against a server that cuts connections: resumed, compared, unpacked, never twice."""

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from tiny_corpora import write_clip

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")


class _Server(ThreadingHTTPServer):
    """Files of a folder, with ranges; ``cut``: bytes after which an answer ends."""

    def __init__(self, folder):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder, self.cut, self.asked = folder, None, []


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append((self.path, self.headers.get("Range")))
        content = (self.server.folder / self.path.strip("/")).read_bytes()
        begin = int((self.headers.get("Range") or "bytes=0-").split("=")[1].split("-")[0])
        self.send_response(206 if begin else 200)
        self.send_header("Content-Length", str(len(content) - begin))
        if begin:
            self.send_header("Content-Range", f"bytes {begin}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        self.wfile.write(content[begin:][: self.server.cut])

    def log_message(self, *_):
        pass


@pytest.fixture
def server(tmp_path):
    folder = tmp_path / "published"
    for i in range(2):
        write_clip(tmp_path / "raw" / "mini" / "real" / f"{i}.flac", seed=i)
        write_clip(tmp_path / "raw" / "mini" / "fake" / f"{i}.flac", seed=9 + i)
    folder.mkdir()
    with tarfile.open(folder / "real.tar.gz", "w:gz") as file:
        file.add(tmp_path / "raw" / "mini" / "real", "mini/real")
    with zipfile.ZipFile(folder / "fake.zip", "w") as file:
        for path in (tmp_path / "raw" / "mini" / "fake").iterdir():
            file.write(path, f"mini/fake/{path.name}")
    server = _Server(folder)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()


@pytest.fixture
def get(server, tmp_path):
    def describe(real_md5):
        url = f"http://127.0.0.1:{server.server_port}"
        (tmp_path / "mini.yaml").write_text(
            "title: Mini\nsets: {all: {}}\nmarker: [mini/real/*.flac]\n"
            "trials: [{files: 'mini/{key}/*'}]\nlabels: {bonafide: [real], spoof: [fake]}\n"
            f"downloads: [{{url: '{url}/real.tar.gz', md5: {real_md5}}}, {{url: '{url}/fake.zip'}}]\n"
        )

    def run(*words):
        path = f"{Path(sys.executable).parent}:{ROOT / 'utils'}:{os.environ['PATH']}"
        words = ["get_corpus.sh", str(tmp_path / "mini.yaml"), str(tmp_path / "got"), *words]
        environment = {**os.environ, "PATH": path}
        return subprocess.run(words, env=environment, capture_output=True, text=True, timeout=120)

    describe(hashlib.md5((server.folder / "real.tar.gz").read_bytes()).hexdigest())
    run.describe = describe
    return run


def test_resumed_compared_and_unpacked_once(get, server, tmp_path):
    asked = get()
    assert asked.returncode == 1 and "With --download true, 2 files are fetched" in asked.stderr
    assert server.asked == []
    server.cut = 500
    cut = get("true")
    part = tmp_path / "got" / ".download" / "real.tar.gz.part"
    assert cut.returncode == 1 and "the next run goes on there" in cut.stderr and part.stat().st_size >= 500
    server.cut = None
    begun, server.asked = part.stat().st_size, []
    done = get("true")
    assert done.returncode == 0, done.stderr
    assert server.asked == [("/real.tar.gz", f"bytes={begun}-"), ("/fake.zip", None)]
    assert "fake.zip: not compared, as asvtk knows no MD5 of it" in done.stdout
    assert len(list((tmp_path / "got" / "mini").rglob("*.flac"))) == 4
    server.asked = []
    assert "corpus: Mini" in get("true").stdout and server.asked == []


def test_another_file_than_the_published_one_is_thrown_away(get, server, tmp_path):
    get.describe("f" * 32)
    found = get("true")
    assert found.returncode == 1 and "is not the file with the MD5 " + "f" * 32 in found.stderr
    assert list((tmp_path / "got" / ".download").iterdir()) == []


def test_what_has_to_be_got_by_hand(tmp_path):
    words = [ROOT / "utils" / "get_corpus.sh", "mlaad", tmp_path / "none"]
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    found = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=120)
    assert found.returncode == 1 and "has to be got from its publisher by hand" in found.stderr
