"""The audit against planted faults in real photographs, and its speed, beside cleanvision and imagededup on the same folders.

Run: ``python bench/audit.py [--only faults|speed]``; the dogs and faces are beside the repository, the solar cells
come with ``pip install elpv-dataset``. ``make bench-peers`` makes the environment of the two others, in ``.bench/peers/audit``, and runs
this; ``--peers PYTHON`` names another. ``--before SRC`` measures the speed of an older checkout's ``src`` by turns with this one.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import planted
import recorded
from tapetum.core.config import Data, Input, Model, Recipe
from tapetum.core.runs import Record
from tapetum.core.tables import Manifest
from tapetum.data import audit, layouts
from tapetum.data.audit import near_duplicates
from tapetum.data.images.decode import Composition

COUNT = 20  # faults of each kind
PASSES = (  # kinds that are planted together, so that most images stay as they were
    ("truncated", "unreadable", "misnamed"),
    ("turned", "animated", "odd size"),
    ("exact duplicate", "near duplicate"),
    ("odd aspect", "odd mode", "blank"),
    ("dark", "bright", "blurred"),
    ("gray", "blank channel", "equal channels"),
    ("swapped channels",),
)
COLOUR = ("gray", "blank channel", "equal channels", "swapped channels")
MOST_CELLS = 500
SCRIPTS = recorded.ROOT / "bench" / "peer_runs"
PEERS = recorded.ROOT / ".bench" / "peers" / "audit" / "bin" / "python"
TOOLS = ("cleanvision", "imagededup")
SMALL, TURNS = 40, 5  # images of the first check, which loads what is needed; repeats by turns
AIM = 300  # images of 500×375 a second of one core
BY_FEATURES = "swapped channels, by features"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=["faults", "speed"])
    parser.add_argument("--sets", default="elpv,faces,dogs")
    parser.add_argument("--peers", type=Path, default=PEERS, help="a python that has cleanvision and imagededup")
    parser.add_argument("--before", type=Path, help="the src folder of an older checkout")
    parser.add_argument("--dry", action="store_true", help="print, record nothing")
    args = parser.parse_args()
    kept = recorded.ROOT / "docs" / "benchmarks" / "audit.json"
    values = {key: json.loads(kept.read_text(encoding="utf-8"))[key] for key in ("faults", "speed")} if args.only else {}
    peers = args.peers if args.peers.exists() else None
    if args.only in (None, "faults"):
        values["faults"] = {name: faults(name, peers) for name in args.sets.split(",")}
        print(faults_text(values["faults"]))
    if args.only in (None, "speed"):
        values["speed"] = speed(peers, args.before)
        print(speed_text(values["speed"]))
    if not args.dry:
        text = f"{faults_text(values['faults'])}\n\n{speed_text(values['speed'])}"
        recorded.record("audit", "Audit: planted faults and speed", text, values, "numpy", "pillow", "torch", "timm")
    return 0


def images_of(name: str, folder: Path) -> list[tuple[Path, str]]:
    """Return the files and labels of a set."""
    if name == "elpv":
        from elpv_dataset.utils import load_dataset

        cells, probabilities, _ = load_dataset()
        rows = []
        for i in range(0, len(cells), max(len(cells) // MOST_CELLS, 1)):
            Image.fromarray(cells[i]).save(folder / f"{i}.png")
            rows.append((folder / f"{i}.png", "defect" if probabilities[i] > 0.5 else "whole"))
        return rows
    root, column = recorded.DATA / name, {"dogs": "breed", "faces": "gender"}[name]
    with (root / "labels.csv").open(encoding="utf-8") as file:
        rows = [(row["file"], row[column]) for row in csv.DictReader(file)]
    base = root if (root / rows[0][0]).is_file() else root / "images"
    return [(base / file, label) for file, label in rows]


def faults(name: str, peers: Path | None) -> dict[str, Any]:
    """Return recall and precision of each kind of fault in a set, ours and the peers'."""
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "source").mkdir()
        images = images_of(name, Path(folder) / "source")
        plain = planted.plant(images, Path(folder) / "plain", (), 0, seed=0)
        untouched = examined(manifest_of(plain.table))
        for number, kinds in enumerate(PASSES):
            mine = [kind for kind in kinds if name != "elpv" or kind not in COLOUR]
            if not mine:
                continue
            made = planted.plant(images, Path(folder) / f"pass-{number}", mine, COUNT, seed=number)
            manifest = manifest_of(made.table)
            table = examined(manifest)
            theirs = (
                {tool: run(tool, peers, made.table.parent / "images", Path(plain.table.parent / "images")) for tool in TOOLS}
                if peers
                else {}
            )
            for kind, faulty in made.faults.items():
                found[kind] = of_kind(kind, faulty, table, untouched)
                for tool, one in theirs.items():
                    names = {f"images/{file}" for file in one["flagged"].get(kind, ())}
                    found[kind][tool] = shares(names, faulty) if kind in one["flagged"] else None
            if made.pairs:
                found["pairs"] = pairs(table, made.pairs, untouched)
                for tool, one in theirs.items():
                    sets = [[f"images/{file}" for file in files] for files in one["sets"]]
                    found["pairs"][tool] = shares(_pairs_within(sets), {frozenset(pair) for pair in made.pairs})
            if "swapped channels" in made.faults:
                found[BY_FEATURES] = of_kind("swapped channels", made.faults["swapped channels"], by_features(manifest), untouched)
            recorded.log(f"{name}: {', '.join(mine)}")
    return found


