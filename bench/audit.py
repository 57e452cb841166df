"""The audit against planted faults in real photographs, and its speed.

Run: ``python bench/audit.py [--only faults|speed]``; the dogs and faces are beside the repository, the solar cells
come with ``pip install elpv-dataset``. Where cleanvision is installed for the Python that ``--peers`` names, it reads the same folders.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
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
from tapetum.core.config import Data
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


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=["faults", "speed"])
    parser.add_argument("--sets", default="elpv,faces,dogs")
    parser.add_argument("--peers", default="", help="a python that has cleanvision")
    parser.add_argument("--dry", action="store_true", help="print, record nothing")
    args = parser.parse_args()
    text, values = [], {}
    if args.only in (None, "faults"):
        found = {name: faults(name, args.peers) for name in args.sets.split(",")}
        values["faults"] = found
        text.append(faults_text(found))
        print(text[-1])
    if args.only in (None, "speed"):
        values["speed"] = speed()
        text.append(speed_text(values["speed"]))
        print(text[-1])
    if not args.dry:
        recorded.record("audit", "Audit: planted faults and speed", "\n\n".join(text), values, "numpy", "pillow")
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


def faults(name: str, peers: str) -> dict[str, Any]:
    """Return recall and precision of each kind of fault in a set, ours and cleanvision's."""
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "source").mkdir()
        images = images_of(name, Path(folder) / "source")
        for number, kinds in enumerate(PASSES):
            mine = [kind for kind in kinds if name != "elpv" or kind not in COLOUR]
            if not mine:
                continue
            made = planted.plant(images, Path(folder) / f"pass-{number}", mine, COUNT, seed=number)
            manifest = layouts.read(made.table, Data(targets=("label",)), lambda _: None)
            table = audit.examine(manifest, Composition(), lambda _: None, workers=1)
            told = {row_id: set(found or []) for row_id, found in table.select("row_id", "findings").iter_rows()}
            theirs = cleanvision(peers, made.table.parent / "images") if peers else {}
            for kind, faulty in made.faults.items():
                also = {"blank"} if kind == "bright" else set()  # hardly any contrast is left of dark photographs made bright
                flagged = {row_id for row_id, kinds in told.items() if kinds & {kind, *also}}
                found[kind] = {**shares(flagged, faulty), "cleanvision": shares(theirs[kind], faulty) if kind in theirs else None}
            if made.pairs:
                plain = planted.plant(images, Path(folder) / "plain", (), 0, seed=number)
                untouched = layouts.read(plain.table, Data(targets=("label",)), lambda _: None)
                found["pairs"] = pairs(table, made.pairs, audit.examine(untouched, Composition(), lambda _: None, workers=1))
    return found


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
    return {frozenset((a, b)) for rows in sets.values() for a in rows for b in rows if a != b}


def shares(found: set[Any], faulty: set[Any]) -> dict[str, Any]:
    both = len(found & faulty)
    return {"planted": len(faulty), "recall": both / len(faulty), "precision": both / len(found) if found else None, "found": len(found)}


_CLEANVISION = """
import json, sys
from cleanvision import Imagelab
lab = Imagelab(data_path=sys.argv[1])
lab.find_issues(n_jobs=1, verbose=False)
names = {"is_dark_issue": "dark", "is_light_issue": "bright", "is_blurry_issue": "blurred", "is_grayscale_issue": "gray",
         "is_odd_size_issue": "odd size", "is_odd_aspect_ratio_issue": "odd aspect", "is_low_information_issue": "blank",
         "is_exact_duplicates_issue": "exact duplicate", "is_near_duplicates_issue": "near duplicate"}
flagged = {new: lab.issues.index[lab.issues[old]] for old, new in names.items() if old in lab.issues}
out = {kind: ["images/" + path.rsplit("/", 1)[-1] for path in paths] for kind, paths in flagged.items()}
print("RESULT" + json.dumps(out))
"""


def cleanvision(python: str, folder: Path) -> dict[str, set[str]]:
    """Return what cleanvision flags in a folder: kind → files; nothing where it fails."""
    done = subprocess.run([python, "-c", _CLEANVISION, str(folder)], capture_output=True, text=True, check=False)
    line = next((line for line in done.stdout.splitlines() if line.startswith("RESULT")), None)
    if line is None:
        recorded.log(f"cleanvision: {done.stderr.strip().splitlines()[-1:]}")
        return {}
    return {kind: set(files) for kind, files in json.loads(line[6:]).items()}


