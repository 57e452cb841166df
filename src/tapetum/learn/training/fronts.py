"""Stages in which the beginning of the backbone does not train: what it gives for each image is computed once and read from disk.

That holds only where each epoch sees the same images: without augmentation, and without mixing. A backbone that does not train at all
gives vectors, which are those of the run's feature store; one whose last layers train is cut behind its last frozen module, and the
activations there lie memory-mapped in the fold's folder until the stage ends.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from tapetum.core import draws, files
from tapetum.core.arrays import load_array
from tapetum.core.config import Stage
from tapetum.core.words import plural
from tapetum.data.images import dataset
from tapetum.learn import compiled, features
from tapetum.learn.models import backbone as trunk
from tapetum.learn.models.network import Network
from tapetum.learn.runtime import Runtime
from tapetum.learn.training import freezing
from tapetum.learn.training.epochs import Epochs

GIB = 1 << 30
PART = 64 << 20  # bytes of a file of activations, about
FOLDER = "activations"
_OUTSIDE = ("_pos_embed",)  # what transformers do before their blocks beside modules


class _Reached(Exception):
    """The last frozen module has answered."""

    def __init__(self, value: Any) -> None:
        self.value = value


class Front:
    """The frozen beginning of a network.

    Args:
        network: whose backbone is cut.
        units: the modules of the beginning, in the order in which they are called; none: the whole backbone is frozen.
    """

    def __init__(self, network: Network, units: Sequence[nn.Module] = ()) -> None:
        self.network, self.units = network, list(units)

    @torch.no_grad()
    def activations(self, x: Tensor) -> Tensor:
        """Return what the beginning gives for images (B, C, H, W)."""
        if not self.units:
            return self.network.features(x)

        def stop(_module: nn.Module, _given: Any, out: Any) -> None:
            raise _Reached(out)

        hook = self.units[-1].register_forward_hook(stop)
        try:
            self.network.by_torch(x, with_map=False)
        except _Reached as reached:
            return reached.value
        finally:
            hook.remove()
        raise ValueError("the last frozen module was not called")

    def resume(self, activations: Tensor) -> Tensor:
        """Return the vectors (B, D) of images whose activations are given; modules of the beginning pass on what they get."""
        if not self.units:
            return activations
        backbone: Any = self.network.backbone
        places = [(unit, "forward") for unit in self.units] + [(backbone, name) for name in _OUTSIDE if hasattr(backbone, name)]
        for place, name in places:
            vars(place)[name] = _as_it_is
        try:
            return trunk.vector(backbone, activations)
        finally:
            for place, name in places:
                del vars(place)[name]

    def weights(self) -> list[str]:
        """Return hashes of what the activations depend on."""
        own = {name: value.detach().cpu() for name, value in self.network.backbone.named_parameters(recurse=False)}
        numbers = [self.network.mean.flatten().tolist(), self.network.std.flatten().tolist()]
        return [*(trunk.state_hash(unit) for unit in self.units), files.fingerprint([numbers, {k: v.tolist() for k, v in own.items()}])]


def _as_it_is(x: Any, *_: Any, **__: Any) -> Any:
    return x


def front_of(network: Network, x: Tensor) -> Front | None:
    """Return the frozen beginning of a network as it trains now; None where nothing is frozen, or where it cannot be cut off.

    Args:
        network: after :func:`freezing.freeze` and :func:`freezing.train_mode`.
        x: some images, by which the cut is tried: the end must give for the beginning's activations what the whole gives.
    """
    if all(map(_is_still, network.backbone.modules())):
        return Front(network)
    if any(parameter.requires_grad for _, parameter in network.backbone.named_parameters(recurse=False)):
        return None
    still = {id(unit) for unit in _units(network.backbone) if all(map(_is_still, unit.modules()))}
    modes = {module: module.training for module in network.modules()}
    try:
        network.eval()
        called = _called(network, x)
        count = next((place for place, unit in enumerate(called) if id(unit) not in still), len(called))
        units = called[:count]
        if not any(True for unit in units for _ in unit.parameters()) or len({id(unit) for unit in called}) < len(called):
            return None
        front = Front(network, units)
        return front if _is_same(front, x) else None
    finally:
        for module, training in modes.items():
            module.training = training


def _is_still(module: nn.Module) -> bool:
    """Tell whether a module by itself gives the same for the same image throughout: nothing trains, is drawn or is measured."""
    own = module.parameters(recurse=False)
    drawn = module.training and (float(getattr(module, "p", 0) or 0) > 0 or float(getattr(module, "drop_prob", 0) or 0) > 0)
    return not any(p.requires_grad for p in own) and not drawn and not (isinstance(module, _BatchNorm) and module.training)


def _units(module: nn.Module) -> Iterator[nn.Module]:
    """Yield the modules that a backbone calls one after another: its children, those of lists one by one."""
    for child in module.children():
        if isinstance(child, nn.Sequential | nn.ModuleList):
            yield from _units(child)
        else:
            yield child


@torch.no_grad()
def _called(network: Network, x: Tensor) -> list[nn.Module]:
    order: list[nn.Module] = []
    hooks = [unit.register_forward_hook(lambda module, *_: order.append(module)) for unit in _units(network.backbone)]
    try:
        network.by_torch(x, with_map=False)
    finally:
        for hook in hooks:
            hook.remove()
    return order


@torch.no_grad()
def _is_same(front: Front, x: Tensor) -> bool:
    """Tell whether the end gives for the beginning's activations what the whole network gives."""
    whole = front.network.by_torch(x, with_map=False)[0]
    try:
        found = front.activations(x)
        return isinstance(found, Tensor) and torch.equal(front.resume(found), whole)
    except (RuntimeError, TypeError, ValueError, AttributeError, IndexError):  # a forward that does more than call its modules in turn
        return False


