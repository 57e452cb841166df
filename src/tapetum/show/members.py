"""The members of a run and how their answers become the final one, step by step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tapetum.core import marks, stores
from tapetum.core.errors import TapetumError
from tapetum.core.runs import PROBE
from tapetum.core.words import plural
from tapetum.show.run_files import RunFiles


def members(found: RunFiles, target: str | None) -> list[dict[str, Any]]:
    """Return a line for each member: what it is, the folds that it ran, its figure, and its weight in the blend of a target."""
    blend = (found.decisions.get("blend") or {}).get(target) or {}
    names, weights = blend.get("members") or [], ((blend.get("final") or {}).get("blend") or {}).get("weights") or []
    weight = dict(zip(names, weights, strict=False)) if all(isinstance(w, (int, float)) for w in weights) else {}
    recipes = _recipes(found)
    head = found.metrics.get("headline") or {}
    out = []
    for name in dict.fromkeys([*found.members, *names]):
        recipe = recipes.get(name)
        what = _probe(found) if name == PROBE and recipe is None else ""
        if recipe is not None:
            what = f"{recipe.model.backbone}, {recipe.input.size} pixels, {plural(recipe.train.epochs, 'epoch')}"
        label = name if name == PROBE else f"member {name}"
        every = found.metrics.get("figures") or []
        figure = marks.main(every, str(target), head.get("metric"), label) or (
            marks.main(every, str(target), head.get("metric"), "finetune") if name != PROBE and len(names) == 1 else None
        )
        line = {"member": name, "what": what, "folds": sorted(found.members.get(name, {}))}
        out.append(line | {"figure": figure, "weight": weight.get(name)})
    return out


def _probe(found: RunFiles) -> str:
    """Say what the probe sees: its images may be larger than those of training. Of several stores, the one with most views is its own."""
    made_by = [stores.index(folder).get("what") or {} for folder in stores.finished(found.run.features)]
    seen: dict[str, Any] = max(made_by, key=lambda what: len(what.get("views") or ()), default={})
    size = (seen.get("preprocessing") or {}).get("size")
    if size is None:
        return "linear probe on stored features"
    shown = "images at their own size" if size == "native" else f"{'×'.join(map(str, np.atleast_1d(size)))} pixels"
    return f"linear probe on {seen.get('backbone') or 'stored features'}, {shown}"


def steps(found: RunFiles) -> list[dict[str, Any]]:
    """Return, for each target, the steps from the members' probabilities to the final answer, in order, in words."""
    out = []
    blends, after = (found.decisions.get(key) or {} for key in ("blend", "steps"))
    if (found.decisions.get("choice") or {}).get("final") == PROBE:
        blends = {}  # of fine-tuned members, which do not answer
    for target in found.targets:
        lines = []
        for part in (blends.get(target.name) or {}, after.get(target.name) or {}):
            final = part.get("final") or {}
            if (name := _name(part.get("calibrate"))) not in ("", "none"):
                lines.append({"step": "calibrate", "name": name, "value": final.get("calibrate")})
            if len(part.get("members") or []) > 1:
                lines.append({"step": "blend", "name": _name(part.get("blend")), "value": final.get("blend")})
            fitted = final.get("steps") or []
            for number, step in enumerate(part.get("steps") or []):
                lines.append({"step": "decide", "name": _name(step), "value": fitted[number] if number < len(fitted) else None})
        out.append({"target": target.name, "lines": lines})
    return [one for one in out if one["lines"]]


def _name(step: Any) -> str:
    return str(step.get("name") or "") if isinstance(step, Mapping) else str(step or "")


def _recipes(found: RunFiles) -> dict[str, Any]:
    """Return the recipe of each member; empty where the run has none that can be read."""
    if not found.run.recipe_file.exists():
        return {}
    try:
        return dict(found.run.recipe().members())
    except TapetumError:
        return {}
