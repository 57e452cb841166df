"""Small runs of every kind of pipeline that is exported, and their exports to ONNX; each is made once in a test session."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import small_runs
from kinds import fit, plant_hpa, plant_people
from tapetum import api
from tapetum.core import files

NAMED = {"data__targets": ["stage"], "data__sequence": "night", "data__position": "place", "data__path": "file", "data__group": None}
LEARNT = {"train__epochs": 1, "split__folds": 2, "decide__choose": "finetune", "probe__enabled": False, **NAMED}
BODY = {"name": "bilstm", "hidden": 8, "layers": 1, "project": 8}
MEMBERS = """
[[member]]
name = "single"
[[member]]
name = "nights"
[member.sequence]
length = 4
features = "single"
head = {name = "bilstm", hidden = 8, layers = 1, project = 8}
"""
JOINED = {
    "sequence__length": 3,
    "sequence__target": "last",
    "sequence__windows": 4,
    "sequence__window_width": 24,
    "sequence__window_stride": 16,
    "sequence__head": BODY,
}


def people(place: Path) -> None:
    """Fine-tuned: two single targets, an ordered one and a number; temperatures by fold."""
    table = plant_people(place / "data", rows=36)
    more = {"decide__choose": "finetune", "decide__calibrate": "temperature", "data__group": "person", "predict__views": "flips"}
    targets = ["mask", "gender", "age_group:ordinal=young<middle<old", "age:regression"]
    fit(table, place / "run", data__targets=targets, model__heads={"age_group": "coral"}, **more)


def proteins(place: Path) -> None:
    """Four files a row as channels, several labels, thresholds."""
    plant_hpa(place / "data", rows=24, test=2, labels=4)
    table = (place / "data" / "train.csv").rename(place / "data" / "labels.csv")
    how = {"data__path": "train/{Id}_{red,green,blue,yellow}.png", "data__targets": ["Target:multi"]}
    fit(table, place / "run", decide__choose="finetune", decide__steps=["thresholds"], **how)


def masks(place: Path, backbone: str) -> None:
    """One target, fine-tuned, by a backbone."""
    table = plant_people(place / "data", rows=24)
    how = {"decide__choose": "finetune", "data__group": "person", "split__folds": 2}
    fit(table, place / "run", data__targets=["mask"], model__backbone=backbone, **how)


def plant_nights(root: Path) -> Path:
    """Write two classes in long runs, in the order of a night, and their table."""
    rng = np.random.default_rng(0)
    lines = ["file,stage,night,place"]
    files.make_folder(root)
    for night in range(4):
        for at in range(12):
            stage = (at // 4 + night) % 2
            pixels = np.clip(rng.normal(90 + 70 * stage, 45, (32, 32, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(root / f"n{night}-{at:02d}.png")
            lines.append(f"n{night}-{at:02d}.png,{'ab'[stage]},{night},{at}")
    files.write_text(root / "labels.csv", "\n".join(lines) + "\n")
    return root / "labels.csv"


def context(place: Path) -> None:
    """Single images of nights, then context."""
    how = {"train__epochs": 0, "split__folds": 2, "decide__steps": ["context"], **NAMED}
    small_runs.fit(plant_nights(place / "data"), place / "run", **how)


def nights(place: Path) -> None:
    """As the sleep recipe: a network of single images, its features into a BiLSTM, both blended, then context; the table has the place."""
    files.write_text(place / "recipe.toml", MEMBERS)
    flags = {key.replace("__", "."): value for key, value in {**LEARNT, "decide__steps": ["context"], "data__side": ["place"]}.items()}
    recipe = api.load_recipe(place / "recipe.toml", flags={**small_runs.BASE, **flags, "data.group": None})
    api.fit(plant_nights(place / "data"), place / "run", recipe=recipe)


def joined(place: Path) -> None:
    """As the other sleep recipe: three images joined, windows that cross their borders, the stage of the last."""
    small_runs.fit(plant_nights(place / "data"), place / "run", **LEARNT, **JOINED)


RUNS = {
    "cnn": lambda place: masks(place, "test_efficientnet"),
    "vit": lambda place: masks(place, "test_vit"),
    "people": people,
    "proteins": proteins,
    "context": context,
    "nights": nights,
    "joined": joined,
}


def run(tmp_path_factory: Any, name: str) -> Path:
    """Return the folder of one of :data:`RUNS`, with ``data/labels.csv`` and ``run``."""
    return small_runs.once(tmp_path_factory, f"exported-{name}", RUNS[name])


def onnx(tmp_path_factory: Any, name: str) -> tuple[Path, dict[str, Any]]:
    """Return the folder of a run, and what was said of its export to ONNX."""
    root = run(tmp_path_factory, name)

    def make(place: Path) -> None:
        files.write_json(place / "found.json", dict(api.export(root / "run", "onnx", place / "out")))

    return root, files.read_json(small_runs.once(tmp_path_factory, f"exported-{name}-onnx", make) / "found.json")
