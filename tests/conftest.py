"""What all tests share."""

import gc
import os
import signal
import sys
from pathlib import Path

import hypothesis
import pytest

from asvtk.bin.main import log_to_terminal

# What the library logs is read by tests as the lines that a user sees.
log_to_terminal()
# Before torch is imported, and for all that tests start: their tensors are too small for a second thread.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Scripts' python3 is this one, as where the environment is active; a shim takes ten times as long to start.
os.environ["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
# As asvtk's own start: there are a million objects of torch and of all tests, and they stay.
gc.set_threshold(50_000, 20, 100)
# Programs that tests interrupt must hear of it also where pytest itself was started to ignore that: in a
# script's background, or by nohup.
for number in (signal.SIGINT, signal.SIGHUP):
    if signal.getsignal(number) == signal.SIG_IGN:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)

# A busy machine is no fault of the code.
hypothesis.settings.register_profile("asvtk", deadline=None)
hypothesis.settings.load_profile("asvtk")


def pytest_collection_finish():
    gc.freeze()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real score files, speech and published weights, which is no part of the repository."""
    folder = Path(os.environ.get("ASVTK_SHARED_DATA") or Path(__file__).parents[2] / "shared" / "data")
    if not (folder / "oracles" / "expected.json").exists():
        pytest.skip(f"no shared data in {folder}; set ASVTK_SHARED_DATA")
    return folder