def manifest_of(table: Path) -> Manifest:
    return layouts.read(table, Data(targets=("label",)), lambda _: None)


def examined(manifest: Manifest, exchanged: np.ndarray | None = None) -> Any:
    return audit.examine(manifest, Composition(), lambda _: None, exchanged=exchanged, workers=1)


def by_features(manifest: Manifest) -> Any:
    """Return the audit that also tells exchanged channels by features, as ``tapetum audit --channels`` does."""
    from tapetum.workflow.commands.exchanged import exchanged_features

    recipe = Recipe(input=Input(size=224), model=Model())
    return examined(manifest, exchanged_features(manifest, recipe, Record(recorded.log)))


def of_kind(kind: str, faulty: set[str], table: Any, untouched: Any) -> dict[str, Any]:
    """Return recall and precision of a kind; images that are flagged as they were before anything was planted count apart."""
    also = {"blank"} if kind == "bright" else set()  # hardly any contrast is left of dark photographs made bright

    def flagged(one: Any) -> set[str]:
        return {row_id for row_id, kinds in one.select("row_id", "findings").iter_rows() if set(kinds or []) & {kind, *also}}

    numbers = {Path(row_id).stem[:5] for row_id in flagged(untouched)}
    found = flagged(table)
    apart = {row_id for row_id in found - faulty if Path(row_id).stem[:5] in numbers}
    return {**shares(found, faulty), "genuine": len(apart), "precision_without": shares(found - apart, faulty)["precision"]}


def pairs(table: Any, planted_pairs: list[tuple[str, str]], untouched: Any) -> dict[str, Any]:
    """Return recall and precision of pairs that show the same image; those that are found without any planted copy count apart."""

    def numbers(found: set[frozenset[str]]) -> set[frozenset[str]]:
        return {frozenset(Path(name).stem[:5] for name in pair) for pair in found}  # a copy is called as its original

    found, wanted = _pairs_of(table), {frozenset(pair) for pair in planted_pairs}
    genuine = numbers(_pairs_of(untouched))
    apart = {pair for pair in found - wanted if numbers({pair}) <= genuine}
    return {**shares(found, wanted), "genuine": len(genuine), "precision_without": shares(found - apart, wanted)["precision"]}


def _pairs_of(table: Any) -> set[frozenset[str]]:
    sets: dict[str, list[str]] = {}
    for row_id, name in table.select("row_id", "duplicate").drop_nulls().iter_rows():
        sets.setdefault(name, []).append(row_id)
    return _pairs_within(list(sets.values()))


def _pairs_within(sets: list[list[str]]) -> set[frozenset[str]]:
    return {frozenset((a, b)) for rows in sets for a in rows for b in rows if a != b}


