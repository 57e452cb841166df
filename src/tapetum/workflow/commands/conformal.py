"""``tapetum conformal``: prediction sets, calibration and the rows most worth a check."""

from __future__ import annotations

from typing import Any

from tapetum.core import files, table_files
from tapetum.core.errors import UserError
from tapetum.core.runs import Run
from tapetum.core.tables import Predictions
from tapetum.core.words import plural
from tapetum.decide import conformal, reliability
from tapetum.decide.steps import Rows


def sets_of(run: Run, *, coverage: float, method: Any, by_class: bool, target: str | None, most: int) -> dict[str, Any]:
    """Write a run's conformal sets (cross-fitted), its calibration, and the rows most worth a check.

    Args:
        run: with oof.parquet.
        coverage: wanted share of truths inside their sets.
        method: ``lac`` or ``aps``.
        by_class: a bound for each class.
        target: which one, where there are several.
        most: rows of the review list.

    Returns:
        Coverage and size of the sets, ECE, risk and coverage of abstention; files conformal.json and review.csv are in the run.
    """
    table = Predictions.read(run.file("oof.parquet"))
    dense = table.dense(target or table.targets[0].name)
    rows = Rows.of(run.manifest(), dense.row_ids.tolist())
    if most < 1:
        raise UserError(f"a review list of {plural(most, 'row')} was asked for", need="1 or more")
    found = conformal.crossfit_sets(conformal.Conformal(method, 1 - coverage, by_class, one_per_group=True), dense, rows)
    abstain = conformal.Abstain(risk=1 - coverage).fit(dense, rows)
    ece = reliability.reliability(dense, rows)
    value = {"method": method, "wanted": coverage, "final": found.final, **found.report, "abstain": abstain, "calibration": ece.to_dict()}
    files.write_json(run.file("conformal.json"), value)
    review = conformal.review_list(dense, most=most)
    table_files.write_table(run.file("review.csv"), review, for_people=True)
    return {"conformal": str(run.file("conformal.json")), "review": str(run.file("review.csv")), **found.report, "abstain": abstain}
