"""Detection of many files: by several processes, and by a run that goes on where a killed one was."""

import functools
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from asvtk.inference.detection import Detection
from asvtk.inference.detector import DetectConfig, RecordingDetector
from asvtk.io.decoding import path_text
from asvtk.io.errors import AsvtkError
from asvtk.io.processes import in_processes
from asvtk.io.stamps import read_stamp, write_stamp

__all__ = ["Fault", "Journal", "detect_files"]


class Fault(NamedTuple):
    """A file that could not be judged."""

    file: str
    error: str  # names the file


def detect_files(
    opened: Callable[[], RecordingDetector], files: Sequence[Path], config: DetectConfig, jobs: int = 1
) -> Iterator[Detection | Fault]:
    """Judge files, in order, with a progress bar; a bad one costs no other its verdict.

    Args:
        opened: gives the detector, in each process once; can be pickled.
        files: what to judge.
        config: how.
        jobs: processes; they share the CPUs of this machine.
    """
    if jobs == 1 or len(files) < 2:
        detector = opened()
        if len(files) == 1:
            with tqdm(desc="judging", unit="s", disable=None) as bar:
                yield _judge(detector, files[0], config, functools.partial(_advance, bar))
            return
        for file in tqdm(files, desc="judging", unit="file", disable=None):
            yield _judge(detector, file, config)
        return
    threads = max(1, len(os.sched_getaffinity(0)) // min(jobs, len(files)))
    judge = functools.partial(_judge_in_process, opened, config, threads)
    yield from in_processes(judge, files, jobs, "judging", unit="file", fresh=True)


def _advance(bar: tqdm, heard: float, seconds: float | None) -> None:
    bar.total = None if seconds is None else round(seconds)
    bar.update(round(heard) - bar.n)


def _judge(detector: RecordingDetector, file: Path, config: DetectConfig, progress=None) -> Detection | Fault:
    name = path_text(file)
    try:
        return detector.detect(file, config=config, progress=progress)
    except AsvtkError as error:
        return Fault(name, str(error) if name in str(error) else f"{name}: {error}")
    except (OSError, MemoryError) as error:  # such as a disk that fails
        return Fault(name, f"{name}: cannot be read: {error or type(error).__name__}")


@functools.cache
def _detector_of_process(opened: Callable[[], RecordingDetector], threads: int) -> RecordingDetector:
    detector = opened()
    detector.use_threads(threads)
    return detector


def _judge_in_process(opened, config: DetectConfig, threads: int, file: Path) -> Detection | Fault:
    return _judge(_detector_of_process(opened, threads), file, config)


class Journal:
    """Journal of a run over many files: a line for each that was judged.

    Args:
        folder: of the results; made if need be.
        detector: that judges.
        config: how.
        force: throw away what is there.

    Raises:
        AsvtkError: what is there was judged by another detector, or otherwise.
    """

    NAME = "detections.jsonl"

    def __init__(self, folder: Path, detector: RecordingDetector, config: DetectConfig, force: bool = False):
        self.path, stamp = folder / self.NAME, folder / ".detect.json"
        calibration = None if detector.calibration is None else detector.calibration.digest
        basis = {"model": detector.sha256, "calibration": calibration, **asdict(config)}
        if force:
            self.path.unlink(missing_ok=True)
        elif self.path.exists() and (known := read_stamp(stamp)) != basis:
            changed = [name for name in basis if (known or {}).get(name, basis) != basis[name]]
            raise AsvtkError(
                f"{folder}: holds verdicts that were found with another {' and '.join(changed) or 'model'}; "
                "name another --out, or give --force to judge all anew"
            )
        folder.mkdir(parents=True, exist_ok=True)
        write_stamp(stamp, basis)

    def read(self) -> dict[str, Detection]:
        """What was judged so far, by file; a line that a kill cut short is dropped.

        Raises:
            AsvtkError: the journal holds something else.
        """
        try:
            lines = self.path.read_bytes().split(b"\n")
        except FileNotFoundError:
            return {}
        if lines[-1]:
            with open(self.path, "r+b") as stream:
                stream.truncate(sum(len(line) + 1 for line in lines[:-1]))
        judged = (
            Detection.from_json(line.decode("utf-8", "replace"), f"{self.path}:{number}")
            for number, line in enumerate(lines[:-1], 1)
        )
        return {detection.file: detection for detection in judged}

    def add(self, detection: Detection) -> None:
        """Write down a verdict at once."""
        with open(self.path, "ab") as stream:
            stream.write((detection.to_json() + "\n").encode())
