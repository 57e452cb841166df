"""A job: one fold of one member, from a spec file and read-only inputs alone; the same bytes wherever it runs.

``spec.json`` is in the fold's folder and names its inputs relative to itself, so a run can be moved, and a process pool, Ray or a
Slurm array can run ``tapetum job members/main/fold-0/spec.json``. A folder is held by one process at a time.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tapetum.core import files, hashes, kept_json, locks
from tapetum.core.config import Recipe
from tapetum.core.errors import DataError, UserError
from tapetum.core.progress import Log
from tapetum.core.tables import Manifest
from tapetum.data.images import dataset
from tapetum.data.images.form import Form
from tapetum.data.images.transforms import EvalTransform
from tapetum.learn import memory, models, probe, ranks
from tapetum.learn.answering import Answering
from tapetum.learn.ranks import Ranks
from tapetum.learn.runtime import Engine, Runtime
from tapetum.learn.side import Scaling
from tapetum.learn.training import windowed
from tapetum.learn.training.fold import Fold, MayGoOn
from tapetum.learn.training.keep import Keeper
from tapetum.learn.training.objective import Objective, counts_of, spreads_of


def write_spec(folder: Path, manifest_file: Path, **values: Any) -> Path:
    """Write a fold's spec.

    Args:
        folder: the fold's folder.
        manifest_file: the run's manifest.
        values: member, fold, recipe (a member's, resolved), manifest_hash, data_root, train and heldout (row numbers), form, missing
            (row_id → why its image cannot be read), probe (the fold's probe heads, relative to the folder, or None), engine, threads
            (planned, or None), until (epochs after which training ends before its plan does, or None), answers (the plan of held-out
            answers, or None), store (the run's vectors, relative to the folder).
    """
    place = Path(*[".."] * len(folder.relative_to(manifest_file.parent).parts)) / manifest_file.name
    return files.write_json(folder / "spec.json", {"format": 1, "manifest": place.as_posix(), **values})


def read_spec(spec_file: Path) -> dict[str, Any]:
    """Read what :func:`write_spec` wrote.

    Raises:
        DataError: it is something else.
    """
    return kept_json.read_object(spec_file, having=("manifest", "member", "fold", "recipe", "manifest_hash", "train", "heldout", "engine"))


def run(
    spec_file: Path | str,
    *,
    wait: bool = False,
    may_go_on: MayGoOn | None = None,
    log: Log | None = None,
    after_epoch: Callable[[dict[str, Any]], None] | None = None,
) -> dict[str, Any]:
    """Run a job, or go on with it; return its final state. A job that is done is not run again.

    Args:
        spec_file: see :func:`write_spec`.
        wait: where another process holds the folder, until it ends; what it did is not done again.
        may_go_on: asked at every epoch's end; False cuts there.
        log: where messages go.
        after_epoch: told the history's row of each epoch once it is kept.

    Raises:
        EnvironmentFault: another process holds the folder.
        DataError: the manifest is not the one of the spec.
    """
    spec_file = Path(spec_file)
    folder = spec_file.parent
    if ranks.count() == 1 and (state := Keeper(folder).state()).get("status") == "done":  # several processes look once they are together
        return state
    spec = read_spec(spec_file)
    recipe = Recipe.stored(spec["recipe"])
    runtime = Runtime.from_train(recipe.train, Engine.from_dict(spec["engine"]), log, spec.get("threads"))
    with _held(folder, runtime.ranks, wait) as generation:
        keeper = Keeper(folder, generation, runtime.ranks)
        if (state := keeper.state()).get("status") == "done":  # by whom it was waited for
            return state
        if keeper.writes:
            hashes.forget(folder)  # of a start that was killed before it could say that the fold is done
        manifest = Manifest.read(folder / spec["manifest"], spec["data_root"])
        if manifest.content_hash() != spec["manifest_hash"]:
            raise DataError(f"{spec_file} was written for another manifest", fix="run tapetum fit again in a new folder")
        fold = build(spec, manifest, keeper, log or (lambda _: None), runtime)
        training = windowed.training_of(fold)
        training.after_epoch = after_epoch
        state = training.run(may_go_on)
        if keeper.writes:
            files.write_json(folder / "memory.json", _memory(fold, state))
        return state


@contextlib.contextmanager
def _held(folder: Path, among: Ranks, wait: bool) -> Iterator[int | None]:
    """Hold a fold's folder, by the first of several processes; the others wait for it, and have no generation."""
    if among.rank:
        among.wait()
        yield None
        return
    with locks.lock(folder, wait=wait) as generation:
        among.wait()
        yield generation


def _memory(fold: Fold, state: dict[str, Any]) -> dict[str, Any]:
    """Return the log of memory: the most that was held, the batch, in how many pieces it was computed at the end, and how many images
    were answered at once."""
    progress = state.get("progress", {})
    peak = round(memory.peak_bytes(fold.runtime.device) / 2**20)
    batch = progress.get("batch") or fold.recipe.train.batch
    whole = {"peak_mb": peak, "free_mb": round(memory.free_bytes() / 2**20), "batch": batch, "pieces": progress.get("pieces", 1)}
    return {**whole, "answered_at_once": fold.runtime.answered_at_once or fold.recipe.predict.batch}


def build(spec: dict[str, Any], manifest: Manifest, keeper: Keeper, log: Log, runtime: Runtime | None = None) -> Fold:
    """Return what a spec describes, ready to train: network (from the probe or at random), objective, runtime, rows.

    Args:
        spec: see :func:`write_spec`.
        manifest: the run's.
        keeper: of the fold's folder.
        log: where messages go.
        runtime: None: what the spec asks for.
    """
    recipe = Recipe.stored(spec["recipe"])
    runtime = runtime or Runtime.from_train(recipe.train, Engine.from_dict(spec["engine"]), log, spec.get("threads"))
    train, heldout = np.array(spec["train"], dtype=np.int64), np.array(spec["heldout"], dtype=np.int64)
    heads = keeper.folder / spec["probe"] if spec["probe"] else None
    over = recipe.sequence.length > 1
    if over and runtime.ranks.count > 1:
        raise UserError("a member over sequences trains in one process", fix="leave out --devices")
    network, fitted = network_for(spec, recipe, manifest, train, None if over else heads, log)
    windows, answering = None, Answering.from_plan(spec.get("answers"))
    if over:
        network, windows = windowed.prepare(spec, recipe, manifest, network, train, keeper.folder, runtime, log)
    network = runtime.to_device(network)
    truths = {name: manifest.truth(name)[train] for name in network.targets}
    targets = list(network.targets.values())
    objective = Objective(recipe.loss, targets, counts_of(targets, truths), spreads_of(targets, truths))
    objective = runtime.to_device(objective)
    scaling = Scaling.measure(manifest, train)
    if keeper.writes:
        files.write_json(keeper.folder / "scaling.json", None if scaling is None else scaling.to_dict())
    for remark in objective.remarks:
        log(remark)
    return Fold(
        manifest=manifest,
        recipe=recipe,
        member=spec["member"],
        number=spec["fold"],
        train=train,
        heldout=heldout,
        network=network,
        objective=objective,
        runtime=runtime,
        keeper=keeper,
        scaling=scaling,
        form=Form.from_dict(spec["form"]),
        log=log,
        missing=spec.get("missing", {}),
        until=spec["until"],
        windows=windows,
        fitted=fitted,
        answering=answering,
        store=(keeper.folder / spec["store"]).resolve() if spec.get("store") else None,
    )


def network_for(
    spec: dict[str, Any], recipe: Recipe, manifest: Manifest, train: np.ndarray, heads: Path | None, log: Log
) -> tuple[models.Network, bool]:
    """Return the network at step 0, pretrained or random, its heads those of the probe where they fit; and whether all of them do."""
    form = Form.from_dict(spec["form"])
    kept = recipe.sequence.length > 1 and recipe.sequence.features == "frozen"
    from_probe = recipe.train.start == "probe" and heads is not None
    # a backbone that stays as it is, or that the probe's heads were fitted on, is the same in all folds, even from random numbers
    seed = recipe.seed + (0 if kept or from_probe else spec["fold"])
    network = models.build(recipe.model, manifest.targets, form.channels, recipe.input, side=len(manifest.side), seed=seed, log=log)
    if recipe.input.normalise == "data":
        images = dataset.ImageDataset(manifest, recipe.input, EvalTransform(recipe.input), form=form)
        mean, std = dataset.channel_statistics(images, train)
        network.set_normalisation(mean.tolist(), std.tolist())
        log(f"measured on the training fold: mean {np.round(mean, 4).tolist()}, deviation {np.round(std, 4).tolist()}")
    for name in network.targets:
        network.head(name).measure(torch.from_numpy(manifest.truth(name)[train]))
    fitted = []
    if from_probe and heads is not None:
        hashes.check_fold(heads)
        for name, target in network.targets.items():
            file = heads / f"{files.plain_name(name)}.safetensors"
            head = network.head(name)
            fits = file.exists() and hasattr(head, "start_from")
            if fits:
                found = probe.ProbeHead.from_bytes(file.read_bytes())
                straight = isinstance(network.side, torch.nn.Identity)  # the head sees side numbers as the probe does
                head.start_from(torch.as_tensor(found.weight if straight else found.of_images), torch.as_tensor(found.bias))
            fitted += [fits] if target.scored else []
    return network, bool(fitted) and all(fitted)
