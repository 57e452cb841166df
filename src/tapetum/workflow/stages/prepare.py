"""Source → manifest of a run: read the layout, check every file, join duplicates to groups, draw the folds; once, then only verified."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from tapetum.core import audited, files, hashes
from tapetum.core.choices import name_of
from tapetum.core.config import Recipe, Schedule
from tapetum.core.errors import DataError, EnvironmentFault, UserError, listed
from tapetum.core.expressions import expression_names
from tapetum.core.runs import Record, Run
from tapetum.core.tables import Manifest
from tapetum.core.unions import united
from tapetum.core.words import plural
from tapetum.data import audit, layouts, split
from tapetum.data.audit.table import found_text
from tapetum.data.choices import MIXES
from tapetum.data.images import sampling_options
from tapetum.data.images.decode import Composition
from tapetum.data.images.form import Form, without_odd
from tapetum.data.lacking import lacking
from tapetum.decide.choices import NEIGHBOURS
from tapetum.learn.choices import answered_targets
from tapetum.learn.models import backbone, weights
from tapetum.learn.training.checks import check_names, check_training
from tapetum.workflow.session import Prepared


def prepare(run: Run, source: Any, recipe: Recipe, record: Record) -> Prepared:
    """Return the rows of a run; the manifest is written at the first start and verified against the files at every later one.

    Raises:
        DataError: images that cannot be read (``on_bad = "refuse"``), or files that changed since the run began.
    """
    if run.manifest_file.exists() and isinstance(source, (str, Path)) and not Path(source).exists():
        fix = "name the place where the data are now; the run goes on where names and contents are the same"
        raise UserError(f"{source} does not exist, and {run.root} was made from other data or from this place before they moved", fix=fix)
    manifest = layouts.read(source, recipe.data, record)
    _check_recipe(recipe, manifest, record)
    manifest, checked, alike = _audited(manifest, recipe, record)
    manifest = _with_hashes(manifest, checked)
    if recipe.data.on_bad == "skip":
        checked = without_odd(checked)
    bad = checked.filter(pl.col("status") != "ok", ~pl.col("row_id").is_in(_excluded(manifest, checked)))
    if not run.manifest_file.exists():
        files.write_parquet(run.file("audit.parquet"), checked)
    if len(bad):
        _refuse_or_warn(bad, len(manifest), recipe, record, run)
    Form.of(checked)  # images that do not go together are refused before anything is made of them
    hashes, how = manifest.frame["sha256"].to_list(), Composition.from_input(recipe.input)
    duplicates = united(audit.exact_duplicates(manifest, hashes, how, record), alike)
    split.refuse_crossing(manifest, duplicates, recipe.split)
    manifest = split.join_duplicates(manifest, duplicates, record, recipe.split)
    if run.manifest_file.exists():
        prepared = _rows(_same(run, manifest), checked, recipe)
    else:
        manifest = split.assign_folds(manifest, recipe.split, recipe.seed, record)
        check_neighbours(manifest, recipe)
        manifest.write(run.manifest_file)
        prepared = _rows(manifest, checked, recipe)
    for warning in lacking(prepared.manifest, prepared.usable):
        record(f"warning: {warning}")
    return prepared


def _audited(manifest: Manifest, recipe: Recipe, record: Record) -> tuple[Manifest, pl.DataFrame, dict[str, str]]:
    """Check the files, and obey the audit that ``data.audit`` names: ``auto`` makes one now, else it is read from its file.

    Returns:
        The manifest as the audit decided, the table of the files, and row id → its set of duplicates.
    """
    how, given = Composition.from_input(recipe.input), recipe.data.audit
    if given is None:
        return manifest, audit.check_files(manifest, how, record), {}
    if given == "auto":
        turned = any(name_of(spec) == "dihedral" for spec in recipe.augment)
        found = audit.examine(manifest, how, record, dihedral=turned)
        record(found_text(found))
        return manifest, found, audit.duplicates(found)
    table = audit.read_decisions(Path(given), manifest, record)
    checked = audit.check_files(manifest, how, record)
    table = audit.as_now(table, checked)
    decided = table.select("row_id", *(c for c in audit.AUDIT_SCHEMA if c in table.columns and c not in checked.columns))
    return audit.apply(manifest, table, record), checked.join(decided, on="row_id", how="left"), audit.duplicates(table)


def prepared_of(run: Run, data: Path | str | None = None) -> Prepared:
    """Return the rows of a finished run from its own files; no image is read. ``data``: where they are now, if they moved."""
    manifest = run.manifest(data)
    return _rows(manifest, audited.read(run, manifest), run.recipe())


def check_neighbours(manifest: Manifest, recipe: Recipe) -> None:
    """Refuse folds that divide a sequence where the recipe's windows or decision steps look at neighbours.

    Raises:
        DataError: names the sequences and what looks at their rows.
    """
    members = recipe.members()
    uses = ["sequence.length > 1"] if any(one.sequence.length > 1 for one in members.values()) else []
    uses += [f"the step {name!r}" for name in map(name_of, recipe.decide.steps) if name in NEIGHBOURS]
    split.refuse_divided(manifest, recipe.split, uses)


def check_recipe(source: Any, recipe: Recipe) -> None:
    """Refuse a recipe that the data or the networks do not fit, without a run: a typo is named as that, not as a changed recipe."""
    record = Record()
    _check_recipe(recipe, layouts.read(source, recipe.data, record), record)


def _check_recipe(recipe: Recipe, manifest: Manifest, record: Record) -> None:
    """Refuse what the targets cannot be trained with (weights, losses, heads, mixing, schedules), before any image is read."""
    if not any(target.scored for target in manifest.targets):
        raise UserError("no target is scored", need="a target to answer beside the identities", fix="name it: --target NAME")
    if not (manifest.weight[manifest.split == "train"] > 0).any():
        fix = "correct the column, or, if it means something else: --set data.weight=none"
        raise DataError("every training row has weight 0, so that none trains", need="weights above 0", fix=fix)
    for member_recipe in recipe.members(off=True).values():
        backbone.check_name(member_recipe.model.backbone)
        heads = answered_targets(member_recipe.model, manifest.targets)  # names are checked also where only the probe is fitted
        check_names(member_recipe.model, member_recipe.loss, heads)
        sampling_options.check(member_recipe.sample, [target for target in heads if target.scored])
    _check_answered(recipe, manifest)
    for member_recipe in recipe.members().values():
        weights.find(member_recipe.model.backbone, member_recipe.model.weights)
        heads = answered_targets(member_recipe.model, manifest.targets)
        if _trains(member_recipe):
            for remark in check_training(member_recipe, heads, MIXES):
                record(remark)
        _check_sequence(member_recipe, manifest, record)
        if recipe.decide.pipeline == "refit" and any(s.name == "plateau" for s in _schedules(member_recipe)):
            raise UserError(
                "a refit holds no rows out, and schedule 'plateau' follows the loss on them",
                fix="set decide.pipeline = 'folds', or another schedule",
            )
    if recipe.predict.saliency == "integrated" and importlib.util.find_spec("captum") is None:
        raise EnvironmentFault(
            "integrated gradients need captum, which is not installed",
            fix="pip install 'tapetum[explain]', or set predict.saliency = 'gradient' or 'gradcam'",
        )


def _check_answered(recipe: Recipe, manifest: Manifest) -> None:
    """Refuse members that train and leave a target without an answer, before anything is trained."""
    training = [one for one in recipe.members().values() if _trains(one)]
    scored = {t.name: t for t in manifest.targets if t.scored}
    answered = {t.name for one in training for t in answered_targets(one.model, manifest.targets)}
    parts = {name: expression_names(t.expression) for name, t in scored.items() if t.expression is not None}
    if not training:
        return
    for name, target in scored.items():
        lacking_ = [part for part in parts.get(name, (name,)) if part not in answered and name not in answered]
        if lacking_:
            of = f", which {name!r} is composed of" if target.expression is not None else ""
            raise UserError(
                f"no member answers the target {lacking_[0]!r}{of}",
                need="each target in model.targets of one member or more (empty: all)",
                fix=f"add {lacking_[0]!r} to a member's model.targets, or leave it out of the targets of the data",
            )


def _trains(member_recipe: Recipe) -> bool:
    return bool(member_recipe.stages or member_recipe.train.epochs)


def _check_sequence(member_recipe: Recipe, manifest: Manifest, record: Record) -> None:
    """Refuse a sequence model that these rows cannot feed, or that cannot be trained; log sequences that are irregular in time."""
    from tapetum.learn import window_rows, windows

    windows.check(member_recipe)
    how = member_recipe.sequence
    if how.length > 1 and how.target == "all" and name_of(member_recipe.sample) != "shuffle":
        raise UserError(
            f"sample {name_of(member_recipe.sample)!r} with sequence.target 'all': every row of a window trains, drawn or not",
            need="sample = 'shuffle'",
            fix="or set sequence.target = 'last' or 'centre', where only the drawn rows are answered",
        )
    if how.length > 1 and _trains(member_recipe):
        step, odd = window_rows.check(manifest, how.length)
        if odd:
            record(f"{plural(len(odd), 'sequence has', 'sequences have')} rows closer than half a step of {step:g}: {listed(odd)}. "
                   "Their neighbours are counted there, and not measured")  # fmt: skip


def _schedules(member_recipe: Recipe) -> list[Schedule]:
    return [stage.schedule or member_recipe.schedule for stage in member_recipe.stages] or [member_recipe.schedule]


def _excluded(manifest: Manifest, checked: pl.DataFrame) -> list[str]:
    """Return the rows that the audit's decisions leave out, so that it does not matter whether they can be read."""
    if "decision" not in checked.columns:
        return []
    spare = [row_id for row_id, split in zip(manifest.row_ids, manifest.split.tolist(), strict=True) if split == "spare"]
    return checked.filter(pl.col("row_id").is_in(spare), pl.col("decision") == "exclude")["row_id"].to_list()


