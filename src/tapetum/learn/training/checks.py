"""Refusals that need no image and no torch: they are made when the recipe is read, each with its reason."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tapetum.core import config
from tapetum.core.choices import Choice, name_of, pick
from tapetum.core.errors import UserError, listed, nearest
from tapetum.core.targets import Target
from tapetum.core.words import plural
from tapetum.learn.choices import HEADS, IDENTITY_LOSS, LOSSES, head_of
from tapetum.learn.training import schedules

DEFAULT_LOSSES = {"single": "cross_entropy", "multi": "bce", "ordinal": "coral", "regression": "mse"}
ONE_CLASS_ONLY = ("arcface",)  # losses that cannot take soft truths
HEAD_OF = {"arcface": "cosine", "coral": "coral"}  # losses of logits that are no logits of classes
CHECKPOINTS = ("best", "last", "swa", "soup")  # besides epochs
TRUTH_STAYS = ("line_out",)  # mixing that leaves the truth alone


def parse_loss(expression: str) -> list[tuple[float, str]]:
    """Return [(weight, loss name)] of ``focal``, ``0.5*focal+0.5*lovasz`` or ``package.module:function``.

    Raises:
        UserError: anything but names, numbers, * and +.
    """
    if ":" in expression:
        return [(1.0, expression.strip())]
    try:
        tree = ast.parse(expression.strip(), mode="eval").body
    except SyntaxError:
        tree = None
    terms = _terms(tree)
    if terms is None:
        raise UserError(f"loss {expression!r} cannot be read", need="a sum such as '0.5*focal+0.5*lovasz'")
    return terms


def loss_of(loss: config.Loss, target: Target, default: str | None = None) -> str:
    """Return the expression that a target is trained with; ``default`` stands for the one that fits its kind; identities have theirs."""
    usual = IDENTITY_LOSS if target.is_identity else loss.name
    return loss.targets.get(target.name) or usual or (DEFAULT_LOSSES[target.kind] if default is None else default)


def losses_of(loss: config.Loss, target: Target) -> list[str]:
    """Return the names of the losses in a target's expression."""
    return [name for _, name in parse_loss(loss_of(loss, target))]


def check_names(model: config.Model, loss: config.Loss, targets: Sequence[Target]) -> None:
    """Refuse names in a member's tables by target that are no targets of it; they are wrong even where nothing is trained.

    Args:
        model: the recipe's section.
        loss: the recipe's section.
        targets: those that have a head.
    """
    names = [t.name for t in targets]
    weights = loss.weights if isinstance(loss.weights, dict) else {}
    for given, where in ((loss.targets, "loss.targets"), (weights, "loss.weights"), (model.heads, "model.heads")):
        for name in given:
            if name not in names:
                raise UserError(f"{where} names {name!r}, which is no target (there are: {listed(names)}).{nearest(name, names)}")


def check_loss(loss: config.Loss, targets: Sequence[Target]) -> list[str]:
    """Refuse losses, options and weights that cannot serve the targets.

    Args:
        loss: the recipe's section.
        targets: those that have a head.

    Returns:
        Remarks: what the recipe sets that does not touch some target.

    Raises:
        UserError: with the reason, and what would fit.
    """
    check_names(config.Model(), loss, targets)
    used: set[str] = set()
    for target in targets:
        for name in losses_of(loss, target):
            used.add(name)
            choice, _ = pick({"name": name, **loss.options.get(name, {})}, LOSSES, "loss")
            if choice.kinds and target.kind not in choice.kinds:
                fitting = [n for n, c in LOSSES.items() if target.kind in c.kinds]
                raise UserError(
                    f"loss {name!r} is for {' and '.join(choice.kinds)} targets, and {target.name!r} is {target.kind}",
                    need=f"one of {listed(fitting, 20)}",
                    fix=f"set loss.targets.{target.name}" if len(targets) > 1 else "set loss.name",
                )
    for name in loss.options:
        if name not in used:
            raise UserError(f"loss.options sets {name!r}, which no target uses (in use: {listed(sorted(used))}).{nearest(name, used)}")
    scored = [t for t in targets if not t.is_identity]
    remarks = [*_check_class_weights(loss, scored), *_check_adjustment(loss, scored), *_smoothing_remarks(loss, scored)]
    if loss.smoothing or loss.logit_adjust or loss.class_weights != "none":
        remarks += [f"smoothing and weights of classes do not touch the identities {t.name!r}" for t in targets if t.is_identity]
    return remarks


def check_mixing(mixes: Iterable[config.Spec], choices: Mapping[str, Choice], loss: config.Loss, targets: Sequence[Target]) -> None:
    """Refuse mixing that the targets or their losses cannot take.

    Args:
        mixes: the recipe's list.
        choices: ``data.choices.MIXES``.
        loss: the recipe's section.
        targets: those that have a head.

    Raises:
        UserError: a number among the targets and no stated meaning; a loss that needs one class a row.
    """
    for spec in mixes:
        _, options = pick(spec, choices, "mix")
        name = name_of(spec)
        if name in TRUTH_STAYS:
            continue
        for target in targets:
            if target.kind == "regression" and options.get("numbers", "refuse") != "linear":
                raise UserError(
                    f"mix {name!r} with the number {target.name!r}: what a mixture of two images' numbers means is not stated",
                    fix=f'declare it: mix = [{{name = "{name}", numbers = "linear"}}] takes their weighted mean, or leave {name!r} out',
                )
            for term in losses_of(loss, target):
                if term in ONE_CLASS_ONLY:
                    raise UserError(
                        f"mix {name!r} with loss {term!r}: its margin belongs to one class, and a mixture has two",
                        fix=f"leave {name!r} out, or use another loss for {target.name!r}",
                    )


