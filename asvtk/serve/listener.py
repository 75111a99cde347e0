"""The port that the service listens at, and who can reach it."""

import ipaddress
import socket

from asvtk.io.errors import AsvtkError

__all__ = ["bind", "is_loopback"]


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
