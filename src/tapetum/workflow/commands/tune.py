"""Values for recipe keys, searched: trials proposed by Optuna, cut short by fold, within a time; judged by choosing on other folds.

The first trial has the recipe's own values, as far as they lie in the space, so that a search never ends worse than it began.

The best trial's own figure is the best of many draws (in-sample); what is reported is cross-validated: for each fold the trial that is
best on the other folds answers. (The search itself has seen all folds when it proposes; with ``sampler = "random"`` it has not.)
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tapetum.core import columns, draws, extras, files, hashes, intervals, metrics
from tapetum.core.config import Loaded, Recipe
from tapetum.core.derived import with_derived
from tapetum.core.errors import DataError, UserError
from tapetum.core.marks import CROSS_VALIDATED, IN_SAMPLE, how_of, main
from tapetum.core.monitor import monitor, monitor_of
from tapetum.core.progress import Log
from tapetum.core.runs import Record, Run
from tapetum.core.tables import Dense, Manifest, Predictions
from tapetum.core.words import plural
from tapetum.decide.steps import Rows, assemble, counting
from tapetum.workflow.commands import search_space as space
from tapetum.workflow.commands import trials
from tapetum.workflow.launch import places
from tapetum.workflow.launch.places import LOCAL, At
from tapetum.workflow.session import Session
from tapetum.workflow.stages import budget as budgets
from tapetum.workflow.stages.measure import interval_of
from tapetum.workflow.stages.prepare import prepare

STUDY = "tune"
ROUND = 8  # trials that are proposed before one of them is told, where several train at once


def tune(
    source: Any,
    out: Path | str,
    loaded: Loaded,
    *,
    trials_: int | None = None,
    budget: str | None = None,
    at: At = LOCAL,
    log: Log | None = None,
    command: str = "tapetum.api.tune",
) -> dict[str, Any]:
    """Search ``tune.space``, or go on with a search.

    Args:
        source: as for ``fit``.
        out: a run folder; ``tune.db`` (SQLite) holds the search, ``best.toml`` the recipe of the best trial, ``tune.json`` the figures.
        loaded: the recipe.
        trials_: how many in all, earlier starts counted; None takes the recipe's.
        budget: wall time for this start, as ``30m``; None takes the recipe's, if it has one.
        at: where folds train; elsewhere than here :data:`ROUND` trials are proposed and trained at once.
        log: where messages go.
        command: kept in the record.

    Returns:
        ``{"run", "best", "values", "cross-validated", "in-sample", "marks", "trials", "pruned", "table"}``; each figure by target.

    Raises:
        UserError: no space, or one that cannot be searched.
        EnvironmentFault: Optuna is not installed.
    """
    recipe = loaded.recipe
    if not recipe.tune.space:
        raise UserError(
            "tune.space is empty",
            fix="name keys and what to try: --set 'tune.space={\"optimizer.rate\" = {low = 1e-5, high = 1e-2, log = true}}'",
        )
    trials.changed(recipe, {key: space.first(key, wish) for key, wish in recipe.tune.space.items()})  # every key is one that may change
    for key, wish in recipe.tune.space.items():  # and every value one that it may have, before hours of search
        for value in wish if isinstance(wish, (list, tuple)) else (wish["low"], wish["high"]):
            trials.changed(recipe, {key: value})
    if trials_ is not None and trials_ < 1:
        raise UserError(f"{plural(trials_, 'trial was', 'trials were')} asked for", need="1 or more")
    places.check(at)
    optuna = _optuna()
    record = Record(log)
    wanted, limit = trials_ or recipe.tune.trials, budget or recipe.tune.budget
    clock = budgets.Clock(None if limit is None else budgets.seconds(limit))
    with Run.opened(out, loaded, {}) as run, places.opened(at, run.root, record) as place:
        try:
            with record.stage("files"):
                session = Session(run, prepare(run, source, recipe, record), recipe, record, clock, place=place, devices=at.devices)
            hashes.forget(run.root)
            with record.stage("trials"):
                study = _search(optuna, session, wanted)
            return _report(session, study)
        finally:
            record.write(run, command)


def _optuna() -> Any:
    extras.need("tune", "tune", "optuna")
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def _search(optuna: Any, session: Session, wanted: int) -> Any:
    """Return the study after as many trials as are wanted and fit into the time."""
    run, recipe, record, clock = session.run, session.recipe, session.log, session.clock or budgets.Clock(None)
    storage = f"sqlite:///{run.file('tune.db').resolve().as_posix()}"
    pruner = optuna.pruners.MedianPruner(n_startup_trials=3, n_warmup_steps=0)
    study = optuna.create_study(study_name=STUDY, storage=storage, direction="maximize", pruner=pruner, load_if_exists=True)
    state = optuna.trial.TrialState
    if not study.get_trials(deepcopy=False) and (given := space.recipe_values(recipe)):
        study.enqueue_trial(given)
    for left in study.get_trials(states=(state.RUNNING,)):  # a killed one: proposed again, and its folder goes on
        study.enqueue_trial(left.params)
        study.tell(left.number, state=state.FAIL)
    longest = 0.0
    while (done := len(study.get_trials(states=(state.COMPLETE, state.PRUNED)))) < wanted:
        if not clock.allows(longest):
            record(f"the time ends after {done} of {plural(wanted, 'trial')}")
            break
        began = clock.elapsed
        proposed = [_proposed(optuna, study, recipe) for _ in range(1 if session.place is None else min(ROUND, wanted - done))]
        trials.train_at_once(session, {files.fingerprint(values): trials.changed(recipe, values) for _, values in proposed})
        for asked, values in proposed:
            _one(optuna, study, session, asked, values)
        longest = max(longest, clock.elapsed - began)
    return study


def _proposed(optuna: Any, study: Any, recipe: Recipe) -> tuple[Any, dict[str, Any]]:
    """Return a new trial of the study and its values; what is drawn depends on the seed and the trial's number."""
    seed = draws.key(recipe.seed, STUDY, len(study.get_trials(deepcopy=False))) % (1 << 32)
    samplers = optuna.samplers
    study.sampler = samplers.RandomSampler(seed=seed) if recipe.tune.sampler == "random" else samplers.TPESampler(seed=seed)
    asked = study.ask()
    values = {key: space.suggested(asked, key, wish) for key, wish in recipe.tune.space.items()}
    asked.set_user_attr("folder", files.fingerprint(values))
    return asked, values


