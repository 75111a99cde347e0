"""Decoding in processes of their own: a file from a stranger may crash a decoder, or keep it busy for ever.

Such a process has no torch, can write no file, and is killed when it takes too long. It sends what it decodes
piece by piece: a byte that says what follows, then samples or JSON.
"""

import contextlib
import json
import logging
import multiprocessing
import os
import resource
import tempfile
import time
from collections.abc import Callable

import numpy as np

from asvtk.io.audio import SAMPLE_RATE
from asvtk.io.errors import AsvtkError
from asvtk.io.processes import end_with_parent
from asvtk.io.recording import Stream, stream_recording

__all__ = ["Decoder", "DecoderTimeout", "TooLong"]

_BEGIN, _SAMPLES, _END, _FAULT, _TOO_LONG = b"BSEFL"
_MEMORY = 4 << 30  # bytes of address space
_PIECE = 1 << 18  # samples in a message
_LONGEST = 75  # bytes of a folder that leave room for a socket's name: a path of one has 107 at most
_PRELOADED = ["asvtk.serve.decoder", "av", "scipy.signal"]


class TooLong(AsvtkError):
    """The recording lasts longer than is allowed."""


class DecoderTimeout(AsvtkError):
    """Decoding took longer than is allowed."""


class Decoder:
    """A process that decodes files, for one thread at a time. It is started when it is needed, and anew
    after it died or was killed."""

    def __init__(self):
        # Forked from a process that has imported what decoding needs and nothing else: no threads of ours.
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(_PRELOADED)
        self._process = self._connection = None

    def decode(
        self,
        path: str,
        open_sink: Callable[[float | None], Callable[[np.ndarray], None]],
        channel: int | None,
        longest: float,
        deadline: float,
    ) -> Stream:
        """As `stream_recording`.

        Args:
            path: the file, by a name that other processes of this user can open.
            open_sink, channel: as there.
            longest: seconds that the recording may have.
            deadline: by `time.monotonic`.

        Raises:
            AsvtkError: it cannot be decoded: with the reason, or as the decoder ended.
            TooLong: it lasts longer.
            DecoderTimeout: not in time. What the sink raises comes through.
        """
        sink = None
        try:
            self.start()
            self._connection.send_bytes(json.dumps([path, channel, longest]).encode())
            while True:
                if not self._connection.poll(max(0.0, deadline - time.monotonic())):
                    raise DecoderTimeout(f"{path}: was not decoded in time")
                message = self._receive()
                kind, body = message[0], message[1:]
                if kind == _SAMPLES:
                    sink(np.frombuffer(body, np.float32))
                elif kind == _BEGIN:
                    sink = open_sink(json.loads(body))
                elif kind == _END:
                    changes, doubt = json.loads(body)
                    return Stream(tuple(changes), doubt)
                else:
                    break
        except (EOFError, ConnectionError):
            self.close()
            raise AsvtkError(f"{path}: cannot be decoded: the decoder ended at it") from None
        except BaseException:
            self.close()  # it is in the midst of a recording
            raise
        raise (TooLong if kind == _TOO_LONG else AsvtkError)(json.loads(body))

    def _receive(self) -> bytes:
        try:
            return self._connection.recv_bytes()
        except OSError:  # it died in the midst of a message
            raise EOFError from None

    def close(self) -> None:
        """Kill the process."""
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._connection.close()
            self._process = None

    def start(self) -> None:
        """Start the process now."""
        if self._process is None or not self._process.is_alive():
            self.close()
            self._connection, theirs = self._context.Pipe()
            self._process = self._context.Process(target=_decode_files, args=(theirs,), daemon=True)
            with _room_for_sockets():
                self._process.start()
            theirs.close()


@contextlib.contextmanager
def _room_for_sockets():
    """Where $TMPDIR is too deep for the forkserver's socket, put that into /tmp."""
    usual = tempfile.gettempdir()
    if len(os.fsencode(usual)) > _LONGEST:
        tempfile.tempdir = "/tmp"
    try:
        yield
    finally:
        tempfile.tempdir = usual


def _decode_files(connection) -> None:
    """Main function of the process."""
    end_with_parent()
    logging.disable()
    nowhere = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(nowhere, standard)
    for what, most in ((resource.RLIMIT_AS, _MEMORY), (resource.RLIMIT_FSIZE, 0), (resource.RLIMIT_CORE, 0)):
        resource.setrlimit(what, (most, most))
    while True:
        try:
            path, channel, longest = json.loads(connection.recv_bytes())
        except EOFError:
            return
        _send(connection, *_decode(connection, path, channel, longest))


def _decode(connection, path: str, channel: int | None, longest: float):
    """Send samples; returns the last message."""

    def open_sink(seconds):
        if seconds is not None and seconds > longest:
            raise TooLong(f"{path}: by its header it lasts {seconds:.0f} s, the limit is {longest:g} s")
        _send(connection, _BEGIN, seconds)
        count = 0

        def push(samples: np.ndarray) -> None:
            nonlocal count
            count += len(samples)
            if count > longest * SAMPLE_RATE:
                raise TooLong(f"{path}: lasts more than {longest:g} s, which is the limit")
            for begin in range(0, len(samples), _PIECE):
                piece = np.ascontiguousarray(samples[begin : begin + _PIECE], np.float32)
                connection.send_bytes(bytes([_SAMPLES]) + piece.tobytes())

        return push

    try:
        stream = stream_recording(path, open_sink, channel)
        return _END, [stream.changes, stream.doubt]
    except TooLong as fault:
        return _TOO_LONG, str(fault)
    except AsvtkError as fault:
        return _FAULT, str(fault)
    except (ConnectionError, BrokenPipeError):
        raise
    except MemoryError:
        return _FAULT, f"{path}: cannot be decoded: it takes more memory than there is for one"
    except Exception as error:  # a fault of a library at a damaged file must not end in silence
        return _FAULT, f"{path}: cannot be decoded ({type(error).__name__})"


def _send(connection, kind: int, content) -> None:
    connection.send_bytes(bytes([kind]) + json.dumps(content).encode())
