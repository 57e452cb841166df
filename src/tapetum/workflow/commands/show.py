"""Rows of the data as training would see them: original, augmented and mixed, with their labels, on one sheet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch

from tapetum.core import draws as chance
from tapetum.core.config import Recipe
from tapetum.core.errors import DataError, UserError, listed
from tapetum.core.runs import Record
from tapetum.core.tables import Manifest
from tapetum.core.targets import Target
from tapetum.core.words import plural
from tapetum.data import layouts
from tapetum.data.audit import check_files
from tapetum.data.images import dataset, mixing, sampling
from tapetum.data.images.decode import Composition
from tapetum.data.images.form import Form
from tapetum.data.images.transforms import EvalTransform, TrainTransform
from tapetum.show import batches

MOST = 3  # labels named under a mixed image


def show_batches(
    source: Any, out: Path | str, recipe: Recipe, record: Record, *, rows: int = 8, draws: int = 4, member: str | None = None
) -> dict[str, Any]:
    """Write a PNG of some training rows: their labels, the composed original and several draws of augmentation and mixing.

    Args:
        source: as for ``fit``.
        out: a .png file.
        recipe: its data, input, augment and mix are shown.
        record: receives messages about what the data hold and which rows cannot be read.
        rows: images shown, drawn by the seed.
        draws: times that each is augmented, as in the first epochs of training.
        member: of the recipe's members; None: the first.

    Returns:
        ``{"out", "rows", "channels"}``.
    """
    if rows < 1 or draws < 1:
        raise UserError(f"{plural(rows, 'row')} and {plural(draws, 'draw was', 'draws were')} asked for", need="1 or more of each")
    if Path(out).suffix.lower() != ".png":
        raise UserError(f"images cannot be drawn to {Path(out).suffix or 'a file without suffix'}", need=".png")
    members = recipe.members()
    name = member or next(iter(members))
    if name not in members:
        raise UserError(f"there is no member {name!r}", need=f"one of {', '.join(members)}")
    member_recipe = members[name]
    manifest = layouts.read(source, member_recipe.data, record)
    trains = np.flatnonzero(np.isin(manifest.split, ["train", "extra"]))
    order = chance.generator(member_recipe.seed, "show").permutation(trains)
    picked, form = _picked(manifest, Composition.from_input(member_recipe.input), order.tolist(), rows, record)
    seen = dataset.ImageDataset(manifest, member_recipe.input, EvalTransform(member_recipe.input), form=form)
    drawn = [_batch(member_recipe, manifest, seen, np.array(picked), trains, name, draw) for draw in range(draws)]
    sheet = []
    for place, row in enumerate(picked):
        original = seen.read(row)
        words = [manifest.row_ids[row], *(f"{t.name}: {_label(t, manifest.truth(t.name)[row])}" for t in manifest.targets)]
        notes = tuple(_mixed(manifest, row, {n: y[place] for n, y in truth.items()}) if member_recipe.mix else "" for _, truth in drawn)
        sheet.append(batches.Shown(tuple(words), original, [_arrays(x[place]) for x, _ in drawn], notes if member_recipe.mix else ()))
    channels = _names(manifest, picked[0], seen.form.channels) if member_recipe.input.paths == "channels" else ()
    return {"out": str(batches.draw(sheet, out, channels=channels)), "rows": len(picked), "channels": seen.form.channels}


def _picked(manifest: Manifest, how: Composition, order: list[int], rows: int, record: Record) -> tuple[list[int], Form]:
    """Return the first rows of an order that can be read, and the form of these images, which are all that is shown.

    Raises:
        DataError: none can be read, or they have different numbers of channels.
    """
    picked: list[int] = []
    checked: list[pl.DataFrame] = []
    while order and len(picked) < rows:
        some, order = order[: rows - len(picked)], order[rows - len(picked) :]
        found = check_files(manifest.where(np.array(some)), how, lambda _: None)
        for row, (row_id, status, reason) in zip(some, found.select("row_id", "status", "reason").iter_rows(), strict=True):
            if status == "ok":
                picked.append(row)
            else:
                record(f"{row_id} cannot be read ({reason}) and is passed over")
        checked.append(found)
    if not picked:
        raise DataError("not one image can be read", fix="see the reasons above")
    return picked, Form.of(pl.concat(checked))


def _batch(
    recipe: Recipe, manifest: Manifest, seen: dataset.ImageDataset, rows: np.ndarray, trains: np.ndarray, member: str, draw: int
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Return the rows as one batch of epoch ``draw``, augmented and mixed, with their truths."""
    augmented = seen.with_transform(TrainTransform(recipe.input, recipe.augment))
    (batch,) = dataset.batches(
        augmented, rows, len(rows), lambda row_id, occurrence: chance.key(recipe.seed, member, 0, draw, row_id, occurrence, 0)
    )
    targets = [t for t in manifest.targets if t.expression is None]
    truth = {t.name: torch.from_numpy(manifest.truth(t.name)) for t in targets}
    x, y = batch.x, {name: value[batch.rows] for name, value in truth.items()}
    if not recipe.mix:
        return x, y
    training = sampling.Training(
        targets=targets,
        truths={name: value.numpy()[trains] for name, value in truth.items()},
        weight=manifest.weight[trains],
        groups=manifest.groups[trains],
    )

    def pool(wanted: int, rng: np.random.Generator) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        found = [s for s in recipe.mix if isinstance(s, dict) and s["name"] == "half_cutmix"]
        options = {key: value for key, value in (found[0] if found else {}).items() if key in ("target", "classes", "rarest")}
        chosen = trains[rng.choice(sampling.rare_rows(training, **options), size=wanted)]
        rare = next(dataset.batches(augmented, chosen, wanted, lambda row_id, occurrence: chance.key("pool", draw, row_id, occurrence)))
        if rare.reasons:
            named = [f"{manifest.row_ids[row]} ({reason})" for row, reason in rare.reasons.items()]
            raise DataError(f"images to mix in cannot be read: {listed(named, 5)}", fix="repair or remove them, or set mix = []")
        return rare.x, {name: value[rare.rows] for name, value in truth.items()}

    mix = mixing.Mix(recipe.mix, bands=recipe.input.bands, pool=pool)
    generator = torch.Generator().manual_seed(chance.key(recipe.seed, member, 0, draw, 0, "mix"))
    return mix(x, y, generator, progress=0.0)


