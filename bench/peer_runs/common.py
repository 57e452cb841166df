"""What every peer does alike: read its rows, load the weights, walk the folds and write the answers. It needs torch and timm alone."""

from __future__ import annotations

import argparse
import csv
import dataclasses
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

BACKBONE = "tf_efficientnet_lite0"
Row = dict[str, str]
Answers = Sequence[Sequence[float]]


def asked() -> argparse.Namespace:
    """Return the command line that all peers share."""
    parser = argparse.ArgumentParser()
    parser.add_argument("table", type=Path, help="CSV of path, label, fold")
    parser.add_argument("out", type=Path, help="CSV of path, fold and a probability for each class")
    parser.add_argument("--weights", type=Path, required=True, help="the weights under timm's names")
    parser.add_argument("--size", type=int, required=True)
    parser.add_argument("--epochs", type=int, required=True)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def read(table: Path) -> list[Row]:
    """Return the rows of a table of path, label and fold."""
    with table.open(newline="", encoding="utf-8") as text:
        return list(csv.DictReader(text))


def parts(rows: Sequence[Row], fold: str) -> tuple[list[Row], list[Row]]:
    """Return the rows that train and those that are held out in a fold."""
    return [row for row in rows if row["fold"] != fold], [row for row in rows if row["fold"] == fold]


def write(out: Path, classes: Sequence[str], answered: Sequence[tuple[Row, Sequence[float]]]) -> None:
    """Write the held-out probabilities."""
    with out.open("w", newline="", encoding="utf-8") as text:
        writer = csv.writer(text)
        writer.writerow(["path", "fold", *classes])
        writer.writerows([row["path"], row["fold"], *(f"{p:.6f}" for p in answer)] for row, answer in answered)


def crossvalidate(answer: Callable[[list[Row], list[Row], list[str], argparse.Namespace], Answers]) -> None:
    """Give each fold's rows to ``answer`` (those that train, those held out, the classes, the options) and write what it returns."""
    wish = asked()
    seeded(wish.seed)
    register(wish.weights)
    rows = read(wish.table)
    classes = sorted({row["label"] for row in rows})
    answered = []
    for fold in sorted({row["fold"] for row in rows}):
        train, held = parts(rows, fold)
        answered += list(zip(held, answer(train, held, classes, wish), strict=True))
    write(wish.out, classes, answered)


def seeded(seed: int) -> None:
    """Seed Python, numpy and torch."""
    import numpy as np
    import torch

    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def register(weights: Path) -> None:
    """Make timm read the weights of the backbone from this file wherever they are asked for."""
    from timm.models import _registry

    held: Any = _registry._model_pretrained_cfgs
    for name in [key for key in held if key.split(".", maxsplit=1)[0] == BACKBONE]:
        held[name] = dataclasses.replace(held[name], file=str(weights), hf_hub_id=None, url="")


class Images:
    """A data set of torch: the image of a row, converted by ``transform``, and the number of its class."""

    def __init__(self, rows: Sequence[Row], classes: Sequence[str], transform: Any = None) -> None:
        self.rows, self.classes, self.transform = list(rows), list(classes), transform

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        from PIL import Image

        image = Image.open(self.rows[index]["path"]).convert("RGB")
        return self.transform(image) if self.transform else image, self.classes.index(self.rows[index]["label"])
