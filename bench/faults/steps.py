"""What a child process does in a trial: one command of Tapetum by its command line, or a person's decisions in the review."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

RECIPE = {
    "model.backbone": "test_efficientnet",
    "model.weights": "none",
    "input.size": 32,
    "train.epochs": 1,
    "train.batch": 8,
    "train.threads": 1,
    "train.precision": "32",
    "split.folds": 2,
    "data.targets": ["label"],
    "data.group": "group",
    "probe.strengths": [1.0, 100.0],
    "data.on_bad": "skip",
    "decide.choose": "finetune",
}
DECISIONS = (("keep", ()), ("exclude", ()), ("relabel", ("bee",)))  # of the first rows, in turn


def command(words: list[str], cache: str) -> int:
    """Run a command of Tapetum in this process; return its exit code."""
    from tapetum.cli import main

    os.environ["XDG_CACHE_HOME"] = cache
    sys.argv = ["tapetum", *words]
    try:
        main()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def fit(data: str, place: str, plan: str = "", epochs: int = 1) -> int:
    """Fit the small recipe into ``place/run``."""
    values = {**RECIPE, "train.epochs": epochs} | ({} if epochs else {"decide.choose": "probe"})
    flags = [word for key, value in values.items() for word in ("--set", f"{key}={json.dumps(value)}")]
    return command(["fit", data, "-o", f"{place}/run", *flags, *(["--plan", plan] if plan else [])], f"{place}/cache")


def launched(data: str, place: str, plan: str = "") -> int:
    """Start the fit in a process of its own and wait for it, as a launcher of jobs does."""
    if (worker := os.fork()) == 0:
        os._exit(fit(data, place, plan))
    return os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1])


def predict(run: str, data: str, place: str, ending: str = ".parquet") -> int:
    """Predict a folder into ``place/out``, in parts of four rows."""
    from tapetum.workflow.commands import predict as parts

    parts.PART = 4
    return command(["predict", run, data, "-o", f"{place}/out{ending}", "--on-bad", "skip"], f"{place}/cache")


def export(run: str, place: str, graph: str = "") -> int:
    """Write the pipeline as ONNX into ``place/exported``; a graph that was traced before is not traced again, which touches no file."""
    from tapetum.learn import graphs

    if graph:
        graphs._traced = lambda *_: None
        graphs._onnx_model = lambda *_: _Kept(Path(graph))
    return command(["export", f"{run}/pipeline", "--to", "onnx", "-o", f"{place}/exported"], f"{place}/cache")


class _Kept:
    """A graph that was written before, in place of the exporter's."""

    def __init__(self, file: Path) -> None:
        self.content = file.read_bytes()

    def save(self, destination: Path, **_: object) -> None:
        """Write it as the exporter does."""
        Path(destination).write_bytes(self.content)


def review(run: str, place: str, told: str) -> int:
    """Decide some images, those that the file does not hold yet, say so outside of the place, and write the table."""
    from tapetum.core.errors import TapetumError
    from tapetum.core.runs import Run
    from tapetum.show.review.review import fingerprint
    from tapetum.show.review.store import Store

    manifest = Run(Path(run)).manifest()
    try:
        store = Store(Path(place) / "review.sqlite", fingerprint(manifest))
        for row_id, (action, labels) in zip(manifest.row_ids, DECISIONS, strict=False):
            if store.of_row(row_id) is None:
                store.add([row_id], action, labels)
            with open(told, "a", encoding="utf-8") as file:
                file.write(f"{row_id}\n")
        store.close()
    except TapetumError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    words = ["review", run, "--export", "--decisions", f"{place}/review.sqlite", "-o", f"{place}/decisions.csv"]
    return command(words, f"{place}/cache")
