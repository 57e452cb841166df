"""The Python API: one function for each command. Heavy modules are imported inside the function that needs them."""

from __future__ import annotations

import inspect
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import Any

from tapetum.core import config, files, table_files
from tapetum.core.config import Loaded
from tapetum.core.errors import DataError, KindError, UserError, listed
from tapetum.core.progress import Log
from tapetum.core.registry import find_recipes, find_systems, system_with
from tapetum.core.runs import Record, Run


def load_recipe(
    recipe: str | Path | None = None,
    *,
    over: Sequence[str | Path] = (),
    profile: str | None = None,
    preset: str | None = None,
    flags: Mapping[str, Any] | None = None,
    sets: Sequence[str] = (),
) -> Loaded:
    """Return a checked recipe with the origin of each value; see :func:`tapetum.core.config.load`."""
    from tapetum.workflow.choices import ALL

    return config.load(recipe, over=over, profile=profile, preset=preset, flags=flags, sets=sets, choices=ALL)


def fit(
    data: Any,
    out: Path | str,
    *,
    recipe: Loaded | str | Path | None = None,
    budget: str | None = None,
    plan: Path | str | None = None,
    log: Log | None = None,
    command: str = "tapetum.api.fit(…)",
    **sets: Any,
) -> dict[str, Any]:
    """Labelled images in, a run out: check → split → features → probe → training → decisions → pipeline → report.

    Args:
        data: a folder of class folders, a table, a layout's folder, or a polars or pandas frame.
        out: the run's folder; the same call goes on where it stopped.
        recipe: from :func:`load_recipe`, a name, a file; None for the defaults.
        budget: wall time for all of it, as ``10m``.
        plan: plan.json of another run, repeated here.
        log: told what happens.
        command: shown in the report.
        sets: recipe keys with ``__`` for dots, as ``data__targets=["breed"]``.

    Returns:
        ``{"run", "report", "pipeline", "table", "figures", "choice"}``.
    """
    began = time.monotonic()  # the budget counts the imports, too
    from tapetum.workflow.commands.fit import fit as chain

    return chain(data, out, _recipe(recipe, sets), budget=budget, plan=plan, log=log, command=command, began=began)


def find_rate(
    data: Any,
    out: Path | str,
    *,
    recipe: Loaded | str | Path | None = None,
    member: str | None = None,
    repeats: int = 3,
    steps: int = 100,
    low: float = 1e-7,
    high: float = 10.0,
    log: Log | None = None,
    command: str = "tapetum.api.find_rate(…)",
    **sets: Any,
) -> dict[str, Any]:
    """Test which learning rate suits, from where training would start; see :func:`tapetum.workflow.commands.find_rate.find_rate`.

    Args:
        data: as for :func:`fit`.
        out: a run folder of its own.
        recipe: as for :func:`fit`.
        member: which one, where there are several.
        repeats: tests with other batches each.
        steps: of one test.
        low: first rate.
        high: last rate.
        log: told what happens.
        command: kept in the record.
        sets: recipe keys with ``__`` for dots.
    """
    from tapetum.workflow.commands.find_rate import RangeTest
    from tapetum.workflow.commands.find_rate import find_rate as find

    test = RangeTest(repeats, steps, low, high)
    return find(data, out, _recipe(recipe, sets), member=member, test=test, log=log, command=command)


def tune(
    data: Any,
    out: Path | str,
    *,
    recipe: Loaded | str | Path | None = None,
    trials: int | None = None,
    budget: str | None = None,
    log: Log | None = None,
    command: str = "tapetum.api.tune(…)",
    **sets: Any,
) -> dict[str, Any]:
    """Search the recipe's ``tune.space``, or go on with a search; see :func:`tapetum.workflow.commands.tune.tune`.

    Args:
        data: as for :func:`fit`.
        out: a run folder of its own.
        recipe: as for :func:`fit`.
        trials: how many in all.
        budget: wall time for this start.
        log: told what happens.
        command: kept in the record.
        sets: recipe keys with ``__`` for dots.
    """
    from tapetum.workflow.commands.tune import tune as search

    return search(data, out, _recipe(recipe, sets), trials_=trials, budget=budget, log=log, command=command)


