"""Tapetum beside what people use: scikit-learn on frozen features, timm, fastai, AutoGluon and torchvision's reference.

Each runs in a process of its own with the same images, weights, folds and thread, by turns: ``bench/peer_runs``. fastai has a virtual
environment of its own in ``.bench/peers``, which sees this one's torch and timm, and AutoGluon one with torch and timm of its own. What
has run is kept there and not run again.
Run: ``python bench/peers.py [--size 224] [--folds 5] [--repeats 7]``; ``--kept`` runs nothing and writes what there is.
"""

from __future__ import annotations

import argparse
import csv
import os
import statistics
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import recorded
from tapetum.core import files, folds, intervals
from tapetum.core.targets import Target
from tapetum.core.words import plural

HOME = recorded.ROOT / ".bench" / "peers"
SCRIPTS = recorded.ROOT / "bench" / "peer_runs"
PROBE, TUNED, FROZEN = "tapetum_probe", "tapetum_tuned", "frozen"
OURS = (PROBE, TUNED)


class Peer(NamedTuple):
    """How a peer is called.

    Args:
        title: its name in the table.
        package: what its virtual environment has beside this one's packages; empty: it needs no environment of its own.
        apart: that environment has none of this one's packages.
    """

    title: str
    package: str = ""
    apart: bool = False


class Set(NamedTuple):
    """A set of photos.

    Args:
        target: the column of its labels.
        peers: who runs on it, in this order.
        size: pixels.
        folds: how many.
    """

    target: str
    peers: tuple[str, ...]
    size: int
    folds: int


PEERS = {
    PROBE: Peer("Tapetum, probe"),
    TUNED: Peer("Tapetum, probe and fine-tuning"),
    FROZEN: Peer("scikit-learn on frozen features"),
    "fastai_tuning": Peer("fastai `fine_tune`", "fastai"),
    "timm_training": Peer("timm, as its train.py"),
    "torchvision_reference": Peer("torchvision's reference"),
    "autogluon_tuning": Peer("AutoGluon MultiModal", "autogluon.multimodal", apart=True),
}
NOTE = (
    "scikit-learn on frozen features is the method of Tapetum's probe. Of the CPU seconds of both, most are the import of torch and timm, "
    "so a tenth of them is out of reach for whatever imports these. AutoGluon MultiModal (1.6.3) has an environment of its own, installed "
    "in six minutes; torch and torchvision there are this project's, because PyPI's torchvision does not load with torch's CPU build. "
    "Its default adds up gradients to batches of 128, so five epochs of these photos are five steps: its row says little of what it can do."
)
SETS = {
    "dogs": Set("breed", (PROBE, FROZEN, "fastai_tuning", "timm_training", "torchvision_reference", "autogluon_tuning"), 224, 3),
    "faces": Set("gender", (TUNED, "fastai_tuning", PROBE, FROZEN), 160, 2),
}