def check_heads(model: config.Model, loss: config.Loss, targets: Sequence[Target]) -> None:
    """Refuse a loss on logits that it does not mean: margins need cosines, CORAL needs borders, and the other way round.

    Raises:
        UserError: with the head that fits.
    """
    check_names(model, config.Loss(), targets)
    for target in targets:
        spec = head_of(model, target)
        head = name_of(spec)
        for name in losses_of(loss, target):
            needed = HEAD_OF.get(name)
            if name == "coral" and loss_of(loss, target, default="") == "":
                continue  # a default that follows the head
            if needed is not None and head in HEADS and head != needed:
                raise UserError(
                    f"loss {name!r} of {target.name!r} on a {head!r} head", need=f"head {needed!r}", fix=f"set model.heads.{target.name}"
                )
            if head in HEAD_OF.values() and needed is None:
                fitting = next(n for n, h in HEAD_OF.items() if h == head)
                raise UserError(
                    f"head {head!r} of {target.name!r} with loss {name!r}", need=f"loss {fitting!r}", fix=f"set loss.targets.{target.name}"
                )


def check_checkpoint(recipe: config.Recipe, epochs: int) -> list[str]:
    """Refuse a checkpoint that no training has; return a remark on one that this training will not have.

    Args:
        recipe: of one member.
        epochs: of its schedule.

    Raises:
        UserError: with the nearest name.
    """
    wanted, average = recipe.train.checkpoint, recipe.average
    found = re.fullmatch(r"epoch-(\d+)(/ema)?", str(wanted))
    if isinstance(wanted, str) and wanted not in CHECKPOINTS and found is None:
        raise UserError(
            f"train.checkpoint is {wanted!r}",
            need=f"an epoch's number, or one of {listed(CHECKPOINTS)}",
            fix=nearest(wanted, CHECKPOINTS).strip() or None,
        )
    number = wanted if isinstance(wanted, int) else 0 if found is None else int(found[1])
    kind = wanted if wanted in ("swa", "soup") else "ema" if found is not None and found[2] else None
    why = None
    if kind is not None and average.name != kind:
        why = f"average.name is {average.name!r}"
    elif number > epochs + (average.epochs if average.name == "swa" else 0):
        why = f"there are {plural(epochs, 'epoch')}"
    return [] if why is None else [f"warning: train.checkpoint is {wanted!r}, and {why}: each fold answers with its last checkpoint"]


def check_training(recipe: config.Recipe, targets: Sequence[Target], mixes: Mapping[str, Choice]) -> list[str]:
    """Make every check of this module on a member's recipe and return the remarks.

    Args:
        recipe: of one member.
        targets: those that have a head.
        mixes: ``data.choices.MIXES``.
    """
    remarks = check_loss(recipe.loss, targets)
    check_heads(recipe.model, recipe.loss, targets)
    check_mixing(recipe.mix, mixes, recipe.loss, targets)
    if recipe.average.refresh_norm is True and recipe.average.name == "none":
        raise UserError(
            "average.refresh_norm = true, and no weights are averaged",
            fix="set average.name to 'ema', 'swa' or 'soup', or leave average.refresh_norm out",
        )
    parts = [(stage.schedule or recipe.schedule, stage.epochs) for stage in recipe.stages] or [(recipe.schedule, recipe.train.epochs)]
    remarks += check_checkpoint(recipe, sum(epochs for _, epochs in parts))
    for schedule, epochs in parts:
        schedules.check(schedule, epochs)
        remarks += schedules.remarks(schedule, epochs)
    return remarks


def _check_class_weights(loss: config.Loss, targets: Sequence[Target]) -> list[str]:
    if loss.class_weights == "none":
        return []
    without = [t.name for t in targets if t.kind == "regression" and not t.borders]
    if len(without) == len(targets):
        raise UserError(f"loss.class_weights with {listed(without)}: numbers without borders have no classes", fix="leave it out")
    if not isinstance(loss.class_weights, str):
        for target in targets:
            width = len(target.borders) + 1 if target.kind == "regression" else target.width
            if target.name not in without and width != len(loss.class_weights):
                raise UserError(
                    f"loss.class_weights has {plural(len(loss.class_weights), 'number')} and target "
                    f"{target.name!r} has {plural(width, 'class', 'classes')}",
                    need="one for each class in order",
                )
    return [f"class weights do not touch the number {name!r}" for name in without]


def _check_adjustment(loss: config.Loss, targets: Sequence[Target]) -> list[str]:
    if loss.logit_adjust == 0:
        return []
    without = [t.name for t in targets if t.kind != "single"]
    if len(without) == len(targets):
        raise UserError(
            f"loss.logit_adjust with {listed(without)}: the adjustment is of a softmax over classes", need="a single-label target"
        )
    return [f"logit adjustment does not touch {name!r}, which is not single-label" for name in without]


def _smoothing_remarks(loss: config.Loss, targets: Sequence[Target]) -> list[str]:
    return [f"label smoothing does not touch the number {t.name!r}" for t in targets if loss.smoothing and t.kind == "regression"]


def _terms(node: Any) -> list[tuple[float, str]] | None:
    if isinstance(node, ast.Name):
        return [(1.0, node.id)]
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        left, right = _terms(node.left), _terms(node.right)
        return None if left is None or right is None else left + right
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
        pair = [node.left, node.right]
        number = next((n.value for n in pair if isinstance(n, ast.Constant) and type(n.value) in (int, float)), None)
        name = next((n.id for n in pair if isinstance(n, ast.Name)), None)
        return None if number is None or name is None else [(float(number), name)]  # type: ignore[arg-type]
    return None
