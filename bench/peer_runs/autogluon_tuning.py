"""AutoGluon MultiModal on images with its own defaults: its optimizer, rates, augmentation and early stopping; the network is ours."""

from __future__ import annotations

import tempfile
from argparse import Namespace

import common
import pandas as pd
import torch
from autogluon.multimodal import MultiModalPredictor


def answer(train: list[common.Row], held: list[common.Row], classes: list[str], wish: Namespace) -> common.Answers:
    torch.set_num_threads(1)
    frames = [pd.DataFrame({"image": [row["path"] for row in rows], "label": [row["label"] for row in rows]}) for rows in (train, held)]
    with tempfile.TemporaryDirectory() as place:
        predictor = MultiModalPredictor(label="label", problem_type="multiclass", path=place, verbosity=1)
        predictor.fit(
            frames[0],
            seed=wish.seed,
            column_types={"image": "image_path"},
            hyperparameters={
                "model.names": ["timm_image"],
                "model.timm_image.checkpoint_name": common.BACKBONE,
                "model.timm_image.image_size": wish.size,
                "optim.max_epochs": wish.epochs,
                "env.num_workers": 0,
                "env.num_workers_inference": 0,
                "env.accelerator": "cpu",
            },
        )
        found = predictor.predict_proba(frames[1][["image"]])
    order: common.Answers = found[classes].to_numpy().tolist()
    return order


if __name__ == "__main__":
    common.crossvalidate(answer)
