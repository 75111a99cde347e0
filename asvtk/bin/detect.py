"""Decide about recordings: is this speech spoofed, where, and how sure is that.

MODEL is a package, the folder of an experiment, published weights (AASIST.pth), what asvtk export wrote
(NAME.onnx: torch is not needed), a name of 'asvtk models ls', or hf:OWNER/NAME. A recording of any kind and
length is heard in windows as long as those of training. Verdicts: bonafide, spoof, no_speech (silence,
noise, music, less than a second of speech), undecided (the model has no calibration and no threshold: see
'asvtk calibrate --detector'). A calibrated model gives log-likelihood ratios, positive = bona fide, and
with --prior a probability of spoofed speech. Exit: 0 all files were judged, 3 some could not be, 4 with
--fail-on spoof one is spoofed.
"""

import functools
import json
import os
import sys
from dataclasses import replace
from pathlib import Path

from asvtk.bin.arguments import UsageError, finite, whole_number
from asvtk.io.atomic import write_text
from asvtk.io.decoding import path_text
from asvtk.io.errors import AsvtkError

EXAMPLES = """\
  asvtk detect --model aasist interview.m4a
      a table; the model is fetched once
  asvtk detect --model lfcc_moe_mamba.asvtk.tar interview.m4a --html page.html
      a page with waveform, timeline and player
  asvtk detect --model hf:owner/name calls/ --out results --nj 4
      thousands of files; killed, the same command goes on
  asvtk detect --model exp/lfcc_moe_mamba interview.m4a --json --prior 0.01
      one in a hundred such recordings is a spoof
  ffmpeg -i rtsp://camera -f s16le -ar 16000 -ac 1 - | asvtk detect --model aasist --raw -
      an answer each second
"""

NOT_ALL_JUDGED, SPOOFED = 3, 4  #: exit statuses
_PIECE = 3_200  # samples of raw audio that are waited for: 0.2 s


def add_arguments(parser):
    parser.add_argument(
        "recordings", nargs="*", metavar="PATH", help="files and folders; - is standard input"
    )
    parser.add_argument("--list", metavar="FILE", help="a text file that names recordings, one a line")
    parser.add_argument("--raw", action="store_true", help="standard input is s16le, 16 kHz, one channel")
    add_model_arguments(parser)
    how = parser.add_argument_group("how to judge")
    how.add_argument("--prior", type=finite, default=0.5, help="prior probability of spoofed speech (0.5)")
    how.add_argument("--threshold", type=finite, help="bona fide lies above (default: from the prior)")
    how.add_argument("--hop", type=finite, default=1.0, metavar="S", help="from window to window (1 s)")
    how.add_argument("--window", type=finite, metavar="S", help="length of a window (default: training's)")
    how.add_argument("--pooling", default="mean", help="of windows: mean, min or trimmed (default mean)")
    how.add_argument("--min-speech", type=finite, default=1.0, metavar="S", help="less is no_speech (1 s)")
    how.add_argument(
        "--channel", type=whole_number(1), metavar="N", help="which to hear (default: their mean)"
    )
    output = parser.add_argument_group("output")
    kind = output.add_mutually_exclusive_group()
    kind.add_argument("--json", action="store_true", help="one JSON object a line for each recording")
    kind.add_argument("--csv", action="store_true", help="a row for each recording")
    kind.add_argument("--rttm", action="store_true", help="segments in NIST's form")
    output.add_argument("--html", metavar="FILE", help="write a page with waveform, timeline and player")
    output.add_argument("--out", metavar="FOLDER", help="write all forms there; killed, the run can go on")
    output.add_argument("--force", action="store_true", help="--out: judge anew what was judged")
    output.add_argument("--nj", type=whole_number(1), default=1, help="processes (default 1)")
    output.add_argument("--fail-on", choices=("spoof",), help="exit 4 if a recording is spoofed")
    output.add_argument("--verbose", action="store_true", help="say what the model is and was trained on")


