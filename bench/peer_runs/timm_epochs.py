"""Epochs of timm's ``train.py`` by default, a turn at a time: four loading processes, its augmentation, SGD, fp32.

The script is not in timm's package; these are its calls. Nothing of Tapetum is imported, and glibc has its own settings.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import common
import timm
import torch
import turn
from timm.data import create_loader, resolve_data_config
from timm.loss import LabelSmoothingCrossEntropy
from timm.optim import create_optimizer_v2


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("table", type=Path, help="CSV of path and label")
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--size", type=int, required=True)
    parser.add_argument("--batch", type=int, default=128)
    wish = parser.parse_args()
    common.register(wish.weights)
    rows = common.read(wish.table)
    classes = sorted({row["label"] for row in rows})
    network = timm.create_model(common.BACKBONE, pretrained=True, num_classes=len(classes)).train()
    config = resolve_data_config({"input_size": (3, wish.size, wish.size)}, model=network)
    loader = create_loader(
        common.Images(rows, classes),
        input_size=config["input_size"],
        batch_size=wish.batch,
        is_training=True,
        interpolation="random",
        mean=config["mean"],
        std=config["std"],
        num_workers=4,
        device=torch.device("cpu"),
    )
    optimizer = create_optimizer_v2(network, opt="sgd", lr=1e-4, weight_decay=2e-5, momentum=0.9)
    loss = LabelSmoothingCrossEntropy(0.1)

    def epoch(_: str) -> int:
        images = 0
        for x, y in loader:
            optimizer.zero_grad()
            loss(network(x), y).backward()
            optimizer.step()
            images += len(x)
        return images

    turn.take(epoch)


if __name__ == "__main__":
    main()
