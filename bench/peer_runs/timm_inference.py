"""timm's ``inference.py`` by default, a turn at a time: two loading processes, batches of 256, fp32, probabilities and classes to CSV.

The script is not in timm's package; these are its calls. With ``--features`` vectors of the next ``--images`` rows go to a file instead,
as a plain script with torch has them: batches of 64 in eager fp32, read by the same process. Nothing of Tapetum is imported, and glibc
has its own settings.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import common
import numpy as np
import pandas as pd
import timm
import torch
import turn
from timm.data import create_loader, resolve_data_config


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("table", type=Path, help="CSV of path and label")
    parser.add_argument("out", type=Path)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--size", type=int, required=True)
    parser.add_argument("--images", type=int, required=True, help="in a turn")
    parser.add_argument("--features", action="store_true")
    wish = parser.parse_args()
    common.register(wish.weights)
    rows = common.read(wish.table)
    classes = sorted({row["label"] for row in rows})
    network = timm.create_model(common.BACKBONE, pretrained=True, num_classes=0 if wish.features else len(classes)).eval()

    def loader(some: list[common.Row]) -> Any:
        return create_loader(
            common.Images(some, classes),
            batch_size=64 if wish.features else 256,
            use_prefetcher=True,
            num_workers=0 if wish.features else 2,
            persistent_workers=not wish.features,
            device=torch.device("cpu"),
            img_dtype=torch.float32,
            **resolve_data_config({"input_size": (3, wish.size, wish.size)}, model=network),
        )

    parts = [rows[at : at + wish.images] for at in range(0, len(rows), wish.images)] if wish.features else [rows[: wish.images]]
    loaders = itertools.cycle([loader(some) for some in parts])
    turn.take(vectors(network, loaders, wish.out) if wish.features else table(network, loaders, parts[0], wish.out))


def table(network: torch.nn.Module, loaders: Any, rows: list[common.Row], out: Path) -> Callable[[str], int]:
    def once(_: str) -> int:
        found = []
        with torch.inference_mode():
            for images, _ in next(loaders):
                found.append([one.cpu().numpy() for one in network(images).softmax(-1).topk(1)])
        p, label = (np.concatenate(parts)[:, 0] for parts in zip(*found, strict=True))
        pd.DataFrame({"filename": [row["path"] for row in rows], "index": label, "prob": p}).to_csv(out, index=False)
        return len(rows)

    return once


def vectors(network: torch.nn.Module, loaders: Any, out: Path) -> Callable[[str], int]:
    def once(_: str) -> int:
        with torch.inference_mode():
            found = torch.cat([network(images) for images, _ in next(loaders)]).numpy()
        np.save(out, found)
        return len(found)

    return once


if __name__ == "__main__":
    main()