def ablate(
    data: Any,
    out: Path | str,
    *,
    recipe: Loaded | str | Path | None = None,
    pieces: Sequence[str] = (),
    seeds: Sequence[int] = (0,),
    log: Log | None = None,
    command: str = "tapetum.api.ablate(…)",
    **sets: Any,
) -> dict[str, Any]:
    """Switch off one piece of a recipe at a time and measure what it is worth; see :func:`tapetum.workflow.commands.ablate.ablate`.

    Args:
        data: as for :func:`fit`.
        out: a run folder of its own.
        recipe: as for :func:`fit`.
        pieces: their names; empty takes all that the recipe uses.
        seeds: of training.
        log: told what happens.
        command: kept in the record.
        sets: recipe keys with ``__`` for dots.
    """
    from tapetum.workflow.commands.ablate import ablate as measure

    return measure(data, out, _recipe(recipe, sets), pieces=pieces, seeds=seeds, log=log, command=command)


def split(data: Any, *, recipe: Loaded, out: Path | None = None, log: Log | None = None) -> str:
    """Draw folds and return their table as text; see :func:`folds`."""
    return str(folds(data, recipe=recipe, out=out, log=log)["table"])


def folds(data: Any, *, recipe: Loaded, out: Path | None = None, log: Log | None = None) -> dict[str, Any]:
    """Draw folds; write the manifest with its folds where ``out`` says.

    Returns:
        ``{"table", "folds", "out"}``: text, the same as rows, and the file that was written, or None.
    """
    from tapetum.data import layouts
    from tapetum.data import split as splitting
    from tapetum.data.lacking import lacking

    record = Record(log)
    kind = None if out is None else table_files.ending(out)
    files.refuse_own(out, data)
    manifest = layouts.read(data, recipe.recipe.data, record)
    manifest = splitting.assign_folds(manifest, recipe.recipe.split, recipe.recipe.seed, record)
    if recipe.recipe.data.audit is not None:
        record("warning: data.audit is not obeyed here: its exclusions, labels and groups hold when fit draws folds itself")
    for warning in lacking(manifest):
        record(f"warning: {warning}")
    if out is not None and kind == ".parquet":
        manifest.write(out)
    elif out is not None:
        layouts.write(manifest, out, "table", record)
        record(f"train on it with: tapetum fit {out} {layouts.flags(manifest)}")
    rows = splitting.fold_table(manifest).to_dicts()
    return {"table": splitting.fold_text(manifest), "folds": rows, "out": None if out is None else str(out)}


def show(
    data: Any,
    out: Path | str,
    *,
    recipe: Loaded | str | Path | None = None,
    rows: int = 8,
    draws: int = 4,
    member: str | None = None,
    log: Log | None = None,
    **sets: Any,
) -> dict[str, Any]:
    """Draw batches as training would see them to a PNG: originals, augmented and mixed images, channels, labels.

    Args:
        data: as for :func:`fit`.
        out: a .png file.
        recipe: from :func:`load_recipe`, a name, a file; None for the defaults.
        rows: images shown.
        draws: times that each is augmented.
        member: of a recipe of several members; None: the first.
        log: told what the data hold.
        sets: recipe keys with ``__`` for dots.

    Returns:
        ``{"out", "rows", "channels"}``.
    """
    from tapetum.workflow.commands.show import show_batches

    return show_batches(data, out, _recipe(recipe, sets).recipe, Record(log), rows=rows, draws=draws, member=member)