def _with_hashes(manifest: Manifest, checked: pl.DataFrame) -> Manifest:
    hashes = dict(zip(checked["row_id"].to_list(), checked["sha256"].to_list(), strict=True))
    return manifest.with_column("sha256", pl.Series([hashes[r] for r in manifest.row_ids], dtype=pl.String))


def _refuse_or_warn(bad: pl.DataFrame, rows: int, recipe: Recipe, record: Record, run: Run) -> None:
    named = [f"{row['row_id']} ({row['reason']})" for row in bad.iter_rows(named=True)]
    what = f"{len(bad)} of {plural(rows, 'image')} cannot be read: {listed(named, 5)}"
    if recipe.data.on_bad == "refuse":
        listing = f". All are in {run.file('audit.parquet')}" if len(bad) > 5 else ""
        raise DataError(what + listing, fix="repair or remove them, or go on without them: --on-bad skip")
    record(f"warning: {what}. They stay in every table as missing (all are in {run.file('audit.parquet').name})")


def _same(run: Run, manifest: Manifest) -> Manifest:
    kept = run.manifest(manifest.root)
    if kept.content_hash() == manifest.content_hash():
        if os.path.abspath(run.manifest().root) != os.path.abspath(kept.root):
            with hashes.renewed(run.root, run.manifest_file.name):
                kept.write(run.manifest_file)  # the data moved, and every later command finds them
        return kept
    was = dict(zip(kept.row_ids, kept.frame["sha256"].to_list(), strict=True))
    now = dict(zip(manifest.row_ids, manifest.frame["sha256"].to_list(), strict=True))
    changed = [r for r in was if r in now and was[r] != now[r]]
    gone, new = [r for r in was if r not in now], [r for r in now if r not in was]
    parts = [(changed, "have other content"), (gone, "are gone"), (new, "are new")]
    what = (
        "; ".join(f"{plural(len(rows), 'row')} {words}: {listed(rows, 3)}" for rows, words in parts if rows) or "labels or columns changed"
    )
    raise DataError(f"{run.root} was made from other data ({what})", fix="put the data back as it was, or choose another run with -o")


def _rows(manifest: Manifest, checked: pl.DataFrame, recipe: Recipe) -> Prepared:
    checked = without_odd(checked)  # a later audit of the run finds such files whole
    reasons = {row["row_id"]: row["reason"] or "" for row in checked.filter(pl.col("status") != "ok").iter_rows(named=True)}
    numbers = frozenset(i for i, row_id in enumerate(manifest.row_ids) if row_id in reasons)
    part = manifest.split
    known = np.zeros(len(manifest), dtype=bool)
    for target in manifest.targets:
        known |= ~np.isnan(manifest.truth(target.name)).any(axis=1)
    usable = known & ~np.isin(np.arange(len(manifest)), list(numbers))
    train = np.flatnonzero((part == "train") & usable & (manifest.fold >= -1))
    extra, test = np.flatnonzero((part == "extra") & usable), np.flatnonzero(part == "test")
    split_ = recipe.split
    form = Form.of(checked)
    return Prepared(manifest, numbers, train, extra, test, form, reasons, split_.train_rows, recipe.seed, split_.heldout_trains)
