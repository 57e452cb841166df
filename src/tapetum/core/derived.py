"""Answers composed of others: what stopping, the choice of epochs and figures see of a derived target that has no head of its own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from tapetum.core.expressions import compose, expression_names
from tapetum.core.targets import Target

Answers = Mapping[str, tuple[np.ndarray, np.ndarray]]  # target → (p (N, K), y (N, K))


def composed(targets: Iterable[Target], have: Mapping[str, Target]) -> dict[str, Target]:
    """Return the derived targets among ``targets`` that no head answers and whose parts are all at hand."""
    return {
        t.name: t
        for t in targets
        if t.expression is not None and t.scored and t.name not in have and all(n in have for n in expression_names(t.expression))
    }


def with_derived(answers: Answers, have: Mapping[str, Target], targets: Iterable[Target]) -> tuple[dict[str, Target], Answers]:
    """Return targets and answers with the derived ones added, as products of their parts; numbers are cut by their borders.

    Args:
        answers: of targets that have a head.
        have: those targets.
        targets: all that there are; those without an expression are passed over.
    """
    found = dict(answers)
    more = composed(targets, {n: t for n, t in have.items() if n in answers})
    for name, target in more.items():
        parts = {n: have[n] for n in expression_names(str(target.expression))}
        p, y = (compose(target, parts, {n: answers[n][i] for n in parts}) for i in (0, 1))
        found[name] = (p, y)
    return {**have, **more}, found
