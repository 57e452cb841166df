"""torchvision's reference for classification: its presets, SGD, steps of the rate and the loop of references/classification/train.py.

The network is timm's, because torchvision has no EfficientNet-Lite0. Departures for few photos: a rate of 0.01, a tenth in the last third.
"""

from __future__ import annotations

from argparse import Namespace

import common
import timm
import torch
from torch.utils.data import DataLoader
from torchvision import transforms as T

MEAN = STD = (0.5, 0.5, 0.5)  # of the weights


def answer(train: list[common.Row], held: list[common.Row], classes: list[str], wish: Namespace) -> common.Answers:
    after = [T.PILToTensor(), T.ConvertImageDtype(torch.float), T.Normalize(MEAN, STD)]
    flipped = T.Compose([T.RandomResizedCrop(wish.size), T.RandomHorizontalFlip(), *after])
    plain = T.Compose([T.Resize(round(wish.size * 256 / 224)), T.CenterCrop(wish.size), *after])
    network = timm.create_model(common.BACKBONE, pretrained=True, num_classes=len(classes))
    loader: DataLoader = DataLoader(common.Images(train, classes, flipped), wish.batch, shuffle=True)  # type: ignore[arg-type]
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, step_size=max(1, wish.epochs * 2 // 3), gamma=0.1)
    network.train()
    for _ in range(wish.epochs):
        for images, labels in loader:
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(network(images), labels).backward()
            optimizer.step()
        schedule.step()
    network.eval()
    with torch.inference_mode():
        batches = DataLoader(common.Images(held, classes, plain), wish.batch)  # type: ignore[arg-type]
        found: common.Answers = torch.cat([network(images).softmax(-1) for images, _ in batches]).tolist()
    return found


if __name__ == "__main__":
    common.crossvalidate(answer)
