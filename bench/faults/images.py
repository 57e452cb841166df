"""Mutated images: each is decoded or an issue with a reason; the process neither dies, nor hangs, nor takes much memory.

Small images of every format are changed (bits, bytes, cuts, copies, inserted pieces, numbers in headers set to extremes), and decoded in
a process of its own whose memory is limited and whose every image has five seconds. A process that dies is started again behind the image.
"""

from __future__ import annotations

import io
import json
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from PIL import Image

from tapetum.data.images.archives import DecodeError
from tapetum.data.images.decode import Composition, compose_bytes

ROOT = Path(__file__).resolve().parents[2]
SECONDS, MEMORY = 5, 4 << 30
EXTREMES = (
    b"\x00\x00\x00\x00",
    b"\xff\xff\xff\xff",
    b"\x7f\xff\xff\xff",
    b"\x80\x00\x00\x00",
    b"\x00\x00\x00\x01",
    b"\xff\xff",
    b"\x00\x00",
)
MOST_PIXELS = 2_000_000


def originals() -> list[bytes]:
    """Return one small image of each format and kind."""
    rng, out = np.random.default_rng(0), []
    colour = Image.fromarray(rng.integers(0, 256, (24, 20, 3), dtype=np.uint8))
    gray, alpha = colour.convert("L"), colour.convert("RGBA")
    deep = Image.fromarray(rng.integers(0, 65536, (24, 20), dtype=np.uint16))
    kinds: list[tuple[Any, str, dict[str, Any]]] = [
        (colour, "PNG", {}),
        (colour.convert("P"), "PNG", {}),
        (alpha, "PNG", {}),
        (deep, "PNG", {}),
        (colour, "JPEG", {"quality": 80}),
        (colour, "JPEG", {"progressive": True}),
        (colour.convert("CMYK"), "JPEG", {}),
        (gray, "JPEG", {}),
        (colour.convert("P"), "GIF", {}),
        (colour, "BMP", {}),
        (colour, "WEBP", {"lossless": True}),
        (alpha, "WEBP", {}),
        (colour, "TIFF", {"compression": "tiff_lzw"}),
        (gray, "TIFF", {}),
        (deep, "TIFF", {}),
        (colour, "PPM", {}),
        (colour, "TGA", {}),
        (colour, "JPEG2000", {}),
        (colour, "ICO", {}),
        (colour, "PCX", {}),
        (colour, "AVIF", {}),
    ]
    for image, name, options in kinds:
        space = io.BytesIO()
        try:
            image.save(space, name, **options)
        except (OSError, KeyError, ValueError):  # this Pillow has no such encoder
            continue
        out.append(space.getvalue())
    for compression in (None, "deflate", "lzw"):
        space = io.BytesIO()
        tifffile.imwrite(space, rng.random((16, 12)).astype(np.float32), compression=compression)
        out.append(space.getvalue())
    return out


def mutated(content: bytes, rng: random.Random) -> bytes:
    """Return an image changed in one to six places."""
    out = bytearray(content)
    for _ in range(rng.randint(1, 6)):
        size = len(out) or 1
        at = rng.randrange(min(size, 64) if rng.random() < 0.5 else size)  # headers are hit as often as all the rest
        how = rng.randrange(7)
        if how == 0 and out:
            out[at % len(out)] ^= 1 << rng.randrange(8)
        elif how == 1:
            out[at : at + 1] = bytes([rng.randrange(256)])
        elif how == 2:
            out = out[: rng.randrange(size)] if rng.random() < 0.5 else out[: size - rng.randrange(min(size, 16))]
        elif how == 3:
            piece = rng.choice(EXTREMES)
            out[at : at + len(piece)] = piece
        elif how == 4:
            out[at:at] = out[at : at + rng.randrange(1, 40)] or b"\0"
        elif how == 5:
            del out[at : at + rng.randrange(1, 20)]
        else:
            out[at:at] = rng.randbytes(rng.randrange(1, 20))
    return bytes(out)


def image_of(number: int, known: list[bytes]) -> bytes:
    """Return the mutated image of a number: the same in every process."""
    rng = random.Random(f"image-{number}")
    return mutated(rng.choice(known), rng)


class TooLong(BaseException):
    """An image took too long; no decoder may catch it."""


def _decode_all(numbers: range, pipe: int) -> None:
    """Decode images, telling the pipe how each ended; the number of the one at work is told before it."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    known, how = originals(), Composition(max_pixels=MOST_PIXELS)

    def late(*_: Any) -> None:
        raise TooLong

    signal.signal(signal.SIGALRM, late)
    for number in numbers:
        content = image_of(number, known)
        os.write(pipe, f"{number} ".encode())
        began = time.perf_counter()
        signal.alarm(SECONDS)
        try:
            images = compose_bytes([("x", content)], how)
            ended = "decoded" if all(image.ndim == 3 and image.size for image in images) else "odd: no pixels"
        except DecodeError as error:
            ended = "named" if error.reason else "odd: no reason"
        except TooLong:
            ended = "hang"
        except BaseException as error:
            ended = f"odd: {type(error).__name__}: {error}"[:300].replace("\n", " ")
        signal.alarm(0)
        taken = time.perf_counter() - began
        os.write(pipe, f"{'hang' if taken > SECONDS else ended}\n".encode())


def run(numbers: range) -> dict[str, Any]:
    """Decode the images of some numbers; return how they ended, and those that went wrong.

    A fresh interpreter does it: a process that has threads, as one that has used torch or polars, may hang in a forked child.
    """
    with tempfile.TemporaryDirectory() as place:
        result = Path(place) / "found.json"
        call = f"images.main({numbers.start}, {numbers.stop}, pathlib.Path({str(result)!r}))"
        code = f"import pathlib; from bench.faults import images; {call}"
        subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
        found: dict[str, Any] = json.loads(result.read_text(encoding="utf-8"))
    return found


def _run(numbers: range) -> dict[str, Any]:
    """Decode images in children of this process, which end where an image ends them."""
    counts: dict[str, int] = {"decoded": 0, "named": 0, "hang": 0, "crash": 0, "odd": 0}
    wrong: list[str] = []
    at = numbers.start
    while at < numbers.stop:
        read, write = os.pipe()
        if (child := os.fork()) == 0:
            os.close(read)
            silent = os.open(os.devnull, os.O_WRONLY)
            os.dup2(silent, 2)
            os.dup2(silent, 1)
            _decode_all(range(at, numbers.stop), write)
            os._exit(0)
        os.close(write)
        with os.fdopen(read, encoding="utf-8", errors="replace") as lines:
            for line in lines:
                number, _, ended = line.rstrip("\n").partition(" ")
                kind = ended.partition(":")[0] if ended else "crash"
                counts[kind] += 1
                at = int(number) + 1
                if kind not in ("decoded", "named") and len(wrong) < 20:
                    wrong.append(f"image {number}: {ended or 'the process died'}")
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if code == 0:
            break
    return {"counts": counts, "wrong": wrong}


def main(first: int, last: int, result: Path) -> None:
    """Decode some images and write what came of them."""
    result.write_text(json.dumps(_run(range(first, last))), encoding="utf-8")
