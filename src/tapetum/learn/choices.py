"""The names that a recipe may use for models and training, and the functions behind them; imports nothing heavy."""

from __future__ import annotations

from collections.abc import Sequence

from tapetum.core.bounds import AMOUNT, SHARE, Range
from tapetum.core.choices import Choice
from tapetum.core.config import Model, Spec
from tapetum.core.errors import UserError, listed, nearest
from tapetum.core.targets import Target

LOSSES = {  # a recipe sets options under loss.options.NAME, sums them as '0.5*focal+0.5*lovasz'; no unit: training's deviation
    "cross_entropy": Choice("tapetum.learn.training.losses:cross_entropy", kinds=("single", "ordinal")),
    "focal_softmax": Choice("tapetum.learn.training.losses:focal_softmax", kinds=("single", "ordinal"), gamma=2.0),
    "arcface": Choice("tapetum.learn.training.losses:arcface", kinds=("single",), scale=30.0, margin=0.5),
    "bce": Choice("tapetum.learn.training.losses:bce", kinds=("multi",), over="mean"),
    "focal": Choice(
        "tapetum.learn.training.losses:focal", kinds=("multi",), limits={"alpha": Range(-1, 1)}, gamma=2.0, alpha=0.25, over="mean"
    ),
    "asymmetric": Choice(
        "tapetum.learn.training.losses:asymmetric", kinds=("multi",), gamma_neg=4.0, gamma_pos=1.0, clip=0.05, over="mean"
    ),
    "lovasz": Choice("tapetum.learn.training.losses:lovasz", kinds=("multi",), hinge="relu"),
    "soft_f1": Choice("tapetum.learn.training.losses:soft_f1", kinds=("single", "multi")),
    "hard_bce": Choice("tapetum.learn.training.losses:hard_bce", kinds=("multi",), share=0.3),
    "coral": Choice("tapetum.learn.training.losses:coral", kinds=("ordinal",)),
    "mse": Choice("tapetum.learn.training.losses:mse", kinds=("regression",), unit=None),
    "huber": Choice("tapetum.learn.training.losses:huber", kinds=("regression",), delta=1.0, unit=None),
}

OPTIMIZERS = {  # any other of timm's goes by 'timm:NAME', with its own options
    "sgd": Choice("tapetum.learn.training.optimizers:sgd", momentum=0.9, nesterov=False),
    "adam": Choice("torch.optim:Adam", betas=(0.9, 0.999), eps=1e-8),
    "adamw": Choice("torch.optim:AdamW", betas=(0.9, 0.999), eps=1e-8),
    "radam": Choice("torch.optim:RAdam", betas=(0.9, 0.999), eps=1e-8, decoupled_weight_decay=False),
    "ranger": Choice("tapetum.learn.training.optimizers:ranger", limits={"alpha": SHARE}, betas=(0.95, 0.999), eps=1e-5, k=6, alpha=0.5),
    "adamp": Choice("timm.optim:AdamP", betas=(0.9, 0.999), eps=1e-8, delta=0.1, wd_ratio=0.1, nesterov=False),
    "nadamw": Choice("timm.optim:NAdamW", betas=(0.9, 0.999), eps=1e-8),
    "lamb": Choice("timm.optim:Lamb", betas=(0.9, 0.999), eps=1e-6),
    "lion": Choice("timm.optim:Lion", betas=(0.9, 0.99)),
    "adabelief": Choice("timm.optim:AdaBelief", betas=(0.9, 0.999), eps=1e-16),
    "madgrad": Choice("timm.optim:MADGRAD", momentum=0.9, eps=1e-6),
}

SCHEDULES = {
    "constant": Choice("tapetum.learn.training.schedules:constant"),
    "cosine": Choice("tapetum.learn.training.schedules:cosine", floor=0.0),
    "cosine_restarts": Choice("tapetum.learn.training.schedules:cosine_restarts", t0=10.0, t_mult=1.0, decay=1.0, floor=0.0),
    "cyclic": Choice("tapetum.learn.training.schedules:cyclic", limits={"low": SHARE}, cycle=2.0, low=0.1, decay=1.0, rise=0.5),
    "phases": Choice("tapetum.learn.training.schedules:phases", phases=(), cycle=None, rise=0.5),
    "one_cycle": Choice("tapetum.learn.training.schedules:one_cycle", div=25.0, final_div=1e4),
    "flat_cosine": Choice("tapetum.learn.training.schedules:flat_cosine", flat=0.75, floor=0.0),
    "plateau": Choice(
        "tapetum.learn.training.schedules:plateau",
        factor=0.1,
        patience=2,
        threshold=1e-4,
        cooldown=0,
        floor=0.0,
    ),
}

HEADS = {  # from the image's vector to logits, one a target
    "linear": Choice("tapetum.learn.models.heads:Linear", normalise=True),
    "mlp": Choice("tapetum.learn.models.heads:MLP", hidden=512, dropout=0.5),
    "coral": Choice("tapetum.learn.models.heads:Coral", kinds=("ordinal",), normalise=True),
    "sigmoid": Choice("tapetum.learn.models.heads:Sigmoid", kinds=("regression",), scale=60.0),
    "cosine": Choice("tapetum.learn.models.heads:Cosine", kinds=("single",), limits={"width": AMOUNT}, width=0, scale=30.0),
}

DEFAULT_HEADS = {"single": "linear", "multi": "linear", "ordinal": "coral", "regression": "linear"}  # kind of target → head

IDENTITY_HEAD, IDENTITY_LOSS = "cosine", "arcface"  # of targets that name individuals, where the recipe says nothing of them by name


def head_of(model: Model, target: Target) -> Spec:
    """Return the head that a recipe gives a target: its own, else the one for all, else what fits its kind; identities have theirs."""
    return model.heads.get(target.name) or (IDENTITY_HEAD if target.is_identity else model.head) or DEFAULT_HEADS[target.kind]


def answered_targets(model: Model, targets: Sequence[Target]) -> list[Target]:
    """Return the targets that a network has heads for: those that the recipe names, derived ones only where it gives them a head.

    Raises:
        UserError: a name that is no target, or none that is left.
    """
    known = [t.name for t in targets]
    if strange := [name for name in model.targets if name not in known]:
        raise UserError(f"model.targets names {strange[0]!r}, which is no target (there are: {listed(known)}).{nearest(strange[0], known)}")
    if doubled := sorted({name for name in model.targets if model.targets.count(name) > 1}):
        raise UserError(f"model.targets names {listed(map(repr, doubled))} more than once", need="each target once")
    having = [t for t in targets if (t.expression is None or t.name in model.heads) and (not model.targets or t.name in model.targets)]
    if not having:
        raise UserError("the network has no target to answer", need="one or more targets")
    return having


SHARINGS = {  # what several targets share of the trunk
    "hard": Choice("tapetum.learn.models.sharing:Hard"),
    "cross-stitch": Choice("tapetum.learn.models.sharing:CrossStitch", layers=2, hidden=128, keep=0.9),
    "attention": Choice("tapetum.learn.models.sharing:Attention", hidden=64),
}

SEQUENCES = {  # the body over neighbouring images, set as sequence.head
    "bilstm": Choice("tapetum.learn.models.sequence:BiLSTM", hidden=128, layers=2, project=128, dropout=0.0),
    "transformer": Choice("tapetum.learn.models.sequence:Transformer", width=256, layers=4, heads=8, dropout=0.1),
}
