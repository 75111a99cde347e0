"""The service's routes."""

import asyncio
import contextlib
import os
from importlib import resources
from typing import Annotated

from fastapi import Depends, FastAPI, Query, Request, WebSocket
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.exceptions import HTTPException

from asvtk.inference.detector import DetectConfig, RecordingDetector
from asvtk.io.errors import AsvtkError
from asvtk.serve.config import Refusal, ServeConfig
from asvtk.serve.judging import Judge
from asvtk.serve.settings import Settings, reason_of
from asvtk.serve.streams import Streams
from asvtk.serve.telemetry import Metrics, RequestLog
from asvtk.serve.uploads import receive_upload
from asvtk.version import __version__

__all__ = ["Service", "build_app"]

#: What a browser lets the page do: nothing from elsewhere, no script that stands in it. The player's sound is
#: part of what `POST /detect` answers.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; media-src data:; "
    "worker-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_WORKERS = 4  # that score batches side by side, at most
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
#: file of the page -> (folder's package, media type)
_FILES = {
    "index.html": ("asvtk.serve", "page/index.html", "text/html; charset=utf-8"),
    "serve.css": ("asvtk.serve", "page/serve.css", "text/css; charset=utf-8"),
    "serve.js": ("asvtk.serve", "page/serve.js", "text/javascript; charset=utf-8"),
    "microphone.js": ("asvtk.serve", "page/microphone.js", "text/javascript; charset=utf-8"),
    "worklet.js": ("asvtk.serve", "page/worklet.js", "text/javascript; charset=utf-8"),
    "page.css": ("asvtk.report", "page.css", "text/css; charset=utf-8"),
    "detection.css": ("asvtk.report", "detection.css", "text/css; charset=utf-8"),
    "detection.js": ("asvtk.report", "detection.js", "text/javascript; charset=utf-8"),
}
_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {"file": {"type": "string", "format": "binary"}},
                }
            },
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
        },
    }
}


class Service:
    """What all routes share."""

    def __init__(self, detector: RecordingDetector, config: ServeConfig):
        self.detector, self.config, self.metrics = detector, config, Metrics()
        # As many workers as the CPU has cores: small products gain more by that than by threads in each.
        workers = detector.workers(min(len(os.sched_getaffinity(0)), _WORKERS))
        if workers.begin is not None:
            workers.begin()  # for threads that are begun later, too
        detector.share_batches(
            most=config.batch,
            workers=workers.count,
            begin=workers.begin,
            observe=self.metrics.batches.observe,
        )
        self.judge, self.streams = Judge(detector, config), Streams(detector, config)
        self.metrics.places.set_function(lambda: self.judge.places)
        self.metrics.running.set_function(lambda: self.judge.running)
        self.metrics.streams.set_function(lambda: self.streams.count)

    def about(self) -> dict:
        """What ``GET /model`` answers."""
        detector, config, plain = self.detector, self.config, DetectConfig()
        calibration = detector.calibration
        errors = None if calibration is None else calibration.errors
        return {
            "name": detector.name,
            "sha256": detector.sha256,
            "version": __version__,
            "calibration": None
            if calibration is None
            else {
                "sha256": calibration.digest,
                "dev": {
                    "bonafide": calibration.window.dev.n_bonafide,
                    "spoof": calibration.window.dev.n_spoof,
                },
                "errors_measured_on": None if errors is None else errors.data,
            },
            "threshold": detector.decision_threshold(plain),
            "prior": plain.prior,
            "window": detector.window_seconds(plain),
            "hop": plain.hop,
            "limits": {
                "max_bytes": config.max_bytes,
                "max_seconds": config.max_seconds,
                "timeout": config.timeout,
                "parallel": config.parallel,
                "queue": config.queue,
                "streams": config.streams,
            },
        }

    def close(self) -> None:
        self.judge.close()
        self.detector.close_batches()


def build_app(detector: RecordingDetector, config: ServeConfig) -> FastAPI:
    """The application.

    Args:
        detector: on its device; scores in common batches from now on.
        config: limits and token.
    """
    service = Service(detector, config)

    @contextlib.asynccontextmanager
    async def lifespan(_):
        yield
        await asyncio.to_thread(service.close)

    app = FastAPI(
        title="asvtk",
        summary="Tells human speech from synthetic and converted speech.",
        version=__version__,
        docs_url=None,  # these pages would be fetched from elsewhere
        redoc_url=None,
        lifespan=lifespan,
    )
    app.state.service = service
    _add_page(app)
    _add_api(app, service)
    _add_faults(app)
    paths = frozenset(["/", "/openapi.json", *(getattr(route, "path", "") for route in app.routes)])
    app.add_middleware(RequestLog, metrics=service.metrics, paths=paths, headers=_HEADERS)
    return app