def drawn(photos: Sequence[dict[str, str]], many: int, limit: int) -> list[dict[str, str]]:
    """Return path, label and fold of at most ``limit`` photos, as many of each class as there may be; all peers get these rows."""
    classes = tuple(sorted({photo["label"] for photo in photos}))
    share = max(many, limit // len(classes))
    kept = [photo for name in classes for photo in [one for one in photos if one["label"] == name][:share]]
    truth = np.eye(len(classes))[[classes.index(photo["label"]) for photo in kept]]
    fold = folds.assign({"label": truth}, [Target("label", "single", classes)], np.array([p["path"] for p in kept]), many, 0)
    return [{**photo, "fold": str(number)} for photo, number in zip(kept, fold.tolist(), strict=True)]


def read(table: Path) -> list[dict[str, str]]:
    """Return the rows of a CSV file."""
    with table.open(newline="", encoding="utf-8") as text:
        return list(csv.DictReader(text))


def photos_of(name: str, data: Path) -> list[dict[str, str]]:
    """Return path and label of a shared set."""
    rows = read(data / name / "labels.csv")
    return [{"path": str((data / name / row["file"]).resolve()), "label": row[SETS[name].target]} for row in rows]


def python_of(peer: Peer) -> Path:
    """Return the interpreter of a peer; its environment is made where it lacks."""
    if not peer.package:
        return Path(sys.executable)
    place = HOME / peer.package
    if not (place / "bin" / "python").exists():
        subprocess.run([sys.executable, "-m", "venv", place], check=True)
        inside = sysconfig.get_path("purelib", vars={"base": str(place), "platbase": str(place)})
        shared = [] if peer.apart else [path for path in sys.path if path.endswith("site-packages")]
        (Path(inside) / "shared.pth").write_text("\n".join(shared) + "\n", encoding="utf-8")
        subprocess.run([place / "bin" / "python", "-m", "pip", "install", "--quiet", peer.package], check=True)
    return place / "bin" / "python"


def measured(words: list[str], log: Path) -> dict[str, float]:
    """Run a command on one thread; return its CPU seconds and its peak memory. What it prints goes to ``log``."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    opened = [(os.POSIX_SPAWN_OPEN, 1, str(log), flags, 0o644), (os.POSIX_SPAWN_DUP2, 1, 2)]
    about = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    child = os.posix_spawn(words[0], words, about, file_actions=opened)
    _, status, used = os.wait4(child, 0)
    if status:
        raise SystemExit(f"{words[1]} ended with {os.waitstatus_to_exitcode(status)}: see {log}")
    return {"cpu_s": used.ru_utime + used.ru_stime, "peak_gb": used.ru_maxrss / 2**20}


def answers(out: Path, rows: Sequence[dict[str, str]]) -> list[list[float]]:
    """Return the probabilities that a peer wrote, in the order of ``rows``."""
    found = {row["path"]: row for row in read(out)}
    strange = [row["path"] for row in rows if found.get(row["path"], {}).get("fold") != row["fold"]]
    if strange:
        raise SystemExit(f"{out} lacks {plural(len(strange), 'row')}, or has them in other folds, as {strange[0]}")
    return [[float(found[row["path"]][name]) for name in sorted({r["label"] for r in rows})] for row in rows]


def place_of(name: str, wish: argparse.Namespace) -> tuple[Path, int, int]:
    """Return where the runs of a set are kept, and its pixels and folds: the set's own, where the command line gives none."""
    size, folds_ = wish.size or SETS[name].size, wish.folds or SETS[name].folds
    return HOME / f"{size}-pixels-{folds_}-folds-{wish.epochs}-epochs-{wish.limit}-photos", size, folds_


def run_set(name: str, wish: argparse.Namespace) -> None:
    """Run the peers of a set by turns; what is there is not run again."""
    place, size, many = place_of(name, wish)
    place.mkdir(parents=True, exist_ok=True)
    table = place / f"{name}.csv"
    rows = drawn(photos_of(name, wish.data), many, wish.limit)
    with table.open("w", newline="", encoding="utf-8") as text:
        writer = csv.DictWriter(text, ["path", "label", "fold"])
        writer.writeheader()
        writer.writerows(rows)
    for repeat in range(wish.repeats):
        for key in SETS[name].peers:
            stem = place / f"{name}-{key}-{repeat}"
            if not stem.with_suffix(".json").exists():
                words = [str(python_of(PEERS[key])), str(SCRIPTS / f"{key}.py"), str(table), str(stem.with_suffix(".csv"))]
                words += ["--weights", str(HOME / "lite0.pth"), "--size", str(size), "--epochs", str(wish.epochs)]
                used = measured([*words, "--seed", str(repeat)], stem.with_suffix(".log"))
                files.write_json(stem.with_suffix(".json"), {**used, "p": answers(stem.with_suffix(".csv"), rows)})
                recorded.log(f"{name}, {key}: {used}")


def found_in(name: str, place: Path) -> list[dict[str, Any]]:
    """Return for each peer that has run on a set its score, difference to ours, CPU seconds and peak memory."""
    labels = [row["label"] for row in read(place / f"{name}.csv")]
    classes = tuple(sorted(set(labels)))
    truth = np.eye(len(classes))[[classes.index(label) for label in labels]]
    target, groups = Target("label", "single", classes), np.arange(len(labels)).astype(str)
    runs = {key: [files.read_json(file) for file in sorted(place.glob(f"{name}-{key}-*.json"))] for key in SETS[name].peers}
    runs = {key: some for key, some in runs.items() if some}
    mine = next((key for key in SETS[name].peers if key in OURS and key in runs), None)
    found = []
    for key, some in runs.items():
        p = np.array(some[0]["p"])
        score = intervals.interval("accuracy", target, p, truth, groups)
        row = {"peer": key, "value": score.value, "low": score.low, "high": score.high, "runs": len(some)}
        row |= {what: statistics.median(one[what] for one in some) for what in ("cpu_s", "peak_gb")}
        if mine not in (None, key):
            gain = intervals.difference("accuracy", target, (np.array(runs[mine][0]["p"]), p), truth, groups)
            row["gain"] = {"value": gain.value, "low": gain.low, "high": gain.high}
            row["times"] = lower_quartile([b["cpu_s"] / a["cpu_s"] for a, b in zip(runs[mine], some, strict=False)])
        found.append(row)
    return found


def lower_quartile(ratios: Sequence[float]) -> float:
    """Return the lower quartile of ratios; of a single one itself."""
    return float(np.quantile(ratios, 0.25))


def shown(found: Sequence[dict[str, Any]]) -> str:
    """Return the table of a set, the best score first."""
    rows = []
    for row in sorted(found, key=lambda row: (-row["value"], row["cpu_s"])):
        ratio = f"{row['times']:.1f}×" if "times" in row else "1"
        gain = recorded.difference(row["gain"]) if "gain" in row else "–"
        rows.append([PEERS[row["peer"]].title, recorded.span(row), gain, f"{row['cpu_s']:.0f}", ratio, f"{row['peak_gb']:.2f}"])
    return recorded.table(["what", "accuracy", "Tapetum's less this", "CPU s", "CPU ÷ Tapetum's", "peak GB"], rows)


def lacking(name: str, found: Sequence[dict[str, Any]]) -> str:
    """Return a sentence on the peers of a set that have not run; empty where all have."""
    names = [PEERS[key].title for key in SETS[name].peers if key not in {row["peer"] for row in found}]
    return f"Not run yet: {', '.join(names)}." if names else ""


def claim(found: Sequence[dict[str, Any]], share: float, *, above: bool) -> str:
    """Say whether ours is as good as the best peer (``above``: better) at this share of its CPU seconds."""
    ours = [row for row in found if row["peer"] in OURS]
    peers = [row for row in found if row["peer"] not in OURS]
    if not ours or not peers:
        return "Whether the goal is reached is open: it needs a run of Tapetum and one of a peer."
    mine, best = (max(rows, key=lambda row: (row["value"], -row["cpu_s"])) for rows in (ours, peers))
    spent = mine["cpu_s"] / best["cpu_s"]
    good = mine["value"] > best["value"] if above else mine["value"] >= best["value"]
    of_score, of_time = ("reached" if held else "**not reached**" for held in (good, spent <= share))
    wanted = "a higher score than" if above else "at least the score of"
    return (
        f"Goal: {wanted} {PEERS[best['peer']].title} at ≤ 1/{1 / share:.0f} of its CPU seconds. Measured: {mine['value']:.3f} and "
        f"{best['value']:.3f}, at {spent:.2f} of its CPU seconds; {of_score} for the score, {of_time} for the time."
    )


def goals(found: dict[str, list[dict[str, Any]]]) -> dict[str, str]:
    """Return the verdict on each set: dogs, the probe against the best peer; faces, the best of ours against fastai."""
    dogs = [row for row in found.get("dogs", []) if row["peer"] != TUNED]
    tuning = [row for row in dogs if row["peer"] != FROZEN]
    faces = [row for row in found.get("faces", []) if row["peer"] in (*OURS, "fastai_tuning")]
    spent = {row["peer"]: row["cpu_s"] for row in faces}
    both = ""
    if {TUNED, "fastai_tuning"} <= spent.keys():
        both = f" The default run, which tries both and chooses, takes {spent[TUNED] / spent['fastai_tuning']:.2f} of them."
    alone = f" Among the peers that fine-tune: {claim(tuning, 1 / 10, above=False)}" if len(tuning) < len(dogs) else ""
    return {"dogs": claim(dogs, 1 / 10, above=False) + alone, "faces": claim(faces, 1 / 3, above=True) + both}


def main() -> None:
    """Run what is not there yet, then write the section of the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=recorded.DATA)
    parser.add_argument("--size", type=int, help="pixels; none: those of the set")
    parser.add_argument("--folds", type=int, help="none: as many as the set has here")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--limit", type=int, default=180, help="most photos of a set")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=list(SETS))
    parser.add_argument("--kept", action="store_true", help="run nothing; write what there is")
    wish = parser.parse_args()
    if not wish.kept:
        measured([sys.executable, str(SCRIPTS / "weights.py"), str(HOME / "lite0.pth")], HOME / "weights.log")
        with ThreadPoolExecutor(len(wish.sets)) as pool:
            list(pool.map(lambda name: run_set(name, wish), wish.sets))
    places = {name: place_of(name, wish)[0] for name in wish.sets}
    found = {name: found_in(name, place) for name, place in places.items() if (place / f"{name}.csv").exists()}
    write(found, wish)


def write(found: dict[str, list[dict[str, Any]]], wish: argparse.Namespace) -> None:
    """Write the section of docs/benchmarks.md."""
    verdicts = goals(found)
    text = "\n\n".join(
        (
            f"EfficientNet-Lite0 with the same ImageNet weights, at most {wish.limit} photos of a set, the same folds and pixels for all, "
            f"{wish.epochs} epochs where something is fine-tuned (fastai: one more of the head), batches of 16 (AutoGluon: its own), one "
            f"thread; {'one run' if wish.repeats == 1 else f'{wish.repeats} runs'} of each, by turns. CPU seconds are user and "
            "system time of a whole process over all folds, its start included; Tapetum's include its pipeline and report. Accuracy out "
            "of fold with 95 % intervals. Peers compute in fp32, as they do unasked. A verdict is about the peers in its table.",
            "So few photos give a fine-tuned network few steps: with more epochs or photos the peers that fine-tune may gain, and take "
            "longer. The machine was busy with other work, so no wall times are given.",
            NOTE,
            *(
                f"**{name}** ({SETS[name].target}; {place_of(name, wish)[1]} pixels, {place_of(name, wish)[2]} folds):\n\n"
                f"{shown(rows)}\n\n{verdicts[name]} {lacking(name, rows)}".rstrip()
                for name, rows in found.items()
            ),
        )
    )
    how = {name: dict(zip(("size", "folds"), place_of(name, wish)[1:], strict=True)) for name in found}
    values = {"found": found, "goals": verdicts, "sets": how, **{key: getattr(wish, key) for key in ("epochs", "limit", "repeats")}}
    recorded.record("peers", "Beside what people use", text, values, "torch", "timm", "torchvision", "scikit-learn")


if __name__ == "__main__":
    main()
