"""Fit the simulator's hypnograms to real nights, and show how near drawn nights come: ``python bench/fit_hypnograms.py [--data DIR]``.

Writes the fitted numbers, not one night, to ``src/tapetum/systems/sleep_images/hypnograms.json``.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

import recorded
from tapetum.core import files
from tapetum.systems.sleep_images import hypnograms
from tapetum.systems.sleep_images.hypnograms import EDGES, FULL, STAGES, K

OUT = Path(hypnograms.__file__).with_suffix(".json")
PHASES = 8
AWAKE = 120  # epochs of wakefulness that end a night: some recordings hold a nap, too
SHRINK = 5.0  # counts of the overall shares that are added to each row
SOURCE = "102 nights of Sleep-EDF Expanded (PhysioNet, ODC-By 1.0), the longest sleep of each"


def main() -> None:
    """Fit, write and compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=recorded.DATA, help="folder with hypnograms/stages.npz")
    real = asleep(parser.parse_args().data / "hypnograms" / "stages.npz")
    files.write_text(OUT, _text(fit(real)))
    hypnograms.fitted.cache_clear()
    rng = np.random.default_rng(0)
    drawn = [trimmed(hypnograms.nights(FULL).draw(rng)) for _ in range(300)]
    rows = [[name, *(f"{told[name]:.2f}" for told in (summary(real), summary(drawn)))] for name in summary(real)]
    print(recorded.table(["a night", "real", "drawn"], rows))


def asleep(file: Path) -> list[np.ndarray]:
    """Return each night from its first to its last epoch of sleep."""
    with np.load(file, allow_pickle=False) as stages:
        return [trimmed(stages[name].astype(np.int64)) for name in stages.files]


def trimmed(night: np.ndarray) -> np.ndarray:
    """Return the longest part of a recording between an hour awake and the next, from its first to its last epoch of sleep."""
    sleep = np.flatnonzero(night > 0)
    parts = np.split(sleep, np.flatnonzero(np.diff(sleep) > AWAKE) + 1)
    longest = max(parts, key=len)
    return night[longest[0] : longest[-1] + 1]


def bouts(night: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return stage, first epoch and epochs of each bout; −1 is a bout of unknown stage."""
    first = np.r_[0, np.flatnonzero(np.diff(night)) + 1]
    return night[first], first, np.diff(np.r_[first, len(night)])


def fit(nights: list[np.ndarray]) -> dict[str, Any]:
    """Count transitions and durations."""
    second, tilt, first = np.zeros((K, K, K)), np.zeros((PHASES, K, K)), np.zeros(K)
    ended, at_risk = np.zeros((K, len(EDGES))), np.zeros((K, len(EDGES)))
    for night in nights:
        stage, start, epochs = bouts(night)
        first[stage[0]] += 1
        for i in range(len(stage) - 1):
            if stage[i] < 0 or stage[i + 1] < 0:
                continue
            phase = min(PHASES - 1, PHASES * (start[i + 1] - 1) // len(night))
            tilt[phase, stage[i], stage[i + 1]] += 1
            if i and stage[i - 1] >= 0:
                second[stage[i - 1], stage[i], stage[i + 1]] += 1
            ages = np.searchsorted(EDGES, np.arange(1, epochs[i] + 1), side="right") - 1
            np.add.at(at_risk[stage[i]], ages, 1)
            ended[stage[i], ages[-1]] += 1
    overall = tilt.sum(axis=0)
    overall = overall / overall.sum(axis=1, keepdims=True)
    second = (second + SHRINK * overall) / (second.sum(axis=-1, keepdims=True) + SHRINK)
    by_phase = (tilt + SHRINK * overall) / (tilt.sum(axis=-1, keepdims=True) + SHRINK)
    tilt = np.divide(by_phase, overall, out=np.zeros_like(by_phase), where=overall > 0)
    ending = (ended + 2 * ended.sum(axis=1, keepdims=True) / at_risk.sum(axis=1, keepdims=True)) / (at_risk + 2)
    every = np.concatenate(nights)
    shares = np.bincount(every[every >= 0], minlength=K) / (every >= 0).sum()
    found = {"second": second, "tilt": tilt, "ending": ending, "onset": first / first.sum(), "shares": shares}
    return {"source": SOURCE, "stages": list(STAGES), **{name: np.round(value, 4).tolist() for name, value in found.items()}}


def summary(nights: list[np.ndarray]) -> dict[str, float]:
    """Return what a sleep laboratory would look at, the mean over nights."""
    out: dict[str, list[float]] = {}
    for night in nights:
        stage, _, epochs = bouts(night)
        told = {f"{name}, %": 100 * (night == k).mean() for k, name in enumerate(STAGES)}
        told["changes of stage an hour"] = 120 * (len(stage) - 1) / len(night)
        told["awakenings an hour"] = 120 * (stage == 0).sum() / len(night)
        told["first REM, minutes after sleep onset"] = float(np.argmax(night == 4)) / 2 if (night == 4).any() else np.nan
        told["N3 in the first third, %"] = 100 * (night[: len(night) // 3] == 3).sum() / max(1, (night == 3).sum())
        told["REM in the last third, %"] = 100 * (night[-(len(night) // 3) :] == 4).sum() / max(1, (night == 4).sum())
        told.update(
            {f"a bout of {STAGES[k]}, epochs": float(epochs[stage == k].mean()) if (stage == k).any() else np.nan for k in range(K)}
        )
        for name, value in told.items():
            out.setdefault(name, []).append(value)
    return {name: float(np.nanmean(values)) for name, values in out.items()}


def _text(value: dict[str, Any]) -> str:
    import json

    rows = [f"{json.dumps(name)}: {json.dumps(item)}" for name, item in value.items()]
    return "{\n" + ",\n".join(rows) + "\n}\n"


if __name__ == "__main__":
    main()
