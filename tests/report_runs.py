"""Run folders for tests of the report: every file that a run may hold, from generated rows with images. No torch here."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import polars as pl
from PIL import Image

from tapetum.core import config, files, intervals, metrics
from tapetum.core.tables import Dense, Manifest, Predictions
from tapetum.core.targets import Target

NASTY = "<script>alert('x')</script>"
TARGETS = (
    Target("breed", "single", ("pug", "boxer", NASTY, "beagle")),
    Target("marks", "multi", ("collar", "leash", "ball")),
    Target("age", "ordinal", ("young", "grown", "old")),
    Target("weight_kg", "regression"),
)
FOLDS = 4


def make_run(folder: Path, rows: int, side: int = 24, *, sequences: int = 0) -> Path:
    """Write every file that a run may hold, from generated rows with images; ``sequences`` of them are as long as each other."""
    rng = np.random.default_rng(0)
    manifest = make_manifest(folder, rows, side, rng)
    if sequences:
        each = -(-rows // sequences)
        manifest = manifest.with_column("sequence", pl.Series([f"night {i // each}" for i in range(rows)]))
        manifest = manifest.with_column("position", pl.Series([float(-i) for i in range(rows)]))  # backwards
    run = files.make_folder(folder / "run")
    manifest.write(run / "manifest.parquet")
    final = [answers_to(t, manifest, rng, 2.0) for t in TARGETS]
    probe = [answers_to(t, manifest, rng, 1.5) for t in TARGETS]
    Predictions.from_dense(final).write(run / "oof.parquet")
    for fold in range(FOLDS):
        own = run / "members" / "main" / f"fold-{fold}"
        Predictions.from_dense([d.where(d.fold == fold) for d in probe], member="main").write(own / "oof.parquet")
        epochs = 5 + fold % 2
        history = {"epoch": range(1, epochs + 1), "train_loss": rng.random(epochs), "valid_loss": rng.random(epochs)}
        history |= {"breed/macro_f1": rng.random(epochs), "age/ordinal_mae": rng.random(epochs), "rate": rng.random(epochs)}
        files.write_csv(own / "history.csv", pl.DataFrame(history).with_columns(seconds=2.5))
        files.write_csv(own / "schedule.csv", pl.DataFrame({"step": range(700), "rate": np.linspace(1e-3, 0, 700)}))
    write_figures(run, manifest, final, probe)
    loaded = config.load(flags={"train.epochs": 6})
    files.write_text(run / "recipe.toml", loaded.recipe.to_toml())
    files.write_json(run / "origin.json", [{"key": k, "value": v, "origin": o} for k, v, o in loaded.explain()])
    files.write_json(
        run / "decisions.json", {"temperature": {"per fold": {"0": 1.1, "1": 1.2}, "final": 1.15}, "list": [{"a": 1}, {"a": 2}]}
    )
    files.write_json(run / "plan.json", {"precision": "32", "epochs": 6})
    files.write_json(run / "environment.json", {"python": "3.11", "versions": {"tapetum": "0.1.0"}})
    record = {
        "command": "tapetum fit labels.csv",
        "started": 1.7e9,
        "seconds": {"features": 3.0, "training": 61.0},
        "log": ["resize: stretch"],
    }
    files.write_json(
        run / "run.json",
        {
            **record,
            "starts": [
                {"started": 1, "seconds": {"features": 9.0}},
                {"started": 1, "seconds": {"features": 3.0}},
                {"started": 2, "seconds": {"training": 61.0}},
            ],
        },
    )
    store = run / "features" / "0123456789abcdef"
    label = manifest.truth("breed")
    files.write_array(
        store / "vectors.npy", (label @ rng.normal(size=(4, 20)) * 3 + rng.normal(size=(rows, 20)))[:, None].astype(np.float32)
    )
    files.write_json(store / "index.json", {"what": {"backbone": "resnet18"}, "row_id": manifest.row_ids})
    audit = {"row_id": manifest.row_ids, "status": ["ok"] * rows, "reason": [None] * rows}
    audit["status"][3], audit["reason"][3] = "damaged", "truncated after 300 bytes"
    files.write_parquet(run / "audit.parquet", pl.DataFrame(audit))
    with files.whole(run / "saliency" / "one.png") as aside:
        Image.new("RGB", (40, 20), "red").save(aside)
    files.write_json(
        run / "saliency" / "saliency.json", [{"row_id": "r0", "file": "one.png", "method": "gradcam", "target": "breed", "class": "pug"}]
    )
    return run


def make_manifest(folder: Path, rows: int, side: int, rng: np.random.Generator) -> Manifest:
    images = files.make_folder(folder / "images")
    for i in range(min(rows, 60)):
        Image.fromarray(rng.integers(0, 255, (side, side + 8, 3), dtype=np.uint8)).save(images / f"{i}.png")
    columns = {
        "row_id": [f"r{i}" for i in range(rows)],
        "path": [[f"{i % 60}.png"] for i in range(rows)],
        "breed": [TARGETS[0].classes[i] for i in rng.integers(0, 4, rows)],
        "marks": [[c for c in TARGETS[1].classes if rng.random() < 0.4] for _ in range(rows)],
        "age": [TARGETS[2].classes[i] for i in rng.integers(0, 3, rows)],
        "weight_kg": rng.gamma(4, 5, rows).tolist(),
        "group": [f"g{i // 2}" for i in range(rows)],
        "fold": [(i // 2) % FOLDS for i in range(rows)],
    }
    return Manifest(pl.DataFrame(columns), TARGETS, images)


def answers_to(target: Target, manifest: Manifest, rng: np.random.Generator, sharp: float) -> Dense:
    y = manifest.truth(target.name)
    noise = rng.normal(size=y.shape)
    if target.kind == "regression":
        p = y + noise
    elif target.kind == "multi":
        p = 1 / (1 + np.exp(-(2 * y - 1) * sharp - noise))
    else:
        e = np.exp(sharp * y + noise)
        p = e / e.sum(1, keepdims=True)
    p = p.astype(np.float32)
    status = np.full(len(y), "ok", dtype=object)
    status[3], p[3] = "missing", np.nan
    return Dense(target, np.array(manifest.row_ids, dtype=object), p, y, manifest.fold, status)


def write_figures(run: Path, manifest: Manifest, final: list[Dense], probe: list[Dense]) -> None:
    found, differences = [], []
    for a, b in zip(final, probe, strict=True):
        metric, shared = metrics.default_metric(a.target), {"target": a.target.name}
        for name, dense, how in (("final", a, "cross-validated"), ("final", a, "in-sample"), ("probe", b, "cross-validated")):
            got = intervals.interval(metric, a.target, dense.p, dense.y, manifest.groups).to_dict()
            found.append({**shared, "name": name, "metric": metric, **got, "how": how, "note": ""})
        gap = intervals.difference(metric, a.target, (a.p, b.p), a.y, manifest.groups).to_dict()
        differences += [{**shared, "a": "final", "b": other, "metric": metric, **gap} for other in ("probe", "chance")]
    counts = {"rows": len(manifest), "ok": len(manifest) - 1, "missing": 1, "uncovered": 0, "unknown": 0, "groups": len(manifest) // 2}
    choice = {"reason": "the probe is simpler", "per fold": {"0": "probe", "1": "main"}}
    headline = {"target": "breed", "metric": "macro_f1"}
    whole_of = {
        "headline": headline,
        "counts": counts,
        "figures": found,
        "differences": differences,
        "choice": choice,
        "marks": ["leaks: no"],
    }
    files.write_json(run / "metrics.json", whole_of)


def dense_of(target: Target, p: np.ndarray, y: np.ndarray) -> Dense:
    n = len(y)
    return Dense(target, np.array([f"r{i}" for i in range(n)], dtype=object), p, y, np.zeros(n, np.int16), np.full(n, "ok", dtype=object))


def text_of(page: str) -> str:
    body = re.sub(r"<(style|script)\b[^>]*>.*?</\1>", "", page, flags=re.DOTALL)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", body))
