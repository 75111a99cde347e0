"""Export a detector: waveform in, score out, as a file that needs neither torch nor asvtk's models.

MODEL is a package, the folder of an experiment, or published weights (AASIST.pth). The graph takes whole
windows of training's crop, any number at once. Nothing is written unless it gives torch's scores: within 1e-4
of their standard deviation, one by one and in batches. Needs pip install 'asvtk[export]'; what it writes,
onnxruntime alone. docs/export.md has sizes, speeds and error rates.
"""

from asvtk.bin.arguments import UsageError, whole_number
from asvtk.io.decoding import path_text
from asvtk.io.errors import AsvtkError

EXAMPLES = """\
  asvtk export lfcc_moe_mamba.asvtk.tar detector.onnx --clips calls/
      parity with torch and speed, on clips of yours; asvtk detect takes it, without torch
  asvtk export aasist small.onnx --int8
      smaller; measure its EER first
  asvtk export exp/lfcc_moe_mamba detector.pt2 --format torch
      for torch.export.load
"""

_MOST_CLIPS = 100  # clips to compare on: more tell nothing new


def add_arguments(parser):
    parser.add_argument("model", metavar="MODEL", help="package, experiment or published weights")
    parser.add_argument("out", metavar="OUT", help="file to write or replace: NAME.onnx, or NAME.pt2")
    parser.add_argument("--format", choices=("onnx", "torch"), default="onnx", help="default onnx")
    parser.add_argument(
        "--opset", type=whole_number(18, 24), default=20, metavar="N", help="of ONNX (default 20)"
    )
    parser.add_argument("--int8", action="store_true", help="weights of 8 bits: other scores, see above")
    parser.add_argument(
        "--clips",
        nargs="+",
        default=[],
        metavar="PATH",
        help="files and folders to compare on (default: made up)",
    )
    parser.add_argument("--calibration", metavar="FILE", help="made by 'asvtk calibrate --detector'")
    parser.add_argument(
        "--ssl-model", metavar="DIR", help="directory of the front-end's model, if it has one"
    )
    parser.add_argument(
        "--import", nargs="+", default=[], dest="modules", metavar="MODULE",
        help="import code outside asvtk that the model names",
    )  # fmt: skip


def run(args):
    suffix = {"onnx": ".onnx", "torch": ".pt2"}[args.format]
    if not args.out.lower().endswith(suffix):
        raise UsageError(f"{args.out}: --format {args.format} writes NAME{suffix}")
    if args.int8 and args.format != "onnx":
        raise UsageError("--int8: goes with --format onnx")
    clips = _read(args.clips) if args.clips else None
    import importlib

    from asvtk.inference.load import load

    for module in args.modules:
        try:
            importlib.import_module(module)
        except ImportError as error:
            raise AsvtkError(f"--import {module}: {error}") from None
    detector = load(args.model, ssl_model=args.ssl_model, calibration=args.calibration)
    from asvtk.inference.export import window_of, write_export
    from asvtk.inference.parity import speech_like
    from asvtk.inference.torch_detector import TorchDetector

    if not isinstance(detector, TorchDetector):
        raise AsvtkError(f"{args.model}: is exported already; give the model that it was made of")
    written = write_export(detector, args.out, clips or speech_like(), args.format, args.opset, args.int8)
    kind = "clips" if clips else "made-up signals"
    print(_line(f"float32 against torch, {written.parity.windows} {kind}", written.parity))
    if written.int8 is not None:
        print(_line("int8 against torch", written.int8))
    print(f"{args.out}: {written.size / 2**20:.1f} MB, windows of {window_of(detector)} samples")


def _line(what: str, parity) -> str:
    return (
        f"{what}: scores differ by {parity.difference:.2g} at the most, {parity.relative:.1e} of their "
        f"standard deviation; {parity.speed:.2f} times as fast"
    )


def _read(paths) -> list:
    """The recordings of files and folders, at most `_MOST_CLIPS`, spread over them."""
    from asvtk.inference.folder import find_audio
    from asvtk.io.recording import read_recording

    files, faults = find_audio(paths)
    if faults:
        raise AsvtkError("; ".join(faults))
    step = -(-len(files) // _MOST_CLIPS)
    clips = [read_recording(file).samples for file in files[::step]]
    if len(clips) < 2:
        raise AsvtkError(f"{path_text(files[0])}: a single clip: expected two at least, to see scores vary")
    return clips
