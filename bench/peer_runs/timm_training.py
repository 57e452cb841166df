"""timm as its train.py and inference.py call it: its loaders with their default augmentation, cosine rate, label smoothing, fp32.

Departures for few photos and epochs: AdamW at 1e-3 in place of SGD, and one epoch of warm-up in place of five.
"""

from __future__ import annotations

from argparse import Namespace

import common
import timm
import torch
from timm.data import create_loader, resolve_data_config
from timm.loss import LabelSmoothingCrossEntropy
from timm.optim import create_optimizer_v2
from timm.scheduler import create_scheduler_v2

CPU = torch.device("cpu")


def answer(train: list[common.Row], held: list[common.Row], classes: list[str], wish: Namespace) -> common.Answers:
    network = timm.create_model(common.BACKBONE, pretrained=True, num_classes=len(classes))
    config = resolve_data_config({"input_size": (3, wish.size, wish.size)}, model=network)
    about = {"batch_size": wish.batch, "use_prefetcher": False, "num_workers": 0, "persistent_workers": False, "device": CPU}
    look = {key: config[key] for key in ("input_size", "interpolation", "mean", "std")}
    loader = create_loader(common.Images(train, classes), is_training=True, **about, **look)
    optimizer = create_optimizer_v2(network, opt="adamw", lr=1e-3, weight_decay=0.05)
    schedule, epochs = create_scheduler_v2(
        optimizer,
        sched="cosine",
        num_epochs=wish.epochs,
        warmup_epochs=1,
        warmup_lr=1e-5,
        step_on_epochs=False,
        updates_per_epoch=max(1, len(loader)),
    )
    loss, step = LabelSmoothingCrossEntropy(0.1), 0
    network.train()
    for _ in range(epochs):
        for images, labels in loader:
            optimizer.zero_grad()
            loss(network(images), labels).backward()
            optimizer.step()
            step += 1
            schedule.step_update(step)
    loader = create_loader(common.Images(held, classes), is_training=False, crop_pct=config["crop_pct"], **about, **look)
    network.eval()
    with torch.inference_mode():
        found: common.Answers = torch.cat([network(images).softmax(-1) for images, _ in loader]).tolist()
    return found


if __name__ == "__main__":
    common.crossvalidate(answer)
