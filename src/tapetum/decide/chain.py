"""The ``[decide]`` section, run in order: calibrate each member, blend the members, then the steps.

The whole chain is cross-fitted as one piece: a fold's values (temperatures, weights, thresholds, context) all come from the other folds,
so that the nested figure is nested through and through. ``fit`` leaves plain JSON with which :func:`apply` decides new images in the
same way: each fold's model at the temperature of its fold, then their average, then the blend, then the steps with the final values.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tapetum.core import draws
from tapetum.core.choices import Choice, name_of, pick
from tapetum.core.config import Decide, Spec
from tapetum.core.errors import DataError, listed
from tapetum.core.progress import Log
from tapetum.core.schema import statuses
from tapetum.core.tables import Dense
from tapetum.core.targets import Target
from tapetum.core.words import plural
from tapetum.decide.align import Coverage, align, check_targets
from tapetum.decide.choices import BLENDS, CALIBRATORS, STEPS
from tapetum.decide.ensemble import mean_of
from tapetum.decide.steps import FIT_ROWS, Rows, counting, crossfit_parts, in_order, nothing_to_fit_on

CHUNK = 65_536  # rows calibrated and blended at a time, so that the members are never copied whole
VERSION = 1

Members = Mapping[str, Dense | Mapping[int, Dense]]


@dataclasses.dataclass(frozen=True)
class Decisions:
    """What deciding gave.

    Args:
        nested: the blend, decided; each fold under values from the other folds.
        optimistic: all rows under the final values.
        json: everything that :func:`apply` needs, as plain values: members, names and parameters of the parts, values by fold and final.
        coverage: which rows all members hold.
        fold: (N,) the folds used; −1 for rows in none.
        notes: what a reader must know: coverage, parts left out because they do not suit the target, folds drawn.
    """

    nested: Dense
    optimistic: Dense
    json: dict[str, Any]
    coverage: Coverage
    fold: np.ndarray
    notes: list[str]


@dataclasses.dataclass(frozen=True)
class Part:
    """A named piece of the chain and what it is made of."""

    name: str
    parameters: dict[str, Any]
    piece: Any

    @property
    def learns(self) -> bool:
        """Whether fitting reads data."""
        return getattr(self.piece, "learns", True)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {"name": self.name, "parameters": self.parameters}


@dataclasses.dataclass(frozen=True)
class Chain:
    """Calibration, blend and steps for one target.

    Args:
        calibrate: applied to each member by itself.
        blend: over members.
        steps: in order.
    """

    calibrate: Part
    blend: Part
    steps: tuple[Part, ...]

    @property
    def learns(self) -> bool:
        """Whether any part reads data."""
        return any(part.learns for part in (self.calibrate, self.blend, *self.steps))

    def fit(self, members: Mapping[str, Dense], rows: Rows, part: np.ndarray) -> dict[str, Any]:
        """Fit all parts on some rows, each on what those before it make of them."""
        fitted: dict[str, Any] = {"calibrate": {}, "blend": {}, "steps": []}
        for name, member in members.items():
            fitted["calibrate"][name] = self.calibrate.piece.fit(member.where(part), rows.where(part)) if self.calibrate.learns else {}
        seen = thinned(list(members.values()), rows, part) if self.blend.learns else part[:0]
        fitted["blend"] = self.blend.piece.fit(self._calibrated(members, rows, seen, fitted), rows.where(seen))
        if self.steps:
            dense, inside = self.blended(members, rows, part, fitted), rows.where(part)
            for step in self.steps:
                fitted["steps"].append(step.piece.fit(dense, inside))
                dense = step.piece.apply(dense, inside, fitted["steps"][-1])
        return fitted

    def apply(self, members: Mapping[str, Dense], rows: Rows, part: np.ndarray, fitted: Mapping[str, Any], log: Log | None = None) -> Dense:
        """Decide some rows."""
        return self.decided(self.blended(members, rows, part, fitted), rows.where(part), fitted, log)

    def blended(self, members: Mapping[str, Dense], rows: Rows, part: np.ndarray, fitted: Mapping[str, Any]) -> Dense:
        """Calibrate and blend some rows."""
        chunks = (part[start : start + CHUNK] for start in range(0, max(len(part), 1), CHUNK))
        return in_order(
            (self.blend.piece.apply(self._calibrated(members, rows, some, fitted), rows.where(some), fitted["blend"]) for some in chunks),
            len(part),
        )

    def decided(self, dense: Dense, rows: Rows, fitted: Mapping[str, Any], log: Log | None = None) -> Dense:
        """Apply the steps to a blend; ``log`` receives messages about steps that a set is too small for."""
        for step, values in zip(self.steps, fitted["steps"], strict=True):
            idle = getattr(step.piece, "idle", None)
            if log is not None and idle is not None and (why := idle(dense)):
                log(f"step {step.name!r} of {dense.target.name!r}: {why}")
            dense = step.piece.apply(dense, rows, values)
        return dense

    def _calibrated(self, members: Mapping[str, Dense], rows: Rows, part: np.ndarray, fitted: Mapping[str, Any]) -> list[Dense]:
        inside, how = rows.where(part), fitted["calibrate"]
        return [self.calibrate.piece.apply(member.where(part), inside, how[name]) for name, member in members.items()]


def fit(members: Mapping[str, Dense], rows: Rows, decide: Decide | None = None, *, strict: bool = False, fixed: bool = False) -> Decisions:
    """Run ``[decide]`` for one target, cross-fitted.

    Args:
        members: name → out-of-fold predictions of one target.
        rows: aligned with the first member, or carrying ``row_ids``, onto which the members are brought.
        decide: the recipe's section; None for its defaults.
        strict: refuse where a member lacks rows that another holds.
        fixed: where nothing can be fitted on some rows and judged on others (one group, no truth), leave out what learns, and note it,
            instead of refusing.

    Raises:
        DataError: members that do not fit together, folds that leak, nothing to fit on.
        UserError: a name or parameter that ``[decide]`` cannot have.
    """
    decide = decide or Decide()
    aligned, coverage = align(members, row_ids=rows.row_ids, strict=strict)
    first = next(iter(aligned.values()))
    if len(first.row_ids) != len(rows):
        raise DataError(
            f"members name {plural(len(first.row_ids), 'row')} of {first.target.name!r}, and {len(rows)} are described",
            need="rows that carry row_ids",
        )
    chain, notes = build(decide, first.target, list(aligned))
    if coverage.lacking:
        notes.append(str(coverage))
    every = np.arange(len(rows))
    heldout = np.logical_and.reduce([m.ok for m in aligned.values()])
    seen = dataclasses.replace(first, status=statuses(heldout, missing=False))
    if fixed and chain.learns and (why := nothing_to_fit_on(seen, rows)) is not None:
        chain, left = _fixed(chain, first.target, list(aligned))
        notes.append(f"{listed(left)} left out, since nothing can be fitted on some rows and judged on others: {why[0]}")
    if chain.learns:
        crossed = crossfit_parts(
            lambda part: chain.fit(aligned, rows, part),
            lambda part, values: chain.apply(aligned, rows, part, values, notes.append),
            seen,
            rows,
        )
        nested, optimistic, by_fold, final = crossed.nested, crossed.optimistic, crossed.by_fold, crossed.final
        fold, drawn = crossed.fold, crossed.drawn
    else:
        final, by_fold, fold, drawn = _stated(chain, aligned, rows), {}, rows.fold, False
        nested = optimistic = chain.apply(aligned, rows, every, final)
    if drawn:
        notes.append(
            f"fewer than two folds: {plural(len(by_fold), 'group fold was', 'group folds were')} "
            "drawn to fit decisions on some and judge them on others"
        )
    notes = list(dict.fromkeys(notes))
    json = {
        "version": VERSION,
        "target": first.target.to_dict(),
        "members": list(aligned),
        "calibrate": chain.calibrate.to_dict(),
        "blend": chain.blend.to_dict(),
        "steps": [step.to_dict() for step in chain.steps],
        "by_fold": {str(k): values for k, values in by_fold.items()},
        "final": final,
        "drawn": drawn,
        "coverage": coverage.to_dict(),
        "notes": notes,
    }
    return Decisions(nested, optimistic, json, coverage, fold, notes)


def apply(json: Mapping[str, Any], members: Members, rows: Rows | None = None, log: Log | None = None) -> Dense:
    """Decide new images as :func:`fit` decided its own.

    Args:
        json: ``Decisions.json``, also after a round trip through a file.
        members: name → one Dense (a refit, or folds already averaged: final values), or fold → Dense of each fold's model, which is
            calibrated by its own fold's values before the folds are averaged.
        rows: sequence and position for context steps, aligned with the members; None where no step needs them.
        log: receives messages about steps that estimate something on the set, where it is too small for that.

    Raises:
        DataError: other members than were fitted, or another target.
    """
    names = list(json["members"])
    if set(members) != set(names):
        raise DataError(f"decisions were fitted on members {listed(names)}, given are {listed(members)}", need="the same members")
    target = Target.from_dict(json["target"])
    chain = _built(json)
    averaged = {name: _over_folds(json, chain, name, members[name]) for name in names}
    aligned, _ = align(averaged, row_ids=None if rows is None else rows.row_ids)
    first = aligned[names[0]]
    check_targets({"decisions": dataclasses.replace(first, target=target), names[0]: first})
    rows = rows or Rows.new(first.row_ids)
    if len(rows) != len(first.row_ids):
        raise DataError(
            f"{plural(len(first.row_ids), 'row was', 'rows were')} predicted and {len(rows)} are described",
            need="the same rows in the same order",
        )
    blend = chain.blend.piece.apply([aligned[name] for name in names], rows, json["final"]["blend"])
    return chain.decided(blend, rows, json["final"], log)


def build(decide: Decide, target: Target, members: Sequence[str]) -> tuple[Chain, list[str]]:
    """Return the chain of a recipe for one target, and what had to be left out because it does not suit the target's kind.

    Weights may be stated by member name: ``weights = {vit = 0.06, eff = 0.94}``. Under ``ordered = "median"`` the last step of an ordinal
    target is the median.
    """
    notes: list[str] = []

    def part(spec: Spec, table: Mapping[str, Choice], what: str, instead: str | None) -> Part | None:
        choice, parameters = pick(spec, table, what)
        name = name_of(spec)
        if choice.kinds and target.kind not in choice.kinds:
            notes.append(f"{what} {name!r} does not suit {target.name!r}, a {target.kind} target: {instead or 'left out'}")
            return None if instead is None else part(instead, table, what, None)
        if isinstance(parameters.get("weights"), Mapping):
            parameters["weights"] = _by_name(parameters["weights"], members)
        return Part(name, parameters, choice.load()(**parameters))

    calibrate = part(decide.calibrate, CALIBRATORS, "calibration", "none")
    blend = part(decide.blend, BLENDS, "blend", "mean")
    steps = [part(spec, STEPS, "decision step", None) for spec in decide.steps]
    if target.kind == "ordinal" and decide.ordered == "median" and "median" not in map(name_of, decide.steps):
        steps.append(part("median", STEPS, "decision step", None))
    assert calibrate is not None
    assert blend is not None  # both have a part that takes their place
    return Chain(calibrate, blend, tuple(step for step in steps if step is not None)), notes


def _fixed(chain: Chain, target: Target, members: Sequence[str]) -> tuple[Chain, list[str]]:
    """Return a chain without the parts that learn (the members' mean in place of such a blend), and what they are called."""
    plain, _ = build(Decide(calibrate="none", blend="mean", steps=()), target, members)
    whole = {"calibration": chain.calibrate, "blend": chain.blend}
    left = [f"{what} {part.name!r}" for what, part in whole.items() if part.learns]
    left += [f"decision step {step.name!r}" for step in chain.steps if step.learns]
    calibrate, blend = (
        part if not part.learns else plain_part for part, plain_part in ((chain.calibrate, plain.calibrate), (chain.blend, plain.blend))
    )
    return Chain(calibrate, blend, tuple(step for step in chain.steps if not step.learns)), left


def thinned(members: Sequence[Dense], rows: Rows, part: np.ndarray) -> np.ndarray:
    """Return those of some rows that all members answer and that have truth and weight, a draw of them where they are very many.

    A part without such a row is returned whole, so that the blend itself can say so.
    """
    able = np.logical_and.reduce([counting(m, rows)[part] for m in members])
    take = part[able]
    if not len(take):
        return part
    if len(take) > FIT_ROWS:
        take = np.sort(draws.generator("fitting", len(take)).choice(take, FIT_ROWS, replace=False))
    return take


def _stated(chain: Chain, members: Mapping[str, Dense], rows: Rows) -> dict[str, Any]:
    """Return the values of a chain that learns nothing."""
    any_member = next(iter(members.values()))
    return {
        "calibrate": {name: {} for name in members},
        "blend": chain.blend.piece.fit(list(members.values()), rows),
        "steps": [step.piece.fit(any_member, rows) for step in chain.steps],
    }


def _built(json: Mapping[str, Any]) -> Chain:
    def part(value: Mapping[str, Any], table: Mapping[str, Choice], what: str) -> Part:
        choice, parameters = pick({"name": value["name"], **value["parameters"]}, table, what)
        return Part(value["name"], parameters, choice.load()(**parameters))

    steps = tuple(part(value, STEPS, "decision step") for value in json["steps"])
    return Chain(part(json["calibrate"], CALIBRATORS, "calibration"), part(json["blend"], BLENDS, "blend"), steps)


def _over_folds(json: Mapping[str, Any], chain: Chain, name: str, member: Dense | Mapping[int, Dense]) -> Dense:
    """Calibrate each fold's model by its fold's values and average them; a member without folds gets the final values."""
    final = json["final"]["calibrate"][name]
    if isinstance(member, Dense):
        return chain.calibrate.piece.apply(member, Rows.new(member.row_ids), final)
    if not member:
        raise DataError(f"member {name!r} was given without predictions", need="those of one fold's model or more")
    calibrated = {}
    for fold, dense in member.items():
        of_fold = None if json["drawn"] else json["by_fold"].get(str(fold))
        values = final if of_fold is None else of_fold["calibrate"][name]
        plain = dataclasses.replace(dense, fold=np.full(len(dense.row_ids), -1, dtype=np.int16))
        calibrated[f"{name} of fold {fold}"] = chain.calibrate.piece.apply(plain, Rows.new(dense.row_ids), values)
    aligned, _ = align(calibrated)
    return mean_of(list(aligned.values()))


def _by_name(weights: Mapping[str, float], members: Sequence[str]) -> list[float]:
    if set(weights) != set(members):
        raise DataError(f"weights are stated for members {listed(weights)}; there are {listed(members)}", need="a weight for each member")
    return [float(weights[name]) for name in members]
