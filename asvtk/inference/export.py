"""Export of trained detectors: waveform in, score and embedding out, as ONNX or as torch's exported program.

The graph takes whole windows, as many as one likes; the lengths within are constants. What stands before it
(crop, repetition of short audio, conditioning) and behind it (speech activity, calibration, verdicts) is told
in the metadata: see `OnnxDetector`.
"""

import contextlib
import copy
import dataclasses
import json
import logging
import math
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from asvtk.frontends.crop import Crop, hear
from asvtk.inference.detector import DetectConfig
from asvtk.inference.onnx_detector import ABOUT, CALIBRATION, FORMAT, OnnxAbout, OnnxDetector
from asvtk.inference.parity import Parity, compare
from asvtk.inference.torch_detector import TorchDetector
from asvtk.io.atomic import atomic_path
from asvtk.io.audio import SAMPLE_RATE
from asvtk.io.config import to_mapping
from asvtk.io.errors import AsvtkError
from asvtk.models.base import Batch
from asvtk.nn.learnable_sinc import LearnableSincBank
from asvtk.version import __version__

__all__ = ["OPSET", "Written", "export_graph", "window_of", "write_export"]

OPSET = 20  #: ONNX Runtime has it from 1.17 on
_LARGEST = 2**31 - 2**24  # bytes of weights in an ONNX file, with some room for the graph
_FOLDED = 2**28  # numbers in a constant that is computed once and for all
_SMALL = 1024  # numbers in a weight that stays in float32: there is nothing to gain
#: parts of a front-end that measure the signal: in 8 bits, weak bands would drown beside strong ones
_EXACT = ("Filterbank", "Cepstra", "LogMel", "SincBank", "StemLayer")


class WindowGraph(nn.Module):
    """A detector on full windows: audio (batch, window) -> scores (batch,), embeddings (batch, d).

    Args:
        detector: in evaluation mode; is changed: takes every window for full from now on.
        window: samples.
    """

    def __init__(self, detector: TorchDetector, window: int):
        super().__init__()
        self.detector, self.window = detector, window
        self.by_real_samples = detector.frontend.by_real_samples and detector.model.uses_features
        self.frozen = nn.ModuleList(detector.frontend.frozen)
        detector.frontend.crop = Crop(window)
        for module in detector.modules():
            if isinstance(module, LearnableSincBank):
                module.freeze()

    def forward(self, audio: Tensor, samples: Tensor | None = None) -> tuple[Tensor, Tensor]:
        detector = self.detector
        features = lengths = heard = heard_samples = None
        whole = torch.full((audio.shape[0],), self.window)
        if detector.model.uses_features:
            features, lengths = detector.frontend.prepare_heard(audio, samples), whole
        if detector.model.uses_audio:
            heard, heard_samples = audio, whole
        embedding = detector.embed(Batch(features, lengths, heard, heard_samples)).embedding
        return detector.loss.score(embedding).float(), embedding.float()

    def example(self) -> tuple[Tensor, ...]:
        """Arguments: a batch of two."""
        audio = 0.1 * torch.randn(2, self.window, generator=torch.Generator().manual_seed(0))
        return (audio, torch.full((2,), self.window)) if self.by_real_samples else (audio,)


def window_of(detector: TorchDetector) -> int:
    """Samples of the windows that a detector's graph takes: training's crop."""
    return round(detector.window_seconds(DetectConfig()) * SAMPLE_RATE)


def export_graph(detector: TorchDetector) -> torch.export.ExportedProgram:
    """The exported program of a detector, of a copy of it.

    Raises:
        AsvtkError: torch cannot export it; says what stands in the way.
    """
    # torch's exporters know no bfloat16 on CPUs, and no autocast.
    graph = WindowGraph(copy.deepcopy(detector).eval().cpu(), window_of(detector))
    arguments = graph.example()
    with torch.no_grad(), _quiet(), _explained(detector.name):
        # Run once: some parts look at the first batch more closely than at others.
        graph(*arguments)
        batch = torch.export.Dim("batch", min=1, max=4096)
        shapes = tuple({0: batch} for _ in arguments)
        return torch.export.export(graph, arguments, dynamic_shapes=shapes)


