"""What loads or builds a network: a member's at a checkpoint, a sequence model, and the probe."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tapetum.core import files, hashes
from tapetum.core.choices import name_of
from tapetum.core.config import Input, Model, Recipe, Spec
from tapetum.core.runs import PROBE, Record, Run
from tapetum.core.tables import Manifest
from tapetum.core.targets import Target
from tapetum.data.images.form import Form
from tapetum.learn import models, probe
from tapetum.learn.choices import DEFAULT_HEADS
from tapetum.learn.models import sequence as networks
from tapetum.learn.side import Scaling
from tapetum.learn.training import job, windowed
from tapetum.learn.training.keep import Keeper
from tapetum.workflow.session import FoldRef, Session

CHANNELS = "channels.json"  # mean and deviation of each channel, where they are measured on the training fold
SCALING = "scaling.json"  # of side numbers, on the training fold


def network_at(session: Session, ref: FoldRef, checkpoint: str) -> tuple[models.Network, Scaling | None]:
    """Return a fine-tuned network of single images at one of its fold's checkpoints, and the scaling of side numbers."""
    keeper, manifest = Keeper(session.folder(ref)), session.manifest
    model = ref.recipe.model.model_copy(update={"weights": "none"})
    network = models.build(model, manifest.targets, session.prepared.form.channels, ref.recipe.input, side=len(manifest.side))
    network.load_state_dict(keeper.checkpoint(checkpoint))
    return network, Scaling.from_dict(files.read_json(keeper.folder / "scaling.json"))


def whole_network(session: Session, ref: FoldRef, state: dict[str, Any]) -> models.Network:
    """Return a trained sequence model with its backbone, wherever that was trained.

    Args:
        session: of the run.
        ref: the member's fold.
        state: the tensors of the checkpoint; without a backbone where features were kept.
    """
    trained = any(key.startswith("backbone.") for key in state)
    keeper, manifest, recipe = Keeper(session.folder(ref)), session.manifest, ref.recipe
    spec = job.read_spec(keeper.folder / "spec.json")
    source = None if spec["features"] is None else spec["features"]["from"]
    model: Model = recipe.model if not trained and source is None else recipe.model.model_copy(update={"weights": "none"})
    side, channels = len(manifest.side), session.prepared.form.channels
    base = models.build(model, manifest.targets, channels, recipe.input, side=side, seed=recipe.seed)
    network = networks.around(base, model, recipe.sequence, side=side, seed=recipe.seed)
    if trained:
        network.load_state_dict(state)
        return network
    if source is not None:
        windowed.load_base(network, Keeper(keeper.folder / source["folder"]), source["checkpoint"])
    network.load_head_state(state)
    return network


def probe_input(recipe: Recipe) -> Input:
    """Return the input that the probe sees: the recipe's, at the probe's own size.

    ``probe.size = "auto"`` takes images 9/7 as large as training does (224 → 288), in steps of 32, where pretrained weights take any
    size: an object then covers as many pixels as in the random crops that the weights were trained on.

    Source: Touvron et al. 2019, arXiv 1906.06423 (FixRes); measured here on 175 dogs: docs/decisions/003-probe-size.md.
    """
    size: int | tuple[int, int] | str = recipe.probe.size
    if size == "auto":
        size = recipe.input.size
        if isinstance(size, int) and recipe.model.weights != "none" and not _has_fixed_size(recipe.model.backbone):
            size = max(size, round(size * 9 / 7 / 32) * 32)
    return recipe.input.model_copy(update={"size": size})


def _has_fixed_size(backbone: str) -> bool:
    from timm.models import get_pretrained_cfg

    config = get_pretrained_cfg(backbone, allow_unregistered=True)
    return config is not None and bool(config.fixed_input_size)


def probe_networks(session: Session, folds: Sequence[int]) -> dict[int, models.Network]:
    """Return fold → network whose heads are the fold's probes (−1: those of the refit); the backbone is one and the same.

    Raises:
        DataError: a head is not the one that was fitted for this fold.
    """
    found: dict[int, models.Network] = {}
    for fold in folds:
        folder = session.run.member(PROBE, fold)
        hashes.check_fold(folder)
        network = probe_network(session.recipe, session.prepared.form, session.manifest)
        for name in network.targets:
            head = probe.ProbeHead.from_bytes((folder / f"{files.plain_name(name)}.safetensors").read_bytes())
            head.start(network.head(name))
        if (folder / CHANNELS).exists():
            numbers = files.read_json(folder / CHANNELS)
            network.set_normalisation(numbers["mean"], numbers["std"])
        found[fold] = network
    return found


def probe_scaling(run: Run, fold: int) -> Scaling | None:
    """Return how a fold's probe scales side numbers; None where there are none."""
    return Scaling.from_dict(files.read_json(run.member(PROBE, fold) / SCALING))


def probe_targets(recipe: Recipe, manifest: Manifest) -> list[Target]:
    """Return the scored targets that have a head: derived ones only where the recipe gives them a joint one."""
    return [t for t in manifest.targets if t.scored and (t.expression is None or t.name in recipe.model.heads)]


def probe_head(recipe: Recipe, target: Target) -> str:
    """Return the probe's head of a target: linear, or CORAL where an ordinal target has that."""
    spec = recipe.model.heads.get(target.name, recipe.model.head) or DEFAULT_HEADS[target.kind]
    return "coral" if name_of(spec) == "coral" and target.kind == "ordinal" else "linear"


def probe_model(recipe: Recipe, manifest: Manifest) -> Model:
    """Return the model section of the probe: the recipe's backbone with the probe's heads on one shared vector."""
    heads = {t.name: probe_head(recipe, t) for t in probe_targets(recipe, manifest)}
    plain = {"sharing": "hard", "targets": (), "dropout": 0.0, "drop_path": 0.0, "side_width": 0}
    return recipe.model.model_copy(update={"head": None, "heads": heads, **plain})


def probe_network(recipe: Recipe, form: Form, manifest: Manifest, record: Record | None = None) -> models.Network:
    """Return the backbone with linear heads for the scored targets, which see side numbers beside the image's vector."""
    model, targets, side = probe_model(recipe, manifest), probe_targets(recipe, manifest), len(manifest.side)
    return models.build(model, targets, form.channels, probe_input(recipe), side=side, seed=recipe.seed, log=record)


def probe_views(run: Run, recipe: Recipe) -> tuple[Spec, ...]:
    """Return the views that the probe's vectors are of: the recipe's, or those that a budget left of them."""
    return tuple(run.plan().get("probe", {}).get("views", recipe.probe.views))
