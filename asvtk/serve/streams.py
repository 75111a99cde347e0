"""WebSocket streams: s16le at 16 kHz in, an answer each hop out, at the end the detection of the whole."""

import asyncio
import contextlib
import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from pydantic import ValidationError
from starlette.websockets import WebSocket, WebSocketDisconnect

from asvtk.inference.detector import RecordingDetector, Stream
from asvtk.io.audio import SAMPLE_RATE
from asvtk.io.errors import AsvtkError
from asvtk.serve.config import ServeConfig
from asvtk.serve.settings import Settings, reason_of

__all__ = ["Streams"]

_PATIENCE = 10.0  # seconds for a token, and for a client to take the last message
# RFC 6455, 7.4: normal; going away; unsupported data; policy violation; internal error; try again later
_NORMAL, _AWAY, _UNSUPPORTED, _POLICY, _FAULT, _BUSY = 1000, 1001, 1003, 1008, 1011, 1013


class _Closed(Exception):
    """The stream is refused or fails: the close code, and the reason in one line."""

    def __init__(self, code: int, reason: str):
        super().__init__(reason)
        self.code = code


class Streams:
    """All streams of the service.

    Args:
        detector: with common batches.
        config: the limits.
    """

    def __init__(self, detector: RecordingDetector, config: ServeConfig):
        self._detector, self._config = detector, config
        # A thread for each: they wait for common batches.
        self._threads = ThreadPoolExecutor(config.streams, thread_name_prefix="stream")
        self._tasks: set[asyncio.Task] = set()
        self._closing = False

    @property
    def count(self) -> int:
        return len(self._tasks)

    async def serve(self, socket: WebSocket) -> None:
        """One stream, from the handshake to the end."""
        await socket.accept()
        try:
            try:
                await self._authorise(socket)
                config = self._settings(socket)
                if len(self._tasks) >= self._config.streams or self._closing:
                    raise _Closed(_BUSY, "busy: as many streams as the limit allows; try again later")
                code = await self._judge(socket, self._detector.stream(config, name="stream"))
            except AsvtkError as error:
                raise _Closed(_FAULT, str(error)) from None
            await self._close(socket, code)
        except _Closed as fault:
            socket.state.fault = str(fault)
            await self._close(socket, fault.code, json.dumps({"error": str(fault)}))
        except WebSocketDisconnect as gone:
            socket.state.status = gone.code

    async def close(self) -> None:
        """End all streams, each with the detection of what it has heard."""
        self._closing = True
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=self._config.timeout)
        self._threads.shutdown(wait=False)

    async def _authorise(self, socket: WebSocket) -> None:
        if self._config.is_authorised(socket.headers.get("authorization")):
            return
        expected = 'expected the header "Authorization: Bearer TOKEN", or {"token": "TOKEN"} as first message'
        with contextlib.suppress(asyncio.TimeoutError, ValueError, KeyError, TypeError):
            first = json.loads((await asyncio.wait_for(socket.receive(), _PATIENCE))["text"])
            if isinstance(first["token"], str) and self._config.is_token(first["token"]):
                return
            raise _Closed(_POLICY, "wrong token")
        raise _Closed(_POLICY, f"a token is needed: {expected}")

    def _settings(self, socket: WebSocket):
        try:
            return Settings(**socket.query_params).config()
        except ValidationError as error:
            raise _Closed(_POLICY, reason_of(error.errors())) from None
        except AsvtkError as error:
            raise _Closed(_POLICY, str(error)) from None

    async def _judge(self, socket: WebSocket, stream: Stream) -> int:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        self._tasks.add(task)
        listener = _Listener(socket, self._config, stream)
        idle = loop.create_task(listener.watch(task))
        try:
            code = _NORMAL
            try:
                async for samples in listener:
                    for answer in await loop.run_in_executor(self._threads, stream.push, samples):
                        await socket.send_text(json.dumps(answer))
            except asyncio.CancelledError:
                if not (self._closing or listener.is_idle):
                    raise
                code = _AWAY
                await loop.run_in_executor(self._threads, stream.push, listener.take())
            detection = await loop.run_in_executor(self._threads, stream.finish)
            socket.state.detection = detection
            await asyncio.wait_for(socket.send_text(detection.to_json()), _PATIENCE)
            return code
        except asyncio.TimeoutError:
            return _AWAY
        finally:
            self._tasks.discard(task)
            idle.cancel()
            if self._closing:
                stream.close()
            else:
                self._threads.submit(stream.close)  # it waits for what is scored just now

    async def _close(self, socket: WebSocket, code: int, last: str | None = None) -> None:
        with contextlib.suppress(RuntimeError, WebSocketDisconnect, asyncio.TimeoutError):
            if last is not None:
                await asyncio.wait_for(socket.send_text(last), _PATIENCE)
            await asyncio.wait_for(socket.close(code), _PATIENCE)
        socket.state.status = code


class _Listener:
    """Samples of a socket, as many as its stream waits for, until ``end`` or the stream's greatest length.

    Raises:
        _Closed: a message that is neither audio nor ``end``.
        WebSocketDisconnect: the client has gone.
    """

    def __init__(self, socket: WebSocket, config: ServeConfig, stream: Stream):
        self._socket, self._config, self._stream = socket, config, stream
        self._held, self._left = bytearray(), round(2 * SAMPLE_RATE * config.max_seconds)  # bytes
        self._heard_at = asyncio.get_running_loop().time()
        self.is_idle = False

    async def watch(self, task: asyncio.Task) -> None:
        """Cancel the stream's task when nothing comes."""
        loop = asyncio.get_running_loop()
        while (left := self._heard_at + self._config.timeout - loop.time()) > 0:
            await asyncio.sleep(left)
        self.is_idle = True
        task.cancel()

    def take(self) -> np.ndarray:
        """What was heard and not taken yet, whole samples: float32 (samples,)."""
        whole = len(self._held) & ~1
        samples = np.frombuffer(bytes(self._held[:whole]), "<i2").astype(np.float32) / 32768
        del self._held[:whole]
        self._left -= whole
        return samples

    async def __aiter__(self):
        loop, state, held = asyncio.get_running_loop(), self._socket.state, self._held
        state.bytes = 0
        while True:
            message = await self._socket.receive()
            self._heard_at = loop.time()
            if message["type"] == "websocket.disconnect":
                raise WebSocketDisconnect(message.get("code", 1006))
            ended = message.get("bytes") is None
            if ended and message["text"] != "end":
                raise _Closed(_UNSUPPORTED, 'expected binary s16le, 16 kHz, one channel, or the text "end"')
            if not ended:
                state.bytes += len(message["bytes"])
                held += message["bytes"][: self._left - len(held)]
                ended = len(held) >= self._left
            if ended or len(held) >= 2 * self._stream.wanted:
                yield self.take()
            if ended:
                return
