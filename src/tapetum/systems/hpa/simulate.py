"""Simulated protein images: cells in four channels, one or several of 28 labels each, antibodies as groups.

::

    OUT/data/train/{Id}_{red,green,blue,yellow}.png   OUT/data/test/…   (or train.zip, test.zip)
    OUT/data/train.csv   OUT/data/sample_submission.csv   OUT/data/antibodies.csv
    OUT/truth.csv   OUT/simulation.json
"""

from __future__ import annotations

import dataclasses
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from PIL import Image

from tapetum.core import draws, files, progress
from tapetum.core.progress import Log
from tapetum.core.words import plural
from tapetum.data.simulate import place
from tapetum.systems.hpa.antibodies import LABELS, LEAST, ROWS, best_score, draw_antibodies, draw_brightness, stray_rates
from tapetum.systems.hpa.cells import Field, Line, draw_field, draw_microtubules, draw_nuclei, draw_reticulum
from tapetum.systems.hpa.patterns import PATTERNS

CHANNELS = ("red", "green", "blue", "yellow")
TEST_ROWS = 11702  # of the real collection
SIZES = {"small": 1500, "full": ROWS + TEST_ROWS}
COPIES = (("exact", 0.004), ("turned", 0.006))  # shares of training samples that are others again, by bytes or turned over
GLOW = 0.05  # of the protein channel everywhere in a cell
NOISE = 0.03  # of the camera


@dataclasses.dataclass
class _Sample:
    """One sample to be: its labels are those of ``of`` where it is a copy."""

    number: int
    row_id: str
    split: str
    antibody: int
    labels: np.ndarray
    brightness: np.ndarray
    planted: str = ""
    of: int | None = None


def simulate_hpa(
    out: Path | str,
    *,
    size: str | int = "small",
    px: int = 128,
    seed: int = 0,
    zip: bool = False,
    log: Log = lambda _: None,
) -> dict[str, Any]:
    """Write simulated samples of the Human Protein Atlas challenge, four one-channel images each.

    Args:
        out: a new folder, or one that was simulated before.
        size: ``small``, ``full`` (31,072 training and 11,702 test samples) or the number of samples.
        px: side of the images; the challenge has 512.
        seed: the same seed gives the same bytes.
        zip: ``train.zip`` and ``test.zip`` instead of folders.
        log: receives messages about progress.

    Returns:
        ``paths`` (``source`` is what to read, ``antibodies``, ``truth``), ``counts`` (samples by part and by what was planted, and
        antibodies), ``labels`` (training samples of each), ``ceiling`` (the expected macro-F1 on the test part of a classifier that
        knows the generator and the brightness of each place, each image alone).

    Raises:
        UserError: a size too small, or a place that holds something else.
    """
    out = Path(out)
    place.check_side(px)
    samples = _plan(place.how_many(size, SIZES, 100), seed)
    with place.layout(out) as aside:
        for part in ("train", "test"):
            files.make_folder(aside / part)
        drawn = progress.share(log, "drawing images")
        for sample in samples:
            _write(sample, aside, px, seed)
            drawn(sample.number + 1, len(samples))
        _write_tables(samples, aside)
        if zip:
            for part in ("train", "test"):
                place.pack(aside / part)
    every = np.stack([s.labels for s in samples])
    test = np.stack([s.labels for s in samples if s.split == "test"])
    summary = {
        "name": "hpa",
        "seed": seed,
        "px": px,
        "counts": _counts(samples),
        "labels": _label_counts(samples),
        "metric": "macro_f1",
        "ceiling": best_score(test, every, seed),
    }
    done = place.finish(out, _truth(samples), summary, source=out / place.LAYOUT, antibodies=out / place.LAYOUT / "antibodies.csv")
    text = f"{plural(len(samples), 'sample')} in {out / place.LAYOUT}"
    log(f"{text}; the best {summary['metric']} possible on the test part is {summary['ceiling']:.3f}")
    return done


def _plan(count: int, seed: int) -> list[_Sample]:
    """Return every sample: antibodies and labels, brightnesses, copies; names without meaning."""
    rng = draws.generator("simulate", "hpa", seed, "plan")
    test = round(count * TEST_ROWS / (ROWS + TEST_ROWS))
    parts = {"train": draw_antibodies(count - test, seed, "train"), "test": draw_antibodies(test, seed, "test")}
    every = np.concatenate([p.labels for p in parts.values()])
    brightness = draw_brightness(every, stray_rates(every), rng)
    samples: list[_Sample] = []
    first = 0
    for split, part in parts.items():
        for labels, antibody in zip(part.labels, part.antibody, strict=True):
            number = len(samples)
            name = str(uuid.UUID(int=draws.key("hpa", seed, number) << 65 | draws.key("hpa", seed, "low", number)))
            samples.append(_Sample(number, name, split, first + int(antibody), labels, brightness[number]))
        first = samples[-1].antibody + 1
    plain = [samples[i] for i in rng.permutation(count) if samples[i].split == "train"]
    for what, share in COPIES:
        wanted = max(1, round(share * (count - test)))
        for copy in [s for s in plain if _can_go(s, samples)][:wanted]:
            plain.remove(copy)
            original = plain.pop()
            copy.planted, copy.of = what, original.number
            copy.labels, copy.brightness, copy.antibody = original.labels, original.brightness, original.antibody
    return samples


