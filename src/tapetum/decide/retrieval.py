"""Labels of the nearest image: where a training image lies close enough in a space of identities, its labels count as an answer.

A model trained to tell individuals apart (antibodies, patients, places) puts images of one individual side by side. Where a new
image is of an individual that was trained on, its neighbour's labels are better evidence than its own pixels. From which cosine on they are
believed, and how much, is chosen on other folds than those it answers for; *never* is among the choices and wins unless it is clearly
beaten.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.special import stdtrit

from tapetum.core import intervals, metrics
from tapetum.core.errors import UserError
from tapetum.core.tables import Dense
from tapetum.core.targets import Target
from tapetum.core.vectors import Neighbors
from tapetum.core.words import plural
from tapetum.decide.steps import FIT_ROWS, Rows, fitting

FIT = "fit"
SHARES = (0.02, 0.05, 0.1, 0.2, 0.3, 0.45, 0.6, 0.8, 1.0)  # of the rows that lie above a bound that is tried
WEIGHTS = (0.5, 1.0)
CHANCE = 0.05  # of a false gain: that the best of all candidates is better only at random
_NEVER: dict[str, Any] = {"bound": None, "weight": 0.0}


@dataclasses.dataclass(frozen=True)
class Retrieval:
    """The nearest neighbour's labels are mixed into the probabilities where its cosine reaches a bound.

    Args:
        bound: a cosine, or ``"fit"``.
        weight: of the neighbour's labels against the probabilities, 1 takes the labels alone; or ``"fit"``.
        metric: by which they are chosen; ``auto`` is the target's default. The best of some twenty pairs looks good at random, so its
            gain must stand out of its clustered standard error as far as the best of so many does once in twenty times (Bonferroni).
            Where both are stated nothing is chosen.

    It comes before steps that decide: decisions made earlier fall away.

    Source: the first place of the Human Protein Atlas challenge 2018, identities being antibodies (Deng et al. 2019, arXiv 1801.07698).
    """

    bound: float | str = FIT
    weight: float | str = FIT
    metric: str = "auto"

    def __post_init__(self) -> None:
        for name, low in (("bound", -1.0), ("weight", 0.0)):
            value = getattr(self, name)
            if value != FIT and (isinstance(value, str) or not low <= value <= 1):
                raise UserError(f"retrieval has {name} = {value!r}", need=f"'fit' or a number from {low:g} to 1")

    @property
    def learns(self) -> bool:
        """Whether anything is chosen."""
        return FIT in (self.bound, self.weight)

    def fit(self, dense: Dense, rows: Rows) -> dict[str, Any]:
        """Return ``{"bound", "weight"}``, bound None for never, and of a choice ``share`` of rows above it, ``gain``, ``n``."""
        if not self.learns:
            return {"bound": self.bound, "weight": self.weight}
        if not _serves(rows.neighbors, dense) or not dense.scorable.any():
            return dict(_NEVER)
        p, y, weight, inside = fitting(dense, rows, FIT_ROWS)
        metric = metrics.default_metric(dense.target) if self.metric == "auto" else self.metric
        neighbors: Neighbors = inside.neighbors  # type: ignore[assignment]
        plain = best = metrics.merit(metric, dense.target, p, y, weight)
        chosen, answer = dict(_NEVER), p
        pairs = [(b, float(w)) for b in self._bounds(neighbors) for w in (WEIGHTS if self.weight == FIT else (self.weight,))]
        for bound, share in pairs:
            tried = mixed(p, neighbors, dense.target.name, bound, share)
            if (value := metrics.merit(metric, dense.target, tried, y, weight)) > best:
                best, answer, chosen = value, tried, {"bound": bound, "weight": share}
        if chosen["bound"] is None or not _stands_out(metric, dense.target, answer, p, y, inside, len(pairs)):
            return {**_NEVER, "n": len(p)}
        above = float((_nearest(neighbors) >= chosen["bound"]).mean())
        return {**chosen, "share": round(above, 4), "gain": best - plain, "n": len(p)}

    def apply(self, dense: Dense, rows: Rows, fitted: Mapping[str, Any]) -> Dense:
        """Return the probabilities with the labels of nearest neighbours mixed in."""
        if fitted["bound"] is None or not _serves(rows.neighbors, dense):
            return dense
        return dense.with_p(mixed(dense.p, rows.neighbors, dense.target.name, fitted["bound"], fitted["weight"]))  # type: ignore[arg-type]

    def _bounds(self, neighbors: Neighbors) -> list[float]:
        """Return the bounds to try, between the cosines of the rows; the highest first."""
        if isinstance(self.bound, (int, float)):
            return [float(self.bound)]
        found = np.sort(_nearest(neighbors)[np.isfinite(_nearest(neighbors))].astype(np.float64))[::-1]
        if not len(found):
            return []
        ranks = sorted({max(1, round(share * len(found))) for share in SHARES})
        return list(dict.fromkeys(float(found[r - 1] + (found[r] if r < len(found) else -1.0)) / 2 for r in ranks))


def mixed(p: np.ndarray, neighbors: Neighbors, target: str, bound: float, weight: float) -> np.ndarray:
    """Return (1 − w)·p + w·y where the neighbour's cosine reaches the bound, p elsewhere; the mean over galleries.

    Args:
        p: (N, K).
        neighbors: of the same rows.
        target: whose truths the neighbours lend.
        bound: on the cosine.
        weight: w.
    """
    y = neighbors.y[target]
    reaches = (np.nan_to_num(neighbors.cosine, nan=-2.0) >= bound) & ~np.isnan(y).any(axis=2)
    share = weight * reaches[..., None]
    return ((1 - share) * p[:, None] + share * np.nan_to_num(y)).mean(axis=1).astype(np.float32)


def uses_retrieval(json: Mapping[str, Any]) -> bool:
    """Tell whether a fitted chain takes neighbours' labels, for a fold or in the end."""
    return any(
        step["name"] == "retrieval" and values["steps"][place]["bound"] is not None
        for place, step in enumerate(json["steps"])
        for values in (json["final"], *json["by_fold"].values())
    )


