"""ONNX files: their metadata, and whether all of their weights are inside, without the package onnx.

An ONNX file may name other files that hold its weights, by any path. Whoever opens one from anybody has to
know before ONNX Runtime reads them.

Source: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto; the wire format is that of Protocol Buffers.
"""

from collections.abc import Iterator

from asvtk.io.errors import AsvtkError

__all__ = ["read_metadata"]

#: message -> number of a field -> message in it: the ways from a model to its tensors
_MESSAGES = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {},
}
_METADATA = 14  # of a model: pairs of key and value
_PLACE = {13, 14}  # of a tensor: external_data, data_location
_DEEPEST = 64  # graphs within graphs


def read_metadata(content: bytes, where) -> dict[str, str]:
    """The metadata of an ONNX file.

    Args:
        content: of the file.
        where: names it in messages.

    Raises:
        AsvtkError: it is no ONNX file, is cut off, or has weights in other files.
    """
    metadata = {}
    try:
        _require_own_weights(memoryview(content), "model", where, 0)
        for number, value in _fields(memoryview(content)):
            if number == _METADATA:
                pair = {key: bytes(text).decode() for key, text in _fields(value)}
                metadata[pair.get(1, "")] = pair.get(2, "")
    except (ValueError, TypeError, IndexError):  # TypeError: a number stands where a message should
        raise AsvtkError(f"{where}: is no ONNX file, or cut off") from None
    if not content:
        raise AsvtkError(f"{where}: is empty")
    return metadata


def _require_own_weights(message: memoryview, kind: str, where, depth: int) -> None:
    if depth > _DEEPEST:
        raise ValueError("nested too deep")
    for number, value in _fields(message):
        if kind == "tensor" and number in _PLACE and value != 0:
            raise AsvtkError(f"{where}: has weights in other files, which are not read; export it into one")
        if inner := _MESSAGES[kind].get(number):
            _require_own_weights(value, inner, where, depth + 1)


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Numbers and values of a message's fields."""
    place = 0
    while place < len(message):
        key, place = _number(message, place)
        kind = key & 7
        if kind == 0:
            value, place = _number(message, place)
            yield key >> 3, value
            continue
        if kind == 2:
            length, place = _number(message, place)
        elif kind in (1, 5):
            length = 8 if kind == 1 else 4
        else:
            raise ValueError("no such kind of field")
        if place + length > len(message):
            raise ValueError("cut off")
        yield key >> 3, message[place : place + length]
        place += length


def _number(message: memoryview, place: int) -> tuple[int, int]:
    """A number of variable length, and where the next field begins."""
    value = 0
    for shift in range(0, 70, 7):
        byte = message[place]
        place += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, place
    raise ValueError("a number without end")
