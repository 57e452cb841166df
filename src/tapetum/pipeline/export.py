"""Write the parts of a frozen pipeline's folder: networks, galleries and the model card."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tapetum.core import files, intervals, places
from tapetum.core.marks import how_of, main, numbered
from tapetum.core.vectors import Gallery
from tapetum.core.words import plural
from tapetum.learn import models
from tapetum.learn.models import backbone as trunk
from tapetum.learn.side import Scaling

MARKER, FORMAT = places.PIPELINE, 1
_USE = ("```python", "import tapetum", "", 'model = tapetum.load("this-folder")', 'model.predict(["image.jpg"])', "```")


def write_network(folder: Path, member: str, fold: int, network: models.Network, scaling: Scaling | None) -> dict[str, Any]:
    """Write a fold's network, its backbone once for all that share it; return what ``pipeline.json`` says of it.

    Args:
        folder: of the pipeline.
        member: whose network it is.
        fold: that held rows out; −1: trained on all rows.
        network: at the checkpoint that ships.
        scaling: of side numbers, where it takes any.
    """
    name = trunk.state_hash(network.backbone)
    if not (folder / "backbones" / name).exists():
        mean, std = (tuple(value.flatten().tolist()) for value in (network.mean, network.std))
        trunk.save(network.backbone, folder / "backbones" / name, mean, std)
    place = f"members/{member}/" + ("refit" if fold < 0 else f"fold-{fold}")
    files.write_bytes(folder / place / "head.safetensors", trunk.tensors_to_bytes(network.head_state()))
    files.write_json(folder / place / "preprocess.json", {"side": None if scaling is None else scaling.to_dict()})
    return {"backbone": name, "folder": place}


def write_gallery(folder: Path, member: str, target: str, fold: int, gallery: Gallery) -> dict[str, Any]:
    """Write the training rows that a fold's rows find their neighbours among; return what ``pipeline.json`` says of them."""
    place = f"gallery/{member}/{target}-" + ("refit" if fold < 0 else f"fold-{fold}") + ".parquet"
    gallery.write(folder / place)
    return {"member": member, "fold": fold, "target": target, "file": place}


def card(name: str, figures: Sequence[Mapping[str, Any]], spec: Mapping[str, Any]) -> str:
    """Return the model card: what the pipeline is, how good it was measured to be, and how it is used.

    Args:
        name: of the recipe.
        figures: of ``metrics.json``.
        spec: ``pipeline.json``.
    """
    counted = [main(figures, target, metric) for target, metric in dict.fromkeys((row["target"], row["metric"]) for row in figures)]
    shown = [row for row in counted if row is not None]
    lines = [
        *_for_the_hub(name, shown),
        f"# {name}",
        "",
        "Classifies images; made by Tapetum.",
        "",
        "| target | metric | value | 95 % interval | how it was measured |",
        "|---|---|---|---|---|",
    ]
    marks = list(dict.fromkeys(text for row in shown for text in row.get("marks", ())))
    for row in shown:
        how = how_of(row) + numbered(row, marks)
        lines.append(f"| {row['target']} | {row['metric']} | {row['value']:.4f} | {intervals.span(row)} | {how} |")
    lines += [f"{'' if number > 1 else chr(10)}[{number}] {text}.  " for number, text in enumerate(marks, start=1)]
    used = ", ".join(f"{m['name']} ({m['model']['backbone']}, {plural(len(m['folds']), 'fold')})" for m in spec["members"])
    lines += [
        "",
        f"Members: {used}. Decision: {spec['decisions']['choice']['reason']}.",
        "",
        *_USE,
        "",
    ]
    return "\n".join(lines)


def exported_card(text: str, note: str = "") -> str:
    """Return the model card of a pipeline as that of its export, which is used otherwise; ``note`` is a sentence more."""
    use = "```console\ntapetum predict this-folder image.jpg\n```"
    return text.replace("\n".join(_USE), f"Exported: {note}.\n\n{use}" if note else use)


def _for_the_hub(name: str, shown: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the lines of YAML at the head of a card that the Hub reads: kind of task, library, and the figures."""
    task = "image-classification"
    lines = ["---", "library_name: tapetum", f"pipeline_tag: {task}", "tags:", f"- {task}", "- timm", "model-index:"]
    lines += [
        f"- name: {_text(name)}",
        "  results:",
        f"  - task: {{type: {task}}}",
        "    dataset: {type: own, name: own images}",
        "    metrics:",
    ]
    for row in shown:
        named = _text(f"{row['target']} {row['metric']}, {how_of(row)}")
        lines.append(f"    - {{type: {row['metric']}, value: {row['value']:.6g}, name: {named}}}")
    return [*(lines if shown else lines[: lines.index("model-index:")]), "---", ""]


def _text(text: str) -> str:
    """Return a text as YAML takes any: as JSON."""
    return files.to_json(text)
