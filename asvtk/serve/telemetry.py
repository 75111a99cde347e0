"""Logs, a JSON object a line, and metrics for Prometheus. Neither ever holds audio or the token."""

import json
import logging
import sys
import time
from datetime import datetime, timezone

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

__all__ = ["JsonLines", "Metrics", "RequestLog", "log_as_json"]

_LONGEST = 200  # characters of what a client chose
_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)

_log = logging.getLogger("asvtk.serve")


class JsonLines(logging.Handler):
    """Log records as JSON, a line each, on standard error."""

    def emit(self, record: logging.LogRecord) -> None:
        line = {
            "time": datetime.fromtimestamp(record.created, timezone.utc).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
            **getattr(record, "facts", {}),
        }
        if record.exc_info:
            line["traceback"] = logging.Formatter().formatException(record.exc_info)
        print(json.dumps(line, ensure_ascii=False, default=str), file=sys.stderr, flush=True)


def log_as_json() -> None:
    """Have all loggers write JSON, and nothing else."""
    handler = JsonLines()
    logging.captureWarnings(True)
    logging.getLogger("python_multipart").setLevel(logging.ERROR)  # it warns of what the client is told
    for name, level in ((None, logging.WARNING), ("asvtk", logging.INFO)):
        logger = logging.getLogger(name)
        logger.handlers[:] = [handler]
        logger.setLevel(level)
        logger.propagate = False


class Metrics:
    """What Prometheus is told."""

    def __init__(self):
        self.registry = CollectorRegistry()
        options = {"registry": self.registry}
        self.requests = Counter("asvtk_requests", "Requests", ["method", "path", "status"], **options)
        self.seconds = Histogram(
            "asvtk_request_seconds", "Time of requests", ["path"], buckets=_SECONDS, **options
        )
        self.verdicts = Counter("asvtk_verdicts", "Recordings and streams judged", ["verdict"], **options)
        self.audio = Counter("asvtk_audio_seconds", "Audio heard", **options)
        self.places = Gauge("asvtk_recordings", "Recordings that are judged or wait", **options)
        self.running = Gauge("asvtk_recordings_running", "Recordings that are judged", **options)
        self.streams = Gauge("asvtk_streams", "Open streams", **options)
        self.batches = Histogram(
            "asvtk_batch_windows",
            "Windows scored together",
            buckets=(1, 2, 4, 8, 12, 16, 24, 32, 64),
            **options,
        )
        ProcessCollector(registry=self.registry)


class RequestLog:
    """ASGI middleware: a line of log and the metrics for each request, and headers for each answer.

    A stream's line is `stream`'s own: it begins here, and ends when the socket is closed.

    Args:
        app: what it stands around.
        metrics: to tell.
        paths: that exist; all others are "other" for the metrics.
        headers: for each answer.
    """

    def __init__(self, app, metrics: Metrics, paths: frozenset[str], headers: dict[str, str]):
        self._app, self._metrics, self._paths = app, metrics, paths
        self._headers = [(name.lower().encode(), value.encode()) for name, value in headers.items()]

    async def __call__(self, scope, receive, send):
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        began, status = time.perf_counter(), 0
        state = scope.setdefault("state", {})

        async def watch(message):
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message = {**message, "headers": [*message["headers"], *self._headers]}
            elif message["type"] == "websocket.accept":
                status = 101
            elif message["type"] == "websocket.close":
                status = message.get("code", 1000) if status else 403
            await send(message)

        try:
            await self._app(scope, receive, watch)
        except BaseException:
            status = status or 500
            raise
        finally:
            method = scope.get("method", "WS")
            self._tell(method, scope["path"], state.get("status", status), time.perf_counter() - began, state)

    def _tell(self, method: str, path: str, status: int, seconds: float, state: dict) -> None:
        detection = state.get("detection")
        known = path if path in self._paths else "other"
        self._metrics.requests.labels(method if known != "other" else "-", known, status).inc()
        self._metrics.seconds.labels(known).observe(seconds)
        if detection is not None:
            self._metrics.verdicts.labels(detection.verdict).inc()
            self._metrics.audio.inc(detection.duration)
        facts = {
            "method": method,
            "path": path[:_LONGEST],
            "status": status,
            "seconds": round(seconds, 4),
            "bytes": state.get("bytes", 0),
            "audio_seconds": None if detection is None else round(detection.duration, 3),
            "verdict": None if detection is None else detection.verdict,
        }
        if "fault" in state:
            facts["fault"] = state["fault"]
        _log.info("request", extra={"facts": facts})
