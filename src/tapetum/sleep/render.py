"""Draw a recording's epochs as images: the challenge's rows, scales and filters, and a second rendering with spectrograms.

Rows and full scales: ``drawing.GROUPS``. Signals of electrodes are filtered (``filters.PASS``) and drawn on their fixed physical scale.
Where the unit is not known, the scale is that of the night (its 1st to 99th percentile fills the lane) and "not µV" is written there.
A channel that was not recorded leaves its band empty.
"""

from __future__ import annotations

import dataclasses
import functools
import re
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from tapetum.core import files
from tapetum.core.errors import DataError, UserError
from tapetum.sleep.drawing import GROUPS, HEIGHT, REDUCED, WIDTH, Group, draw
from tapetum.sleep.edf import Recording
from tapetum.sleep.filters import filtered, find_mains, kind_of
from tapetum.sleep.issues import EPOCH, NOTE, Issues
from tapetum.sleep.montage import Montage, Signal
from tapetum.sleep.spectra import BANDS, spectrogram

NARROWEST, WIDEST = 120, 3840
UNITS, NAMES, NO_TEXTS = "units", "names", "none"
NOT = "not "  # before the unit that a band does not have
TRACES, SPECTRA = "traces", "spectra"
_UNITS = {"ECG": ("mV", 1e-3), "Flow": ("cmH2O", 1.0), "Volume": ("dB", 1.0), "SpO2": ("%", 1.0)}  # of full scales that are not µV


@dataclasses.dataclass(frozen=True)
class Prepared:
    """Signals of a night, filtered and scaled, ready to be drawn.

    Args:
        values: name → samples, NaN in gaps.
        rates: name → samples a second.
        bands: for each name of the geometry, what is drawn: its source, unit and scale, or that it is missing.
        epochs: whole epochs.
    """

    values: dict[str, np.ndarray]
    rates: dict[str, float]
    bands: list[dict[str, Any]]
    epochs: int

    def epoch(self, number: int) -> dict[str, np.ndarray]:
        """Return name → samples of an epoch, counted from 0; channels with a gap in it are left out."""
        out = {}
        for name, values in self.values.items():
            first, last = round(number * EPOCH * self.rates[name]), round((number + 1) * EPOCH * self.rates[name])
            part = values[first:last]
            if len(part) and not np.isnan(part).any():
                out[name] = part
        return out


def prepare(
    recording: Recording, table: Mapping[str, str], issues: Issues, *, mains: float | None = None, groups: Sequence[Group] = GROUPS
) -> Prepared:
    """Return the signals that a geometry asks for.

    Args:
        recording: what was read.
        table: names of channels, from :func:`tapetum.sleep.names.load`.
        issues: receives what is missing, re-referenced or of no known unit.
        mains: frequency of the notch; None: found in the signals.
        groups: the geometry.

    Raises:
        DataError: the recording is shorter than an epoch, or has no channel of the geometry.
    """
    if not recording.epochs:
        raise DataError(f"{recording.path.name} lasts {recording.duration:g} s", need="at least one epoch of 30 s")
    montage = Montage(recording, table, issues)
    values: dict[str, np.ndarray] = {}
    rates: dict[str, float] = {}
    bands: list[dict[str, Any]] = []
    scales = {name: group for group in groups for name in group.channels}
    for name, group in scales.items():
        signal = montage.signal(name)
        if signal is None:
            issues.add("was not recorded", "its band is empty", signal=name, kind=NOTE, epochs="all")
            bands.append({"name": name, "source": None, "unit": None, "scale": None})
            continue
        drawn, scale = _scaled(signal, group, mains, issues)
        values[name], rates[name] = drawn, signal.rate
        bands.append({"name": name, "source": signal.source, "unit": scale, "scale": [group.low, group.high]})
    if not values:
        raise DataError(
            f"{recording.path.name} has no channel that is drawn (its labels: {', '.join(list(recording.channels)[:20])})",
            need="labels that the table of channels knows",
            fix="name them in a table: --channels FILE",
        )
    return Prepared(values, rates, bands, recording.epochs)