def _one(optuna: Any, study: Any, session: Session, asked: Any, values: dict[str, Any]) -> None:
    """Run one trial and tell the study what came of it."""
    recipe, record, manifest = session.recipe, session.log, session.manifest
    changed = trials.changed(recipe, values)
    name, shown = files.fingerprint(values), ", ".join(f"{key} = {space.short(value)}" for key, value in values.items())
    done = 0

    def after_fold(trial: trials.Trial, member: str, fold: int) -> None:
        nonlocal done
        asked.report(_so_far(trial, changed, member, manifest), done)
        done += 1
        if recipe.tune.prune and asked.should_prune():
            raise optuna.TrialPruned

    try:
        trial, decided = trials.run_trial(session, changed, name, after_fold)
    except optuna.TrialPruned:
        study.tell(asked, state=optuna.trial.TrialState.PRUNED)
        record(f"trial {asked.number}: {shown}: cut after {plural(done, 'fold')}")
        return
    except DataError as error:  # values that cannot be trained (a loss that is no number) are an answer, too
        study.tell(asked, state=optuna.trial.TrialState.FAIL)
        record(f"trial {asked.number}: {shown}: {error}")
        return
    ids = next(iter(decided.nested.values())).row_ids.tolist()
    figure = _figure(decided.nested, changed, Rows.of(manifest, ids))
    trials.keep_small(trial)
    study.tell(asked, figure)
    record(f"trial {asked.number}: {shown}: {figure:.4f}")


