"""scikit-learn on frozen features: timm in eager fp32, pooled, then a standardised logistic regression. The features are computed once."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

import common
import timm
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch.utils.data import DataLoader

KEPT: dict[str, Any] = {}


def features(rows: list[common.Row], classes: list[str], wish: Namespace) -> Any:
    """Return the pooled features of rows (N, C); those of an image are computed once."""
    fresh = [row for row in rows if row["path"] not in KEPT]
    if fresh:
        network = timm.create_model(common.BACKBONE, pretrained=True, num_classes=0).eval()
        config = timm.data.resolve_data_config({"input_size": (3, wish.size, wish.size)}, model=network)
        images = common.Images(fresh, classes, timm.data.create_transform(**config))
        with torch.inference_mode():
            vectors = torch.cat([network(x) for x, _ in DataLoader(images, wish.batch)])  # type: ignore[arg-type]
        KEPT.update(zip([row["path"] for row in fresh], vectors.numpy(), strict=True))
    return [KEPT[row["path"]] for row in rows]


def answer(train: list[common.Row], held: list[common.Row], classes: list[str], wish: Namespace) -> common.Answers:
    features(train + held, classes, wish)
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    model.fit(features(train, classes, wish), [row["label"] for row in train])
    found: common.Answers = model.predict_proba(features(held, classes, wish)).tolist()
    return found


if __name__ == "__main__":
    common.crossvalidate(answer)
