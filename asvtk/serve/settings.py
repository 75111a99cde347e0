"""How a client wants a recording judged: the query of ``/detect`` and ``/stream``."""

from pydantic import BaseModel, ConfigDict

from asvtk.inference.detector import DetectConfig
from asvtk.io.errors import readable

__all__ = ["Settings", "reason_of"]


class Settings(BaseModel):
    """Parameters of the query; those of ``DetectConfig``, with its defaults."""

    model_config = ConfigDict(extra="forbid")

    prior: float = DetectConfig.prior
    threshold: float | None = None
    hop: float = DetectConfig.hop
    window: float | None = None
    pooling: str = DetectConfig.pooling
    min_speech: float = DetectConfig.min_speech
    channel: int | None = None

    def config(self) -> DetectConfig:
        """
        Raises:
            AsvtkError: a value that makes no sense.
        """
        return DetectConfig(**self.model_dump())


def reason_of(errors) -> str:
    """Pydantic's errors in one line."""
    first = errors[0]
    name = str(first["loc"][-1])[:60] if first["loc"] else "the request"
    if first["type"] == "extra_forbidden":
        return f"{name}: no such parameter; expected {', '.join(Settings.model_fields)}; a URL is not fetched"
    return readable(f"{name}: {first['msg'][:200]}")
