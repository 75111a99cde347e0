"""A service in a process of its own, with a tiny model; and clients that say exactly what they send."""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import urllib.error
import urllib.request
from email.message import Message
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile
import tiny_training

from asvtk.bin.main import main
from asvtk.inference.calibration import DetectorCalibration, ErrorCurve
from asvtk.inference.speech import FRAME, speech_probabilities
from asvtk.metrics.calibration import Calibration, DevStatistics

ROOT = Path(__file__).parents[1]
RATE = 16_000
# Tells what is written, as the interpreter sees it.
_WATCHED = """
import os, sys
report = os.open(sys.argv.pop(1), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
def watch(event, arguments):
    if event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR):
        os.write(report, f"{arguments[0]}\\n".encode())
    elif event in ("os.mkdir", "os.rename", "os.link", "os.symlink", "os.truncate"):
        os.write(report, f"{event} {arguments}\\n".encode())
sys.addaudithook(watch)
from asvtk.bin.main import main
sys.exit(main())
"""


def make_model(folder: Path) -> Path:
    """An experiment with a calibration, trained for a second."""
    tiny_training.prepare(folder, "{name: lfcc, crop: {samples: 16000}}")
    config, exp, dump = folder / "c.yaml", folder / "tiny", folder / "dump"
    sets = [word for name in ("train", "dev") for word in (f"--{name}-data", folder / "data" / name)]
    overrides = ["--override", "training.epochs=1", "training.warmup_epochs=0"]
    words = ["train", "--config", config, *overrides, "--dump", dump, "--exp", exp, *sets]
    assert main([str(word) for word in words]) == 0
    dev = DevStatistics(
        trials="", n_bonafide=9, n_spoof=9, eer_percent=10, min_dcf=0.1, act_dcf=0.1, cllr=0.3, min_cllr=0.3
    )
    affine = Calibration(systems=("s",), weights=(5.0,), negated=(False,), offset=0.0, prior=0.5, dev=dev)
    rates = ErrorCurve(
        data="eval", bonafide=10, spoof=20, thresholds=(-1.0, 1.0), frr=(0.1, 0.3), far=(0.3, 0.1)
    )
    calibration = DetectorCalibration(window=affine, recording=affine, errors=rates)
    calibration.save(exp / "calibration.json")
    return exp


def make_speech(shared_data: Path, path: Path, seconds: int) -> None:
    """Write those seconds of real clips, one after the other, in which people speak most."""
    clips = sorted((shared_data / "la_real/LA").glob("*eval/flac/*"))[:30]
    joined = np.concatenate([soundfile.read(clip, dtype="float32")[0] for clip in clips])
    spoken = speech_probabilities(joined)[: -(seconds * RATE // FRAME)] > 0.5
    sums = np.convolve(spoken, np.ones(seconds * RATE // FRAME), "valid")
    begin = int(sums.argmax()) * FRAME
    soundfile.write(path, joined[begin : begin + seconds * RATE], RATE)


class Answer(NamedTuple):
    status: int
    headers: Message
    body: bytes

    @property
    def json(self):
        return json.loads(self.body)


class Service:
    """``asvtk serve`` on a free port, in a folder of its own; reads its log.

    Args:
        model: what it serves.
        folder: where it runs, and where its temporary files would be.
        words: further options.
    """

    def __init__(self, model: Path, folder: Path, *words):
        self.home, self._writes = folder / "home", folder / "writes"
        self.home.mkdir(exist_ok=True)
        # Not in a folder of the test, of which the path may be too long for a socket.
        self._temporary = tempfile.TemporaryDirectory(prefix="asvtk_")
        self.temporary = Path(self._temporary.name)
        environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "HOME": str(self.home),
            "TMPDIR": str(self.temporary),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        begin = [sys.executable, "-c", _WATCHED, self._writes, "serve", "--port", "0", "--model", model]
        self.process = subprocess.Popen(
            [str(word) for word in (*begin, *words)],
            cwd=self.home,
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.log: list[dict] = []
        for line in self.process.stderr:
            assert line.startswith("{"), line
            self.log.append(json.loads(line))
            if self.log[-1]["message"] == "listening":
                break
        self.url = self.log[-1]["url"]
        self.host, self.port = "127.0.0.1", int(self.url.rstrip("/").rpartition(":")[2])
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        for line in self.process.stderr:
            self.log.append(json.loads(line))

    def ask(self, path: str, body: bytes | None = None, **headers) -> Answer:
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        if body is not None:
            headers.setdefault("Content-Type", "application/octet-stream")
        request = urllib.request.Request(self.url + path.lstrip("/"), body, headers)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return Answer(answer.status, answer.headers, answer.read())
        except urllib.error.HTTPError as error:
            return Answer(error.code, error.headers, error.read())

    def connect(self) -> socket.socket:
        return socket.create_connection((self.host, self.port), timeout=20)

    def written(self) -> list[str]:
        """What the server wrote outside its temporary folder, and what it has left in there."""
        outside = [
            line
            for line in self._writes.read_text().splitlines()
            # numbers are open files already
            if not line.isdigit() and not line.startswith("/dev/") and str(self.temporary) not in line
        ]
        # The socket of its decoders, of which a kill leaves the folder, is none of that.
        left = [path for path in self.temporary.rglob("*") if not path.is_dir() and not path.is_socket()]
        return [*outside, *map(str, [*left, *self.home.rglob("*")])]

    def metric(self, line: str) -> float:
        """Of a metric by its name with labels."""
        values = [
            text.rpartition(" ")
            for text in self.ask("metrics").body.decode().splitlines()
            if not text.startswith("#")
        ]
        return float({name: value for name, _, value in values}[line])

    def stop(self, number: int = signal.SIGTERM) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        status = self.process.wait(60)
        self._reader.join(10)
        return status


def form(content: bytes, name: str = "clip.wav", field: str = "file") -> tuple[bytes, str]:
    """A multipart body and its content type."""
    head = f'--B\r\nContent-Disposition: form-data; name="{field}"; filename="{name}"\r\n\r\n'.encode()
    return head + content + b"\r\n--B--\r\n", "multipart/form-data; boundary=B"
