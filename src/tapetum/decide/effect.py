"""What of ``[decide]`` was asked for and changes nothing, so that nobody takes a prediction for calibrated that is not."""

from __future__ import annotations

from collections.abc import Sequence

from tapetum.core.choices import name_of, pick
from tapetum.core.config import Decide
from tapetum.core.errors import listed
from tapetum.core.targets import Target
from tapetum.decide.choices import CALIBRATORS, STEPS


def without_effect(decide: Decide, targets: Sequence[Target], *, probe_answers: bool) -> list[str]:
    """Return a sentence without its full stop for each part of ``[decide]`` that no answer shows.

    Args:
        decide: of the recipe.
        targets: the scored ones.
        probe_answers: whether the probe was selected, which is neither calibrated nor blended.
    """
    out = []
    name = name_of(decide.calibrate)
    if probe_answers and name != "none":
        kinds = CALIBRATORS[name].kinds if name in CALIBRATORS else ()
        mend = f": use decide.steps=['{name}']" if not kinds or any(t.kind in kinds for t in targets) else ""
        out.append(f"decide.calibrate had no effect, since the probe answers{mend}")
    for spec in decide.steps:
        choice, _ = pick(spec, STEPS, "decision step")
        if choice.kinds and not any(target.kind in choice.kinds for target in targets):
            out.append(f"decide.steps: {name_of(spec)!r} is for {listed(choice.kinds)} targets and was left out")
    return out
