"""Context: images that follow one another inform one another, as the epochs of a night do.

Each sequence is decoded with calibrated log-probabilities × an emission weight, transitions learned from labelled sequences (or handed in
as a table), and, where asked for, explicit durations and a prior of the position. Forward–backward gives probabilities in context;
Viterbi, labels. With many labelled groups a regression over a window of rows, its log-mean with forward–backward and class biases compete.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from tapetum.core import files
from tapetum.core.errors import DataError, UserError
from tapetum.core.tables import Dense
from tapetum.core.words import plural
from tapetum.decide import context_fit
from tapetum.decide.bias import decide, log_p, one_hot
from tapetum.decide.context_fit import GROUPS_TO_CHOOSE, GROUPS_TO_TUNE, Study
from tapetum.decide.decoder import Decoder
from tapetum.decide.hmm import Chain
from tapetum.decide.sequences import Sequences, arrange
from tapetum.decide.steps import Rows
from tapetum.decide.window_regression import apply_window_regression, places

Table = Sequence[Sequence[float]] | Mapping[str, Any] | str | None


@dataclasses.dataclass(frozen=True)
class Context:
    """Decode sequences.

    Rows without an answer are stepped over and stay without one. Rows whose sequence is null keep their probabilities.

    With fewer than two labelled groups the values given hold, with transitions handed in or counted from the one group. With two or more,
    transitions are counted, and emission weight and prior exponent are chosen on inner group folds. With eight or more, ``auto`` also
    chooses among none, bias, forward–backward, stack and log-mean. The given values and forward–backward stand unless another is better by
    more than one clustered standard error.

    Args:
        method: ``auto``, ``forward-backward``, ``viterbi`` (its labels beside forward–backward's probabilities), ``stack``, ``log-mean``,
            ``bias`` or ``none``.
        emission: w of ``w·(log max(p, 1e-4) − a·log prior)``.
        prior_exponent: a.
        tune: False learns nothing that is given: transitions handed in, weight and exponent hold whatever is labelled.
        transitions: (K, K) shares, row = from; or ``{"move": …, "start": …, "ending": …}``; or a JSON file with either.
        prior: (K,) class shares of the base model's training rows; None: those of the rows fitted on, which for out-of-fold
            predictions are the same; without any truth, the mean probability.
        longest: explicit durations up to this many slots (semi-Markov); 0: none.
        position: weight of the position-in-sequence prior; 0: none.
        reach: neighbours on either side in the regression.
        strength: its inverse penalty.
        metric: what is chosen by; ``auto``: the target's default.
    """

    method: str = "auto"
    emission: float = 1.0
    prior_exponent: float = 0.5
    tune: bool = True
    transitions: Table = None
    prior: Sequence[float] | None = None
    longest: int = 0
    position: float = 0.0
    reach: int = 8
    strength: float = 0.01
    metric: str = "auto"
    joint: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.emission <= 0 or self.longest < 0 or self.longest == 1 or self.reach < 1:
            raise UserError(
                f"context has emission {self.emission}, longest {self.longest}, reach {self.reach}",
                need="emission above 0, longest 0 or at least 2, reach 1 or more",
            )

    def fit(self, dense: Dense, rows: Rows) -> dict[str, Any]:
        """Return the method, the decoder, the figures it was chosen by and, where the method has them, regression weights and biases."""
        s = context_fit.study(
            dense,
            rows,
            metric=self.metric,
            longest=self.longest,
            position=self.position,
            reach=self.reach,
            strength=self.strength,
        )
        context_fit.check_method(self.method, s.groups)
        emission, exponent, decoded = self.emission, self.prior_exponent, None
        figures: dict[str, float | None] = {}
        if self.tune and s.groups >= GROUPS_TO_TUNE:
            emission, exponent, figures, decoded = context_fit.tune(s, emission, exponent)
        decoder = self._decoder(s, emission, exponent)
        out: dict[str, Any] = {"method": "forward-backward" if self.method == "auto" else self.method}
        if decoded is not None and s.groups >= GROUPS_TO_CHOOSE and self.method != "viterbi":
            out = context_fit.choose(s, self.method, decoded)
        elif self.method in ("stack", "log-mean", "bias"):
            everything = np.ones(len(rows), dtype=bool)
            out |= self._plain_fit(s, everything)
        return {**out, "decoder": decoder.to_dict(), "settings": figures, "groups": s.groups, "step": s.sequences.step, "reach": self.reach}

    def apply(self, dense: Dense, rows: Rows, fitted: dict[str, Any]) -> Dense:
        """Return the rows with probabilities in context; ``answer`` is set by Viterbi and by biases."""
        sequences = arrange(rows, step=fitted["step"])
        decoder = Decoder.from_dict(fitted["decoder"])
        if len(decoder.prior) != dense.target.width:
            raise DataError(
                f"the decoder knows {plural(len(decoder.prior), 'class', 'classes')}, {dense.target.name!r} has {dense.target.width}"
            )
        method = fitted["method"]
        if method == "none":
            return dense
        logs = log_p(np.where(dense.ok[:, None], dense.p, np.nan))
        p = dense.p
        if method in ("forward-backward", "viterbi", "log-mean"):
            p = _laid_over(dense, decoder.posteriors(logs, sequences))
        if method in ("stack", "log-mean"):
            stacked = _stacked(logs, sequences, fitted)
            p = stacked if method == "stack" else context_fit.log_mean(p, stacked)
        after = dense.with_p(np.where(dense.ok[:, None], p, np.nan))
        if "bias" in fitted:
            return dataclasses.replace(after, answer=decide(after, np.asarray(fitted["bias"])))
        if method == "viterbi":
            path = decoder.path(logs, sequences)
            alone = np.nan_to_num(after.p, nan=0.0).argmax(axis=1)
            return dataclasses.replace(after, answer=one_hot(np.where(path < 0, alone, path), after))
        return after

    def _decoder(self, s: Study, emission: float, exponent: float) -> Decoder:
        """Return the decoder for new rows: counted transitions where there is enough truth, those handed in otherwise."""
        everything = np.ones(len(s.rows), dtype=bool)
        learned = context_fit.learn_decoder(s, everything, emission, exponent)
        if self.transitions is not None and not (self.tune and s.groups >= GROUPS_TO_TUNE):
            learned = dataclasses.replace(learned, chain=_chain(self.transitions, s.classes))
        elif not s.groups and not (s.truth >= 0).any():
            raise DataError(
                "context decoding has neither labelled sequences nor transitions", need="one of them", fix="hand in transitions as a table"
            )
        if self.prior is not None:
            stated = np.asarray(self.prior, dtype=np.float64)
            if stated.shape != (s.classes,) or (stated <= 0).any():
                raise UserError(f"context has prior {list(self.prior)}", need=f"{s.classes} shares above 0")
            return dataclasses.replace(learned, prior=stated / stated.sum())
        if not (s.truth[s.dense.ok] >= 0).any() and s.dense.ok.any():
            return dataclasses.replace(learned, prior=np.maximum(s.dense.p[s.dense.ok].mean(axis=0, dtype=np.float64), 1e-4))
        return learned

    def _plain_fit(self, s: Study, keep: np.ndarray) -> dict[str, Any]:
        """Fit what a named method needs where nothing is tuned."""
        if self.method == "bias":
            return {"bias": context_fit.learn_bias(s, log_p(s.dense.p), keep).tolist()}
        return {"neighbours": context_fit.learn_window_regression(s, keep).tolist()}


def _laid_over(dense: Dense, found: np.ndarray) -> np.ndarray:
    """Return ``found`` (N, K) where there is something, the probabilities as they were elsewhere."""
    return np.where(np.isnan(found), dense.p, found)


def _stacked(logs: np.ndarray, sequences: Sequences, fitted: dict[str, Any]) -> np.ndarray:
    return apply_window_regression(logs, places(sequences, len(logs), fitted["reach"]), np.asarray(fitted["neighbours"]))


def _chain(table: Table, classes: int) -> Chain:
    if isinstance(table, str):
        table = files.read_json(Path(table))
    value = table if isinstance(table, Mapping) else {"move": table}
    chain = Chain.from_dict(value)
    if len(chain.start) != classes:
        raise DataError(
            f"the transitions are for {plural(len(chain.start), 'class', 'classes')}, the target has {classes}",
            need="one row and column a class",
        )
    return chain
