"""What the audit finds about the data as a whole: classes too small to be measured, gaps in sequences, images that ImageNet holds too."""

from __future__ import annotations

import functools
import importlib.util
import itertools
import math
import re
from pathlib import Path

import numpy as np

from tapetum.core.errors import listed
from tapetum.core.folds import count_groups
from tapetum.core.order import usual_step
from tapetum.core.shares import wilson
from tapetum.core.tables import Manifest
from tapetum.core.words import plural, verb

POINTS = 0.05  # half width of an interval that a class should allow
RECALL = 0.9  # at this recall; at 0.5 it takes nearly three times as many
IMAGENET = re.compile(r"(?:^|/)(?:n\d{8}_\d+|ILSVRC20\d\d_(?:train|val|test)_\d{8})\.\w+$", re.IGNORECASE)
FEWEST = 3  # files or classes of such names from which it is said
SHARE = 0.5  # of a target's classes that must be those of ImageNet


def about_the_data(manifest: Manifest) -> list[str]:
    """Return sentences on the data as a whole; none where there is nothing to say."""
    return [*small_classes(manifest), *_known_to_imagenet(manifest), *_classes_of_imagenet(manifest)]


def small_classes(manifest: Manifest) -> list[str]:
    """Return which classes have too few groups for an interval of ±5 points of their recall (Wilson, 95 %, at a recall of 90 %)."""
    judged, group = manifest.split == "train", manifest.groups
    need = _needed()
    out = []
    for target in manifest.targets:
        if target.kind == "regression" or target.is_identity or target.expression is not None or not target.scored:
            continue
        has = np.nan_to_num(manifest.truth(target.name)) > 0.5
        groups = [count_groups(group[judged & has[:, k]]) for k in range(len(target.classes))]
        few = sorted(((n, name) for n, name in zip(groups, target.classes, strict=True) if 0 < n < need), key=lambda one: one[0])
        if few:
            named = listed([f"{name} ({n})" for n, name in few], 5)
            out.append(
                f"{len(few)} of {plural(len(target.classes), 'class', 'classes')} of {target.name!r} "
                f"{verb(len(few), 'has', 'have')} fewer than {plural(need, 'group')}, so that their recall is "
                f"known to ±5 points at best from more data: {named}"
            )
    return out


def gaps(manifest: Manifest) -> dict[int, str]:
    """Return the rows before which a sequence leaves positions out, or whose position is there twice: row → words."""
    columns = manifest.frame.columns
    if "sequence" not in columns or "position" not in columns:
        return {}
    sequence, position = manifest.frame["sequence"].to_list(), manifest.frame["position"].to_list()
    rows: dict[str, list[tuple[float, int]]] = {}
    for row, (name, at) in enumerate(zip(sequence, position, strict=True)):
        if name is not None and at is not None and math.isfinite(float(at)):
            rows.setdefault(str(name), []).append((float(at), row))
    ordered = {name: sorted(found) for name, found in rows.items()}
    steps = [b[0] - a[0] for found in ordered.values() for a, b in itertools.pairwise(found) if b[0] > a[0]]
    if not steps:
        return {}
    usual = usual_step(np.array(steps))
    out: dict[int, str] = {}
    for name, found in ordered.items():
        for (before, _), (at, row) in itertools.pairwise(found):
            if at == before:
                out[row] = f"position {at:g} of sequence {name} is there twice"
            elif at - before > 1.5 * usual:
                out[row] = f"position {at:g} of sequence {name} follows {before:g}: {round((at - before) / usual) - 1} left out"
    return out


def _needed() -> int:
    """Return how many groups make Wilson's interval no wider than ±5 points at a recall of 90 %."""
    count = 10
    while (ends := wilson(RECALL * count, count)) and (ends[1] - ends[0]) / 2 > POINTS:
        count += 1
    return count


def _known_to_imagenet(manifest: Manifest) -> list[str]:
    known = [row_id for row_id, paths in zip(manifest.row_ids, manifest.frame["path"].to_list(), strict=True) if _is_known(paths)]
    if len(known) < FEWEST:
        return []
    return [
        f"{plural(len(known), 'file has', 'files have')} names of ImageNet: {listed(known, 3)}. "
        "Weights trained on ImageNet have probably seen them with their "
        "classes, so that held-out figures of such weights are too good"
    ]


def _is_known(paths: list[str] | None) -> bool:
    return any(IMAGENET.search(path) for path in paths or [])


def _classes_of_imagenet(manifest: Manifest) -> list[str]:
    out = []
    for target in manifest.targets:
        known = [name for name in target.classes if _plain(name) in _imagenet_classes()]
        if len(known) >= max(FEWEST, SHARE * len(target.classes)):
            out.append(
                f"{len(known)} of {plural(len(target.classes), 'class', 'classes')} of "
                f"{target.name!r} {verb(len(known), 'is', 'are')} of ImageNet: {listed(known, 3)}. Weights "
                "trained on ImageNet know them; if images come from the same source, they may have seen these very ones"
            )
    return out


@functools.cache
def _imagenet_classes() -> frozenset[str]:
    """Return the names of the 1,000 classes, as timm's files have them; timm itself is not imported."""
    found = importlib.util.find_spec("timm")
    if found is None or found.origin is None:
        return frozenset()
    place = Path(found.origin).parent / "data" / "_info"
    if not (place / "imagenet_synsets.txt").exists():
        return frozenset()
    thousand = frozenset((place / "imagenet_synsets.txt").read_text(encoding="utf-8").split())
    lines = (line.split("\t") for line in (place / "imagenet_synset_to_lemma.txt").read_text(encoding="utf-8").splitlines())
    return frozenset(_plain(name) for synset, names in lines if synset in thousand for name in names.split(", "))


def _plain(name: str) -> str:
    return re.sub(r"[\W_]+", " ", name).casefold().strip()
