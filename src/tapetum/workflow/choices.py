"""The choices of every package under the recipe key that names them, for the recipe's checks."""

from __future__ import annotations

from collections.abc import Mapping

from tapetum.core.choices import Choice
from tapetum.data import choices as data
from tapetum.decide import choices as decide
from tapetum.learn import choices as learn

ALL: dict[str, Mapping[str, Choice]] = {
    "augment": data.AUGMENTS,
    "mix": data.MIXES,
    "sample": data.SAMPLERS,
    "predict.views": data.VIEWS,
    "probe.views": data.VIEWS,
    "model.head": learn.HEADS,
    "model.heads": learn.HEADS,
    "model.sharing": learn.SHARINGS,
    "sequence.head": learn.SEQUENCES,
    "loss.options": learn.LOSSES,
    "optimizer": learn.OPTIMIZERS,
    "schedule": learn.SCHEDULES,
    "decide.blend": decide.BLENDS,
    "decide.calibrate": decide.CALIBRATORS,
    "decide.steps": decide.STEPS,
}
