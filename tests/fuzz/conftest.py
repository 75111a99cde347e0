"""A laboratory for damaged input: sound files made once, and a judge for what asvtk makes of unsound ones.

A test draws a change with hypothesis, opens a case (an empty working folder), writes the changed file there
and runs a verb in this process. Whatever the input is, a case fails on: an exception that is no AsvtkError,
an exit status beyond 0 to 3, more than 10 s, more than 2 GiB, a message that is long or does not name the
file, a temporary file that is left, and on anything from the input being executed.

``make test`` runs the same cases every time. ``ASVTK_FUZZ=N pytest tests/fuzz`` runs N times as many, other
ones for every N, does not stop at a failure, keeps the folder of the first of each kind, and sums up.
"""

import contextlib
import io
import os
import re
import resource
import shutil
import signal
import stat
import sys
import tempfile
import traceback
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml
from mutations import LONG_RUN
from tiny_corpus import write_tiny_corpus

from asvtk.bin.main import main
from asvtk.io.errors import AsvtkError

LONGEST_S, MOST_MEMORY, LONGEST_MESSAGE = 10, 2 << 30, 4000
LARGEST_KEPT, LARGEST_WRITTEN = 10 << 20, 256 << 20
CONFIG = {
    "frontend": {"name": "lfcc", "crop": {"samples": 4000}},
    "model": {"name": "moe_mamba", "d_model": 8, "blocks": 1, "d_state": 4, "d_expert": 8, "d_embedding": 8},
    "loss": {"name": "oc_softmax"},
    "training": {"epochs": 1, "warmup_epochs": 0},
}
_cases, _failures = Counter(), {}


class Said(NamedTuple):
    """How a verb ended."""

    status: int
    out: str
    err: str


class Hang(BaseException):
    """A case took too long; no ``except Exception`` stops it."""


class Case:
    """One input, in an empty working folder."""

    def __init__(self, verb: str, folder: Path):
        self.verb, self.folder = verb, folder

    def write(self, name: str, data: bytes | str) -> str:
        """Write a file of the case; its name again, relative as a user types it."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data.encode("utf-8", "surrogateescape") if isinstance(data, str) else data)
        return name

    def copy(self, source: Path, name: str) -> Path:
        """A copy of a sound folder, to be damaged."""
        shutil.copytree(
            source, self.folder / name, symlinks=True, ignore=shutil.ignore_patterns("*.png", "*.tar")
        )
        return self.folder / name

    def copy_cache(self, lab: "Lab") -> Path:
        """The same of the features, whose lists hold whole paths."""
        dump = self.copy(lab.dump, "dump")
        for path in dump.rglob("*.scp"):
            path.write_text(path.read_text().replace(str(lab.dump), str(dump)))
        return dump

    def run(self, *argv, names: str = "", verb: str | None = None, status: int | None = None) -> Said:
        """Run a verb.

        Args:
            argv: its words.
            names: what a refusal must hold: the file or the option that it is about.
            verb: another one than the case's.
            status: how it must end; None: in any of the ways that a verb may.
        """
        out, err = io.StringIO(), io.StringIO()
        words = [verb or self.verb, *map(str, argv)]
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                found = main(words)
            except SystemExit as ended:  # of argparse
                found = ended.code
        said = Said(found, out.getvalue(), err.getvalue())
        assert found in (0, 1, 2, 3), f"exit status {found!r}"
        assert status in (None, found), f"exit status {found}, expected {status}: {said.err[:500]}"
        if found:
            assert said.err.strip(), "refused without a word"
            assert names in said.err, f"the message does not name {names}: {said.err[:500]}"
        assert "Traceback" not in said.err, said.err[-500:]
        told = len(said.err) - 2 * sum(map(len, words))  # a long argument may be repeated
        assert told < LONGEST_MESSAGE, f"{told} characters of messages: {said.err[:200]}"
        return said

    def call(self, function, *arguments, names: str = ""):
        """What a function of the library returns, or the message of its AsvtkError."""
        try:
            with contextlib.redirect_stderr(io.StringIO()):
                return function(*arguments), ""
        except AsvtkError as error:
            said = str(error)
        assert names in said, f"the message does not name {names}: {said[:500]}"
        assert len(said) < LONGEST_MESSAGE, f"{len(said)} characters of message: {said[:200]}"
        return None, said

    def judge_leftovers(self) -> None:
        """Nothing was executed, and no half file is left."""
        assert not (self.folder / "canary").exists(), "a command from the input was executed"
        left = [str(path) for path in self.folder.rglob("*.tmp")]
        assert not left, f"left behind: {left[0]}"


class Lab:
    """Sound files, and cases of damaged ones."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.corpus, self.data, self.dump, self.exp = (folder / n for n in ("LA", "data", "dump", "exp"))
        self.package = self.exp / "exp.asvtk.tar"

    @contextlib.contextmanager
    def case(self, verb: str):
        """Judge what happens inside; ``verb`` is what it is counted under."""
        _cases[verb] += 1
        before = os.getcwd()
        folder = Path(tempfile.mkdtemp(prefix="case", dir=self.folder))
        os.chdir(folder)
        case = Case(verb, folder)
        try:
            with _limits(folder):
                yield case
            case.judge_leftovers()
        except (Exception, Hang) as error:
            kind = _kind(verb, error)
            kept = self.folder / "failures" / str(len(_failures))
            if kind not in _failures and LONG_RUN:
                shutil.copytree(folder, kept, symlinks=True, ignore=_not_kept)
            count, first = _failures.get(kind, (0, f"{error}"[:300].replace("\n", " ") + f" [{kept}]"))
            _failures[kind] = count + 1, first
            if not LONG_RUN:
                raise
        finally:
            os.chdir(before)
            shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _limits(folder: Path):
    """No more than so many seconds and so much memory."""

    def stop(*_):
        for path in folder.rglob("*"):  # threads that wait for a pipe would outlive the test
            if stat.S_ISFIFO(path.lstat().st_mode):
                os.close(os.open(path, os.O_RDWR | os.O_NONBLOCK))
        raise Hang(f"more than {LONGEST_S} s")

    handler = signal.signal(signal.SIGALRM, stop)
    start = _memory("VmRSS")
    limits = {of: resource.getrlimit(of) for of in (resource.RLIMIT_AS, resource.RLIMIT_FSIZE)}
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # the peak is counted anew
    # A runaway ends itself before it fills the machine's memory or disk.
    resource.setrlimit(resource.RLIMIT_FSIZE, (LARGEST_WRITTEN, limits[resource.RLIMIT_FSIZE][1]))
    if size := _memory("VmSize"):
        resource.setrlimit(resource.RLIMIT_AS, (size + 2 * MOST_MEMORY, limits[resource.RLIMIT_AS][1]))
    signal.setitimer(signal.ITIMER_REAL, LONGEST_S, 1)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
        for of, limit in limits.items():
            resource.setrlimit(of, limit)
    used = _memory("VmHWM") - start
    assert used < MOST_MEMORY, f"{used >> 20} MiB of memory"