def write_export(
    detector: TorchDetector,
    out,
    clips: list[np.ndarray],
    form: str = "onnx",
    opset: int = OPSET,
    int8: bool = False,
) -> "Written":
    """Export a detector, compare it with torch on clips, and write it if it gives the same scores.

    Args:
        detector: on the CPU.
        out: the file to write or replace.
        clips: float32 at 16 kHz, (samples,) each; what both are compared on.
        form: ``onnx``, or ``torch``: an archive that ``torch.export.load`` reads.
        opset: of ONNX.
        int8: ONNX: quantise the weights of matrix products, and what enters them as it comes.

    Raises:
        AsvtkError: it cannot be exported; or scores differ by more than `parity.TOLERANCE` says, or are not
            finite. Nothing is written.
    """
    if form == "onnx":
        _require_onnx()
    program = export_graph(detector)
    said = _about(detector)
    if form == "torch":
        parity = compare(detector, _program_scores(program, said), clips)
        parity.require(detector.name)
        metadata = _metadata(detector, dataclasses.replace(said, parity=parity.relative))
        with atomic_path(out) as temporary:
            torch.export.save(
                program, temporary, extra_files={f"{k}.json": text for k, text in metadata.items()}
            )
        return Written(parity, None, Path(out).stat().st_size)
    model, exact = _onnx_model(program, opset, detector.name)
    _describe(model, detector, said)
    parity = compare(detector, OnnxDetector(model.SerializeToString(), detector.name).score_windows, clips)
    parity.require(detector.name)
    of_int8 = None
    if int8:
        model = _quantised(model, exact)
        said = dataclasses.replace(said, precision="int8", name=f"{detector.name} (int8)")
        _describe(model, detector, said)
        of_int8 = compare(detector, OnnxDetector(model.SerializeToString(), said.name).score_windows, clips)
    final = of_int8 or parity
    _describe(model, detector, dataclasses.replace(said, parity=final.relative))
    with atomic_path(out) as temporary:
        temporary.write_bytes(model.SerializeToString())
    return Written(parity, of_int8, Path(out).stat().st_size)


class Written(NamedTuple):
    """What was written."""

    parity: Parity  # in float32
    int8: Parity | None  # of the quantised graph, where that was written
    size: int  # bytes


def _about(detector: TorchDetector) -> OnnxAbout:
    return OnnxAbout(
        format=FORMAT,
        name=detector.name,
        threshold=detector.threshold,
        weights_sha256=detector.sha256,
        window=window_of(detector),
        repeated=detector.crop.is_fixed,
        conditioning=detector.frontend.conditioning,
        precision="float32",
        asvtk=__version__,
        parity=0.0,
    )


def _metadata(detector: TorchDetector, said: OnnxAbout) -> dict[str, str]:
    metadata = {ABOUT: json.dumps(to_mapping(said))}
    if detector.calibration is not None:
        metadata[CALIBRATION] = detector.calibration.to_json()
    return metadata