def shares(found: set[Any], faulty: set[Any]) -> dict[str, Any]:
    both = len(found & faulty)
    return {"planted": len(faulty), "recall": both / len(faulty), "precision": both / len(found) if found else None, "found": len(found)}


def run(tool: str, python: Path, folder: Path, small: Path, source: Path | None = None) -> dict[str, Any]:
    """Return what a tool finds in a folder of images, and its seconds, after it has checked a small one; nothing where it fails.

    Args:
        tool: the script is ``peer_runs/audit_<tool>.py``.
        python: that has it.
        folder: of images.
        small: another.
        source: of Tapetum: the ``src`` folder that is imported.
    """
    with tempfile.TemporaryDirectory() as place:
        out, few = Path(place) / "out.json", Path(place) / "few"
        few.mkdir()
        for path in sorted(small.iterdir())[:SMALL]:
            (few / path.name).write_bytes(path.read_bytes())
        about = {**os.environ, "OMP_NUM_THREADS": "1", **({"PYTHONPATH": str(source)} if source else {})}
        words = [str(python), str(SCRIPTS / f"audit_{tool}.py"), str(folder), str(few), str(out)]
        done = subprocess.run(words, capture_output=True, text=True, check=False, env=about)
        if done.returncode:
            recorded.log(f"{tool}: {done.stderr.strip().splitlines()[-1:]}")
            return {"flagged": {}, "sets": [], "cpu_s": None, "wall_s": None}
        found: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
        return found


def cell(one: dict[str, Any] | None) -> str:
    if one is None:
        return "–"
    precision = "–" if one["precision"] is None else f"{one['precision']:.2f}"
    without = one.get("precision_without")
    return f"{one['recall']:.2f} / {precision}" + (f" ({without:.2f})" if one.get("genuine") and without is not None else "")


def faults_text(found: dict[str, Any]) -> str:
    kinds = list(dict.fromkeys(kind for one in found.values() for kind in one))
    rows = [
        [kind, *(text for one in found.values() for text in (cell(one.get(kind)), cell((one.get(kind) or {}).get("cleanvision"))))]
        for kind in kinds
    ]
    head = ["fault", *(text for name in found for text in (f"{name}: tapetum", f"{name}: cleanvision"))]
    tools = [["Tapetum", *(cell(one["pairs"]) for one in found.values())]]
    tools += [[tool, *(cell(one["pairs"].get(tool)) for one in found.values())] for tool in TOOLS]
    return (
        f"{COUNT} faults of each kind, planted by `bench/planted.py` (Pillow alone) in photographs; recall / precision. Precision counts "
        "genuine faults of the photographs as errors, too; in brackets, precision without what is found in the same photographs before "
        f"anything was planted.\n\n{recorded.table(head, rows)}\n\n"
        "Those of the photographs themselves were looked at: the seven gray faces and the gray dog are black and white; the blurred faces "
        "are out of focus or enlarged from few pixels; the two dark solar cells show nothing. Solar cells of one grain (neighbouring "
        "wafers of one ingot) are no copies: of 18 pairs of such cells that the audit joined before decision 077, none shows one "
        "cell twice, and several have a crack or a spot on one side alone. `swapped channels` are told by colours alone, and by "
        "features where the audit is asked for them (`--channels`).\n\n"
        f"Copies, exact and near together, as pairs, beside others with their defaults:\n\n{recorded.table(['tool', *found], tools)}"
    )