def _arrays(x: torch.Tensor) -> list[np.ndarray]:
    """Return a tensor (C, H, W) or (V, C, H, W) as images (H, W, C)."""
    views = x if x.ndim == 4 else x[None]
    return [np.ascontiguousarray(view.permute(1, 2, 0).numpy()) for view in views]


def _label(target: Target, truth: np.ndarray) -> str:
    if np.isnan(truth).any():
        return "unknown"
    if target.kind == "regression":
        return f"{truth[0]:.4g}"
    names = [target.classes[k] for k in np.flatnonzero(truth > 0.5)]
    return ", ".join(names) if names else "none"


def _mixed(manifest: Manifest, row: int, truth: dict[str, torch.Tensor]) -> str:
    """Return what mixing made of a row's truths, a line a class; empty where nothing was mixed."""
    lines = []
    for name, value in truth.items():
        target, now = manifest.target(name), value.numpy()
        if np.isnan(now).any() or np.allclose(now, manifest.truth(name)[row], atol=1e-6):
            continue
        if target.kind == "regression":
            lines.append(f"{name} {now[0]:.4g}")
        else:
            top = [k for k in np.argsort(-now)[:MOST] if now[k] > 0.005]
            lines += [f"{target.classes[k]} {now[k]:.2f}" for k in top]
    return "\n".join(lines)


def _names(manifest: Manifest, row: int, channels: int) -> tuple[str, ...]:
    """Return names of the channels where each is a file of its own: the parts in which the files' names differ; else nothing."""
    stems = [path.stem for path in manifest.paths(row)]
    if len(stems) != channels or channels < 2:
        return ()
    same = next((i for i, letters in enumerate(zip(*stems, strict=False)) if len(set(letters)) > 1), 0)
    return tuple(stem[same:] or stem for stem in stems)
