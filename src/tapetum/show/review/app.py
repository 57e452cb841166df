"""The web application of a review: the page, the next images, decisions, undo, bulk decisions and the table of decisions."""

from __future__ import annotations

import dataclasses
import secrets
from collections.abc import Callable, Mapping
from importlib import resources
from typing import Any, Protocol

import jinja2
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from tapetum.core.errors import TapetumError, UserError
from tapetum.core.labels import in_words
from tapetum.core.words import plural
from tapetum.show import words
from tapetum.show.local import LocalOnly
from tapetum.show.review import asked
from tapetum.show.review.review import STATES, Filter, Review, page_mark
from tapetum.show.review.store import Decided

AHEAD = 20  # images that a page has ready
FREE_KEYS = "123456789qwertyasdfghjlzvbm"  # for classes; k, x, u, n, p, c, o, i, 0 and / are commands
FILES = {"review.css": "text/css", "review.js": "text/javascript", "keys.js": "text/javascript", "server.js": "text/javascript"}


class Drawn(Protocol):
    """Images of rows by their number, as :class:`tapetum.show.review.pictures.Pictures` makes them."""

    @property
    def jpeg(self) -> Callable[..., bytes | str]:
        """(row, channel or None, small) → a JPEG, or why there is none."""

    @property
    def channels(self) -> Callable[[int], int]:
        """Row → how many channels can be shown one by one; 0 where there is no image."""


@dataclasses.dataclass(frozen=True)
class Look:
    """How a page differs from that of images of any kind.

    Args:
        keys: class → its key; classes that it lacks get the free ones.
        names: action → what its button says, and what is said of an image that was decided so.
        is_wide: images are wide, so neighbours in the sequence are as large as fits.
    """

    keys: Mapping[str, str] = dataclasses.field(default_factory=dict)
    names: Mapping[str, str] = dataclasses.field(default_factory=dict)
    is_wide: bool = False


