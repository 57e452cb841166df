"""What ``fit`` and ``decide`` end with: models shipped, pipeline written, test rows answered, report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tapetum.core import columns, intervals
from tapetum.core.marks import numbered
from tapetum.core.runs import Run
from tapetum.core.words import plural
from tapetum.decide.choose import BEFORE, selected
from tapetum.workflow.session import Session
from tapetum.workflow.stages.decide import RunDecisions, source_of


def ship_run(session: Session, decided: RunDecisions) -> None:
    """Write the pipeline of a decided run, keep the weights that were chosen, and answer the test rows."""
    from tapetum.workflow.stages.package import freeze
    from tapetum.workflow.stages.retrieval import galleries
    from tapetum.workflow.stages.ship import ship
    from tapetum.workflow.stages.test_rows import answer_test_rows

    sources = {name: source_of(dense.target, decided.decisions) for name, dense in decided.nested.items()}
    folds = ship(session, decided.decisions)
    shown = galleries(session, decided.decisions, folds)
    freeze(session, decided.decisions, sources, folds, shown)
    _prune(session.run, decided.decisions)
    answer_test_rows(session, decided.figures)


def _prune(run: Run, decisions: Mapping[str, Any]) -> None:
    """Keep each fold's chosen weights and those of the final choice; the other epochs' go."""
    from tapetum.learn.training.keep import Keeper

    for member, epochs in decisions["epochs"].items():
        for fold, checkpoint in epochs["per_fold"].items():
            keeper = Keeper(run.member(member, int(fold)))
            known = keeper.state()["checkpoints"]
            keeper.prune({checkpoint, epochs["final"] if epochs["final"] in known else known[-1]})
        refit = Keeper(run.member(member, -1))
        if known := refit.state().get("checkpoints"):
            refit.prune({epochs["final"] if epochs["final"] in known else known[-1]})


def write_report(run: Run) -> str:
    """Write the report of a run as it is now; return its place."""
    from tapetum.show import report

    return str(report.write_report(run.root))


def finish(session: Session, decided: RunDecisions, command: str) -> dict[str, Any]:
    """Write the report; return what a run found, as ``fit`` and ``decide`` return it."""
    run, record = session.run, session.log
    with record.stage("report"):
        report = write_report(run)
    record.write(run, command)
    run.seal()
    return {
        "run": str(run.root),
        "report": report,
        "pipeline": str(run.pipeline),
        "table": table(decided.figures),
        "figures": decided.figures["figures"],
        "choice": decided.figures["choice"],
    }


def table(figures: Mapping[str, Any]) -> str:
    """Return the figures as text, one line a target, answer and metric."""
    lines = [("target", "answer", "metric", "value", "95 % interval", "how")]
    for row in _without_repeats(figures["figures"]):
        value = "–" if row["value"] is None else f"{row['value']:.4f}"
        lines.append((row["target"], row["name"], row["metric"], value, intervals.span(row), row["how"] + numbered(row, figures["marks"])))
    text = [columns.aligned(lines), f"final is measured with the decision steps; probe, finetune, mean and members {BEFORE}"]
    counts = figures["counts"]
    text.append(
        f"{plural(counts['scored'], 'row')} scored in {plural(counts['groups'], 'group')}; "
        f"missing {counts['missing']}, uncovered {counts['uncovered']}, "
        f"without a label {counts['unknown']}"
    )
    text.append(f"selected: {selected(figures['choice'])}")
    text.extend(f"warning: {warning}" for warning in figures.get("warnings") or [])
    text.extend(f"marked: {mark} [{number}]" for number, mark in enumerate(figures["marks"], start=1))
    return "\n".join(text)


def _without_repeats(figures: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the figures without in-sample ones that are those of the same answer on other rows: nothing was chosen or fitted then."""
    first: dict[tuple[str, str, str], Mapping[str, Any]] = {}
    kept = []
    for row in figures:
        before = first.setdefault((row["target"], row["name"], row["metric"]), row)
        if before is row or any(before.get(key) != row.get(key) for key in ("value", "low", "high")):
            kept.append(row)
    return kept