def _sources(images: Any) -> list[Any]:
    """Return files, folders, archives, tables and frames as a list.

    Raises:
        KindError: images at hand, or something else without a row id.
    """
    from tapetum.data.layouts import is_frame

    def alone(one: Any) -> bool:
        return isinstance(one, (str, os.PathLike)) or is_frame(one) or hasattr(one, "collect")

    listing = isinstance(images, Iterable) and not isinstance(images, (bytes, bytearray, Mapping, Set)) and not hasattr(images, "read")
    items = [images] if alone(images) or not listing else list(images)
    items = [Path(one) if isinstance(one, os.PathLike) else one for one in items]
    odd = next((one for one in items if not alone(one)), None)
    if odd is not None or "" in [one for one in items if isinstance(one, str)]:
        what = "a blank path" if odd is None else f"{type(odd).__name__} values"
        need = "files, folders, archives, tables of paths or frames of them"
        raise KindError(f"{what} cannot be predicted here", need=need, fix="images at hand: tapetum.load(PIPELINE).predict(IMAGES)")
    return items


def predict(
    pipeline: Any, images: Any, out: Path | str | None = None, *, top: int = 5, log: Log | None = None, **declared: Any
) -> dict[str, Any]:
    """Predict images with a frozen pipeline, and write a Predictions table (``.parquet``) or labels and probabilities (``.csv``).

    Args:
        pipeline: its folder, a run, or what :func:`tapetum.load` returned.
        images: files, folders, archives, tables of paths, polars or pandas frames, or one of them.
        out: the file to write; None returns the answers.
        top: without ``out``: the most classes listed for a row.
        log: told how the images are read, of progress, and which cannot be read.
        declared: ``path``, ``id``, ``group``, ``sequence`` and ``position`` name columns of the table (``path`` also a template),
            ``layout`` says how the data are laid out, and ``on_bad = "refuse"`` refuses images that cannot be read.

    Returns:
        ``{"rows", "missing"}``, with ``out`` or with ``answers`` (:func:`tapetum.core.answers.entries`) and ``table`` (their text).

    Raises:
        DataError: images that cannot be read, under ``on_bad = "refuse"``.
    """
    from tapetum.core import answers
    from tapetum.pipeline import Pipeline

    place = None if out is None else Path(out)
    kind = None if place is None else table_files.ending(place)
    if top < 1:
        raise UserError(f"top is {top}", need="how many classes to list, 1 or more")
    record = Record(log)
    sources = _sources(images)
    files.refuse_own(place, *sources)
    loaded = pipeline if isinstance(pipeline, Pipeline) else Pipeline.load(pipeline)
    manifest = loaded.read(sources, record, **declared)
    answered = loaded.answer(manifest, record, record.share("predicting"))
    first = next(iter(answered.values()))
    missing = int((~first.ok).sum())
    if missing and declared.get("on_bad") == "refuse":
        named = listed(f"{manifest.row_ids[row]} ({why})" for row, why in sorted(loaded.problems.items()))
        raise DataError(
            f"{missing} of {len(manifest)} images cannot be read: {named}",
            fix="repair or remove them, or go on without them: --on-bad skip",
        )
    record(f"{len(manifest):,} images predicted" + (f", {missing:,} of them missing" if missing else ""))
    counts = {"rows": len(first.row_ids), "missing": missing}
    if place is None:
        table = answers.text_of(answered, loaded.problems, top)
        return {"table": table, "answers": answers.entries(answered, loaded.problems, top), **counts}
    if kind == ".csv":
        files.write_csv(place, answers.flat_table(answered))
    else:
        answers.table_of(answered, loaded.spec).write(place)
    return {"out": str(place), **counts}


