"""Members over neighbouring images: whose features each of their folds reads, and the networks that ship."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tapetum.core import files
from tapetum.core.config import Model, Recipe
from tapetum.core.errors import UserError
from tapetum.core.runs import Run
from tapetum.core.tables import Manifest, Predictions
from tapetum.data.images.form import Form
from tapetum.decide import choose
from tapetum.learn.models import sequence as networks
from tapetum.learn.models.network import Network
from tapetum.learn.training import windowed
from tapetum.learn.training.keep import Keeper
from tapetum.workflow import budget as budgets
from tapetum.workflow.settle import checkpoint_of

BODY = 1500.0  # windows a second through a body over kept vectors, on the safe side


def rates(single: budgets.Rates, own: Recipe, rows: int) -> budgets.Rates:
    """Return the rates of a member over neighbours: images once and windows ever after, or whole windows of images.

    Args:
        single: of single images.
        own: the member's recipe.
        rows: of the manifest.
    """
    length = own.sequence.length
    if own.sequence.features == "end-to-end":
        return budgets.Rates(single.training / length, single.inference, single.start)
    shared = 1 if own.sequence.features == "frozen" else 0  # those of a pretrained backbone serve all folds, and often stand already
    return budgets.Rates(BODY, 2 * BODY, single.start + (0.3 if shared else 1.0) * rows / single.inference)


def base_of(run: Run, own: Recipe, fold: int, manifest: Manifest) -> tuple[Path, str] | None:
    """Return (folder, checkpoint) of the fold model whose features a member's fold reads; None for the pretrained backbone.

    The checkpoint is that member's choice for the fold, made on the other folds; of a refit, the final one.

    Raises:
        UserError: that member did not train this fold.
    """
    source = own.sequence.features
    if own.sequence.length == 1 or source in ("frozen", "end-to-end"):
        return None
    heldout = {f: Predictions.read(path) for f, path in run.folds_of(source, "epochs.parquet").items()}
    folder = run.member(source, fold)
    if not (folder / "state.json").exists() or not heldout:
        raise UserError(f"features of member {source!r} are wanted for fold {fold}, which it did not train", fix="give both the same folds")
    other = Recipe.model_validate(files.read_json(folder / "spec.json")["recipe"])
    scored = [t for t in manifest.targets if t.scored]
    found = choose.pick_epochs(heldout, other.train.monitor, checkpoint_of(other.train.epoch), scored, manifest.weights)
    known = Keeper(folder).state()["checkpoints"]
    wanted = found.final if fold < 0 else found.per_fold[fold]
    return folder, wanted if wanted in known else known[-1]


def whole_network(run: Run, member: str, fold: int, own: Recipe, form: Form, manifest: Manifest, state: dict[str, Any]) -> Network:
    """Return a trained network over neighbours with its backbone, wherever that was trained.

    Args:
        run: its folder.
        member: its name.
        fold: of it.
        own: its recipe.
        form: of the images.
        manifest: for the targets.
        state: the tensors of the checkpoint; without a backbone where features were kept.
    """
    trained = any(key.startswith("backbone.") for key in state)
    keeper = Keeper(run.member(member, fold))
    spec = files.read_json(keeper.folder / "spec.json")
    source = None if spec["features"] is None else spec["features"]["from"]
    model: Model = own.model if not trained and source is None else own.model.model_copy(update={"weights": "none"})
    side = len(manifest.side)
    network = networks.build(model, own.sequence, manifest.targets, form.channels, own.input, side=side, seed=own.seed)
    if trained:
        network.load_state_dict(state)
        return network
    if source is not None:
        windowed.load_base(network, Keeper(keeper.folder / source["folder"]), source["checkpoint"])
    network.load_head_state(state)
    return network