def _program_scores(program: torch.export.ExportedProgram, said: OnnxAbout):
    """``score_windows`` of an exported program."""
    module, takes = program.module(), len(program.graph_signature.user_inputs)

    @torch.inference_mode()
    def score(windows: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        crop = Crop(said.window)
        heard = torch.from_numpy(np.stack([hear(x, crop, said.conditioning) for x in windows]))
        samples = torch.tensor([min(len(x), said.window) for x in windows])
        scores, embeddings = module(*(heard, samples)[:takes])
        return scores.double().numpy(), embeddings.numpy()

    return score


def _require_onnx() -> None:
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise AsvtkError(f"exporting to ONNX needs more ({error}): pip install 'asvtk[export]'") from None


def _onnx_model(program: torch.export.ExportedProgram, opset: int, name: str):
    """The program as ``onnx.ModelProto``, and the names of nodes that 8 bits are too few for.

    torch's own clean-up of the graph is not used: with onnxscript 0.7 it takes numbers as small as the 1e-10
    under a logarithm for zero, and drops the addition.
    """
    import onnxscript.optimizer
    from onnx_ir import to_proto
    from onnx_ir.passes import common

    size = sum(x.numel() * x.element_size() for x in {**program.state_dict, **program.constants}.values())
    if size > _LARGEST:
        raise AsvtkError(
            f"{name}: {size / 2**30:.1f} GiB of weights; an ONNX file holds 2 GiB. Export --format torch, or "
            "cut the speech model with asvtk truncate and train on that"
        )
    inputs = ["audio", "samples"][: len(program.graph_signature.user_inputs)]
    with torch.no_grad(), _quiet(), _explained(name):
        exported = torch.onnx.export(
            program,
            dynamo=True,
            opset_version=opset,
            input_names=inputs,
            output_names=["score", "embedding"],
            optimize=False,
            verbose=False,
        )
        model = exported.model
        common.InlinePass()(model)
        onnxscript.optimizer.fold_constants(model, input_size_limit=_FOLDED, output_size_limit=_FOLDED)
        for tidy in (
            common.RemoveUnusedNodesPass(),
            common.RemoveUnusedFunctionsPass(),
            common.RemoveUnusedOpsetsPass(),
            common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
            common.LiftSubgraphInitializersToMainGraphPass(),
            common.DeduplicateInitializersPass(),
            common.CommonSubexpressionEliminationPass(),
            common.NameFixPass(),
        ):
            tidy(model)
    nodes = list(model.graph.all_nodes())
    exact = [x.name for x in nodes if any(part in str(x.metadata_props) for part in _EXACT)]
    for part in (*nodes, *(value for node in nodes for value in node.outputs), model.graph, model):
        part.metadata_props.clear()  # paths of this machine among them
        part.doc_string = None
    return to_proto(model), exact


def _describe(model, detector: TorchDetector, said: OnnxAbout) -> None:
    """Give an ``onnx.ModelProto`` the metadata of a detector."""
    del model.metadata_props[:]
    for key, value in _metadata(detector, said).items():
        model.metadata_props.add(key=key, value=value)


def _quantised(model, exact: list[str]):
    """An ``onnx.ModelProto`` whose products have weights of 8 bits, one scale for each output channel.

    Convolutions stay in float32: ONNX Runtime's of 8 bits took seven times as long (docs/export.md).
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    # Stacked matrices, those of Mamba's two directions, have no scales of channels in ONNX Runtime.
    weights = {x.name: tuple(x.dims) for x in model.graph.initializer}
    for node in model.graph.node:
        shapes = [weights[name] for name in node.input if name in weights]
        is_stacked = node.op_type == "MatMul" and any(len(shape) != 2 for shape in shapes)
        if is_stacked or all(math.prod(shape) < _SMALL for shape in shapes):
            exact.append(node.name)
    with tempfile.TemporaryDirectory(prefix="asvtk_") as folder, _quiet():
        before, after = Path(folder, "float32.onnx"), Path(folder, "int8.onnx")
        before.write_bytes(model.SerializeToString())
        quantize_dynamic(
            before,
            after,
            op_types_to_quantize=["MatMul", "Gemm"],
            per_channel=True,
            reduce_range=True,  # 7 bits: products of 8 overflow on processors without VNNI
            weight_type=QuantType.QInt8,
            nodes_to_exclude=exact,
        )
        return onnx.load(after)


@contextlib.contextmanager
def _explained(name: str) -> Iterator[None]:
    """Faults of torch's exporters, whose classes are many and private, as one line."""
    try:
        yield
    except AsvtkError:
        raise
    except Exception as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        cause = error.__cause__
        reason = f"{cause}".strip().splitlines()[0] if cause is not None and f"{cause}".strip() else ""
        first = next(iter(lines), type(error).__name__)
        raise AsvtkError(
            f"{name}: torch {torch.__version__} cannot export it: {(reason or first)[:300]}"
        ) from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without what torch and onnxscript say of packages that are not there, and of their own insides."""
    loggers = [
        logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript", "onnx_ir", "root")
    ]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