def evaluate(
    pipeline: Any,
    data: Any,
    out: Path | str | None = None,
    *,
    target: str | Sequence[str] = (),
    split: str | None = None,
    on_bad: str | None = None,
    report: Path | str | None = None,
    log: Log | None = None,
    **declared: Any,
) -> dict[str, Any]:
    """Score a frozen pipeline on labelled images: figures with intervals, tables by class, confusion; known rows stand apart.

    Rows whose content is in the pipeline's list of training images are named and scored apart, as in-sample.

    Args:
        pipeline: its folder, a run, or what :func:`tapetum.load` returned.
        data: a folder of class folders, a table, an archive, or a polars or pandas frame.
        out: a folder for ``predictions.parquet`` and ``metrics.json``, or a ``.parquet`` or ``.csv`` file of predictions.
        target: which targets; ``TARGET=COLUMN`` where the label column has another name.
        split: the part of the data to take, as ``test``; None takes every row.
        on_bad: ``refuse`` refuses images that cannot be read; ``skip`` counts rows of a class unknown to the pipeline as unlabelled.
        report: an HTML file to write.
        log: told how the data are read and what is missing, unknown or known.
        declared: ``path``, ``id``, ``group``, ``sequence``, ``position`` and ``layout``, as for :func:`predict`.

    Returns:
        ``{"table", "details", "headline", "counts", "figures", "per_class", "confusion", "marks", "known", "problems"}``, and
        ``out`` and ``report`` where they were written.

    Raises:
        UserError: no column holds the truth.
        DataError: a class that the pipeline does not know.
    """
    from tapetum.pipeline import Pipeline
    from tapetum.workflow.commands import evaluate as evaluation
    from tapetum.workflow.commands import evaluation_files

    places = [None if place is None else Path(place) for place in (out, report)]
    evaluation_files.check_place(*places)
    files.refuse_own(places[0], data)
    loaded = pipeline if isinstance(pipeline, Pipeline) else Pipeline.load(pipeline)
    names = [target] if isinstance(target, str) else list(target)
    found = evaluation.evaluate(loaded, data, Record(log), target=names, split=split, on_bad=on_bad, **declared)
    written = evaluation_files.write_files(found, loaded, *places)
    return {"table": evaluation.summary(found), "details": evaluation.details(found), **found.figures, **written}


def submit(
    source: Path | str,
    template: Path | str,
    out: Path | str,
    *,
    target: str | None = None,
    fill: str = "none",
    id: str | None = None,
    column: str | None = None,
    write: str = "auto",
    positive: str | None = None,
    separator: str | None = None,
    log: Log | None = None,
) -> dict[str, Any]:
    """Write a submission with exactly a template's ids, order and columns; its columns and cells say how answers are written.

    Args:
        source: a run (its test rows, else its out-of-fold rows) or a Predictions file.
        template: the sample submission.
        out: the file to write.
        target: which one, where there are several.
        fill: none (refuse), prior, or a class (a regression: a number), for ids without a prediction and rows without an answer.
        id: the template's column of ids, where it is not the one that holds the predicted ids.
        column: to fill, where the template has several.
        write: auto (as the template's columns and cells say), labels, probabilities or zero-one.
        positive: the class whose probability a single numeric column takes.
        separator: between several labels of a cell; None: as in the template's cells, else as in the data.
        log: told what was written and what was filled.
    """
    from tapetum.data.layouts.submission_template import Wish
    from tapetum.workflow.commands import submit as command

    files.refuse_own(out, source, template)
    wish = Wish(column, write, positive, separator, ids=id)
    return command.submit(source, template, out, target=target, fill=fill, wish=wish, log=Record(log))


def report(run: Path | str, out: Path | str | None = None, *, data: Path | str | None = None) -> str:
    """Write a run's report again; return its path. ``data`` says where the run's data are now, if they moved."""
    from tapetum.show.report import write_report

    return str(write_report(Run.existing(run).root, None if out is None else Path(out), data=None if data is None else Path(data)))


def recipes() -> dict[str, str]:
    """Return the recipes that have a name, and the first line of each."""
    found = find_recipes()
    return {name: path.read_text(encoding="utf-8").splitlines()[0].removeprefix("# ") for name, path in found.items()}


def explain(
    recipe: str | Path | None = None, *, over: Sequence[str | Path] = (), profile: str | None = None, sets: Sequence[str] = ()
) -> Iterator[tuple[str, Any, str]]:
    """Yield (key, value, origin) of every value of a recipe, or of a run's."""
    if recipe is not None and Path(recipe).is_dir():
        for row in files.read_json(Run.existing(recipe).file("origin.json")):
            yield row["key"], row["value"], row["origin"]
        return
    yield from load_recipe(recipe, over=over, profile=profile, sets=sets).explain()