class Kept(dataset.ImageDataset):
    """Activations in place of images: a row's tensor is what the frozen beginning gave for it.

    Args:
        images: whose manifest and reasons are taken.
        places: row → (array, place in it).
        dtype: of the activations.
        shape: of a row's.
    """

    def __init__(self, images: dataset.ImageDataset, places: dict[int, tuple[np.ndarray, int]], dtype: torch.dtype, shape: Any) -> None:
        vars(self).update(vars(images))
        self.places, self.dtype, self.shape = places, dtype, shape

    def tensor(self, row: int, key: int = 0) -> Tensor | str:
        """Return the activations of a row, or why its image cannot be read."""
        if row not in self.places:
            return self.missing.get(row, "it was not computed")
        array, at = self.places[row]
        return torch.from_numpy(np.array(array[at])).view(self.dtype)

    def empty(self, row: int, shape: torch.Size | None) -> Tensor:
        """Return zeros for a row that cannot be read."""
        return torch.zeros(self.shape, dtype=self.dtype)


@contextlib.contextmanager
def kept(training: Epochs, stage: Stage, left: int) -> Iterator[None]:
    """Let a stage read activations from disk inside the block, or compute its frozen backbone by another engine, where that is the same.

    Args:
        training: of the fold, with the weights that the stage starts with.
        stage: of the recipe.
        left: epochs of it that are still to train; how the stage computes does not depend on them, so that a resumed one goes on alike.
    """
    network, how = training.network, training.recipe.memory
    if stage.trains == "all" or left < 1 or getattr(training.fold.windows, "vectors", None) is not None:
        yield
        return
    freezing.freeze(network, stage.trains)
    freezing.train_mode(network, frozen_norm=training.recipe.train.frozen_norm)
    folder = training.fold.keeper.folder / FOLDER
    if how.activations and stage.epochs > 1 and (found := _prepared(training, stage, folder)) is not None:
        training.kept, vars(network)["front"] = found
    elif _by_engine(training, stage):
        engine: Any = training.fold.answering.engine
        vars(network)["compiled"] = compiled.Compiled(engine, frozen=True)
        training.fold.log(f"the frozen backbone is computed by {engine.name}")
    try:
        yield
    finally:
        training.kept, vars(network)["front"], vars(network)["compiled"] = None, None, None
        files.remove(folder)


def _by_engine(training: Epochs, stage: Stage) -> bool:
    """Tell whether the images of a stage whose backbone does not train are enough for another engine."""
    frozen = all(map(_is_still, training.network.backbone.modules()))
    return (
        frozen and not _why_not(training, stage, by_engine=True) and training.fold.answering.takes(stage.epochs * len(training.fold.train))
    )


def _why_not(training: Epochs, stage: Stage, *, by_engine: bool = False) -> str:
    """Return why a stage's images differ from epoch to epoch, or cannot be kept as activations; nothing where they can."""
    recipe, fold = training.recipe, training.fold
    reasons = {
        "mixing changes the images": bool(recipe.mix),
        "it is a sequence model": fold.windows is not None,
        "several processes train the fold": fold.runtime.ranks.count > 1,
        "augmentation changes the images": bool(recipe.augment) and not by_engine,
        "the stage has a size of its own": stage.size not in (None, recipe.input.size) and not by_engine,
        "images keep their own size": recipe.input.size == "native",
        "targets share by the last map": bool(getattr(training.network.sharing, "needs_map", False)) and not by_engine,
    }
    return next((why for why, holds in reasons.items() if holds), "")