def _so_far(trial: trials.Trial, recipe: Recipe, member: str, manifest: Manifest) -> float:
    """Return the monitored figure of a member over the folds that it has trained, each at its last epoch."""
    from tapetum.decide.choose import checkpoints

    parts: dict[str, list[Dense]] = {}
    for path in trial.folds_of(member, "epochs.parquet").values():
        table = Predictions.read(path)
        for target in table.targets:
            parts.setdefault(target.name, []).append(table.dense(target.name, member, checkpoint=checkpoints(table)[-1]))
    whole = {n: (np.concatenate([d.p for d in ds]), np.concatenate([d.y for d in ds])) for n, ds in parts.items()}
    weight = manifest.weights_of(row_id for d in next(iter(parts.values())) for row_id in d.row_ids)
    watch, have = recipe.members()[member].train.monitor, {n: ds[0].target for n, ds in parts.items()}
    return float(np.nan_to_num(monitor(watch, *with_derived(whole, have, manifest.targets), weight), neginf=-1e9))


def _figure(answers: Mapping[str, Dense], recipe: Recipe, rows: Rows, some: np.ndarray | None = None) -> float:
    """Return the monitored figure of decided answers, on some rows."""
    inside = np.arange(len(rows)) if some is None else np.flatnonzero(some)
    value = monitor_of(recipe.train.monitor, {n: d.where(inside) for n, d in answers.items()}, rows.where(inside).weight)
    return float(np.nan_to_num(value, neginf=-1e9))


@dataclasses.dataclass(frozen=True)
class _Judged:
    """The trials that were completed, and which one answers for each fold.

    Args:
        answers: trial → target → its decided answers.
        folders: trial → its run.
        best: the trial with the best figure of its own.
        per_fold: fold → the trial that is best on the other folds; empty with one fold.
        rows: that are answered.
        fold: of each row (N,).
    """

    answers: Mapping[int, Mapping[str, Dense]]
    folders: Mapping[int, Run]
    best: Any
    per_fold: Mapping[int, int]
    rows: Rows
    fold: np.ndarray


def _report(session: Session, study: Any) -> dict[str, Any]:
    """Choose for each fold on the other folds, write best.toml and tune.json, and return what they say."""
    run, recipe = session.run, session.recipe
    found, every = _judged(session, study), study.get_trials()
    picked = {found.best.number, *found.per_fold.values()}
    used = {n: files.read_json(folder.file("metrics.json")) for n, folder in found.folders.items() if n in picked}
    nested, optimistic = _figures(found, used)
    values = {key: space.decoded(found.best.params[key], wish) for key, wish in recipe.tune.space.items()}
    files.write_text(run.file("best.toml"), trials.changed(recipe, values).to_toml())
    states = [t.state.name for t in every]
    result = {
        "best": found.best.number,
        "values": values,
        CROSS_VALIDATED: nested,
        IN_SAMPLE: optimistic,
        "marks": _marks(recipe, used, states),
        "per_fold": {str(k): n for k, n in found.per_fold.items()},
        "trials": states.count("COMPLETE"),
        "pruned": states.count("PRUNED"),
        "sampler": recipe.tune.sampler,
    }
    table = [_line(t, recipe) for t in every]
    files.write_json(run.file("tune.json"), {**result, "table": table})
    counts = "the cross-validated one counts" if nested else "there is no other"
    session.log(f"best.toml holds trial {found.best.number}; its own figure is the best of {len(found.folders)}, in-sample: {counts}")
    text = _text(table, nested, optimistic, result["marks"])
    run.seal()
    return {"run": str(run.root), "table": text, "recipe": str(run.file("best.toml")), **result}


