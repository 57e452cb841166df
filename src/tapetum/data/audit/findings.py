"""What the audit finds about each image, as words of one list, and in sentences for people."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import polars as pl

from tapetum.core.tables import Manifest
from tapetum.core.words import plural
from tapetum.data.audit.channels import channel_faults
from tapetum.data.audit.image_statistics import ImageStatistics
from tapetum.data.audit.near_duplicates import DuplicateSets
from tapetum.data.audit.neighbours import ALONE
from tapetum.data.audit.sets import gaps
from tapetum.data.images.archives import is_absence

CONFLICT = "labelled otherwise"  # as notes call copies of one image with several labels
KINDS = {  # the most important first; the order of the review page
    "leak": "the same image in two parts of the data, or in two folds that the data bring",
    "label conflict": "copies of one image with several labels: at least one of them is wrong",
    "absent": "no file where the data say",
    "truncated": "the file ends too early",
    "too large": "more pixels than input.max_pixels",
    "unreadable": "any other damage",
    "label suspect": "the label is probably wrong",
    "blank": "one flat colour",
    "dark": "hardly any light",
    "bright": "hardly anything but white",
    "blurred": "no fine detail",
    "blank channel": "a channel that shows nothing",
    "equal channels": "one channel twice",
    "swapped channels": "channels probably in another order than in the other images",
    "odd mode": "other channels or another depth than most images",
    "odd size": "far smaller or larger than the other images",
    "odd aspect": "far narrower or wider than the other images",
    "gray": "gray among colour images",
    "misnamed": "another format than the name says",
    "animated": "several frames or pages, of which the first is used",
    "turned": "turned as its EXIF data say",
    "exact duplicate": "another file has the same bytes",
    "near duplicate": "another file shows the same image",
    "look-alike": "looks like an image of another group that the data declare; the two are not joined",
    "outlier": "far from all other images by its features",
    "sequence gap": "a position of its sequence is left out, or is there twice",
}
DARK, BRIGHT = 0.20, 0.90  # 99 % of a dark image's pixels are below, 95 % of a bright one's above
RELATIVE = 0.45  # and its median is so much below (above) what is usual, as a share
BLURRED, SOFTER = 0.4, 0.52  # sharpness below, and below so much of the usual one
MOSTLY = 0.8  # share of images that have the usual channels and depth, where there is such
SIDES, ASPECTS = 4.0, 2.0  # factors from the usual from which a size or a shape is odd
SPREAD = 3.0  # and so many robust standard deviations
TEXTS = 6  # sentences on an image at most
USUAL = 0.5  # what more images have is how the data are


@dataclasses.dataclass(frozen=True)
class Seen:
    """What the scan of the images gave, row by row.

    Args:
        manifest: the rows.
        files: of ``check_files``.
        statistics: of each image; None where it cannot be read.
        sets: rows that show the same image.
        gray: which are gray where most are in colour.
        alone: (N,) of ``neighbours.loneliness``; NaN without vectors.
        exchanged: of ``channels.channel_faults``; None without features.
    """

    manifest: Manifest
    files: pl.DataFrame
    statistics: list[ImageStatistics | None]
    sets: DuplicateSets
    gray: list[bool | None]
    alone: np.ndarray
    exchanged: np.ndarray | None = None


def find(seen: Seen) -> tuple[list[list[str]], list[str | None]]:
    """Return the kinds of findings of each row, in the order of :data:`KINDS`, and the same in words (None where there are none)."""
    said: list[list[tuple[str, str]]] = [[] for _ in seen.statistics]
    for row, reason in enumerate(seen.files["reason"].to_list()):
        if reason is not None:
            said[row].append((damage(reason), reason))
    for notes in (_of_files(seen), _of_looks(seen), _of_sizes(seen), _of_channels(seen), _of_copies(seen), _of_rows(seen)):
        for row, found in notes:
            said[row].append(found)
    order = list(KINDS)
    kinds = [sorted({kind for kind, _ in found}, key=order.index) for found in said]
    return kinds, ["; ".join(list(dict.fromkeys(text for _, text in found if text))[:TEXTS]) or None for found in said]


def damage(reason: str) -> str:
    """Return the kind of finding that a reason of ``check_files`` is."""
    if is_absence(reason):
        return "absent"
    if "truncated after" in reason or reason.endswith("an empty file"):
        return "truncated"
    return "too large" if "large: " in reason else "unreadable"


def gray_among_colour(files: pl.DataFrame, statistics: list[ImageStatistics | None]) -> list[bool | None]:
    """Return which images are gray where most are in colour; null where the question does not arise."""
    colour = [one.gray for one in statistics if one is not None and one.gray is not None]
    if sum(not gray for gray in colour) * 2 <= sum(one is not None for one in statistics):
        return [None] * len(statistics)
    single_channel = (files["channels"] <= 2).to_list()
    return [None if one is None else bool(single or one.gray) for one, single in zip(statistics, single_channel, strict=True)]


Found = list[tuple[int, tuple[str, str]]]  # (row, (kind, words))


def _of_files(seen: Seen) -> Found:
    out: Found = []
    for row, one in enumerate(seen.statistics):
        if one is None:
            continue
        out += [(row, ("misnamed", f"named as another format: {text}")) for text in one.formats]
        out += [(row, ("animated", f"{plural(one.frames, 'frame')}, of which the first is used"))] if one.frames > 1 else []
        out += [(row, ("turned", f"turned as its EXIF data say (orientation {one.orientation})"))] if one.orientation > 1 else []
    return out


def _of_looks(seen: Seen) -> Found:
    """Return blank, dark, bright, blurred and gray images, where most of the others are not."""
    there = [(row, one) for row, one in enumerate(seen.statistics) if one is not None]
    out: Found = [(row, ("gray", "gray among colour")) for row, gray in enumerate(seen.gray) if gray]
    out += [(row, ("blank", "one flat colour")) for row, one in there if not one.thumbnail.any()]
    shown = [(row, one) for row, one in there if one.thumbnail.any()]
    if not shown:
        return out
    usual = float(np.median([one.middle for _, one in shown]))
    sharp = float(np.median([one.sharpness for _, one in shown if one.sharpness is not None] or [0.0]))
    dark = [row for row, one in shown if one.high < DARK and one.middle < (1 - RELATIVE) * usual]
    bright = [row for row, one in shown if one.low > BRIGHT and 1 - one.middle < (1 - RELATIVE) * (1 - usual)]
    soft = [row for row, one in shown if one.sharpness is not None and one.sharpness < min(BLURRED, SOFTER * sharp)]
    named = ((dark, "dark", "very dark"), (bright, "bright", "very bright"), (soft, "blurred", "blurred"))
    return [*out, *((row, (kind, text)) for rows, kind, text in named if len(rows) <= USUAL * len(shown) for row in rows)]


def _of_sizes(seen: Seen) -> Found:
    """Return images of another mode than nearly all, and of sizes and shapes far from the usual."""
    part = seen.files.with_row_index("row").filter((pl.col("status") == "ok") & pl.col("height").is_not_null())
    if not len(part):
        return []
    out: Found = []
    modes = part.group_by("channels", "dtype").len().sort("len", descending=True)
    channels, dtype, count = modes.row(0)
    if count >= MOSTLY * len(part):
        odd = part.filter((pl.col("channels") != channels) | (pl.col("dtype") != dtype))
        out += [
            (row, ("odd mode", f"{plural(c, 'channel')} of {d}, and most images have {channels} of {dtype}"))
            for row, c, d in odd.select("row", "channels", "dtype").iter_rows()
        ]
    height, width = part["height"].to_numpy().astype(float), part["width"].to_numpy().astype(float)
    rows = part["row"].to_list()
    size, shape = np.log(np.sqrt(height * width)), np.abs(np.log(width / height))  # upright and lying images are of one shape
    for kind, values, factor in (("odd size", size, SIDES), ("odd aspect", shape, ASPECTS)):
        apart = values - np.median(values)
        spread = 1.4826 * float(np.median(np.abs(apart)))
        for i in np.flatnonzero((np.abs(apart) >= math.log(factor)) & (np.abs(apart) >= SPREAD * spread)):
            out.append((rows[i], (kind, f"{int(width[i])} × {int(height[i])} pixels, unlike the others")))
    return out


def _of_channels(seen: Seen) -> Found:
    grids = [None if one is None else one.channels for one in seen.statistics]
    doubled = [() if one is None else one.doubled for one in seen.statistics]
    faults = channel_faults(grids, doubled, [None if one is None else one.chroma for one in seen.statistics], seen.exchanged)
    return [(row, (text.partition(":")[0], text)) for row, found in enumerate(faults) for text in found]


def _of_copies(seen: Seen) -> Found:
    """Return the copies of each image, with what is wrong about them: other labels, another part or fold."""
    manifest, sets = seen.manifest, seen.sets
    ids, splits, folds = manifest.row_ids, manifest.split.tolist(), manifest.fold.tolist()
    cells = manifest.frame.select(t.name for t in manifest.targets if t.name in manifest.frame.columns).rows() or [()] * len(ids)
    labels = [tuple(tuple(sorted(cell)) if isinstance(cell, list) else cell for cell in row) for row in cells]
    sides = _sides(manifest)
    members: dict[int, list[int]] = {}
    for row in np.flatnonzero(sets.set >= 0).tolist():
        members.setdefault(int(sets.set[row]), []).append(row)
    out: Found = []
    for rows in members.values():
        shown = _examples([(row, (repr(labels[row]), splits[row], folds[row])) for row in rows])
        for row in rows:
            own = "exact duplicate" if sets.exact[row] else "near duplicate"
            out.append((row, (own, "")))
            pairs = []
            for other in (o for o in shown if o != row):
                conflict = any(None not in pair and pair[0] != pair[1] for pair in zip(labels[other], labels[row], strict=True))
                parts = {sides[row], sides[other]} == {"trains", "test"}
                across = not parts and folds[row] >= 0 and folds[other] >= 0 and folds[row] != folds[other]
                text = f"shows the same as {ids[other]}" + (f", {CONFLICT}" if conflict else "")
                text += ", in the other part" if parts else ", in another fold" if across else ""
                pairs.append((-(2 * (parts or across) + conflict), other, parts or across, conflict, text))
            for _, _, leak, conflict, text in sorted(pairs):  # what is wrong is said first
                out.append((row, ("leak" if leak else "label conflict" if conflict else own, text)))
                out += [(row, ("label conflict", text))] if conflict else []
    groups = groups_kept_apart(manifest, sets)
    for pair in sets.apart:
        out += [(a, ("look-alike", f"looks like {ids[b]} of group {groups[b]}, not joined")) for a, b in (pair, pair[::-1])]
    return out


def groups_kept_apart(manifest: Manifest, sets: DuplicateSets) -> dict[int, str]:
    """Return the group of each row of the pairs that stay apart: its own, or the one that its duplicates brought it into."""
    declared, own = manifest.declared_groups, manifest.groups
    of_set: dict[int, str] = {}
    for row in np.flatnonzero(sets.set >= 0).tolist() if sets.apart else ():
        if (group := declared[row]) is not None:
            of_set.setdefault(int(sets.set[row]), group)
    return {row: declared[row] or of_set.get(int(sets.set[row]), str(own[row])) for pair in sets.apart for row in pair}


def _sides(manifest: Manifest) -> list[str | None]:
    """Return which rows train and which are tested; rows with pseudo-labels are copies of test rows by intent."""
    sides = {"train": "trains", "extra": "trains", "test": "test"}
    pseudo = manifest.frame["pseudo"].fill_null(False).to_list() if "pseudo" in manifest.frame.columns else [False] * len(manifest)
    return [None if copied else sides.get(split) for split, copied in zip(manifest.split.tolist(), pseudo, strict=True)]


def _examples(rows: Sequence[tuple[int, tuple[str | None, str, int]]]) -> list[int]:
    """Return few rows of a set of copies that stand for all of it, so that a large set takes no pairs of all its rows.

    Those are the first rows, and the first row of each of up to four labels, parts and folds: any row then meets one that differs from it
    where some row of the set does. One of them may be unknown, and one its own.
    """
    chosen = {row for row, _ in rows[: TEXTS + 1]}
    for place in range(3):
        first: dict[str | int | None, int] = {}
        for row, key in rows:
            if len(first) < 4:
                first.setdefault(key[place], row)
        chosen |= set(first.values())
    return sorted(chosen)


def _of_rows(seen: Seen) -> Found:
    with np.errstate(invalid="ignore"):
        alone = np.flatnonzero(seen.alone >= ALONE).tolist()
    out: Found = [(row, ("outlier", "far from all other images by its features")) for row in alone]
    return [*out, *((row, ("sequence gap", text)) for row, text in gaps(seen.manifest).items())]


def count_kinds(kinds: Sequence[Sequence[str]]) -> dict[str, int]:
    """Return how many rows each kind of finding has, in the order of :data:`KINDS`; kinds of no row are left out."""
    found = {kind: sum(kind in row for row in kinds) for kind in KINDS}
    return {kind: count for kind, count in found.items() if count}