def _prepared(training: Epochs, stage: Stage, folder: Path) -> tuple[Kept, Front] | None:
    """Return the activations of a stage's images and the front that gave them; None, which is logged, where they are not kept."""
    fold, network = training.fold, training.network
    images = training.images_of(stage)[1]
    rows = np.union1d(fold.train, fold.heldout)
    why, front = _why_not(training, stage), None
    if not why:
        some = next(dataset.batches(images, rows[draws.evenly(len(rows), 2)], 2))
        x = fold.runtime.to_device(some.x[:1])
        why = "a row has several images" if some.x.ndim != 4 else ""
        front = None if why else front_of(network, x)
        why = why or ("" if front is not None else "the backbone cannot be cut behind its frozen layers")
    if front is None:
        fold.log(f"activations of frozen layers are not kept: {why}")
        return None
    with fold.runtime.autocast():
        one = front.activations(x).cpu()
    size = one[0].numel() * one.element_size() * len(rows)
    most = _bound(folder, training.recipe.memory.activations)
    if size > most:
        why = f"they take {size / GIB:.1f} GiB, and memory.activations and the disk leave {most / GIB:.1f}"
        fold.log(f"activations of frozen layers are not kept: {why}")
        return None
    places = _vectors(training, images, rows) if not front.units else _parts(training, images, rows, front, folder)
    what = "vectors of the frozen backbone" if not front.units else f"activations behind {len(front.units)} frozen modules"
    fold.log(f"{what} are kept for {plural(len(places), 'image')} ({size / 2**20:.0f} MiB)")
    return Kept(images, places, torch.float32 if not front.units else one.dtype, one[0].shape), front


def _bound(folder: Path, gib: float) -> int:
    """Return the most bytes of a stage's activations: at most half of the disk that was free when the stage began, also when it goes on."""
    file = folder / "bound.json"
    if not file.exists():
        files.write_json(file, min(int(gib * GIB), shutil.disk_usage(files.make_folder(folder)).free // 2))
    bound: int = files.read_json(file)
    return bound


def _vectors(training: Epochs, images: dataset.ImageDataset, rows: np.ndarray) -> dict[int, tuple[np.ndarray, int]]:
    """Return the vectors of a backbone that does not train, from the run's feature store where they are there."""
    fold = training.fold
    runtime = fold.answering.runtime(fold.runtime, len(rows))
    manifest = images.manifest.where(rows)
    part = dataset.ImageDataset(manifest, images.settings, images.transform, form=fold.form, missing=fold.missing)
    found = features.extract(training.network, part, store=fold.store, runtime=runtime, batch=training.recipe.predict.batch, log=fold.log)
    fold.runtime.to_device(training.network)  # training is by torch
    missing = [at for at, row_id in enumerate(manifest.row_ids) if row_id in found.reasons]
    images.missing.update({int(rows[at]): found.reasons[manifest.row_ids[at]] for at in missing})
    return {int(row): (found.vectors[:, 0], at) for at, row in enumerate(rows) if found.status[at] == "ok"}


def _parts(
    training: Epochs, images: dataset.ImageDataset, rows: np.ndarray, front: Front, folder: Path
) -> dict[int, tuple[np.ndarray, int]]:
    """Return the activations of some rows, each part of them from its file where an earlier start left it."""
    fold, ids = training.fold, images.manifest.row_ids
    key = [front.weights(), features.describe(nn.Identity(), images.settings, ("plain",), fold.runtime)]
    contents, batch = images.manifest.frame["sha256"], training.recipe.predict.batch
    places: dict[int, tuple[np.ndarray, int]] = {}
    step, start = batch, 0
    while start < len(rows):
        part = rows[start : start + step]
        file = folder / f"{files.fingerprint([key, [[ids[row], contents[int(row)]] for row in part]])}.npy"
        known = all(contents[int(row)] is not None for row in part) and file.exists()
        if not known:
            files.write_array(file, _computed(front, images, part, fold.runtime, batch))
        array = load_array(file, mapped=True)
        places |= {int(row): (array, at) for at, row in enumerate(part) if int(row) not in images.missing}
        start += len(part)
        step = max(batch, batch * (PART // max(1, array[0].nbytes * batch)))
    return places


@torch.no_grad()
def _computed(front: Front, images: dataset.ImageDataset, rows: np.ndarray, runtime: Runtime, batch: int) -> np.ndarray:
    """Return the activations of some rows as their bytes lie in memory, zeros where an image cannot be read."""
    found = []
    for one in dataset.batches(images, rows, batch, workers=dataset.reading()):
        with runtime.autocast():
            values = front.activations(runtime.to_device(one.x)).cpu().contiguous()
        found.append(values if values.dtype == torch.float32 else values.view(torch.int16))
    return torch.cat(found).numpy()
