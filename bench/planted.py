"""Plant faults in copies of real images, with Pillow alone: what is planted where is known, and nothing of the audit is used."""

from __future__ import annotations

import dataclasses
import io
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter


@dataclasses.dataclass(frozen=True)
class Planted:
    """A folder of images with a table.

    Args:
        table: a CSV with ``file`` and ``label``.
        faults: kind of fault → files that have it.
        pairs: (original, copy) of the duplicates.
    """

    table: Path
    faults: dict[str, set[str]]
    pairs: list[tuple[str, str]]


def plant(images: Sequence[tuple[Path, str]], out: Path, kinds: Sequence[str], count: int, seed: int) -> Planted:
    """Copy images to a folder and plant ``count`` faults of each kind, each in another image; duplicates are added files.

    Args:
        images: file and label of each.
        out: a new folder.
        kinds: keys of ``CHANGES``, ``BYTES`` or ``COPIES``.
        count: of each kind.
        seed: of which images.
    """
    rng = np.random.default_rng(seed)
    (out / "images").mkdir(parents=True)
    order = rng.permutation(len(images)).tolist()
    chosen = {kind: {order.pop() for _ in range(count)} for kind in kinds}
    faults: dict[str, set[str]] = {kind: set() for kind in kinds}
    rows, pairs = [], []
    labels = sorted({label for _, label in images})
    for number, (path, label) in enumerate(images):
        kind = next((kind for kind, numbers in chosen.items() if number in numbers), None)
        name = f"images/{number:05d}{path.suffix}"
        if kind in CHANGES:
            name = f"images/{number:05d}{SUFFIXES.get(kind, path.suffix)}"
            (out / name).write_bytes(CHANGES[kind](Image.open(path), rng))
        elif kind in BYTES:
            (out / name).write_bytes(BYTES[kind](path.read_bytes(), rng))
        else:
            shutil.copyfile(path, out / name)
        rows.append((name, label))
        if kind in COPIES:
            copy = f"images/{number:05d}-copy{path.suffix if kind == 'exact duplicate' else '.jpg'}"
            (out / copy).write_bytes(COPIES[kind](path, rng))
            other = labels[(labels.index(label) + 1) % len(labels)] if number % 2 else label
            rows.append((copy, other))
            pairs.append((name, copy))
            faults[kind] |= {name, copy}
            faults.setdefault("label conflict", set()).update({name, copy} if other != label else ())
        elif kind is not None:
            faults[kind].add(name)
    (out / "labels.csv").write_text("file,label\n" + "".join(f"{name},{label}\n" for name, label in rows), encoding="utf-8")
    return Planted(out / "labels.csv", faults, pairs)


def _jpeg(image: Image.Image, **how: object) -> bytes:
    out = io.BytesIO()
    image.save(out, "JPEG", **{"quality": 92, **how})
    return out.getvalue()


def _encoded(image: Image.Image, like: Image.Image) -> bytes:
    if like.format == "JPEG":
        return _jpeg(image)
    out = io.BytesIO()
    image.save(out, like.format)
    return out.getvalue()


def _changed(change: Callable[[Image.Image, np.random.Generator], Image.Image]) -> Callable[[Image.Image, np.random.Generator], bytes]:
    return lambda image, rng: _encoded(change(image, rng), image)


def _animated(image: Image.Image, rng: np.random.Generator) -> bytes:
    out = io.BytesIO()
    image.save(out, "GIF", save_all=True, append_images=[image.rotate(90 * i) for i in (1, 2)])
    return out.getvalue()


def _misnamed(image: Image.Image, rng: np.random.Generator) -> bytes:
    out = io.BytesIO()
    image.save(out, "PNG" if image.format == "JPEG" else "BMP")
    return out.getvalue()


def _turned(image: Image.Image, rng: np.random.Generator) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = int(rng.integers(2, 9))
    out = io.BytesIO()
    image.save(out, image.format, exif=exif)
    return out.getvalue()


def _mixed(image: Image.Image, order: Sequence[int | None]) -> bytes:
    """Return a PNG, since JPEG mixes channels."""
    bands, out = image.convert("RGB").split(), io.BytesIO()
    Image.merge("RGB", [Image.new("L", image.size, 0) if at is None else bands[at] for at in order]).save(out, "PNG")
    return out.getvalue()


SUFFIXES = {"animated": ".gif", **dict.fromkeys(("blank channel", "equal channels", "swapped channels"), ".png")}


CHANGES: dict[str, Callable[[Image.Image, np.random.Generator], bytes]] = {
    "misnamed": _misnamed,
    "animated": _animated,
    "turned": _turned,
    "odd size": _changed(lambda image, rng: image.resize((max(image.width // 6, 8), max(image.height // 6, 8)))),
    "odd aspect": _changed(lambda image, rng: image.crop((0, image.height // 3, image.width, image.height // 3 + image.width // 5))),
    "odd mode": _changed(lambda image, rng: image.convert("RGB") if image.mode == "L" else image.convert("L")),
    "gray": _changed(lambda image, rng: image.convert("L").convert("RGB")),
    "blank": _changed(
        lambda image, rng: Image.new(image.mode, image.size, int(rng.integers(0, 255)) if image.mode == "L" else (9, 40, 90))
    ),
    "dark": _changed(lambda image, rng: ImageEnhance.Brightness(image).enhance(0.12)),
    "bright": _changed(lambda image, rng: Image.blend(image, Image.new(image.mode, image.size, "white"), 0.94)),
    "blurred": _changed(lambda image, rng: image.filter(ImageFilter.GaussianBlur(max(image.size) / rng.uniform(60, 130)))),
    "blank channel": lambda image, rng: _mixed(image, [*rng.permutation([0, 1, 2]).tolist()[:2], None]),
    "equal channels": lambda image, rng: _mixed(image, (0, 0, 2) if rng.random() < 0.5 else (0, 1, 1)),
    "swapped channels": lambda image, rng: _mixed(image, (2, 1, 0)),
}
BYTES: dict[str, Callable[[bytes, np.random.Generator], bytes]] = {
    "truncated": lambda data, rng: data[: int(len(data) * rng.uniform(0.2, 0.9))],
    "unreadable": lambda data, rng: rng.bytes(len(data)),
}


def _near(path: Path, rng: np.random.Generator) -> bytes:
    """Return a copy as the web makes them: cut at the edges, smaller, other brightness, compressed again."""
    image = Image.open(path)
    cut = [int(side * rng.uniform(0, 0.03)) for side in (image.width, image.height)]
    image = image.crop((cut[0], cut[1], image.width, image.height))
    scale = rng.uniform(0.6, 1.0)
    image = image.resize((int(image.width * scale), int(image.height * scale)))
    image = ImageEnhance.Brightness(image).enhance(rng.uniform(0.85, 1.15))
    return _jpeg(image, quality=int(rng.integers(55, 90)))


COPIES: dict[str, Callable[[Path, np.random.Generator], bytes]] = {
    "exact duplicate": lambda path, rng: path.read_bytes(),
    "near duplicate": _near,
}
