"""``./run.sh`` on a tiny corpus: started, waited for, killed."""

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path

from asvtk.io.ark import MatrixReader, read_scp

RECIPE = Path(__file__).parents[1] / "egs" / "asvspoof2019_la"
SMALL = (
    "model.d_model=16 model.blocks=1 model.d_state=4 model.d_expert=16 model.d_embedding=8 training.epochs=3 "
    "training.batch_size=4 frontend.crop.samples=6000"
)


class Recipe:
    """``./run.sh`` on a tiny corpus, with everything it makes in one folder."""

    def __init__(self, folder, corpus):
        self.folder, self.corpus = folder, corpus
        self.folders = {
            name: str(folder / name.removesuffix("dir")) for name in ("datadir", "dumpdir", "expdir")
        }

    def command(self, **options):
        options = (
            {"corpus": self.corpus, "override": SMALL, "ngpu": 0, "nj": 2, "tag": "tiny"}
            | self.folders
            | options
        )
        words = [
            word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", str(value))
        ]
        return ["./run.sh", *words]

    def run(self, **options):
        return subprocess.run(
            self.command(**options), cwd=RECIPE, capture_output=True, text=True, timeout=300
        )

    def start(self, capture=False, **options):
        """In the background; with ``capture`` all it says can be read from its ``stdout``."""
        return subprocess.Popen(
            self.command(**options),
            cwd=RECIPE,
            start_new_session=True,
            stdout=subprocess.PIPE if capture else subprocess.DEVNULL,
            stderr=subprocess.STDOUT if capture else subprocess.DEVNULL,
            text=True,
        )

    def scores(self, tag="tiny"):
        return {path.name: path.read_text() for path in (self.folder / "exp" / tag / "scores").glob("*.txt")}


def kill(process):
    """kill -9 for the script and everything it started, the jobs' own process groups included."""
    listed = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    parents = {int(child): int(parent) for child, parent in (line.split() for line in listed.splitlines())}

    def descends(pid):
        while pid in parents:
            if pid == process.pid:
                return True
            pid = parents[pid]
        return False

    for pid in [pid for pid in parents if descends(pid)]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()


def wait_for(recipe, process, sign):
    deadline = time.monotonic() + 120
    while not list(recipe.folder.glob(sign)):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)


def cached(dump) -> dict:
    """Every matrix in the caches of a dump: (data set, utterance) -> bytes."""
    reader, found = MatrixReader(), {}
    for scp in Path(dump).glob("*/*/layer_00/feats.scp"):
        for utterance, place in read_scp(scp).items():
            found[scp.parts[-3], utterance] = reader.stack([place]).tobytes()
    assert len(found) == 60
    return found
