"""The figures of docs/sleep.md: a nap staged by the default engine, and a scored night with its statistics and drawn epochs.

Run: ``python bench/sleep_figures.py [--data DIR] [--only nap|night]``. The recordings come from NumPy files, are written as EDF+, and go
through the commands that a laboratory uses.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

import recorded
from tapetum import api
from tapetum.cli import sleep_texts
from tapetum.core import files
from tapetum.sleep.edf_write import write_edf
from tapetum.sleep.exports import export
from tapetum.sleep.hypnogram import Hypnogram

DOCS = recorded.ROOT / "docs"
ROWS = (38, 58)  # of 270: around the lane of C4-M1
COLOURS = 48  # of a figure in the documentation, so that its file is small
EPOCHS = 5  # drawn, one of each stage


def nap(data: Path, work: Path) -> None:
    """Stage the nap and copy its figure."""
    with np.load(data / "psg-nap" / "nap.npz", allow_pickle=False) as given:
        values = given["x"] * given["gain"][:, None] + given["offset"][:, None]
        signals = [(str(name), "uV", float(given["fs"]), one) for name, one in zip(given["channels"], values, strict=True)]
    write_edf(work / "nap.edf", signals)
    found = api.sleep_stage(work / "nap.edf", work / "staged", log=recorded.log)
    print("\n".join(sleep_texts.stage(found, True)))
    small(work / "staged" / "nap" / "night.png", DOCS / "sleep-nap.png")


def night(data: Path, work: Path) -> None:
    """Write ucddb018 as EDF+ with its scoring, show it, and draw an epoch of each stage."""
    with np.load(data / "eeg-nights" / "ucddb018.npz", allow_pickle=False) as given:
        x, place, stages = given["x"] * given["scale"], given["epoch_index"], given["night_stage"]
    signal = np.zeros((len(stages), x.shape[1]))
    signal[place] = x
    write_edf(work / "ucddb018.edf", [("EEG", "", 128.0, signal.reshape(-1))])
    own = files.write_text(work / "own.csv", "label,name\nEEG,C4-M1\n")  # which electrode it is, nobody says
    scored = Hypnogram(np.where((stages >= 0) & (stages <= 4), stages, -1), scorer="scored")
    export(scored, work / "given" / "ucddb018.csv")
    found = api.sleep_stage(work / "ucddb018.edf", work / "staged", engine=work / "given", channels=own, log=recorded.log)
    print("\n".join(sleep_texts.stage(found, False)))
    small(work / "staged" / "ucddb018" / "night.png", DOCS / "sleep-ucddb018.png")
    shown = [
        int(place[np.flatnonzero(stages[place] == stage)[len(np.flatnonzero(stages[place] == stage)) // 2]]) for stage in range(EPOCHS)
    ]
    strips = []
    for epoch in shown:
        api.sleep_render(work / "ucddb018.edf", work / "images", first=epoch + 1, last=epoch + 1, channels=own)
        with Image.open(work / "images" / "ucddb018" / f"ucddb018_{epoch + 1:04d}.png") as image:
            first, last = (row * image.height // 270 for row in ROWS)
            strips.append(np.asarray(image)[first:last])
    made = Image.fromarray(np.concatenate(strips))
    made = made.resize((1440, made.height * 1440 // made.width), Image.Resampling.BOX)
    with files.whole(DOCS / "sleep-epochs.png") as aside:
        made.save(aside, optimize=True)


def small(source: Path, out: Path) -> None:
    """Copy a figure with few colours."""
    with Image.open(source) as image, files.whole(out) as aside:
        image.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(aside, optimize=True)


def main() -> int:
    """Make the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=recorded.DATA)
    parser.add_argument("--only", choices=("nap", "night"))
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for name, make in (("nap", nap), ("night", night)):
            if args.only in (None, name):
                make(args.data, files.make_folder(Path(folder) / name))
    return 0


if __name__ == "__main__":
    sys.exit(main())