def _add_page(app: FastAPI) -> None:
    files = {
        name: (resources.files(package).joinpath(path).read_bytes(), media)
        for name, (package, path, media) in _FILES.items()
    }

    def answer(name: str):
        async def file() -> Response:
            content, media = files[name]
            return Response(content, media_type=media)

        return file

    for name in files:
        path = "/" if name == "index.html" else f"/static/{name}"
        app.get(path, include_in_schema=False)(answer(name))

    @app.get("/favicon.ico", include_in_schema=False)
    async def favicon() -> Response:
        return Response(status_code=204)


def _add_api(app: FastAPI, service: Service) -> None:
    async def admit(request: Request) -> None:
        _require_same_origin(request)
        if not service.config.is_authorised(request.headers.get("authorization")):
            raise Refusal(401, 'wrong token or none: expected the header "Authorization: Bearer TOKEN"')

    @app.post("/detect", dependencies=[Depends(admit)], openapi_extra=_BODY)
    async def detect(request: Request, settings: Annotated[Settings, Query()]):
        """Judge a recording of any kind and length. The answer is JSON as `asvtk detect --json` gives it; a
        page as `--html` where `Accept` names `text/html` first."""
        how = settings.config()
        with service.judge.place() as place:
            upload = await receive_upload(request, service.config)
            gone = asyncio.ensure_future(
                request.receive()
            )  # what comes behind the body: that nobody is there
            try:
                wants_page = request.headers.get("accept", "").strip().lower().startswith("text/html")
                detection, page = await service.judge.judge(place, upload, how, wants_page, gone)
            finally:
                gone.cancel()
        request.state.detection = detection
        return (
            HTMLResponse(page) if wants_page else Response(detection.to_json(), media_type="application/json")
        )

    @app.get("/model", dependencies=[Depends(admit)])
    async def model() -> dict:
        """The model, its calibration, its threshold, and the limits here."""
        return service.about()

    @app.get("/metrics", dependencies=[Depends(admit)])
    async def metrics() -> Response:
        """For Prometheus."""
        return PlainTextResponse(generate_latest(service.metrics.registry), media_type=CONTENT_TYPE_LATEST)

    @app.get("/healthz")
    async def healthz() -> dict:
        """Whether the service is up."""
        return {"status": "ok"}

    @app.websocket("/stream")
    async def stream(socket: WebSocket):
        try:
            _require_same_origin(socket)
        except Refusal as fault:
            socket.state.fault = str(fault)
            await socket.close()  # before it was accepted: 403
            return
        await service.streams.serve(socket)


def _require_same_origin(request) -> None:
    """A page of another site must not use what its reader may reach.

    Raises:
        Refusal: it tries to.
    """
    origin = request.headers.get("origin")
    if origin is not None and origin.partition("://")[2] != request.headers.get("host"):
        raise Refusal(403, "this page is of another origin than the service; behind a proxy, pass on Host")


def _add_faults(app: FastAPI) -> None:
    """Every fault in one line."""

    def answer(request: Request, status: int, reason: str, headers=None) -> Response:
        request.state.fault = reason
        return JSONResponse({"error": reason}, status, headers)

    @app.exception_handler(Refusal)
    async def refused(request: Request, fault: Refusal):
        headers = {"Retry-After": str(fault.retry_after)} if fault.retry_after else {}
        headers |= {"WWW-Authenticate": "Bearer"} if fault.status == 401 else {}
        return answer(request, fault.status, str(fault), headers)

    @app.exception_handler(AsvtkError)
    async def faulty(request: Request, fault: AsvtkError):
        return answer(request, 422, str(fault))

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, fault: RequestValidationError):
        return answer(request, 422, reason_of(fault.errors()))

    @app.exception_handler(HTTPException)
    async def unknown(request: Request, fault: HTTPException):
        return answer(request, fault.status_code, str(fault.detail), fault.headers)

    @app.exception_handler(Exception)
    async def broken(request: Request, fault: Exception):
        return answer(request, 500, "a fault of the service; its log says more")
