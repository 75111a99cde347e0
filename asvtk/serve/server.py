"""The server: its port, its process, and how it ends."""

import asyncio
import contextlib
import ipaddress
import logging
import resource
import signal
import socket

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from asvtk.inference.detector import RecordingDetector
from asvtk.io.errors import AsvtkError
from asvtk.serve.app import Service, build_app
from asvtk.serve.config import ServeConfig
from asvtk.serve.telemetry import log_as_json

__all__ = ["bind", "is_loopback", "serve"]

_CONNECTIONS = 1000  # at once; more get 503
_PATIENCE = 15.0  # seconds for a client that has connected to send a request
_MESSAGE = 1 << 20  # bytes of a WebSocket message: 32 s of audio

_log = logging.getLogger("asvtk.serve")


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server there.

    Raises:
        AsvtkError: there is no such host.
    """
    return all(ipaddress.ip_address(place[4][0]).is_loopback for place in _resolve(host, 0))


def bind(host: str, port: int) -> socket.socket:
    """A socket that has the port, and does not listen yet.

    Raises:
        AsvtkError: the port is in use, or not allowed; the host is unknown, or not of this machine.
    """
    family, kind, protocol, _, address = _resolve(host, port)[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # of one that was killed just now
        listener.bind(address)
    except OSError as error:
        listener.close()
        raise AsvtkError(f"{host}:{port}: {error.strerror.lower()}; name another --port or --host") from None
    return listener


def _resolve(host: str, port: int) -> list:
    try:
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise AsvtkError(f"--host {host}: {getattr(error, 'strerror', None) or 'no such host'}") from None


def serve(detector: RecordingDetector, config: ServeConfig, listener: socket.socket) -> None:
    """Serve until SIGTERM or SIGINT; what runs then is finished.

    Args:
        detector: on its device.
        config: limits and token.
        listener: of ``bind``.
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
            http=_Http,
            ws="websockets-sansio",
            ws_max_size=_MESSAGE,
            ws_per_message_deflate=False,  # a few bytes may become many
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

    def connection_made(self, transport) -> None:
        super().connection_made(transport)
        self._seen = None
        self.loop.call_later(_PATIENCE, self._look)

    def _look(self) -> None:
        """Close a connection that waits for a request as it did the last time."""
        if self.transport.is_closing() or self not in self.connections:
            return
        state = (self.cycle, self.cycle is None or self.cycle.response_complete)
        if state[1] and (self.cycle is None or state == self._seen):
            self.transport.close()
            return
        self._seen = state
        self.loop.call_later(_PATIENCE, self._look)
