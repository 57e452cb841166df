"""Which fold holds each row of a manifest out, and the printed table of what is where.

Folds that the data bring win, after a check that no group crosses them. Else duplicates join groups, and groups are drawn
balanced over the classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

from tapetum.core import columns, folds
from tapetum.core.config import Split
from tapetum.core.errors import DataError, UserError, listed
from tapetum.core.progress import Log
from tapetum.core.tables import Manifest
from tapetum.core.targets import Target
from tapetum.core.unions import Unions, united
from tapetum.core.words import plural, verb

DUPLICATE = "duplicate"  # optional column: rows with the same value show the same image
ALWAYS = -1  # fold of a training row that is never held out
MOST_CLASSES = 40  # printed of one target


def assign_folds(manifest: Manifest, split: Split, seed: int, log: Log, *, duplicates: Mapping[str, str] | None = None) -> Manifest:
    """Return the manifest with ``fold``: which fold holds each training row out.

    Training rows that always train (a holdout's larger part) have −1, as test rows have. An extra row whose group is held out by a
    fold carries that fold, so that whoever trains on ``fold != k`` never sees the group; it is not scored.

    Args:
        manifest: rows with their groups; a ``fold`` column is taken over.
        split: number of folds or a holdout, and the scheme.
        seed: of the draws among equals.
        log: receives messages about what was taken over, joined, or too rare.
        duplicates: row id → name of its set of duplicates, as the audit finds them; a column ``duplicate`` joins, too.

    Raises:
        DataError: a group that is in two given folds, or in the training and the test part; too few groups.
        UserError: the scheme ``image`` without the reason why it may leak, or an unknown target to balance.
    """
    refuse_crossing(manifest, duplicates or {}, split)
    manifest = join_duplicates(manifest, duplicates or {}, log, split)
    by_image = split.scheme == "image"
    if split.heldout_trains and not (split.allow_leak or "").strip():
        raise UserError("split.heldout_trains judges models on rows that trained them", need="split.allow_leak = '<reason>'")
    if split.heldout_trains:
        log(f"warning: held-out rows train, too ({split.allow_leak}): every figure from them is in-sample")
    if by_image and not (split.allow_leak or "").strip():
        raise UserError(
            "split.scheme is 'image', which lets groups cross folds", need="split.allow_leak = '<reason>'", fix="or use scheme 'auto'"
        )
    if by_image:
        log(f"warning: folds go by image; groups may cross them ({split.allow_leak}): every figure from them is marked")
    groups = np.asarray(manifest.row_ids, dtype=object) if by_image else manifest.groups
    trains = manifest.split == "train"
    parts = manifest.split
    parts[~trains & (parts != "test")] = None
    folds.check_groups(parts, groups, "split")
    if (manifest.fold[trains] >= 0).any():
        fold = _given(manifest.fold, groups, trains, log)
    else:
        fold = np.full(len(manifest), ALWAYS, dtype=np.int16)
        fold[trains] = _drawn(manifest.where(trains), groups[trains], split, seed)
    fold = _follow(fold, groups, manifest.split)
    manifest = manifest.with_column("fold", pl.Series(fold, dtype=pl.Int16))
    if not by_image and (divided := divided_sequences(manifest)):
        log(
            f"warning: {plural(len(divided), 'sequence is', 'sequences are')} in several folds or parts, "
            f"since {verb(len(divided), 'its group or given folds divide it', 'their groups or given folds divide them')} "
            f"({listed(divided)}): neighbours of held-out rows train"
        )
    kinds = _with_classes(manifest)
    rare = folds.rare_classes(_truths(manifest.where(trains), kinds), kinds, groups[trains], fold[trains])
    if rare and len(np.unique(fold[trains & (fold >= 0)])) > 1:  # of one split, lacking() tells
        log(f"warning: {plural(len(rare), 'class is', 'classes are')} too rare to be in each fold: {listed(rare)}")
    return manifest


def by_group(manifest: Manifest, split: Split, seed: int) -> Manifest:
    """Return the manifest with folds drawn by group, whatever scheme the recipe has and whatever folds the rows have.

    Args:
        manifest: rows with their groups.
        split: number of folds or a holdout.
        seed: of the draws among equals.

    Raises:
        DataError: too few groups.
    """
    groups, trains = manifest.groups, manifest.split == "train"
    fold = np.full(len(manifest), ALWAYS, dtype=np.int16)
    fold[trains] = _drawn(manifest.where(trains), groups[trains], split, seed)
    return manifest.with_column("fold", pl.Series(_follow(fold, groups, manifest.split), dtype=pl.Int16))


def refuse_crossing(manifest: Manifest, duplicates: Mapping[str, str], split: Split) -> None:
    """Refuse images that are in two folds which the data themselves bring (a ``fold`` column, folders called train and valid).

    Args:
        manifest: rows with the folds of the data.
        duplicates: row id → name of its set.
        split: the scheme ``image`` lets duplicates cross, by its stated reason.

    Raises:
        DataError: names both files and where they are.
    """
    trains = manifest.split == "train"
    if not duplicates or split.scheme == "image" or not (manifest.fold[trains] >= 0).any():
        return
    first: dict[str, tuple[str, int]] = {}
    crossing: list[tuple[str, str]] = []
    for row_id, fold, is_in in zip(manifest.row_ids, manifest.fold.tolist(), trains, strict=True):
        name = duplicates.get(row_id)
        if name is not None and is_in:
            other, there = first.setdefault(name, (row_id, fold))
            if there != fold:
                crossing.append((f"{other} ({_where(there)})", f"{row_id} ({_where(fold)})"))
    if crossing:
        pairs = [f"{one} and {two}" for one, two in crossing]
        raise DataError(
            f"{plural(len(crossing), 'image is', 'images are')} in two folds of the data: {listed(pairs, 4)} show the same image",
            need="each image in one fold, else what is held out was seen in training",
            fix="remove one of the two, or leave it out: write its row id in a text file and give --set data.exclude=FILE",
        )


def _where(fold: int) -> str:
    return "always trains" if fold == ALWAYS else f"held out as fold {fold}"


def divided_sequences(manifest: Manifest) -> list[str]:
    """Return the sequences, in order, that are in several folds, or in the training and the test part.

    Rows with pseudo-labels are copies of test rows by intent, and spare rows have no part.
    """
    frame = manifest.frame
    if "sequence" not in frame.columns:
        return []
    pseudo = frame["pseudo"].fill_null(False) if "pseudo" in frame.columns else pl.repeat(False, len(frame), eager=True)
    parts = pl.DataFrame({"sequence": frame["sequence"], "split": manifest.split.tolist(), "fold": manifest.fold, "pseudo": pseudo})
    parts = parts.filter(pl.col("sequence").is_not_null() & ~pl.col("pseudo"))
    trains = parts.filter(pl.col("split").is_in(["train", "extra"]))
    several = trains.group_by("sequence").agg(pl.col("fold").n_unique()).filter(pl.col("fold") > 1)["sequence"].to_list()
    tested = set(parts.filter(pl.col("split") == "test")["sequence"].to_list())
    return sorted({*several, *(tested & set(trains.filter(pl.col("split") == "train")["sequence"].to_list()))})


def refuse_divided(manifest: Manifest, split: Split, uses: Sequence[str]) -> None:
    """Refuse folds that divide a sequence where something looks at the neighbours of a row.

    Args:
        manifest: with its folds.
        split: ``allow_leak`` is the stated reason to go on all the same.
        uses: what looks at neighbours, in words; nothing is refused where it is empty.

    Raises:
        DataError: names the sequences, what looks at neighbours, and how to keep sequences whole.
    """
    divided = divided_sequences(manifest) if uses and not (split.allow_leak or "").strip() else []
    if divided:
        raise DataError(
            f"{plural(len(divided), 'sequence')} ({listed(divided)}) {verb(len(divided), 'is', 'are')} in several folds or parts, "
            f"and {listed(uses)} looks at neighbours: neighbours of held-out rows would train",
            need="each sequence in one fold",
            fix="let the sequence be the group (--group with the column of the sequence; no fold or split column that divides it), or "
            "give the reason why figures may leak: --set split.allow_leak='REASON'",
        )


def join_duplicates(manifest: Manifest, duplicates: Mapping[str, str], log: Log, split: Split | None = None) -> Manifest:
    """Return the manifest with groups joined where their rows show the same image; a joined group has its first group's name.

    Duplicates between training and test rows are counted and logged, and join nothing: they cannot be kept apart any more.

    Args:
        manifest: the rows.
        duplicates: row id → name of its set; ids that the manifest lacks are passed over. Sets of a column ``duplicate`` join as well.
        log: receives messages about how many groups were joined.
        split: how folds will be drawn, if they will.

    Raises:
        DataError: the groups were enough for the folds, and joined they are not: the images and the groups are named.
    """
    own = DUPLICATE in manifest.frame.columns and DUPLICATE not in {*manifest.side, *(t.name for t in manifest.targets)}
    column = manifest.frame.select("row_id", pl.col(DUPLICATE).cast(pl.String)).drop_nulls().iter_rows() if own else ()
    if not (set_of := united(duplicates, {row_id: name for row_id, name in column if name})):
        return manifest
    sets = [set_of.get(row_id) for row_id in manifest.row_ids]
    groups, inside = manifest.groups.tolist(), np.isin(manifest.split, ["train", "extra"])
    pseudo = manifest.frame["pseudo"].fill_null(False).to_numpy() if "pseudo" in manifest.frame.columns else np.zeros(len(sets), dtype=bool)
    trained = {name for name, is_in in zip(sets, inside & ~pseudo, strict=True) if name and is_in}
    leaks = trained & {name for name, part in zip(sets, manifest.split, strict=True) if part == "test"}
    if leaks:
        log(
            f"warning: {plural(len(leaks), 'image is', 'images are')} in both the training and the "
            "test part: they make the figures of the test part too good"
        )
    of_group = Unions[str]()
    first: dict[str, str] = {}
    for group, name, is_in in zip(groups, sets, inside, strict=True):
        if name and is_in:
            of_group.join(first.setdefault(name, group), group)
    joined = [f"{group} to {leading}" for group, leading in of_group.joined()]
    if not joined:
        return manifest
    log(
        f"{plural(len(joined), 'group holds', 'groups hold')} duplicates of others and "
        f"{verb(len(joined), 'was', 'were')} joined to them: {listed(joined, 3)}"
    )
    names = [of_group.first(group) if is_in else group for group, is_in in zip(groups, inside, strict=True)]
    if split is not None and split.scheme != "image" and not (manifest.fold[manifest.split == "train"] >= 0).any():
        _refuse_too_few(manifest, sets, names, split)
    return manifest.with_column("group", pl.Series(names, dtype=pl.String))


def _refuse_too_few(manifest: Manifest, sets: Sequence[str | None], joined: Sequence[str], split: Split) -> None:
    """Refuse duplicates that leave fewer groups than folds, where the groups of the data were enough."""
    trains, groups = manifest.split == "train", manifest.groups
    least = split.folds if split.holdout is None else 2
    left = len({name for name, is_in in zip(joined, trains, strict=True) if is_in})
    if left >= least or len(set(groups[trains].tolist())) < least:
        return
    of_set: dict[str, dict[str, str]] = {}
    for row_id, group, name, is_in in zip(manifest.row_ids, groups.tolist(), sets, trains, strict=True):
        if name and is_in:
            of_set.setdefault(name, {}).setdefault(group, row_id)
    widest = max(of_set.values(), key=len)
    raise DataError(
        f"the image {next(iter(widest.values()))} is in {plural(len(widest), 'group')} "
        f"({listed(widest)}); the same images share a fold, and joined "
        f"so the groups are {plural(left, 'group')} for {'a held-out part' if split.holdout is not None else plural(split.folds, 'fold')}",
        need="a group for each fold",
        fix="leave the doubled images out: write their row ids in a text file and give --set data.exclude=FILE",
    )


def fold_table(manifest: Manifest) -> pl.DataFrame:
    """Return how many training rows and groups of each class are in each fold.

    Returns:
        Columns ``target`` (``all`` for the rows as such), ``class``, ``fold``, ``rows``, ``groups``, one row for each class and fold;
        fold −1 are the rows that always train.
    """
    part = manifest.where(manifest.split == "train")
    base = pl.DataFrame({"fold": pl.Series(part.fold, dtype=pl.Int16), "group": pl.Series(part.groups.tolist(), dtype=pl.String)})
    used = base["fold"].unique().sort().to_list()
    out: list[dict[str, object]] = []

    def count(target: str, name: str, rows: np.ndarray) -> None:
        heldout = base.filter(pl.Series(rows)).group_by("fold").agg(pl.len().alias("rows"), pl.col("group").n_unique().alias("groups"))
        found = {fold: (n, g) for fold, n, g in heldout.iter_rows()}
        for fold in used:
            n, g = found.get(fold, (0, 0))
            out.append({"target": target, "class": name, "fold": fold, "rows": n, "groups": g})

    count("all", "", np.ones(len(part), dtype=bool))
    targets = _with_classes(part)
    truths = _truths(part, targets)
    for target in targets:
        truth = truths[target.name]
        if target.kind == "regression":
            count(target.name, "known", ~np.isnan(truth[:, 0]))
        for k, name in enumerate(target.classes if target.kind != "regression" else ()):
            count(target.name, name, np.nan_to_num(truth[:, k]) > 0.5)
    schema = {"target": pl.String, "class": pl.String, "fold": pl.Int16, "rows": pl.Int64, "groups": pl.Int64}
    return pl.DataFrame(out, schema=schema)


def fold_text(manifest: Manifest) -> str:
    """Return :func:`fold_table` as text: a line a class, a column a fold; ``12/3`` is 12 rows in 3 groups."""
    table = fold_table(manifest)
    used = table["fold"].unique().sort().to_list()
    lines = [["", *("always trains" if fold == ALWAYS else f"fold {fold}" for fold in used)]]
    for target in table["target"].unique(maintain_order=True).to_list():
        part = table.filter(pl.col("target") == target)
        classes = part["class"].unique(maintain_order=True).to_list()
        for name in classes[:MOST_CLASSES]:
            cells = part.filter(pl.col("class") == name).sort("fold")
            label = "rows/groups" if target == "all" else f"{target} = {name}" if name != "known" else target
            lines.append([label, *(f"{n}/{g}" for n, g in cells.select("rows", "groups").iter_rows())])
        if len(classes) > MOST_CLASSES:
            lines.append([f"… {plural(len(classes) - MOST_CLASSES, 'more class', 'more classes')} of {target}", *("" for _ in used)])
    return columns.aligned(lines, right=range(1, len(lines[0])))


def _given(fold: np.ndarray, groups: np.ndarray, trains: np.ndarray, log: Log) -> np.ndarray:
    """Take over the data's own folds, once no group crosses them."""
    names = ["always trains" if f == ALWAYS else str(f) for f in fold]
    named = np.array([name if t else None for name, t in zip(names, trains, strict=True)], dtype=object)
    folds.check_groups(named, groups, "fold")
    used = np.unique(fold[trains & (fold >= 0)])
    if len(used) == 1 and (fold[trains] >= 0).all():
        what = f"the fold column holds every training row out in fold {used[0]}"
        raise DataError(what, need="two folds, or rows without one to train on")
    always = int((fold[trains] == ALWAYS).sum())
    log(
        f"folds {listed(used)} are those of the data"
        + (
            f"; {plural(always, 'training row is', 'training rows are')} in none and always {verb(always, 'trains', 'train')}"
            if always
            else ""
        )
    )
    return np.where(trains, fold, ALWAYS).astype(np.int16)


def _drawn(part: Manifest, groups: np.ndarray, split: Split, seed: int) -> np.ndarray:
    targets = [part.target(name) for name in split.stratify] or [t for t in part.targets if t.scored]
    truths = _truths(part, targets)
    if split.holdout is not None:
        heldout = folds.holdout(truths, targets, groups, split.holdout, seed)
        return np.where(heldout, 0, ALWAYS).astype(np.int16)
    return folds.assign(truths, targets, groups, split.folds, seed)


def _follow(fold: np.ndarray, groups: np.ndarray, splits: np.ndarray) -> np.ndarray:
    """Give extra rows the fold that holds their group out."""
    if not (splits == "extra").any():
        return fold
    heldout = {group: f for group, f, part in zip(groups, fold, splits, strict=True) if part == "train" and f >= 0}
    follows = [heldout.get(group, ALWAYS) if part == "extra" else f for group, f, part in zip(groups, fold, splits, strict=True)]
    return np.array(follows, dtype=np.int16)


def _with_classes(manifest: Manifest) -> list[Target]:
    """Return the targets that should be in every fold: identities are in one, as a rule."""
    return [t for t in manifest.targets if not t.is_identity]


def _truths(manifest: Manifest, targets: list[Target]) -> dict[str, np.ndarray]:
    return {t.name: manifest.truth(t.name) for t in targets}
