"""Functions that look at images and labels before anything is trained: folds, show, audit; and simulate, which makes some."""

from __future__ import annotations

import functools
import inspect
from pathlib import Path
from typing import Any

from tapetum.api.outputs import writes
from tapetum.api.recipe import recipe_of
from tapetum.api.results import Result
from tapetum.core import table_files
from tapetum.core.config import Loaded
from tapetum.core.errors import UserError, for_python
from tapetum.core.options import several
from tapetum.core.own_files import refuse_own
from tapetum.core.places import refuse_nowhere
from tapetum.core.progress import Log
from tapetum.core.registry import find_systems
from tapetum.core.runs import Record, Run
from tapetum.core.words import plural


@for_python
@writes(out="file")
def split(
    data: Any, *, recipe: Loaded | str | Path | None = None, out: Path | str | None = None, log: Log | None = None, **options: Any
) -> str:
    """Draw folds and return their table as text; see :func:`folds`."""
    return str(folds(data, recipe=recipe, out=out, log=log, **options)["table"])


@for_python
@writes(out="file")
def folds(
    data: Any, *, recipe: Loaded | str | Path | None = None, out: Path | str | None = None, log: Log | None = None, **options: Any
) -> Result:
    """Draw folds; write the manifest with its folds where ``out`` says.

    Args:
        data: as for :func:`~tapetum.api.fit`.
        recipe: as for :func:`~tapetum.api.fit`.
        out: a .parquet or .csv file; None writes nothing.
        log: told how the data are read.
        options: as for :func:`~tapetum.api.fit` (``target``, ``group``, ``folds``, …), and recipe keys with ``__`` for dots.

    Returns:
        ``{"table", "folds", "out"}``: text, the same as rows, and the file that was written, or None.
    """
    refuse_nowhere(data)
    loaded = recipe_of(recipe, options).recipe
    from tapetum.data import audit as audits
    from tapetum.data import layouts
    from tapetum.data import split as splitting
    from tapetum.data.images.decode import Composition
    from tapetum.data.lacking import lacking

    record = Record(log)
    kind = None if out is None else table_files.ending(out)
    refuse_own(out, data)
    manifest = layouts.read(data, loaded.data, record)
    duplicates = audits.exact_duplicates(manifest, audits.hashes_of(manifest), Composition.from_input(loaded.input), record)
    manifest = splitting.assign_folds(manifest, loaded.split, loaded.seed, record, duplicates=duplicates)
    if loaded.data.audit is not None:
        record("warning: data.audit is not obeyed here: its exclusions, labels and groups hold when fit draws folds itself")
    for warning in lacking(manifest):
        record(f"warning: {warning}")
    if out is not None and kind == ".parquet":
        manifest.write(Path(out))
    elif out is not None:
        layouts.write(manifest, out, "table", record)
        record(f"train on it with: tapetum fit {out} {layouts.flags(manifest)}")
    rows = splitting.fold_table(manifest).to_dicts()
    found = {"table": splitting.fold_text(manifest), "folds": rows, "out": None if out is None else str(out)}
    return Result(found, rows=rows, path=out)


@for_python
@writes(out="file")
def show(
    data: Any,
    out: Path | str,
    *,
    recipe: Loaded | str | Path | None = None,
    rows: int = 8,
    draws: int = 4,
    member: str | None = None,
    log: Log | None = None,
    **options: Any,
) -> Result:
    """Draw batches as training would see them to a PNG: originals, augmented and mixed images, channels, labels.

    Args:
        data: as for :func:`fit`.
        out: a .png file.
        recipe: from :func:`load_recipe`, a name, a file; None for the defaults.
        rows: images shown.
        draws: times that each is augmented.
        member: of a recipe of several members; None: the first.
        log: told what the data hold.
        options: as for :func:`~tapetum.api.fit`.

    Returns:
        ``{"out", "rows", "channels"}``.
    """
    refuse_nowhere(data)
    loaded = recipe_of(recipe, options).recipe
    from tapetum.workflow.commands.show import show_batches

    found = show_batches(data, out, loaded, Record(log), rows=rows, draws=draws, member=member)
    return Result(found, lines=[f"{plural(found['rows'], 'image')} of {plural(found['channels'], 'channel')}"], path=found["out"])