def _label_counts(samples: list[_Sample]) -> dict[str, int]:
    counts = np.sum([s.labels for s in samples if s.split == "train"], axis=0)
    return dict(zip(LABELS, counts.tolist(), strict=True))


def _can_go(sample: _Sample, samples: list[_Sample]) -> bool:
    """Tell whether each label of a sample is in many others, so that it may become a copy of another."""
    counts = np.array(list(_label_counts(samples).values()))
    return bool((counts[sample.labels] > 2 * LEAST).all())


def _write(sample: _Sample, root: Path, px: int, seed: int) -> None:
    number = sample.number if sample.of is None else sample.of
    rng = draws.generator("simulate", "hpa", seed, "sample", number)
    line = Line.draw(draws.generator("simulate", "hpa", seed, "line", sample.antibody))
    for name, channel in zip(CHANNELS, draw_sample(sample.brightness, line, rng, px), strict=True):
        image = Image.fromarray(channel)
        if sample.planted == "turned":
            turn = draws.generator("simulate", "hpa", seed, "turn", sample.number).integers(5)
            image = image.transpose(Image.Transpose(int(turn)))
        image.save(
            root / sample.split / f"{sample.row_id}_{name}.png", compress_level=1, compress_type=3
        )  # in place.layout's folder, whole at its end


def draw_sample(brightness: np.ndarray, line: Line, rng: np.random.Generator, px: int) -> list[np.ndarray]:
    """Return the four channels (px, px) uint8 of a sample, in the order of ``CHANNELS``.

    Args:
        brightness: (28,) of each place in the protein channel.
        line: the cells' kind.
        rng: where the cells lie, what they look like, the camera's noise.
        px: side of the images.
    """
    field = draw_field(line, rng, px)
    nuclei, threads, net = draw_nuclei(field, line), draw_microtubules(field), draw_reticulum(field)
    protein = np.float32(GLOW) * (field.cytosol + field.inside)
    for label in np.flatnonzero(brightness):
        protein += np.float32(0.5 * brightness[label]) * PATTERNS[label](field, threads, net)
    gains = np.exp(rng.normal(0, 0.15, len(CHANNELS)))
    gains[1] = np.exp(rng.normal(0, 0.05))  # brightness is what tells labels from stray places
    return [_exposed(field, channel, gain) for channel, gain in zip((threads, protein, nuclei, net), gains, strict=True)]


def _exposed(field: Field, channel: np.ndarray, gain: float) -> np.ndarray:
    seen = channel * np.float32(220 * gain)
    seen += np.float32(255 * NOISE) * np.abs(field.noise("grain"))
    return np.clip(seen, 0, 255, out=seen).astype(np.uint8)


def _write_tables(samples: list[_Sample], root: Path) -> None:
    train, test = ([s for s in samples if s.split == part] for part in ("train", "test"))
    ids = sorted(train, key=lambda s: s.row_id)
    files.write_csv(root / "train.csv", pl.DataFrame({"Id": [s.row_id for s in ids], "Target": [_target(s) for s in ids]}))
    files.write_csv(root / "antibodies.csv", pl.DataFrame({"Id": [s.row_id for s in ids], "antibody": [_antibody(s) for s in ids]}))
    files.write_csv(root / "sample_submission.csv", pl.DataFrame({"Id": sorted(s.row_id for s in test), "Predicted": "0"}))


def _target(sample: _Sample) -> str:
    return " ".join(map(str, np.flatnonzero(sample.labels)))


def _antibody(sample: _Sample) -> str:
    return f"HPA{sample.antibody:06d}"


def _truth(samples: list[_Sample]) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "row_id": [s.row_id for s in samples],
            "split": [s.split for s in samples],
            "Target": [_target(s) for s in samples],
            "antibody": [_antibody(s) for s in samples],
            "planted": pl.Series([s.planted or None for s in samples], dtype=pl.String),
            "copy_of": pl.Series([None if s.of is None else samples[s.of].row_id for s in samples], dtype=pl.String),
        }
    ).sort("row_id")


def _counts(samples: list[_Sample]) -> dict[str, int]:
    parts = {part: sum(s.split == part for s in samples) for part in ("train", "test")}
    planted = {what: sum(s.planted == what for s in samples) for what, _ in COPIES}
    return {**parts, **planted, "antibodies": len({s.antibody for s in samples})}