def speed(peers: Path | None, before: Path | None) -> dict[str, Any]:
    """Return images a second of processor time of the whole check at 500×375, and seconds for 100,000 hashes."""
    with tempfile.TemporaryDirectory() as folder:
        (place := Path(folder) / "images").mkdir()
        images = images_of("dogs", place)
        ways = (None, *(Image.Transpose(turn) for turn in (0, 1, 3)))  # as it is, mirrored twice, turned: four images each
        for number, (path, way) in enumerate((path, way) for path, _ in images for way in ways):
            opened = Image.open(path).convert("RGB").resize((500, 375))
            (opened if way is None else opened.transpose(way)).save(place / f"{number:04d}.jpg", quality=90)
        here = recorded.ROOT / "src"
        mine: dict[str, list[dict[str, Any]]] = {"files": [], "now": [], **({"before": []} if before else {})}
        for turn in range(TURNS):
            for name in sorted(mine, reverse=bool(turn % 2)):
                tool, source = "tapetum_files" if name == "files" else "tapetum", before if name == "before" else here
                mine[name].append(run(tool, Path(sys.executable), place, place, source))
                recorded.log(f"{name}: {mine[name][-1]['cpu_s']:.2f} s")
        beside = {tool: run(tool, peers, place, place) for tool in TOOLS} if peers else {}
        count = number + 1
        began = time.process_time()
        for path in sorted(place.iterdir()):
            np.asarray(Image.open(io.BytesIO(path.read_bytes())))
        decoded = time.process_time() - began
    rng = np.random.default_rng(0)
    small = rng.normal(size=(100_000, 32, 32)).astype(np.float32)
    small[50_000:] = np.where((np.arange(50_000) % 50 == 0)[:, None, None], small[:50_000], small[50_000:])
    began, wall = time.process_time(), time.perf_counter()
    sets = near_duplicates.find_duplicates([str(i) for i in range(len(small))], small)
    return {
        "images": count,
        "cpu_seconds": {name: [one["cpu_s"] for one in found] for name, found in mine.items()},
        "wall_seconds": {name: [one["wall_s"] for one in found] for name, found in mine.items()},
        "peers": {tool: {"cpu_s": one["cpu_s"], "wall_s": one["wall_s"]} for tool, one in beside.items()},
        "decoding_alone": count / decoded,
        "hashes_seconds": time.process_time() - began,
        "hashes_wall": time.perf_counter() - wall,
        "copies_found": int((sets.set[50_000:] >= 0).sum()),
        "copies": 1000,
    }


def speed_text(found: dict[str, Any]) -> str:
    seconds = {name: float(np.median(found["cpu_seconds"][name])) for name in ("files", "now")}
    each = {name: " ".join(f"{found['images'] / one:.0f}" for one in found["cpu_seconds"][name]) for name in seconds}
    rates = {name: found["images"] / one for name, one in seconds.items()}
    reached = "reached" if rates["files"] >= AIM else "not reached in this record"
    reached += " by both" if min(rates.values()) >= AIM else ", by the file checks alone" if rates["files"] >= AIM else ""
    older = ""
    if "before" in found["cpu_seconds"]:
        ratios = np.divide(found["cpu_seconds"]["before"], found["cpu_seconds"]["now"])
        older = (
            f" Before, by turns with an older checkout, all measures: "
            f"{found['images'] / float(np.median(found['cpu_seconds']['before'])):.0f} images a second; the ratios of CPU seconds, "
            f"before to now, are {' '.join(f'{one:.2f}' for one in ratios)}."
        )
    head = ["tool", "CPU seconds", "images a CPU second"]
    rows = {"Tapetum, file checks and hashes": seconds["files"], "Tapetum, all checks": seconds["now"]}
    names = {"cleanvision": "cleanvision, all checks", "imagededup": "imagededup, perceptual hash alone"}
    rows |= {names[tool]: one["cpu_s"] for tool, one in found["peers"].items() if one["cpu_s"]}
    told = [[tool, f"{one:.1f}", f"{found['images'] / one:.0f}"] for tool, one in rows.items()]
    return (
        f"Speed on one core, in processor time, images of 500×375 a second: {rates['files']:.0f} for file checks and hashes (read, "
        f"SHA-256, format, decode, thumbnail, perceptual hash, copies; median of {each['files']}), {rates['now']:.0f} for all measures "
        f"(median of {each['now']}), {found['decoding_alone']:.0f} for decoding alone. The machine had other work, under which processor "
        f"time grows; loading of libraries is not counted, of any tool. The aim of {AIM} is {reached}.{older} 100,000 thumbnails to sets "
        f"in {found['hashes_seconds']:.1f} s of processor time, {found['copies_found']} of {found['copies']} copies found. The same "
        f"{found['images']} images in one run, one process each:\n\n{recorded.table(head, told)}"
    )


if __name__ == "__main__":
    sys.exit(main())
