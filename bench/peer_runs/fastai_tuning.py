"""fastai's fine_tune: an epoch of the head, then ``epochs`` of the whole network, its augmentations and its rates."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

import common
import pandas as pd
from fastai.vision.all import ImageDataLoaders, Resize, aug_transforms, vision_learner


def answer(train: list[common.Row], held: list[common.Row], classes: list[str], wish: Namespace) -> common.Answers:
    frame = pd.DataFrame([*({**row, "held": False} for row in train), *({**row, "held": True} for row in held)])
    loaders = ImageDataLoaders.from_df(
        frame,
        path=Path("/"),
        fn_col="path",
        label_col="label",
        valid_col="held",
        item_tfms=Resize(wish.size),
        batch_tfms=aug_transforms(),
        bs=wish.batch,
        num_workers=0,
        seed=wish.seed,
    )
    learner = vision_learner(loaders, common.BACKBONE)
    with learner.no_bar(), learner.no_logging():
        learner.fine_tune(wish.epochs)
        p, _ = learner.get_preds(dl=loaders.valid)
    order = [list(loaders.vocab).index(name) for name in classes]
    found: common.Answers = p[:, order].tolist()
    return found


if __name__ == "__main__":
    common.crossvalidate(answer)
