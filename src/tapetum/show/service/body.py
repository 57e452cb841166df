"""The body of an HTTP request → images: read within bounds of bytes and time, then multipart, base64 in JSON, or an image as it is."""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import math
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

from python_multipart.multipart import parse_options_header
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from tapetum.core import files
from tapetum.core.requests import LARGEST_NUMBER, ImageRequest
from tapetum.core.words import plural
from tapetum.show.service.limits import MIB, Limits, Refusal

IMAGE = b"image"
MULTIPART, JSON = "multipart/form-data", "application/json"
PASSED_OVER = 8  # times the largest body that is read and thrown away, so that the sender of too much sees the answer
_FIELD = MIB  # bytes of a field that is no image
_KEYS = ("images", "side", "sequence")
_URL_SAFE = str.maketrans("-_", "+/")


class _InMemory(MultiPartParser):
    spool_max_size = 1 << 62  # the body is in memory and bounded: no part goes to the disk
    whole = False  # whether the last boundary came; without it, the parser leaves out the last part without a word

    def on_headers_finished(self) -> None:
        """Take a part ``image`` as a file, with a file name or without one, which senders may leave out (RFC 7578, 4.2)."""
        disposition, options = parse_options_header(self._current_part.content_disposition)
        if options.get(b"name") == IMAGE and b"filename" not in options:
            self._current_part.content_disposition = disposition + b'; name="image"; filename=""'
        super().on_headers_finished()

    def on_end(self) -> None:
        """Note that the body is whole."""
        self.whole = True


class Desk:
    """Reads requests, and knows how many bytes of them are in memory.

    Args:
        limits: of bytes and seconds.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._held = 0

    @contextlib.asynccontextmanager
    async def taken(self, request: Request) -> AsyncIterator[tuple[ImageRequest, list[str]]]:
        """Yield the images of a request, and what each is called; their bytes count as held inside the block.

        Raises:
            Refusal: with the sentence for the caller.
        """
        size = [0]
        try:
            body = await self._read(request, size)
            yield await _images(request, body, self._limits)
        finally:
            self._held -= size[0]

    async def _read(self, request: Request, size: list[int]) -> bytes:
        """Return the body; what of it is held is added to ``size``."""
        most = self._limits.body
        chunks: list[bytes] = []
        announced = _announced(request)
        if announced is not None and announced > most:
            await self._pass_over(request)
            raise self._too_much(announced)
        try:
            async with asyncio.timeout(self._limits.reading):
                async for chunk in request.stream():
                    if self._held + len(chunk) > self._limits.held:
                        raise Refusal(503, "the service holds as many bytes of requests as it may", 1)
                    size[0] += len(chunk)
                    self._held += len(chunk)
                    if size[0] > most:
                        chunks.clear()
                        await self._pass_over(request)
                        raise self._too_much(size[0])
                    chunks.append(chunk)
        except TimeoutError:
            what = f"the request was not sent within {self._limits.reading:g} seconds ({size[0]:,} bytes came)"
            raise Refusal(408, what) from None
        except ClientDisconnect:
            raise Refusal(400, "the connection was closed before the request was whole") from None
        return b"".join(chunks)

    async def _pass_over(self, request: Request) -> None:
        """Read on and throw away, within bounds: a sender whose connection is cut at once would not see the answer."""
        left, until = PASSED_OVER * self._limits.body, time.monotonic() + self._limits.reading
        with contextlib.suppress(TimeoutError, ClientDisconnect, RuntimeError):
            async with asyncio.timeout_at(asyncio.get_running_loop().time() + max(0.0, until - time.monotonic())):
                async for chunk in request.stream():
                    left -= len(chunk)
                    if left < 0:
                        return

    def _too_much(self, size: int) -> Refusal:
        return Refusal(413, f"the request has {size:,} bytes or more; at most {self._limits.body:,} are taken")


def _announced(request: Request) -> int | None:
    text = request.headers.get("content-length", "")
    return int(text) if text.isascii() and text.isdigit() else None


async def _images(request: Request, body: bytes, limits: Limits) -> tuple[ImageRequest, list[str]]:
    """Return the images of a body by its type."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == MULTIPART:
        found = await _multipart(request, body)
    elif kind == JSON:
        found = _json(body)
    elif kind.startswith("image/") or kind == "application/octet-stream":
        found = ImageRequest(((body,),)), ["0"]
    else:
        raise Refusal(415, f"the content type is {kind or 'not stated'!r}; needed: {MULTIPART}, {JSON} or image/…")
    count = len(found[0])
    if not count:
        raise Refusal(422, "the request has no image; needed: a part 'image', or the key 'images'")
    if count > limits.images:
        raise Refusal(413, f"the request has {plural(count, 'image')}; at most {limits.images} are taken at once")
    return found