def add_model_arguments(parser):
    """Options for ``detector_opener``."""
    model = parser.add_argument_group("model")
    model.add_argument(
        "--model", required=True, metavar="MODEL", help="package, experiment, published weights, or a name"
    )
    model.add_argument("--calibration", metavar="FILE", help="made by 'asvtk calibrate --detector'")
    model.add_argument("--ssl-model", metavar="DIR", help="directory of the front-end's model, if it has one")
    model.add_argument(
        "--import", nargs="+", default=[], dest="modules", metavar="MODULE",
        help="import code outside asvtk that the model names",
    )  # fmt: skip
    model.add_argument("--ngpu", type=whole_number(), default=0, help="0: CPU, 1: GPU (default 0)")


def run(args):
    _check(args)
    from asvtk.inference.detector import DetectConfig

    config = DetectConfig(
        prior=args.prior,
        threshold=args.threshold,
        hop=args.hop,
        window=args.window,
        pooling=args.pooling,
        min_speech=args.min_speech,
        channel=args.channel,
    )
    opened = detector_opener(args)
    if args.raw:
        return _judge_raw(opened(), config, args)
    # Files first: a wrong name must not wait for the model.
    files, faults = _find(args)
    detections, unread = _judge_files(opened, files, config, args)
    faults += unread
    _write(args, detections, faults)
    if args.verbose and detections:
        _describe(opened())
    for fault in faults:
        print(f"asvtk detect: error: {fault}", file=sys.stderr)
    if faults:
        judged = f"{len(faults)} of {len(faults) + len(detections)} could not be judged"
        print(f"asvtk detect: error: {judged}", file=sys.stderr)
        return NOT_ALL_JUDGED
    return _status(detections, args)


def _check(args) -> None:
    if args.raw and args.recordings != ["-"]:
        raise UsageError("--raw: goes with - alone, which is standard input")
    if not args.recordings and not args.list:
        raise UsageError("name recordings to judge: files, folders, - (standard input), or --list FILE")
    if args.recordings.count("-") > 1:
        raise UsageError("-: standard input can be read once")
    if args.raw and (args.out or args.html or args.csv or args.rttm):
        raise UsageError("--raw: gives a line of JSON each second, and no other form")
    if args.out and "-" in args.recordings:
        raise UsageError("-: has no name by which --out could know it again; write it to a file first")
    if args.force and not args.out:
        raise UsageError("--force: goes with --out")


def detector_opener(args) -> functools.partial:
    """A function, for any process, that gives the detector of ``add_model_arguments``."""
    return functools.partial(
        _load, args.model, args.calibration, args.ssl_model, args.ngpu, tuple(args.modules)
    )


@functools.cache  # once in each process
def _load(model: str, calibration, ssl_model, ngpu: int, modules: tuple[str, ...]):
    import gc

    # A million objects come with torch, to stay: looking for garbage among them is a tenth of a short run.
    gc.disable()
    try:
        return _import_and_load(model, calibration, ssl_model, ngpu, modules)
    finally:
        gc.freeze()
        gc.enable()


def _import_and_load(model: str, calibration, ssl_model, ngpu: int, modules: tuple[str, ...]):
    import importlib

    from asvtk.inference.load import load

    device = "cpu"
    if ngpu:  # else torch is not needed for that
        from asvtk.training.distributed import choose_device

        device = choose_device(ngpu)
    for module in modules:
        try:
            importlib.import_module(module)
        except ImportError as error:
            raise AsvtkError(f"--import {module}: {error}") from None
    return load(model, device, ssl_model=ssl_model, calibration=calibration)


def _find(args) -> tuple[list[Path], list[str]]:
    """The files to judge, and a line for each name that leads to none."""
    from asvtk.inference.folder import find_audio
    from asvtk.io.text import read_text

    paths = list(args.recordings)
    if args.list:
        paths += [line for line in read_text(args.list).splitlines() if line.strip()]
    if "-" in paths:
        paths[paths.index("-")] = _standard_input()
    return find_audio(paths)


