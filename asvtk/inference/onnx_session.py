"""Sessions of ONNX Runtime on the CPU."""

from asvtk.io.errors import AsvtkError

__all__ = ["open_session"]

_ERRORS_ONLY = 3  # of ONNX Runtime's levels of messages


def open_session(content: bytes, threads: int):
    """An ``onnxruntime.InferenceSession``.

    Args:
        content: of an ONNX file, with all of its weights inside.
        threads: of the CPU.

    Raises:
        AsvtkError: onnxruntime is not installed, or takes the graph for damaged.
    """
    try:
        import onnxruntime
    except ImportError:
        raise AsvtkError("ONNX files need onnxruntime: pip install 'asvtk[export]'") from None

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = _ERRORS_ONLY
    options.add_session_config_entry(
        "session.load_model_format", "ONNX"
    )  # not ORT's own, which was not checked
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its own classes, one for each kind of fault, are no part of its interface
        reason = " ".join(str(error).split())[:200]
        raise AsvtkError(f"onnxruntime {onnxruntime.__version__} cannot run it ({reason})") from None