class Pages:
    """What answers the requests of a review.

    Args:
        review: queue and decisions.
        pictures: images of the rows.
        export: makes the CSV of the decisions.
        title: of the page.
        look: how it differs from the usual one.
    """

    def __init__(self, review: Review, pictures: Drawn, export: Callable[[], str], title: str, look: Look) -> None:
        self.review, self.pictures, self.export, self.title, self.look = review, pictures, export, title, look
        self._templates = jinja2.Environment(
            loader=jinja2.PackageLoader("tapetum.show.review", "."), autoescape=True, trim_blocks=True, lstrip_blocks=True
        )
        self._templates.filters["breakable"], self._templates.filters["plural"] = words.breakable, plural
        self._templates.filters["labels"] = in_words
        classes = review.queue.classes
        free = [key for key in FREE_KEYS if key not in look.keys.values()]
        others = [name for name in classes if name not in look.keys]
        self.keys = {**look.keys, **(dict(zip(others, free, strict=False)) if len(others) <= len(free) else {})}
        self.names = {"keep": "keep", "exclude": "exclude", "accept": "as the model says", **look.names}
        self._templates.globals["names"] = self.names
        self._templates.globals["start"] = secrets.token_hex(4)  # of images: a browser keeps those of another start apart
        self.mark = page_mark(review.queue)

    def ready(self) -> None:
        """Prepare what every first page needs, before anybody waits for it."""
        self.review.counts(Filter())
        len(self.review.kinds)
        for name in ("page", "item"):
            self._templates.get_template(f"{name}.html.jinja")

    def page(self, request: Request) -> Response:
        """Return the page with its first image in it."""
        wanted = asked.filter_of(request.query_params)
        first = next(self.review.rows(wanted), None)
        queue = self.review.queue
        text = self._templates.get_template("page.html.jinja").render(
            title=self.title,
            mark=self.mark,
            wanted=wanted,
            item=None if first is None else self.item(first, wanted.turn),
            counts=self.review.counts(wanted),
            kinds=self.review.kinds,
            classes=[{"name": name, "key": self.keys.get(name, "")} for name in queue.classes],
            states=STATES,
            is_wide=self.look.is_wide,
            several=self.review.several,
            target="" if queue.target is None else queue.target.name,
            agreement=self.review.agreement(),
            contested=[(before.row_id, before, last) for before, last in self.review.store.contested()][:20],
        )
        return HTMLResponse(text, headers={"cache-control": "no-store"})

    def item(self, row: int, turn: int) -> dict[str, Any]:
        """Return everything that the page shows of an image; in the blind pass neither its label nor what was found or decided."""
        queue, blind = self.review.queue, turn == 2
        ids = queue.manifest.row_ids
        held = self.review.holding(turn).get(ids[row])
        channels = self.pictures.channels(row)
        reason = self.pictures.jpeg(row, None, False) if channels == 0 else None
        return {
            "row": row,
            "row_id": "" if blind else ids[row],
            "given": None if blind else queue.given[row],
            "suggested": None if blind else queue.suggested[row],
            "kinds": () if blind else queue.kinds[row],
            "note": "" if blind else queue.notes[row],
            "sure": None if blind or queue.sure[row] != queue.sure[row] else words.percent(float(queue.sure[row])),
            "held": held,
            "channels": channels if channels > 1 else 0,
            "reason": reason if isinstance(reason, str) else "",
            "twins": []
            if blind
            else [{"row": other, "row_id": ids[other], "given": queue.given[other]} for other in queue.twins.get(row, ())],
            "around": [
                {"row": other, "row_id": "" if blind else ids[other], "label": "" if blind else self._label(other)}
                for other in queue.around.get(row, ())
            ],
            "shares": () if blind else queue.shares.get(row, ()),
            "blind": blind,
        }

    def _label(self, row: int) -> str:
        """Return what a row is now: its new label, that it is left out, or the label that it had."""
        queue = self.review.queue
        held = self.review.holding().get(queue.manifest.row_ids[row])
        if held is not None and held.action == "exclude":
            return self.names["exclude"]
        return in_words(held.labels if held is not None and held.action == "relabel" else queue.given[row])

    def following(self, request: Request) -> Response:
        """Return the images that come next in the queue: those behind ``after``, but for those in ``skip``, which the page has."""
        wanted = asked.filter_of(request.query_params)
        self._refuse_other(request.query_params.get("mark", ""))
        skip = {asked.number(text) for text in request.query_params.get("skip", "").split(",")}
        found, template = [], self._templates.get_template("item.html.jinja")
        for row in self.review.rows(wanted, asked.number(request.query_params.get("after", ""))):
            if row not in skip:
                item = self.item(row, wanted.turn)
                found.append({"row": row, "seen": 0 if item["held"] is None else item["held"].number, "html": template.render(item=item)})
            if len(found) == AHEAD:
                break
        return JSONResponse({"items": found, "counts": self.review.counts(wanted)}, headers={"cache-control": "no-store"})

    def image(self, request: Request) -> Response:
        """Return the image of a row, by its number."""
        row, channel = asked.number(request.path_params["row"]), asked.number(request.query_params.get("channel", ""))
        if row is None or row >= len(self.review.queue.manifest):
            return PlainTextResponse("no such row", 404)
        made = self.pictures.jpeg(row, channel, request.query_params.get("small") == "1")
        if isinstance(made, str):
            return PlainTextResponse(made, 404)
        return Response(made, media_type="image/jpeg", headers={"cache-control": "private, max-age=3600"})

    async def decide(self, request: Request) -> Response:
        """Keep a decision; the answer comes when it is on the disk."""
        given = await self._asked(request)
        done, other = await run_in_threadpool(
            self.review.decide,
            asked.whole(given, "row"),
            asked.text(given, "action"),
            asked.labels(given),
            turn=asked.turn(given),
            reviewer=asked.text(given, "reviewer"),
            window=asked.text(given, "window"),
            seen=asked.whole({"seen": 0, **given}, "seen"),
        )
        return JSONResponse({"number": done.number, "also": None if other is None else self._told(other, done.turn)})

    async def undo(self, request: Request) -> Response:
        """Take the last decision of a window back and return its image; of a window that has none, tell of the last one of all windows.

        That one is taken back where its ``number`` is asked for: so there is no end to undo after a window was closed or killed.
        """
        given = await self._asked(request)
        turn, window = asked.turn(given), asked.text(given, "window")
        number = asked.whole({"number": 0, **given}, "number")
        taken = await run_in_threadpool(self.review.store.undo, turn=turn, window=window, number=number)
        rows = [self.review.place[one.row_id] for one in taken if one.row_id in self.review.place]
        if not rows:
            last = await run_in_threadpool(self.review.store.latest, turn)
            return JSONResponse({"undone": 0, "items": [], "earlier": None if last is None else self._told(last, turn)})
        template = self._templates.get_template("item.html.jinja")
        item = await run_in_threadpool(self.item, rows[0], turn)
        seen = 0 if item["held"] is None else item["held"].number
        items = [{"row": rows[0], "seen": seen, "html": template.render(item=item)}]
        counts = await run_in_threadpool(self.review.counts, asked.wanted(given))
        return JSONResponse({"undone": len(rows), "items": items, "counts": counts})

    async def bulk(self, request: Request) -> Response:
        """Decide all open images of a filter, as many as were confirmed."""
        given = await self._asked(request)
        names = {"reviewer": asked.text(given, "reviewer"), "window": asked.text(given, "window")}
        wanted, action, count = asked.wanted(given), asked.text(given, "action"), asked.whole(given, "count")
        done = await run_in_threadpool(self.review.decide_all, wanted, action, count, **names)
        return JSONResponse({"decided": done})

    def _told(self, one: Decided, turn: int) -> dict[str, Any]:
        """Return what a page is told of a decision that it did not make; in the blind pass it is not told of which image."""
        about = {"number": one.number, "row_id": one.row_id if turn == 1 else "", "reviewer": one.reviewer or "another window"}
        return {**about, "action": one.action, "labels": list(one.labels)}

    async def _asked(self, request: Request) -> dict[str, Any]:
        """Return the body of a request, which comes from a page of these rows."""
        given = await asked.body(request)
        self._refuse_other(asked.text(given, "mark"))
        return given

    def _refuse_other(self, mark: str) -> None:
        """Refuse a page that was opened when other data were reviewed at this address: its numbers of rows mean other images."""
        if mark not in ("", self.mark):
            raise UserError("this page is of other data, or of an earlier list of them", fix="reload the page")

    def exported(self, request: Request) -> Response:
        """Return the decisions as CSV, which training reads."""
        headers = {"content-disposition": 'attachment; filename="decisions.csv"', "cache-control": "no-store"}
        return Response(self.export(), media_type="text/csv; charset=utf-8", headers=headers)

    def state(self, request: Request) -> Response:
        """Return progress and agreement."""
        return JSONResponse({"counts": self.review.counts(asked.filter_of(request.query_params)), "agreement": self.review.agreement()})


def build(review: Review, pictures: Drawn, export: Callable[[], str], title: str, look: Look | None = None) -> Any:
    """Return the ASGI application, which answers its own page on this machine and nobody else."""
    pages = Pages(review, pictures, export, title, look or Look())
    pages.ready()
    routes = [
        Route("/", pages.page),
        Route("/next", pages.following),
        Route("/image/{row}", pages.image),
        Route("/decide", pages.decide, methods=["POST"]),
        Route("/undo", pages.undo, methods=["POST"]),
        Route("/bulk", pages.bulk, methods=["POST"]),
        Route("/decisions.csv", pages.exported),
        Route("/state", pages.state),
        *(Route(f"/{name}", _file(name, kind)) for name, kind in FILES.items()),
    ]
    return LocalOnly(Starlette(routes=routes, exception_handlers={TapetumError: _mistaken}))


def _file(name: str, kind: str) -> Callable[[Request], Response]:
    text = resources.files("tapetum.show.review").joinpath(name).read_text(encoding="utf-8")
    return lambda request: Response(text, media_type=kind, headers={"cache-control": "no-cache"})


def _mistaken(request: Request, error: Exception) -> Response:
    return JSONResponse({"detail": str(error)}, 409)