def epochs(
    prepared: Prepared, width: int, how: str = TRACES, numbers: Sequence[int] | None = None, *, texts: str = UNITS
) -> Iterator[tuple[int, np.ndarray]]:
    """Yield (number, image (270/480 · width, width) uint8) of epochs.

    Args:
        prepared: from :func:`prepare`.
        width: of the images: 480 as the challenge's, 1920 recommended.
        how: ``traces``, or ``spectra``: EEG, EOG and EMG as multitaper spectrograms in the same rows.
        numbers: which epochs, from 0; None: all.
        texts: what is written on bands: ``units`` (on those without their physical scale: "not µV"), ``names`` (that and the channel of
            each) or ``none``, for a network.

    Raises:
        UserError: another way of drawing, or a width out of range.
    """
    if how not in (TRACES, SPECTRA):
        raise UserError(f"there is no rendering {how!r}", need=f"{TRACES} or {SPECTRA}")
    if not NARROWEST <= width <= WIDEST:
        raise UserError(f"width is {width}", need=f"{NARROWEST} to {WIDEST} pixels")
    reduced = {WIDTH: 1, WIDTH // 2: 2, WIDTH // 4: 4}.get(width)
    shown = {str(band["name"]): text for band in prepared.bands if band["source"] is not None and (text := _written(band, texts))}
    for number in range(prepared.epochs) if numbers is None else numbers:
        signals = prepared.epoch(number)
        spectral = {name: signals.pop(name) for name in list(signals) if how == SPECTRA and kind_of(name) in BANDS}
        image = draw(signals, prepared.rates, reduced=reduced or (1 if width > WIDTH // 4 else REDUCED))
        if reduced is None:
            size = (width, round(width * HEIGHT / WIDTH))
            image = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BOX if width < WIDTH else Image.Resampling.NEAREST))
        image = np.array(image) if spectral or shown else image
        for name, values in spectral.items():
            _add_spectrum(image, name, values, prepared.rates[name])
        for name, text in shown.items():
            _write(image, name, text)
        yield number, image


def write(
    folder: Path,
    prepared: Prepared,
    how: tuple[int, str],
    span: tuple[int, int | None],
    tick: Callable[[int, int], None],
    *,
    texts: str = UNITS,
) -> int:
    """Write images ``FOLDER_0001.png`` … and ``bands.json`` (what is drawn in which rows) to a folder, and return how many.

    Args:
        folder: a new one, or one that is replaced.
        prepared: from :func:`prepare`.
        how: width and way of drawing; see :func:`epochs`.
        span: the first and the last epoch, from 1; None: the last there is.
        tick: told how many are done, of how many.
        texts: see :func:`epochs`.

    Raises:
        UserError: no epoch lies in the span; and as :func:`epochs`.
    """
    first, last = max(span[0], 1), min(span[1] or prepared.epochs, prepared.epochs)
    if first > last:
        raise UserError(f"there are no epochs {span[0]} to {span[1] or ''}".rstrip(), need=f"epochs from 1 to {prepared.epochs}")
    total = last - first + 1
    with files.whole_folder(folder) as aside:
        drawn = epochs(prepared, how[0], how[1], range(first - 1, last), texts=texts)
        for done, (number, image) in enumerate(drawn, start=1):
            # runs of one value are what traces consist of: smaller and faster than the usual search for repetitions
            Image.fromarray(image).save(aside / f"{folder.name}_{number + 1:04d}.png", compress_level=1, compress_type=zlib.Z_RLE)
            tick(done, total)
        rows = {group.name: {"rows of 270": list(group.rows), "channels": list(group.channels)} for group in GROUPS}
        files.write_json(aside / "bands.json", {"bands": prepared.bands, "rows": rows, "width": how[0], "drawn as": how[1]})
    return total


def is_written(name: str) -> bool:
    """Return whether :func:`write` writes a file of that name."""
    return name == "bands.json" or re.fullmatch(r".+_\d{4,}\.png", name) is not None


def _scaled(signal: Signal, group: Group, mains: float | None, issues: Issues) -> tuple[np.ndarray, str]:
    """Return values on the group's scale, filtered, and the name of the scale."""
    unit, factor = _UNITS.get(signal.name, ("g" if signal.name.startswith("Acc") else "uV", 1.0))
    values, kind = signal.values, kind_of(signal.name)
    if kind is not None:
        values = filtered(values, signal.rate, kind, find_mains(values, signal.rate) if mains is None else mains)
    if unit == "mV" and signal.unit == "uV":
        return values * np.float32(factor), "mV"
    if signal.unit == unit:
        return values, unit.replace("uV", "µV")
    low, high = np.nanpercentile(values, [1, 99]) if not np.isnan(values).all() else (0.0, 1.0)
    shown = f"{NOT}{unit.replace('uV', 'µV')}"
    given = f"the unit is {signal.unit!r}" if signal.unit else "the unit is not known"
    issues.add(
        f"{given}, {unit} is needed for the fixed scale", f"drawn on a scale of its own ({shown})", signal=signal.source, epochs="all"
    )
    if high <= low:
        return np.zeros_like(values) + np.float32((group.low + group.high) / 2), shown
    return (values - np.float32(low)) * np.float32((group.high - group.low) / (high - low)) + np.float32(group.low), shown


def _lane(image: np.ndarray, name: str, group: Group) -> tuple[int, int]:
    """Return the first and one after the last row of a channel's lane in an image."""
    scale = image.shape[0] / (HEIGHT // REDUCED)
    lane = (group.rows[1] - group.rows[0]) / len(group.channels)
    top = group.rows[0] + lane * group.channels.index(name)
    return round(top * scale), round((top + lane) * scale)


def _add_spectrum(image: np.ndarray, name: str, values: np.ndarray, rate: float) -> None:
    """Draw a signal's spectrogram into its lane: time to the right, low frequencies below."""
    first, last = _lane(image, name, next(one for one in GROUPS if name in one.channels))
    power = spectrogram(values, rate, str(kind_of(name)))
    size = (image.shape[1], last - first)
    image[first:last] = np.asarray(Image.fromarray(power[::-1]).resize(size, Image.Resampling.BILINEAR))


def _written(band: Mapping[str, Any], texts: str) -> str:
    """Return what is written on a band; ``not µV``, so that nobody reads amplitudes off a scale that is none."""
    unit = str(band["unit"]) if str(band["unit"]).startswith(NOT) else ""
    return {UNITS: unit, NAMES: f"{band['name']} {unit}".strip()}.get(texts, "")


def _write(image: np.ndarray, name: str, text: str) -> None:
    """Write a text at the left of a channel's lanes."""
    for group in GROUPS:
        if name in group.channels:
            first, last = _lane(image, name, group)
            drawn = _text(text, min(last - first, image.shape[0] // 60))
            place = image[first : first + drawn.shape[0], : drawn.shape[1]]
            place[:] = drawn[: place.shape[0], : place.shape[1]]


@functools.lru_cache(maxsize=64)
def _text(text: str, height: int) -> np.ndarray:
    """Return a text as an image (H, W) uint8, white on black, as high as ``height`` allows; 8 pixels at the least."""
    font = ImageFont.load_default_imagefont()  # the other font that comes with Pillow has no µ
    left, top, right, bottom = (round(edge) for edge in font.getbbox(text))
    canvas = Image.new("1", (right - left + 2, bottom - top))
    ImageDraw.Draw(canvas).text((1 - left, -top), text, fill=1, font=font)
    lit = np.asarray(canvas)
    lit = lit[lit.any(axis=1)]
    times = max(height // len(lit), 1)
    return np.asarray(255 * lit.repeat(times, axis=0).repeat(times, axis=1), dtype=np.uint8)
