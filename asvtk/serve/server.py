"""The server: its process, its connections, and how it ends."""

import asyncio
import contextlib
import functools
import logging
import resource
import signal
import socket

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from asvtk.inference.detector import RecordingDetector
from asvtk.serve.app import Service, build_app
from asvtk.serve.config import ServeConfig
from asvtk.serve.telemetry import log_as_json

__all__ = ["serve"]

_CONNECTIONS = 1000  # at once; more get 503
_PATIENCE = 15.0  # seconds for a client that has connected to send a request
_MESSAGE = 1 << 20  # bytes of a WebSocket message: 32 s of audio

_log = logging.getLogger("asvtk.serve")


def serve(detector: RecordingDetector, config: ServeConfig, listener: socket.socket) -> None:
    """Serve until SIGTERM or SIGINT; what runs then is finished.

    Args:
        detector: on its device.
        config: limits and token.
        listener: of `asvtk.serve.listener.bind`.
    """
    log_as_json()
    # A socket or a file in memory for each client.
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    app = build_app(detector, config)
    service = app.state.service
    service.judge.warm_up()
    host, port = listener.getsockname()[:2]
    url = f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"
    server = _Server(
        uvicorn.Config(
            app,
            http=functools.partial(_Http, min(config.timeout, _PATIENCE)),
            ws="websockets-sansio",
            ws_max_size=_MESSAGE,
            ws_per_message_deflate=False,  # a few bytes may become many
            # A pong waits behind the audio that was sent before it; who has gone is told by --timeout.
            ws_ping_timeout=None,
            limit_concurrency=_CONNECTIONS,
            timeout_graceful_shutdown=round(2 * config.timeout) + 2,
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
        ),
        service,
        lambda: _log.info("listening", extra={"facts": {"url": url, "model": detector.name}}),
    )
    server.run([listener])
    _log.info("stopped")


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, service: Service, on_start):
        super().__init__(config)
        self._service, self._on_start = service, on_start

    async def startup(self, sockets=None) -> None:
        await super().startup(sockets)
        self._on_start()

    async def shutdown(self, sockets=None) -> None:
        for server in self.servers:
            server.close()
        await self._service.streams.close()
        await super().shutdown(sockets)

    @contextlib.contextmanager
    def capture_signals(self):
        """Signals end the server in order, and that is the end: they are not raised again."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        yield
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


class _Http(H11Protocol):
    """HTTP, for clients that send their requests within a time."""

    def __init__(self, patience: float, **options):
        super().__init__(**options)
        self._patience, self._seen = patience, None

    def connection_made(self, transport) -> None:
        super().connection_made(transport)
        self.loop.call_later(self._patience, self._look)

    def _look(self) -> None:
        """Close a connection that waits for a request as it did the last time."""
        if self.transport.is_closing() or self not in self.connections:
            return
        state = (self.cycle, self.cycle is None or self.cycle.response_complete)
        if state[1] and (self.cycle is None or state == self._seen):
            self.transport.close()
            return
        self._seen = state
        self.loop.call_later(self._patience, self._look)