def _memory(name: str) -> int:
    """A line of /proc/self/status in bytes; 0 where the system has none."""
    with contextlib.suppress(OSError), open("/proc/self/status") as lines:
        return next((int(line.split()[1]) << 10 for line in lines if line.startswith(f"{name}:")), 0)
    return 0


def _kind(verb: str, error: BaseException) -> tuple:
    """Verb, what went wrong, and the last line of asvtk that it went through."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "/asvtk/" in frame.filename and "/tests/" not in frame.filename]
    place = f"{ours[-1].filename.rpartition('/asvtk/')[2]}:{ours[-1].lineno}" if ours else ""
    said = re.sub(r"\d+", "N", str(error).partition("\n")[0].partition(":")[0])[:80]
    return verb, type(error).__name__ if place else said or "assertion", place


def _not_kept(folder, names) -> list[str]:
    """Links, devices, pipes, and files that claim to be large."""
    found = {name: os.lstat(Path(folder, name)) for name in names}
    return [
        name
        for name, of in found.items()
        if not (stat.S_ISDIR(of.st_mode) or (stat.S_ISREG(of.st_mode) and of.st_size < LARGEST_KEPT))
    ]


@pytest.fixture(scope="session")
def lab(tmp_path_factory):
    """A corpus, its data directories and features, an experiment with scores and its package; all tiny."""
    folder = tmp_path_factory.mktemp("fuzz")
    lab = Lab(folder)
    write_tiny_corpus(folder, samples=4000)
    (folder / "sparse").touch()
    os.truncate(folder / "sparse", 1 << 40)  # takes no room
    config = folder / "config.yaml"
    config.write_text(yaml.safe_dump(CONFIG))
    data = {split: lab.data / split for split in ("train", "dev", "eval")}
    steps = [["prepare", lab.corpus, lab.data]]
    steps += [
        ["extract", action, "--config", config, "--data", data[split], "--dump", lab.dump]
        for split in ("train", "dev")
        for action in ("begin", "job", "join")
    ]
    sets = ["--train-data", data["train"], "--dev-data", data["dev"]]
    steps += [["train", "--config", config, "--exp", lab.exp, "--dump", lab.dump, *sets]]
    steps += [["score", "--exp", lab.exp, "--dump", lab.dump, "--data", data["dev"]]]
    steps += [["evaluate", "--exp", lab.exp, "--data-root", lab.data], ["pack", "--exp", lab.exp]]
    for step in steps:
        with contextlib.redirect_stdout(io.StringIO()):
            assert main([str(word) for word in step]) == 0, step
    return lab


@pytest.fixture(autouse=True)
def _failures_of_a_long_run():
    """A long run goes on after a failure; its test fails at the end."""
    before = {kind: count for kind, (count, _) in _failures.items()}
    yield
    new = [kind for kind, (count, _) in _failures.items() if count > before.get(kind, 0)]
    if LONG_RUN and new:
        pytest.fail("\n".join(" ".join(kind) for kind in new), pytrace=False)


def pytest_terminal_summary(terminalreporter):
    if not _cases:
        return
    terminalreporter.write_line(f"fuzz: {sum(_cases.values())} cases, {_memory('VmHWM') >> 20} MiB at last")
    failed = Counter()
    for (verb, _, _), (count, _) in _failures.items():
        failed[verb] += count
    for verb, count in sorted(_cases.items()):
        terminalreporter.write_line(f"fuzz: {verb:<10} {count:>6} cases {failed[verb]:>6} failures")
    for (verb, what, place), (count, first) in sorted(_failures.items()):
        terminalreporter.write_line(f"fuzz: {verb}: {count} x {what} {place}: {first}")
    sys.stdout.flush()