def doctor() -> dict[str, Any]:
    """Return devices, precisions, versions and which weights are at hand."""
    from tapetum.learn.doctor import doctor as look

    return look()


def job(spec: Path | str, *, log: Log | None = None) -> dict[str, Any]:
    """Run one job from its spec.json; return its final state."""
    from tapetum.learn.training.job import run

    return run(spec, log=log)


def _recipe(recipe: Loaded | str | Path | None, sets: Mapping[str, Any]) -> Loaded:
    """Return a loaded recipe; single keys (``__`` for dots) can only be set while it is loaded."""
    if not isinstance(recipe, Loaded):
        return load_recipe(recipe, flags={key.replace("__", "."): value for key, value in sets.items()})
    if sets:
        raise UserError("a loaded recipe and single keys were given", fix="set the keys when loading the recipe")
    return recipe


def decide(
    source: Path | str | Sequence[Path | str],
    *,
    manifest: Path | str | None = None,
    target: str | None = None,
    out: Path | str | None = None,
    sets: Sequence[str] = (),
    classes: Sequence[str] | None = None,
    strict: bool = False,
    data: Path | str | None = None,
    log: Log | None = None,
) -> dict[str, Any]:
    """Decide a run again, or anybody's predictions over a manifest; every step is cross-fitted.

    Args:
        source: a run; or files of predictions (``.parquet``, ``.csv``, ``.npy`` with ``.ids.txt``), a member each.
        manifest: for files: truth, folds, groups (``tapetum split … -o manifest.parquet`` makes one).
        target: for files: which target.
        out: for files: the folder to write.
        sets: ``decide.key=value``.
        classes: for arrays: the order of their columns.
        strict: refuse where a member lacks rows that another holds.
        data: of a run: where its data are now, if they moved.
        log: told the notes.
    """
    from tapetum.workflow.commands.decide import decide_again, decide_tables, manifest_of

    places = [Path(p) for p in ([source] if isinstance(source, (str, Path)) else source)]
    if len(places) == 1 and places[0].is_dir():
        return decide_again(places[0], sets, data=data, log=log)
    if data is not None:
        raise UserError("--data was given with predictions from files", need="a run, whose data moved")
    if manifest is None or out is None:
        raise UserError("predictions from files need a manifest and a place to write", fix="give --manifest M and -o FOLDER")
    settings = load_recipe(sets=sets).recipe
    table = manifest_of(Path(manifest), target, Record(log))
    name = table.targets[0].name if target is None or Path(manifest).suffix.lower() != ".parquet" else target
    return decide_tables(
        {place.stem: place for place in places}, table, name, settings.decide, Path(out), Record(log), classes=classes, strict=strict
    )


def compare(
    named: Mapping[str, Path | str],
    *,
    metric: str = "auto",
    target: str | None = None,
    manifest: Path | str | None = None,
    reference: str | None = None,
) -> dict[str, Any]:
    """Compare runs or Predictions files pair by pair; see :func:`tapetum.workflow.commands.compare.compare_sources`."""
    from tapetum.workflow.commands.compare import compare_sources

    places = {name: Path(place) for name, place in named.items()}
    where = None if manifest is None else Path(manifest)
    return compare_sources(places, metric=metric, target=target, manifest=where, reference=reference)


def compare_views(run: Path | str, views: str = "recipe", *, data: Path | str | None = None, log: Log | None = None) -> dict[str, Any]:
    """Compare the plain image with ways of reducing test-time views on a run's held-out rows; nothing of the run changes.

    Args:
        run: with fine-tuned members.
        views: ``recipe`` for the recipe's, or the name of others, as ``dihedral``.
        data: where the run's data are now, if they moved.
        log: told what is answered.
    """
    from tapetum.workflow.commands.compare import compare_views as compared

    return compared(Run.existing(run), views, Record(log), data)


def leaderboard(run: Path | str, *, metric: str = "auto", target: str | None = None) -> dict[str, Any]:
    """Rank a run's members and decisions on common rows."""
    from tapetum.workflow.commands.leaderboard import board_of

    return board_of(Run.existing(run), metric=metric, target=target)