async def _multipart(request: Request, body: bytes) -> tuple[ImageRequest, list[str]]:
    """Return the images of the parts ``image``; with ``?files=N`` each N of them are one row."""

    async def stream() -> AsyncIterator[bytes]:
        yield body

    try:
        parser = _InMemory(request.headers, stream(), max_fields=len(_KEYS), max_files=10_000, max_part_size=_FIELD)  # type: ignore[arg-type]
        form = await parser.parse()
    except (MultiPartException, ValueError, UnicodeError) as error:
        raise Refusal(400, f"the multipart body cannot be read ({getattr(error, 'message', error)})") from None
    if not parser.whole:
        raise Refusal(400, "the multipart body ends before its last boundary, so a part may be cut off or absent")
    images: list[bytes] = []
    names: list[str] = []
    fields: dict[str, Any] = {}
    for name, value in form.multi_items():
        if name in _KEYS[1:]:
            if name in fields:
                raise Refusal(422, f"the part {name!r} came twice")
            fields[name] = _value(name, value.file.read() if isinstance(value, UploadFile) else value)
        elif isinstance(value, UploadFile):
            if not value.filename and value.content_type is None:
                what = "the part 'image' has no file name and no content type, so it is no file"
                raise Refusal(422, f"{what}; needed: one of them, as curl -F image=@photo.jpg sends both")
            images.append(value.file.read())
            names.append(value.filename or str(len(names)))
        else:
            fields[name] = _value(name, value)
    files = _files(request)
    if len(images) % files:
        raise Refusal(422, f"{plural(len(images), 'file')} came; needed: a multiple of files={files}")
    rows = tuple(tuple(images[start : start + files]) for start in range(0, len(images), files))
    return _request(rows, fields), names[::files]


def _files(request: Request) -> int:
    text = request.query_params.get("files", "1")
    if not (text.isascii() and text.isdigit() and len(text) <= 6 and 1 <= int(text) <= 64):
        raise Refusal(422, f"files is {text[:40]!r}; needed: how many files make one row, 1 to 64")
    return int(text)


def _value(name: str, text: str | bytes) -> Any:
    try:
        return files.from_json(text)
    except ValueError:
        raise Refusal(422, f"the part {name!r} is not JSON") from None


def _json(body: bytes) -> tuple[ImageRequest, list[str]]:
    """Return the images of ``{"images": [base64, …]}``; a row of several files is a list of texts."""
    try:
        found = files.from_json(body)
    except ValueError as error:
        raise Refusal(400, f"the body is not JSON ({str(error)[:100]})") from None
    if not isinstance(found, dict):
        raise Refusal(422, 'the body is no JSON object; needed: {"images": ["<base64>", …]}')
    images = found.pop("images", None)
    if not isinstance(images, list):
        raise Refusal(422, "'images' is no list; needed: a list of base64 texts, or of lists of them where several files make a row")
    rows = tuple(tuple(_decoded(number, row)) for number, row in enumerate(images))
    return _request(rows, found), [str(number) for number in range(len(rows))]


def _decoded(number: int, row: Any) -> Iterator[bytes]:
    parts = row if isinstance(row, list) else [row]
    if not parts:
        raise Refusal(422, f"image {number} has no file")
    for part in parts:
        if not isinstance(part, str):
            raise Refusal(422, f"image {number} is no text; needed: base64")
        text = part.partition(",")[2] if part[:5].lower() == "data:" else part
        text = "".join(text.split()).translate(_URL_SAFE)  # lines of 76 characters, as of MIME; the alphabet for addresses
        try:
            yield base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
        except (binascii.Error, ValueError):
            raise Refusal(422, f"image {number} is not base64") from None


def _request(rows: tuple[tuple[bytes, ...], ...], fields: Mapping[str, Any]) -> ImageRequest:
    """Return the rows with what belongs to them."""
    odd = sorted(set(fields) - set(_KEYS[1:]))
    if odd:
        raise Refusal(422, f"{odd[0]!r} is not used; needed: {', '.join(_KEYS)}")
    sequence, side = fields.get("sequence", False), fields.get("side") or []
    if not isinstance(sequence, bool):
        raise Refusal(422, "'sequence' is neither true nor false")
    if not isinstance(side, list) or not all(isinstance(one, dict) for one in side) or len(side) not in (0, len(rows)):
        raise Refusal(422, f"'side' is not a list of {plural(len(rows), 'object')}, one for each image")
    return ImageRequest(rows, tuple({str(name): _number(name, value) for name, value in one.items()} for one in side), sequence)


def _number(name: str, value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or abs(value) > LARGEST_NUMBER or not math.isfinite(value):
        raise Refusal(422, f"the side number {name!r} is no number")
    return float(value)
