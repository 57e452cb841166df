"""The web application: its paths, what they take and give, and the page."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from importlib import resources
from typing import Annotated, Any, Protocol

from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from tapetum.core import answers
from tapetum.core.errors import TapetumError
from tapetum.core.requests import ImageAnswers, ImageRequest
from tapetum.core.words import plural
from tapetum.show.service import described
from tapetum.show.service.batching import Batcher
from tapetum.show.service.body import Desk
from tapetum.show.service.guard import Guard
from tapetum.show.service.limits import Limits, Refusal
from tapetum.show.service.metrics import Metrics

logger = logging.getLogger(__name__)
EXPLAINED_AT_ONCE = 4  # requests for explanations that may wait
Top = Annotated[int, Query(ge=1, le=100_000, description="the most classes listed for an image")]
_PAGE = {"/": ("page.html", "text/html"), "/page.js": ("page.js", "text/javascript"), "/page.css": ("page.css", "text/css")}


class Predictor(Protocol):
    """What answers, handed in."""

    def __call__(self, requests: Sequence[ImageRequest]) -> list[ImageAnswers]:
        """Return the answers to some requests, in their order."""

    def check(self, request: ImageRequest) -> None:
        """Refuse a request that lacks something."""


@dataclasses.dataclass(frozen=True)
class Served:
    """What the service serves.

    Args:
        predictor: answers requests.
        about: what it is, for ``/about``: plain JSON values.
        explain: explains the first image of a request (target, or None for the first one) as plain JSON values; None where nothing can.
    """

    predictor: Predictor
    about: Mapping[str, Any]
    explain: Callable[[ImageRequest, str | None], dict[str, Any]] | None = None


def build(served: Served, limits: Limits, *, hosts: Collection[str] = (), token: str | None = None) -> Any:
    """Return the ASGI application.

    Args:
        served: what answers.
        limits: what is taken of a caller.
        hosts: names that the service may be called by; empty: any.
        token: that callers must have; None: none.
    """
    metrics = Metrics()
    batcher, desk = Batcher(served.predictor, limits, metrics), Desk(limits)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        batcher.start()
        yield
        await batcher.stop()

    about = f"Answers of {served.about.get('name', 'a pipeline')}, made by Tapetum."
    app = FastAPI(
        title="Tapetum", description=about, version=str(served.about["version"]), lifespan=lifespan, docs_url=None, redoc_url=None
    )
    for kind, handler in _ERRORS.items():
        app.add_exception_handler(kind, handler)
    _add_answers(app, served, batcher, desk, metrics)
    _add_state(app, served, limits, batcher, metrics)
    paths = [getattr(route, "path", "") for route in app.routes]
    return Guard(app, hosts, token, metrics, paths)


async def _refused(_: Request, error: Any) -> JSONResponse:
    return _sentence(error.detail, error.status, error.headers)


async def _mistaken(_: Request, error: Any) -> JSONResponse:
    return _sentence(error.text, 422)


async def _invalid(_: Request, error: Any) -> JSONResponse:
    first = error.errors()[0]
    return _sentence(f"{'.'.join(str(part) for part in first['loc'][1:])}: {first['msg']}", 422)


async def _other(_: Request, error: Any) -> JSONResponse:
    return _sentence(str(error.detail), error.status_code, error.headers)


async def _failed(_: Request, error: Exception) -> JSONResponse:
    return _sentence(f"the service failed ({type(error).__name__}); its log has more", 500)


_ERRORS: dict[Any, Any] = {  # every error is JSON with one sentence in ``detail``
    Refusal: _refused,
    TapetumError: _mistaken,
    RequestValidationError: _invalid,
    HTTPException: _other,
    Exception: _failed,
}


def _sentence(text: str, status: int, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """Return an error as JSON; a half of a surrogate pair, which JSON can hold and UTF-8 cannot, is replaced."""
    return JSONResponse({"detail": text.encode("utf-8", "replace").decode()}, status, headers)


def _add_answers(app: FastAPI, served: Served, batcher: Batcher, desk: Desk, metrics: Metrics) -> None:
    explaining = asyncio.Semaphore(EXPLAINED_AT_ONCE)

    @app.post("/predict", openapi_extra=described.body(several=True), responses=described.ERRORS, response_model=described.Answered)
    async def predict(request: Request, top: Top = answers.TOP) -> Response:
        """Answer images: one entry an image, with its status, the decided label and the likeliest classes."""
        async with desk.taken(request) as (images, names):
            served.predictor.check(images)
            found = await batcher.ask(images)
        missing = len({row for row in range(len(images)) if row in found.problems})
        metrics.images(len(images) - missing, missing)
        if missing == len(images):
            raise Refusal(413 if found.problems[0].startswith("large: ") else 422, f"{names[0]} cannot be read: {found.problems[0]}")
        entries = answers.entries(found.answered, found.problems, top)
        return JSONResponse({"answers": [{**entry, "id": name} for entry, name in zip(entries, names, strict=True)]})

    @app.post("/explain", openapi_extra=described.body(several=False), responses=described.ERRORS, response_model=described.Explained)
    async def explain(request: Request, target: str | None = None) -> Response:
        """Explain the answer to one image: the pixels that it came from, and the nearest training images, where the pipeline has them."""
        async with desk.taken(request) as (images, _):
            served.predictor.check(images)
            if len(images) != 1:
                raise Refusal(422, f"{plural(len(images), 'image')} came; needed: one image to explain")
            if served.explain is None:
                return JSONResponse({"saliency": None, "neighbours": [], "why": str(served.about["explains"])})
            if explaining.locked():
                raise Refusal(429, "several explanations wait already", 5)
            work = served.explain
            async with explaining:
                return JSONResponse(await batcher.alone(lambda: work(images, target)))


def _add_state(app: FastAPI, served: Served, limits: Limits, batcher: Batcher, metrics: Metrics) -> None:
    @app.get("/health", responses={503: {"model": described.Error}}, response_model=described.Health)
    async def health() -> Response:
        """Tell whether requests are answered."""
        state = "ok" if batcher.is_alive else "stopping"
        return JSONResponse({"status": state, "waiting": batcher.waiting}, 200 if batcher.is_alive else 503)

    @app.get("/about", responses=described.REFUSED)
    async def about() -> dict[str, Any]:
        """Return what is served: targets, classes, what each image needs, and the limits."""
        return {**served.about, "limits": dataclasses.asdict(limits)}

    @app.get("/metrics", responses={**described.REFUSED, 200: {"content": {"text/plain": {}}}}, response_class=Response)
    async def figures() -> Response:
        """Return counts and times in the text format of Prometheus."""
        return Response(metrics.text(), headers={"content-type": metrics.content_type})

    for path, (name, kind) in _PAGE.items():
        content = resources.files("tapetum.show.service").joinpath(name).read_bytes()
        app.add_api_route(path, _constant(content, kind), include_in_schema=False)


def _constant(content: bytes, kind: str) -> Callable[[], Any]:
    async def page() -> Response:
        return Response(content, media_type=kind)

    return page
