"""Eighteen classes composed of three tasks: a joint head over all of them, the product of the tasks, or what the folds choose.

Run: ``python bench/joint_head.py [--size small]``. It simulates people, fits ``mask-plus`` in its cpu profile with a joint head beside the
tasks, and judges both ways on the same held-out rows. The run stays in ``.bench/joint-head`` and goes on where it stopped.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

import recorded
from tapetum import api
from tapetum.core import files

HOME = recorded.ROOT / ".bench" / "joint-head"
SHOWN = ("macro_f1", "accuracy", "log_loss")
WAYS = {"head": "joint head", "product": "product of the tasks", "final": "what the other folds choose, adjusted for macro-F1"}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", default="small", help="of the simulation")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--dry", action="store_true", help="print, record nothing")
    args = parser.parse_args()
    place, run = HOME / f"simulated-{args.size}-{args.seed}", HOME / f"run-{args.size}-{args.seed}"
    if not (place / "simulation.json").exists():  # written last
        api.simulate("mask", place, size=args.size, seed=args.seed, log=recorded.log)
    data = place / files.read_json(place / "simulation.json")["paths"]["source"]
    loaded = api.load_recipe("mask-plus", profile="cpu", flags={"seed": args.seed, "train.threads": 1}, sets=['model.heads.ans="linear"'])
    api.fit(data, run, recipe=loaded, log=recorded.log, command="python bench/joint_head.py")
    figures = files.read_json(run / "metrics.json")["figures"]
    found = {way: {f["metric"]: f for f in figures if f["target"] == "ans" and f["name"] == way and f["metric"] in SHOWN} for way in WAYS}
    choice = files.read_json(run / "decisions.json")["composition"]["ans"]
    text = page(found, choice, args.size)
    print(text)
    if not args.dry:
        values = {"size": args.size, "seed": args.seed, "figures": found, "choice": choice}
        recorded.record("joint_head", "Joint head or product of the tasks", text, values, "torch", "timm", "numpy")
    return 0


def page(found: dict[str, dict[str, Any]], choice: dict[str, Any], size: str) -> str:
    """Return the section of docs/benchmarks.md."""
    rows = [[WAYS[way], *(recorded.span(one[metric]) for metric in SHOWN)] for way, one in found.items()]
    people = found["final"]["macro_f1"]
    return "\n\n".join(
        [
            f'`mask-plus`, cpu profile, with `model.heads.ans = "linear"`, on simulated people ({size}: {people["n"]:,} photos of '
            f"{people['groups']} people), out of fold by person; one network answers both ways:",
            recorded.table(["the 18 classes by", *SHOWN], rows),
            f"For new images the {choice['final']} answers: {choice['reason']}.",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