def summary(target: str, json: Mapping[str, Any], *, searched: bool) -> str | None:
    """Return one line for the log about retrieval in a fitted chain; None where it has no such step.

    Args:
        target: its name.
        json: ``Decisions.json`` of its chain.
        searched: whether there were neighbours to take labels from.
    """
    place = next((i for i, step in enumerate(json["steps"]) if step["name"] == "retrieval"), None)
    if place is None:
        return None
    if not searched:
        return f"retrieval is left out for {target!r}: no identities were learned, or the probe answers alone"
    final = json["final"]["steps"][place]
    on = sum(values["steps"][place]["bound"] is not None for values in json["by_fold"].values())
    if final["bound"] is None and not on:
        return f"retrieval is not used for {target!r}: the labels of the nearest images improve no held-out rows"
    folds = f"; on in {on} of {plural(len(json['by_fold']), 'fold')}" if json["by_fold"] else ""
    if final["bound"] is None:
        return f"retrieval does not go into the pipeline for {target!r}: over all rows it earns no place{folds}"
    how = f"at weight {final['weight']:g} from cosine {final['bound']:.3f} on"
    return f"retrieval: {target!r} takes the nearest image's labels {how}{folds}"


def _serves(neighbors: Neighbors | None, dense: Dense) -> bool:
    return neighbors is not None and dense.target.name in neighbors.y


def _nearest(neighbors: Neighbors) -> np.ndarray:
    """Return the largest cosine of each row (N,), NaN where there is none."""
    return np.where(np.isnan(neighbors.cosine).all(axis=1), np.nan, np.nan_to_num(neighbors.cosine, nan=-2.0).max(axis=1))


def _stands_out(metric: str, target: Target, a: np.ndarray, b: np.ndarray, y: np.ndarray, inside: Rows, tried: int) -> bool:
    """Tell whether one answer beats another by more of its clustered standard errors than the best of ``tried`` does at random."""
    found = intervals.difference(metric, target, (a, b), y, inside.groups, weight=inside.weight)
    if found.bounds is None or found.standard_error is None or found.freedom is None:
        return False
    return metrics.METRICS[metric].sign * found.value > float(stdtrit(found.freedom, 1 - CHANCE / tried)) * found.standard_error
