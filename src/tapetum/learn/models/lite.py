"""The tensors of efficientnet_lite_pytorch under timm's names."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any


def lite_names(original: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield (original name, timm's name) for a network of efficientnet_lite_pytorch.

    There the blocks are numbered through; timm numbers them by stage. A block without an expansion (the first stage) has
    ``conv_dw, bn1, conv_pw, bn2`` in timm, the others ``conv_pw, bn1, conv_dw, bn2, conv_pwl, bn3``.
    """
    number = re.compile(r"_blocks\.(\d+)\.(_\w+)\.(.+)")
    expands = {m[1] for key in original if (m := number.fullmatch(key)) and m[2] == "_expand_conv"}
    place = _stages(original)
    outside = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
    short = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
    long = {
        "_expand_conv": "conv_pw",
        "_bn0": "bn1",
        "_depthwise_conv": "conv_dw",
        "_bn1": "bn2",
        "_project_conv": "conv_pwl",
        "_bn2": "bn3",
    }
    for key in original:
        if m := number.fullmatch(key):
            stage, block = place[int(m[1])]
            part = (long if m[1] in expands else short)[m[2]]
            yield key, f"blocks.{stage}.{block}.{part}.{m[3]}"
        else:
            part, _, rest = key.partition(".")
            yield key, f"{outside[part]}.{rest}"


def _stages(original: Mapping[str, Any]) -> dict[int, tuple[int, int]]:
    """Return block number → (stage, block in it).

    A stage begins at each block whose output width or kernel differs from the block before it: no two neighbouring stages of the
    family share both.
    """

    def shape(n: int) -> tuple[int, int]:
        return (
            int(original[f"_blocks.{n}._project_conv.weight"].shape[0]),
            int(original[f"_blocks.{n}._depthwise_conv.weight"].shape[-1]),
        )

    count = 1 + max(int(key.split(".")[1]) for key in original if key.startswith("_blocks."))
    place: dict[int, tuple[int, int]] = {}
    stage, block = 0, 0
    for n in range(count):
        if n and shape(n) != shape(n - 1):
            stage, block = stage + 1, 0
        place[n] = (stage, block)
        block += 1
    return place
