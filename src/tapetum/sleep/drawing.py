"""Draw an epoch's signals as the challenge does: 1-pixel traces, white on black, on 1920 × 1080, reduced by 4.

A channel has a lane of its own within its group; large waves reach into the next lane and end at the group's border. Channels below 100
samples a second are drawn as steps. A channel that is not there leaves its lane empty.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

WIDTH, HEIGHT = 1920, 1080
REDUCED = 4
SMOOTH = 100  # samples a second from which on samples are joined by lines


@dataclasses.dataclass(frozen=True)
class Group:
    """Rows that some channels share.

    Args:
        name: of the group.
        rows: first and one after the last row of the reduced image (of 270).
        channels: from top to bottom, a lane each.
        low: value at a lane's lower border.
        high: value at its upper border.
    """

    name: str
    rows: tuple[int, int]
    channels: tuple[str, ...]
    low: float
    high: float


GROUPS = (
    Group("accelerometer", (0, 32), ("Accelerometer X", "Accelerometer Y", "Accelerometer Z"), -1.2, 1.2),
    Group("EEG", (32, 75), ("C3-M2", "C4-M1", "O1-M2", "O2-M1"), -35, 35),
    Group("EOG", (75, 96), ("E1-M2", "E2-M1"), -35, 35),
    Group("chin", (96, 107), ("Chin",), -35, 35),
    Group("ECG", (107, 118), ("ECG",), -0.5, 0.5),
    Group("flow", (118, 150), ("Flow",), -1.5, 1.5),
    Group("thermistor", (150, 161), ("Thermistor",), -150, 150),
    Group("thorax", (161, 172), ("Thorax",), -150, 150),
    Group("abdomen", (172, 182), ("Abdomen",), -150, 150),
    Group("snore", (182, 193), ("Snore",), -150, 150),
    Group("volume", (193, 204), ("Volume",), 30, 130),
    Group("legs", (204, 225), ("Leg L", "Leg R"), -35, 35),
    Group("SpO2 near", (225, 247), ("SpO2",), 85, 100),
    Group("SpO2 wide", (247, 268), ("SpO2",), 40, 100),
)


def draw(
    signals: Mapping[str, np.ndarray], rates: Mapping[str, float], groups: Sequence[Group] = GROUPS, reduced: int = REDUCED
) -> np.ndarray:
    """Return an epoch's image (1080 / reduced, 1920 / reduced) uint8.

    Args:
        signals: channel → samples of the epoch; channels that no group has are passed over.
        rates: channel → samples a second.
        groups: which channel stands where.
        reduced: 4 as the challenge's images, or 1, 2 for larger ones.
    """
    edges = np.zeros((HEIGHT + 1, WIDTH), dtype=np.int8)
    columns = np.arange(WIDTH)
    for group in groups:
        top, bottom = (REDUCED * row for row in group.rows)
        lane = (bottom - top) / len(group.channels)
        for i, name in enumerate(group.channels):
            if name not in signals:
                continue
            low, high = spans(np.asarray(signals[name], dtype=np.float32), rates[name])
            scale = np.float32((lane - 1) / (group.high - group.low))  # a full scale lies on the lane's first and last row
            foot = np.float32(top + (i + 1) * lane - 1 + group.low * scale)
            upper = np.rint(np.clip(foot - high * scale, top - 1, bottom)).astype(np.int64)  # rows count downwards
            lower = np.rint(np.clip(foot - low * scale, top - 1, bottom)).astype(np.int64)
            seen = (lower >= top) & (upper < bottom)
            upper, lower = np.maximum(upper, top)[seen], np.minimum(lower, bottom - 1)[seen]
            edges[upper, columns[seen]] += 1
            edges[lower + 1, columns[seen]] -= 1
    for row in range(1, HEIGHT):  # a sum along the columns, ten times as fast as cumsum, which walks through them
        edges[row] += edges[row - 1]
    return shrunk(edges[:HEIGHT] > 0, reduced)


def spans(samples: np.ndarray, rate: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the lowest and highest value (1920,) that the trace has in each column, the line from the column before included."""
    count = len(samples)
    if rate < SMOOTH or count < WIDTH:
        if rate < SMOOTH:
            held = samples[np.arange(WIDTH) * count // WIDTH]
        else:
            held = np.interp(np.arange(WIDTH) * (count / WIDTH), np.arange(count), samples).astype(np.float32)
        low = high = held
        last = held
    elif count % WIDTH == 0:
        step = count // WIDTH
        low = high = samples[::step]
        for k in range(1, step):
            low, high = np.minimum(low, samples[k::step]), np.maximum(high, samples[k::step])
        last = samples[step - 1 :: step]
    else:
        starts = np.ceil(np.arange(WIDTH) * (count / WIDTH)).astype(np.int64)
        low, high = np.minimum.reduceat(samples, starts), np.maximum.reduceat(samples, starts)
        last = samples[np.append(starts[1:], count) - 1]
    before = np.concatenate([low[:1], last[:-1]])
    return np.minimum(low, before), np.maximum(high, before)


def shrunk(lit: np.ndarray, reduced: int) -> np.ndarray:
    """Return the mean brightness (H / reduced, W / reduced) uint8 of a canvas (H, W) bool."""
    if reduced == 1:
        return np.asarray(lit * np.uint8(255))
    height, width = lit.shape
    if reduced == 4:  # four pixels in one number, whose bytes are summed all at once
        packed = lit.view(np.uint32).reshape(height // 4, 4, width // 4)
        rows = packed[:, 0] + packed[:, 1] + packed[:, 2] + packed[:, 3]
        counts = (rows * np.uint32(0x01010101)) >> np.uint32(24)
        return np.asarray((counts * np.uint32(255) + np.uint32(8)) // np.uint32(16), dtype=np.uint8)
    shape = (height // reduced, reduced, width // reduced, reduced)
    return np.rint(255 * lit.reshape(shape).mean(axis=(1, 3))).astype(np.uint8)