def faults_text(found: dict[str, Any]) -> str:
    kinds = list(dict.fromkeys(kind for one in found.values() for kind in one))

    def cell(one: dict[str, Any] | None) -> str:
        if one is None:
            return "–"
        precision = "–" if one["precision"] is None else f"{one['precision']:.2f}"
        return f"{one['recall']:.2f} / {precision}"

    rows = [
        [kind, *(text for one in found.values() for text in (cell(one.get(kind)), cell((one.get(kind) or {}).get("cleanvision"))))]
        for kind in kinds
    ]
    genuine = ", ".join(f"{name} {one['pairs']['genuine']}" for name, one in found.items())
    without = ", ".join(f"{name} {one['pairs']['precision_without']:.2f}" for name, one in found.items())
    head = ["fault", *(text for name in found for text in (f"{name}: tapetum", f"{name}: cleanvision"))]
    return (
        f"{COUNT} faults of each kind, planted by `bench/planted.py` (Pillow alone) in photographs; recall / precision. Precision counts "
        f"genuine faults of the photographs as errors, too. Pairs: planted copies, exact and near together.\n\n"
        f"{recorded.table(head, rows)}\n\n"
        f"Pairs that are found in the same images without any planted copy: {genuine}; without these, the precision of pairs is {without}. "
        "In the solar cells these are cells with the same grain, of neighbouring wafers of one ingot, as far as the eye can tell (15 of 24 "
        "that were looked at), and cells that show nothing but their layout."
    )


def speed() -> dict[str, Any]:
    """Return images a second of processor time of the whole check at 500×375, and seconds for 100,000 hashes."""
    with tempfile.TemporaryDirectory() as folder:
        images = images_of("dogs", Path(folder))
        ways = (None, *(Image.Transpose(turn) for turn in (0, 1, 3)))  # as it is, mirrored twice, turned: four images each
        for number, (path, way) in enumerate((path, way) for path, _ in images for way in ways):
            opened = Image.open(path).convert("RGB").resize((500, 375))
            (opened if way is None else opened.transpose(way)).save(Path(folder) / f"{number:04d}.jpg", quality=90)
        count = number + 1
        table = Path(folder) / "t.csv"
        table.write_text("file,label\n" + "".join(f"{n:04d}.jpg,{n % 5}\n" for n in range(count)), encoding="utf-8")
        manifest = layouts.read(table, Data(targets=("label:single",)), lambda _: None)
        began, wall = time.process_time(), time.perf_counter()
        audit.examine(manifest, Composition(), lambda _: None, workers=1)
        seconds, walled = time.process_time() - began, time.perf_counter() - wall
        began = time.process_time()
        for number in range(count):
            np.asarray(Image.open(io.BytesIO((Path(folder) / f"{number:04d}.jpg").read_bytes())))
        decoded = time.process_time() - began
    rng = np.random.default_rng(0)
    small = rng.normal(size=(100_000, 32, 32)).astype(np.float32)
    small[50_000:] = np.where((np.arange(50_000) % 50 == 0)[:, None, None], small[:50_000], small[50_000:])
    began, wall_hash = time.process_time(), time.perf_counter()
    sets = near_duplicates.find_duplicates([str(i) for i in range(len(small))], small)
    hashed, walled_hash = time.process_time() - began, time.perf_counter() - wall_hash
    return {
        "images": count,
        "a_second": count / seconds,
        "a_second_wall": count / walled,
        "decoding_alone": count / decoded,
        "hashes_seconds": hashed,
        "hashes_wall": walled_hash,
        "copies_found": int((sets.set[50_000:] >= 0).sum()),
        "copies": 1000,
    }


def speed_text(found: dict[str, Any]) -> str:
    return (
        f"Speed on one core, in processor time: {found['a_second']:.0f} images of 500×375 a second for reading, hashing, decoding and all "
        f"measures (decoding alone: {found['decoding_alone']:.0f}); 100,000 thumbnails to sets in {found['hashes_seconds']:.1f} s, "
        f"{found['copies_found']} of {found['copies']} copies found. Wall-clock on a machine with other work: {found['a_second_wall']:.0f} "
        f"images a second, {found['hashes_wall']:.0f} s."
    )


if __name__ == "__main__":
    sys.exit(main())