def _judged(session: Session, study: Any) -> _Judged:
    """Return the completed trials, each fold's chosen on the other folds.

    Raises:
        DataError: no trial was completed.
    """
    manifest, recipe = session.manifest, session.recipe
    whole = [t for t in study.get_trials() if t.state.name == "COMPLETE"]
    if not whole:
        raise DataError("no trial was completed", fix="give more time, or set tune.prune = false")
    names = [t.name for t in manifest.targets if t.scored]
    folders = {t.number: trials.Trial(session.run.root / "trials" / t.user_attrs["folder"], session.run) for t in whole}
    answers = {n: {name: trials.answers(folder, name) for name in names} for n, folder in folders.items()}
    best = max(whole, key=lambda t: t.value)
    row_ids = answers[best.number][names[0]].row_ids.tolist()
    place = {row_id: i for i, row_id in enumerate(manifest.row_ids)}
    rows, fold = Rows.of(manifest, row_ids, allow_leak=recipe.split.allow_leak), manifest.fold[[place[r] for r in row_ids]]
    numbers = [int(k) for k in np.unique(fold)]
    scored = [k for k in numbers if any(bool((counting(d, rows) & (fold == k)).any()) for d in answers[best.number].values())]
    if len(scored) < 2:  # no trial can be chosen on other folds: the best one's own figure is all there is
        numbers = []
    per_fold = {k: max(answers, key=lambda n: _figure(answers[n], recipe, rows, fold != k)) for k in numbers}
    return _Judged(answers, folders, best, per_fold, rows, fold)


def _figures(found: _Judged, used: Mapping[int, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return target → the cross-validated figure, where there is one, and the best trial's own; ``used``: trial → its metrics.json."""
    nested, optimistic = {}, {}
    for name, own in found.answers[found.best.number].items():
        metric = metrics.default_metric(own.target)
        hows = [how_of(f) for n in found.per_fold.values() if (f := main(used[n]["figures"], name)) is not None]
        if found.per_fold and IN_SAMPLE not in hows:
            picked = _picked({n: answers[name] for n, answers in found.answers.items()}, found.per_fold, found.fold)
            nested[name] = {"metric": metric, **interval_of(metric, picked, found.rows)}
        optimistic[name] = {"metric": metric, **interval_of(metric, own, found.rows)}
    return nested, optimistic


def _line(trial: Any, recipe: Recipe) -> dict[str, Any]:
    """Return a trial as a line of the table."""
    values = {k: space.decoded(trial.params[k], recipe.tune.space[k]) for k in trial.params}
    return {"trial": trial.number, "state": trial.state.name.lower(), "figure": trial.value, "values": values}


def _marks(recipe: Recipe, used: Mapping[int, Any], states: Sequence[str]) -> list[str]:
    """Return what a reader must know of a search's figures: what proposed and cut trials, and the marks of those taken."""
    found = []
    if recipe.tune.sampler == "tpe" and len(states) > 1:
        found.append("values were proposed from the figures of earlier trials on all folds; tune.sampler = 'random' proposes blindly")
    if "PRUNED" in states:
        found.append("trials were cut by their figures on the first folds, which judge the others too; tune.prune = false cuts none")
    for number, measured in sorted(used.items()):
        found += [f"trial {number}: {text}" for text in measured.get("marks", ())]
    return found


def _picked(answers: Mapping[int, Dense], per_fold: Mapping[int, int], fold: np.ndarray) -> Dense:
    """Return each fold's answers by its own trial, with what that one decided."""
    parts = [(np.flatnonzero(fold == k), answers[number]) for k, number in per_fold.items()]
    return assemble([(place, dense.where(place)) for place, dense in parts])


def _text(table: list[dict[str, Any]], nested: Mapping[str, Any], optimistic: Mapping[str, Any], marks: list[str]) -> str:
    shown = [("trial", "state", "figure", "values")]
    for row in sorted(table, key=lambda r: (r["figure"] is None, -(r["figure"] or 0.0))):
        value = "" if row["figure"] is None else f"{row['figure']:.4f}"
        shown.append((str(row["trial"]), row["state"], value, ", ".join(f"{key} = {space.short(v)}" for key, v in row["values"].items())))
    lines = [columns.aligned(shown, right=(0, 2))]
    for how, figures in ((CROSS_VALIDATED, nested), (f"{IN_SAMPLE}, of the best trial", optimistic)):
        for name, found in figures.items():
            value = "–" if found["value"] is None else f"{found['value']:.4f}"
            lines.append(f"{name} {found['metric']}: {value} [{intervals.span(found)}] {how}")
    lines += [f"marked: {text}" for text in marks]
    return "\n".join(lines)
