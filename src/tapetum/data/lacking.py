"""What a split leaves out: classes that no row trains where they are held out, classes that are never judged, extra rows of test groups."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tapetum.core.errors import listed
from tapetum.core.tables import Manifest
from tapetum.core.targets import Target
from tapetum.core.words import plural, verb


def lacking(manifest: Manifest, usable: np.ndarray | None = None) -> list[str]:
    """Return warnings about a manifest with its folds, each a sentence; none where there is nothing to warn of.

    Args:
        manifest: rows with splits, groups and folds.
        usable: (N,) bool, False for rows that neither train nor score (images that cannot be read); None: all are.
    """
    usable = np.ones(len(manifest), dtype=bool) if usable is None else usable
    judged = usable & (manifest.split == "train") & (manifest.fold >= 0)
    teaches = usable & np.isin(manifest.split, ["train", "extra"])
    found = [text for target in manifest.targets for text in _classes(manifest, target, judged, teaches)]
    return [*found, *_extra_of_test(manifest, teaches)]


def _classes(manifest: Manifest, target: Target, judged: np.ndarray, teaches: np.ndarray) -> Iterator[str]:
    """Warn of a target's classes. Derived targets are made of others, and an identity is usually in one fold."""
    if target.kind == "regression" or target.is_identity or target.expression is not None:
        return
    has, fold = np.nan_to_num(manifest.truth(target.name)) > 0.5, manifest.fold
    used = np.unique(fold[judged])
    never = [c for c in range(len(target.classes)) if has[:, c].any() and not has[teaches, c].any()]
    if never:
        yield f"no row trains {_named(target, never)}: no answer can name {verb(len(never), 'it', 'them')}"
    for k in used:
        judged_classes = [c for c in range(len(target.classes)) if c not in never and has[judged & (fold == k), c].any()]
        if gone := [c for c in judged_classes if not has[teaches & (fold != k), c].any()]:
            rows = int(has[judged & (fold == k)][:, gone].any(axis=1).sum())
            where = "the held-out part" if len(used) == 1 else f"fold {k}"
            yield (
                f"{_named(target, gone)} {verb(len(gone), 'is', 'are')} in {where} only ({plural(rows, 'row')}): no row of "
                f"{verb(len(gone), 'it', 'them')} trains where they are scored, so these rows cannot be predicted correctly"
            )
    if len(used) == 1:
        unseen = [c for c in range(len(target.classes)) if has[teaches, c].any() and not has[judged, c].any()]
        if unseen:
            has_none, it = verb(len(unseen), "has", "have"), verb(len(unseen), "it", "them")
            yield f"{_named(target, unseen)} {has_none} no held-out row: no figure covers {it}"


def _extra_of_test(manifest: Manifest, teaches: np.ndarray) -> Iterator[str]:
    """Warn of extra rows whose group has test rows; pseudo-labelled copies of test rows are meant so and marked elsewhere."""
    columns = manifest.frame.columns
    pseudo = manifest.frame["pseudo"].fill_null(False).to_numpy() if "pseudo" in columns else np.zeros(len(manifest), dtype=bool)
    groups, split = manifest.groups, manifest.split  # made anew each time that they are asked for
    tested = set(groups[split == "test"].tolist())
    shared = [group for group in groups[teaches & (split == "extra") & ~pseudo].tolist() if group in tested]
    if shared:
        several = list(dict.fromkeys(shared))
        yield (
            f"{plural(len(shared), 'extra row shares', 'extra rows share')} {plural(len(several), 'group')} with "
            f"test rows ({listed(several)}): they make the figures of the test part too good"
        )


def _named(target: Target, classes: list[int]) -> str:
    return listed(f"{target.name} = {target.classes[c]}" for c in classes)
