"""Configuration of the service: limits and token; faults with the status that a client gets."""

import hashlib
import hmac
from dataclasses import dataclass

from asvtk.io.errors import AsvtkError

__all__ = ["Refusal", "ServeConfig"]


@dataclass(frozen=True, kw_only=True)
class ServeConfig:
    """Limits of the service, and who may use it.

    Attributes:
        token: that a client must know; None: everybody who reaches the port may use it.
        max_mb: MiB of one upload.
        max_seconds: of one recording or stream.
        parallel: recordings that are judged at once.
        queue: further recordings that wait, or are on their way here.
        streams: WebSocket streams at once.
        timeout: seconds within which an upload must be here, then within which it must be judged, and within
            which something must come on a stream.
        batch: windows, of any recordings and streams, that are scored together.

    Raises:
        AsvtkError: the token has characters that no HTTP header can hold.
    """

    token: str | None = None
    max_mb: float = 50
    max_seconds: float = 3600
    parallel: int = 16
    queue: int = 16
    streams: int = 16
    timeout: float = 60
    batch: int = 16

    def __post_init__(self):
        if self.token is not None and not (self.token.isascii() and self.token.isprintable()):
            raise AsvtkError("the token: expected printable ASCII characters")
        if self.token is not None and (not self.token or self.token != self.token.strip()):
            raise AsvtkError("the token: expected one without blanks around it, and not none")

    @property
    def max_bytes(self) -> int:
        return int(self.max_mb * (1 << 20))

    def is_token(self, given: str) -> bool:
        """Whether a client knows the token; takes as long for a wrong one, however wrong."""
        if self.token is None:
            return True
        ours, theirs = (hashlib.sha256(text.encode()).digest() for text in (self.token, given))
        return hmac.compare_digest(ours, theirs)

    def is_authorised(self, header: str | None) -> bool:
        """Whether an ``Authorization`` header has the token."""
        scheme, _, given = (header or "").partition(" ")
        return self.token is None or scheme.lower() == "bearer" and self.is_token(given.strip())


class Refusal(AsvtkError):
    """A request that is not served: the HTTP status, and the reason in one line."""

    def __init__(self, status: int, reason: str, retry_after: int | None = None):
        super().__init__(reason)
        self.status, self.retry_after = status, retry_after
