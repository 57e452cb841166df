"""Read the folder of a frozen pipeline: its spec, and its members with their networks."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from tapetum.core import files, places
from tapetum.core.config import Input, Model, Predict, SequenceConfig
from tapetum.core.errors import DataError
from tapetum.core.targets import Target
from tapetum.data.images.form import Form
from tapetum.learn import models
from tapetum.learn.models import backbone as trunk
from tapetum.learn.models import sequence as over
from tapetum.learn.models import weights as pretrained
from tapetum.learn.runtime import Engine
from tapetum.learn.side import Scaling
from tapetum.pipeline.export import MARKER


@dataclasses.dataclass(frozen=True)
class Member:
    """One member of the pipeline and how it sees images.

    Args:
        name: of the member.
        networks: fold → network (−1: refit on all rows).
        settings: the recipe's ``[input]``.
        predict: views and how they are reduced.
        form: channels and depth of the images it learned from.
        engine: how it computed.
        scalings: fold → scaling of side numbers.
        shared: all networks have one backbone, which then runs once.
        sequence: the recipe's section of a member over neighbouring images; of others its default.
        step: the distance between neighbours where it learned; None of pipelines that an older version wrote, which measure it.
    """

    name: str
    networks: dict[int, models.Network]
    settings: Input
    predict: Predict
    form: Form
    engine: Engine
    scalings: dict[int, Scaling | None]
    shared: bool
    sequence: SequenceConfig
    step: float | None = None


def _head(place: Path) -> dict[str, torch.Tensor]:
    """Return the tensors of a head.

    Raises:
        DataError: its file is absent or cut.
    """
    try:
        return trunk.tensors_from_bytes(place.read_bytes())
    except (OSError, SafetensorError) as error:
        raise DataError(f"{place} cannot be read ({error})", fix="copy the whole folder again") from None


def load_member(folder: Path, spec: dict[str, Any], targets: list[dict[str, Any]]) -> Member:
    """Return a member with its networks.

    Args:
        folder: of the pipeline.
        spec: the member's part of ``pipeline.json``.
        targets: the pipeline's.
    """
    settings, model = Input.model_validate(spec["input"]), Model.model_validate(spec["model"])
    form = Form(**{**spec["form"], "size": tuple(spec["form"]["size"])})
    known = [Target.from_dict(t) for t in targets if t["name"] in spec["targets"]]
    how = SequenceConfig.model_validate(spec.get("sequence", {}))
    backbones = {one["backbone"] for one in spec["folds"]}
    networks: dict[int, models.Network] = {}
    scalings: dict[int, Scaling | None] = {}
    for one in spec["folds"]:
        place = places.inside(folder, one["folder"])
        scalings[one["fold"]] = Scaling.from_dict(files.read_json(place / "preprocess.json")["side"])
        weights = pretrained.from_folder(places.inside(folder / "backbones", one["backbone"]))
        side = len(scalings[one["fold"]].names) if scalings[one["fold"]] else 0  # type: ignore[union-attr]
        network = models.build(model, known, form.channels, settings, side=side, weights=weights)
        network = over.around(network, model, how, side=side) if how.length > 1 else network
        network.load_head_state(_head(place / "head.safetensors"))
        if networks and len(backbones) == 1:
            network.backbone = next(iter(networks.values())).backbone
        networks[one["fold"]] = network.eval()
    if not networks:
        raise DataError(f"{folder / MARKER} names no fold of member {spec['name']!r}", fix="freeze the run again: tapetum fit")
    first = next(iter(networks.values()))
    alike = all(torch.equal(n.mean, first.mean) and torch.equal(n.std, first.std) for n in networks.values())
    shared = len(backbones) == 1 and alike
    return Member(
        spec["name"],
        networks,
        settings,
        Predict.model_validate(spec["predict"]),
        form,
        Engine.from_dict(spec["engine"]),
        scalings,
        shared,
        how,
        spec.get("step"),
    )