def _standard_input() -> str:
    """Standard input as a file in memory, since most decoders go back and forth in it."""
    descriptor = os.memfd_create("standard input")
    with open(descriptor, "wb", closefd=False) as stream:
        while block := sys.stdin.buffer.read(1 << 20):
            stream.write(block)
    return f"/proc/{os.getpid()}/fd/{descriptor}"  # its own name, as other processes can open it too


def _judge_files(opened, files: list[Path], config, args) -> tuple[list, list[str]]:
    """Detections of all files in order, and a line for each that could not be judged."""
    from asvtk.inference.batch import Fault, Journal, detect_files
    from asvtk.io.locks import locked

    if args.out is None:
        outcomes = list(detect_files(opened, files, config, args.nj))
    else:
        folder = Path(args.out)
        with locked(folder / ".detect.lock", "judges recordings"):
            journal = Journal(folder, opened(), config, args.force)
            known = journal.read()
            left = [file for file in files if path_text(file) not in known]
            if len(left) < len(files):
                print(f"{folder}: {len(files) - len(left)} files were judged already", file=sys.stderr)
            faults = {}
            for outcome in detect_files(opened, left, config, args.nj):
                if isinstance(outcome, Fault):
                    faults[outcome.file] = outcome
                else:
                    journal.add(outcome)
                    known[outcome.file] = outcome
        outcomes = [known.get(path_text(file)) or faults[path_text(file)] for file in files]
    detections = [outcome for outcome in outcomes if not isinstance(outcome, Fault)]
    return detections, [outcome.error for outcome in outcomes if isinstance(outcome, Fault)]


def _write(args, detections: list, faults: list[str]) -> None:
    if args.out is not None:
        from asvtk.report.detections import detections_csv

        folder = Path(args.out)
        write_text(folder / "detections.csv", detections_csv(detections))
        write_text(folder / "detections.rttm", "".join(detection.to_rttm() for detection in detections))
    files = [detection.file for detection in detections]
    # Standard input has no name of its own.
    inside = f"/proc/{os.getpid()}/fd/"
    detections = [replace(x, file="-") if x.file.startswith(inside) else x for x in detections]
    if args.html is not None:
        from asvtk.report.detection_page import write_detection_page

        failures = [tuple(fault.split(": ", 1)) for fault in faults if ": " in fault]
        write_detection_page(args.html, detections, recordings=files, failures=failures, channel=args.channel)
    if args.json:
        text = "".join(detection.to_json() + "\n" for detection in detections)
    elif args.csv:
        from asvtk.report.detections import detections_csv

        text = detections_csv(detections)
    elif args.rttm:
        text = "".join(detection.to_rttm() for detection in detections)
    else:
        from asvtk.report.detections import detections_table

        text = detections_table(detections)
    print(text, end="")


def _judge_raw(detector, config, args) -> int:
    """Answer while standard input comes."""
    import numpy as np

    stream = detector.stream(config, name="-")
    rest = b""
    try:
        # What has come is taken at once, be it less than a piece.
        while block := sys.stdin.buffer.read1(2 * _PIECE):
            whole = len(rest + block) & ~1
            samples, rest = (rest + block)[:whole], (rest + block)[whole:]
            for answer in stream.push(np.frombuffer(samples, "<i2").astype(np.float32) / 32768):
                print(json.dumps(answer), flush=True)
        detection = stream.finish()
    finally:
        stream.close()
    print(detection.to_json(), flush=True)
    return _status([detection], args)


def _describe(detector) -> None:
    calibration = detector.calibration
    print(f"model: {detector.name}, SHA-256 of its weights {detector.sha256}", file=sys.stderr)
    if calibration is None:
        print("uncalibrated", file=sys.stderr)
        return
    dev = calibration.window.dev
    print(f"calibrated on {dev.n_bonafide} bona fide and {dev.n_spoof} spoof trials", file=sys.stderr)
    if calibration.reference is not None:
        print(f"compared with {calibration.reference.recordings} bona fide training clips", file=sys.stderr)


def _status(detections: list, args) -> int:
    from asvtk.io.datadir import SPOOF

    return SPOOFED if args.fail_on and any(x.verdict == SPOOF for x in detections) else 0