def conformal(
    run: Path | str, *, coverage: float = 0.9, method: str = "lac", by_class: bool = False, target: str | None = None, review: int = 100
) -> dict[str, Any]:
    """Write a run's conformal sets, calibration and review list; see :func:`tapetum.workflow.commands.conformal.sets_of`."""
    from tapetum.workflow.commands.conformal import sets_of

    return sets_of(Run.existing(run), coverage=coverage, method=method, by_class=by_class, target=target, most=review)


def ledger(run: Path | str, *, score: tuple[str, float] | None = None, board: str = "outside") -> dict[str, Any]:
    """Return a run's submissions; enter an outside score first where ``score = (file or hash, value)`` is given."""
    from tapetum.workflow.commands.ledger import ledger_of

    return ledger_of(Run.existing(run), score=score, board=board)


def simulate(
    name: str,
    out: Path | str,
    *,
    size: str | int = "small",
    px: int | None = None,
    seed: int = 0,
    zip: bool = False,
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
        log: told of progress.
    """
    from tapetum.core.choices import Choice, pick

    simulators = {system.name: Choice(system.simulator) for system in find_systems().values() if system.simulator is not None}
    choice, _ = pick(name, simulators, "simulator")
    write = choice.load()
    known = inspect.signature(write).parameters
    if zip and "zip" not in known:
        raise UserError(f"the simulator {name!r} writes folders alone", fix="leave out --zip")
    if px is not None and "px" not in known:
        raise UserError(f"the simulator {name!r} writes images of one size, that of the challenge", fix="leave out --px")
    if px is None and "px" in known and known["px"].default is inspect.Parameter.empty:
        px = 128
    wished = {**({"zip": True} if zip else {}), **({} if px is None else {"px": px})}
    done: dict[str, Any] = write(out, size=size, seed=seed, log=log or (lambda _: None), **wished)
    return done


def audit(
    source: Any,
    out: Path | str | None = None,
    *,
    recipe: Loaded | str | Path | None = None,
    target: str | None = None,
    data: Path | str | None = None,
    log: Log | None = None,
    **sets: Any,
) -> dict[str, Any]:
    """Look for damaged, gray, doubled and wrongly labelled images; see :func:`tapetum.workflow.commands.audit.audit_source`.

    Args:
        source: data as for :func:`fit`, or a run, whose out-of-fold answers then judge the labels.
        out: the Parquet file.
        recipe: how images are composed; as for :func:`fit`.
        target: whose labels are judged.
        data: of a run: where its data are now, if they moved.
        log: told what was found.
        sets: recipe keys with ``__`` for dots.
    """
    from tapetum.workflow.commands.audit import audit_source

    return audit_source(source, out, _recipe(recipe, sets), Record(log), target=target, data=data)


def reproduce(
    name: str,
    out: Path | str,
    *,
    data: Path | str | None = None,
    simulated: Mapping[str, Any] | None = None,
    size: str | int = "small",
    profile: str | None = None,
    sets: Mapping[str, Any] | None = None,
    log: Log | None = None,
    command: str = "tapetum.api.reproduce(…)",
) -> dict[str, Any]:
    """Run a reference system from its layout to its submission; see :func:`tapetum.systems.reproduce.reproduce`.

    Args:
        name: ``dogs``, ``hpa``, one of their ``-plus``, or a recipe of another package's system.
        out: the run's folder.
        data: the data in their layout; None: simulate data of ``size`` beside the run.
        simulated: what :func:`simulate` returned.
        size: of the simulated data.
        profile: ``cpu``; None for the write-up's sizes.
        sets: further recipe keys.
        log: told what happens.
        command: kept in the report.
    """
    from tapetum.systems.reproduce import reproduce as chain

    if data is None and simulated is None:
        place = Path(out).with_name(f"{Path(out).name}-data")
        system = system_with(name)
        simulated = simulate(name if system is None else system.name, place, size=size, log=log)
    given = data if simulated is None else simulated
    return chain(name, out, given, load_recipe, profile=profile, sets=sets, log=log, command=command)