@for_python
@writes(out="file")
def audit(
    source: Any,
    out: Path | str | None = None,
    *,
    recipe: Loaded | str | Path | None = None,
    target: Any = None,
    data: Path | str | None = None,
    channels: bool = False,
    log: Log | None = None,
    **options: Any,
) -> Result:
    """Look for damaged, gray, doubled and wrongly labelled images; see :func:`tapetum.workflow.commands.audit.audit_source`.

    Args:
        source: data as for :func:`~tapetum.api.fit`, or a run, whose out-of-fold answers then judge the labels.
        out: the file, ``.parquet`` or ``.csv``.
        recipe: how images are composed; as for :func:`~tapetum.api.fit`.
        target: of data: as for :func:`~tapetum.api.fit`; of a run: whose labels are judged.
        data: of a run: where its data are now, if they moved.
        channels: whether exchanged channels are also looked for by features; each image goes through the backbone twice.
        log: told what was found.
        options: as for :func:`~tapetum.api.fit`.

    Returns:
        ``{"out", "rows", "suspects", "findings", "data", "table"}``, and the findings as a data frame, a row an image.
    """
    refuse_nowhere(source, data)
    of_run = Run.at(source) is not None
    if isinstance(recipe, Loaded):  # read with the target already
        judged, given = target, options
    else:
        judged, given = (target, options) if of_run else (None, options | {"target": target})
    loaded = recipe_of(recipe, given)
    from tapetum.workflow.commands.audit import audit_source

    judged = None if judged is None or not of_run else str(several(judged)[0])
    found = audit_source(source, out, loaded, Record(log), target=judged, data=data, channels=channels)
    return Result(found, rows=functools.partial(table_files.read_any, found["out"], escaped=True), path=found["out"])


@for_python
@writes(out="folder")
def simulate(
    name: str,
    out: Path | str,
    *,
    size: str | int = "small",
    px: int | None = None,
    seed: int = 0,
    zip: bool = False,
    edf: bool = False,
    log: Log | None = None,
) -> dict[str, Any]:
    """Write synthetic data in the exact layout of a reference system; the labels of test images are in a file outside it.

    Args:
        name: ``dogs``, ``hpa``, ``mask``, ``sleep`` or a system of another package.
        out: a new folder, or one that was simulated before.
        size: ``small``, ``full``, or how many images.
        px: typical side of an image; None: the simulator's own.
        seed: the same seed gives the same bytes.
        zip: archives instead of folders.
        edf: of ``sleep``: the same nights as EDF+ recordings too.
        log: told of progress.
    """
    from tapetum.core.choices import Choice, pick

    simulators = {system.name: Choice(system.simulator) for system in find_systems().values() if system.simulator is not None}
    choice, _ = pick(name, simulators, "simulator")
    write = choice.load()
    known = inspect.signature(write).parameters
    if zip and "zip" not in known:
        raise UserError(f"the simulator {name!r} writes folders alone", fix="leave out --zip")
    if edf and "edf" not in known:
        raise UserError(f"the simulator {name!r} writes images alone", fix="leave out --edf")
    if px is not None and "px" not in known:
        raise UserError(f"the simulator {name!r} writes images of one size, that of the challenge", fix="leave out --px")
    if px is None and "px" in known and known["px"].default is inspect.Parameter.empty:
        px = 128
    wished = {**({"zip": True} if zip else {}), **({"edf": True} if edf else {}), **({} if px is None else {"px": px})}
    done: dict[str, Any] = write(out, size=size, seed=seed, log=log or (lambda _: None), **wished)
    return done
