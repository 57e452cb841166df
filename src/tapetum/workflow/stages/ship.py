"""What the pipeline ships of each member: every fold's model, one trained once more on all rows, or the best fold's."""

from __future__ import annotations

from typing import Any

import numpy as np

from tapetum.core import files
from tapetum.core.derived import with_derived
from tapetum.core.monitor import monitor
from tapetum.core.runs import PROBE, Run
from tapetum.core.tables import Predictions
from tapetum.workflow.session import Session

REFIT = -1  # the fold that holds nothing out


def ship(session: Session, decisions: dict[str, Any]) -> dict[str, list[int]]:
    """Return member → the folds whose models the pipeline averages; train what has to be trained for it.

    Decisions were fitted on fold models' out-of-fold answers; a refit's answers are a little better and a little surer than those, and
    no figure of this run is its own. It is logged, and kept under ``ships`` in decisions.json.

    Args:
        session: of a decided run.
        decisions: decisions.json; ``ships`` is added, also in the file.
    """
    how, chosen = session.recipe.decide.pipeline, decisions["choice"]["final"]
    wanted = [PROBE] if chosen == PROBE else [*([PROBE] if chosen == "mean" else []), *decisions["epochs"]]
    folds = {member: _folds(session.run, decisions, member) for member in wanted}
    scores: dict[str, dict[str, float]] = {}
    if how == "refit":
        for member in wanted:
            _refit(session, decisions, member)
        folds = {member: [REFIT] for member in wanted}
        measured = "the figures are those of the folds' models, none is measured on a refit"
        session.log(f"shipped: models trained once more on all rows; {measured}")
    elif how == "best-fold":
        for member, every in folds.items():
            scores[member] = {str(fold): _score(session, member, fold) for fold in every}
            folds[member] = [max(every, key=lambda fold: scores[member][str(fold)])]
        named = ", ".join(f"{member} fold {one[0]}" for member, one in folds.items())
        session.log(f"shipped: {named}, best on its own held-out rows (an in-sample choice); averaging all folds is usually better")
    decisions["ships"] = {"how": how, "folds": folds, "scores": scores}
    files.write_json(session.run.file("decisions.json"), decisions)
    return folds


def _folds(run: Run, decisions: dict[str, Any], member: str) -> list[int]:
    if member == PROBE:
        return list(run.folds_of(PROBE, "oof.parquet"))
    return sorted(int(fold) for fold in decisions["epochs"][member]["per_fold"])


def _score(session: Session, member: str, fold: int) -> float:
    """Return the monitored figure of a fold's model on the rows that it held out; derived targets without a head are composed."""
    table = Predictions.read(session.run.member(member, fold) / "oof.parquet")
    dense = {t.name: table.dense(t.name, member) for t in table.targets}
    shown = {name: (d.p, d.y) for name, d in dense.items()}
    weight = session.manifest.weights_of(next(iter(dense.values())).row_ids)
    known, heads = with_derived(shown, {n: d.target for n, d in dense.items()}, session.manifest.targets)
    value = monitor(session.recipe.train.monitor, known, heads, weight)
    return float(np.nan_to_num(value, neginf=-1e300))


def _refit(session: Session, decisions: dict[str, Any], member: str) -> None:
    """Fit the probe, or train a member to its final epoch, on all rows."""
    if session.recipe.probe.enabled:
        from tapetum.workflow.stages.probe import refit_probe

        refit_probe(session)  # a refit starts from it as the folds did from theirs
    if member != PROBE:
        from tapetum.workflow.stages.train import refit_member

        refit_member(session, member, epochs_of(decisions["epochs"][member]["final"]))


def epochs_of(checkpoint: str) -> int | None:
    """Return after how many epochs a refit ends: ``epoch-007/ema`` 7; None, all of them, for averages of the whole training."""
    head = checkpoint.partition("/")[0].rpartition("-")
    return int(head[2]) if head[0] == "epoch" and head[2].isdecimal() else None
