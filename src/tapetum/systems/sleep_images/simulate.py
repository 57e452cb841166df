"""Simulated nights of the SNUH sleep challenge: an image an epoch, exams as sequences, what scorers disagree on in the labels.

::

    OUT/data/A2019-NX-01-1451/A2019-NX-01-1451_0001.png …   OUT/data/trainset-for_user.csv   OUT/data/testset-for_user.csv
    OUT/data/files.csv   OUT/truth.csv   OUT/simulation.json   OUT/recordings/A2019-NX-01-1451.edf … (where asked for)
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from PIL import Image

from tapetum.core import draws, files, progress
from tapetum.core.progress import Log
from tapetum.core.words import plural
from tapetum.data.layouts.delimited import to_delimited
from tapetum.data.simulate import place
from tapetum.sleep.drawing import draw
from tapetum.systems.sleep_images.ceiling import ceilings
from tapetum.systems.sleep_images.channels import CHANNELS
from tapetum.systems.sleep_images.cues import Cues, draw_cues, draw_scores
from tapetum.systems.sleep_images.hypnograms import FULL, STAGES, nights
from tapetum.systems.sleep_images.layout import SAMPLE_ANSWERS, TEST, TRAIN
from tapetum.systems.sleep_images.recordings import write_recording
from tapetum.systems.sleep_images.signals import Recording, draw_sleeper

EXAMS = 1000  # of the real collection: 800 to train on, 200 to answer for
SIZES = {"small": 5000, "full": EXAMS * FULL}
FEW = 34  # exams below which exams become fewer, too, and not shorter alone
TEST_SHARE, TEST_LEAST = 0.2, 10  # of exams
RECORDINGS = "recordings"  # the folder of EDF+ files
UNEVEN = 0.15  # exams' lengths vary by so much
UNSCORED = (0.0, 0.08)  # share of an exam's first epochs that stand in no table
RATES = {name: channel.rate for name, channel in CHANNELS.items()}


@dataclasses.dataclass(frozen=True)
class _Exam:
    """One exam: its name, its part, stage and label of each epoch, and how many of the first ones are in no table."""

    number: int
    name: str
    split: str
    stages: np.ndarray
    labels: np.ndarray
    cues: Cues
    unscored: int

    def image(self, epoch: int) -> str:
        return f"{self.name}_{epoch + 1:04d}.png"

    @property
    def scored(self) -> np.ndarray:
        return np.arange(len(self.stages)) >= self.unscored


def simulate_sleep(
    out: Path | str, *, size: str | int = "small", seed: int = 0, edf: bool = False, log: Log = lambda _: None
) -> dict[str, Any]:
    """Write simulated nights as images of 480 × 270, in the layout of the challenge, and where asked for as EDF+ recordings too.

    Args:
        out: a new folder, or one that was simulated before.
        size: ``small`` (5,000 images of 34 exams), ``full`` (731,000 of 1,000) or the number of images. Exams are shorter than a night
            where there are fewer than 34 whole ones; they go through all phases of a night all the same.
        seed: the same seed gives the same bytes.
        edf: write ``OUT/recordings/<exam>.edf`` of the same nights, with the labels of training exams as annotations.
        log: told of progress.

    Returns:
        ``paths`` (``source`` is what to read, ``truth``, with ``edf`` ``recordings``), ``counts`` (images and exams by part, images in no
            table, labels that are a scorer's slip), ``ceiling`` (the macro-F1 on the test part to be expected of who knows the generator
            and sees whole nights) and ``ceilings`` (the same from single epochs, with their place in the night, and from whole nights).

    Raises:
        UserError: a size too small, or a place that holds something else.
    """
    out = Path(out)
    exams = _plan(place.how_many(size, SIZES, 120), seed)
    total, done = sum(len(exam.stages) for exam in exams), 0
    with place.layout(out) as aside:
        drawn = progress.share(log, "drawing images")
        for exam in exams:
            _write(exam, aside, seed)
            done += len(exam.stages)
            drawn(done, total)
        _write_tables(exams, aside)
    places = {"source": out / place.LAYOUT}
    if edf:
        places["recordings"] = _write_recordings(exams, out / RECORDINGS, seed, log)
    found = ceilings([(exam.cues, exam.scored) for exam in exams if exam.split == "test"])
    summary = {
        "name": "sleep",
        "seed": seed,
        "counts": _counts(exams),
        "metric": "macro_f1",
        "ceiling": found["order"]["macro_f1"],
        "ceilings": found,
    }
    made = place.finish(out, _truth(exams), summary, **places)
    log(
        f"{plural(total, 'image')} of {plural(len(exams), 'exam')} in {out / place.LAYOUT}; the best macro-F1 possible on the test part is "
        f"{summary['ceiling']:.3f} from whole nights, {found['frame_wise']['macro_f1']:.3f} from single images"
    )
    return made


def _plan(count: int, seed: int) -> list[_Exam]:
    """Return every exam with its stages, labels and cues."""
    rng = draws.generator("simulate", "sleep", seed, "plan")
    many = max(round(min(FEW, (count / 4.3) ** 0.5)), round(count / FULL))
    test = max(round(TEST_SHARE * many), min(TEST_LEAST, round(0.3 * many)))
    lengths = place.shares(count, rng.uniform(1 - UNEVEN, 1 + UNEVEN, many).tolist())
    names = [f"A2019-NX-01-{number:04d}" for number in np.sort(rng.choice(np.arange(1, max(10_000, 2 * many)), many, replace=False))]
    in_test = set(rng.choice(many, test, replace=False).tolist())
    exams = []
    for number, length in enumerate(lengths):
        own = draws.generator("simulate", "sleep", seed, "exam", number)
        stages = nights(length).draw(own)
        cues, labels = draw_cues(stages, own), draw_scores(stages, own)
        unscored = int(own.uniform(*UNSCORED) * length)
        exams.append(_Exam(number, names[number], "test" if number in in_test else "train", stages, labels, cues, unscored))
    return exams


def _write(exam: _Exam, root: Path, seed: int) -> None:
    folder = files.make_folder(root / exam.name)
    recording = _recording(exam, seed)
    for epoch in range(len(recording)):
        image = Image.fromarray(draw(recording.epoch(epoch), RATES))
        image.save(folder / exam.image(epoch), compress_level=1)  # in place.layout's folder, whole at its end


def _recording(exam: _Exam, seed: int) -> Recording:
    key = draws.key("simulate", "sleep", seed, "sleeper", exam.number)
    return Recording(exam.cues, draw_sleeper(draws.generator(key), key))


def _write_recordings(exams: list[_Exam], root: Path, seed: int, log: Log) -> Path:
    """Write an EDF+ file an exam; those of the test part tell no stages."""
    tick = progress.share(log, "writing EDF+ recordings")
    with files.whole_folder(root) as aside:
        for done, exam in enumerate(exams, start=1):
            labels = np.where(exam.scored, exam.labels, -1) if exam.split == "train" else None
            write_recording(aside / f"{exam.name}.edf", _recording(exam, seed), labels)
            tick(done, len(exams))
    return root


def _write_tables(exams: list[_Exam], root: Path) -> None:
    """Write the tables as they came: no header, and a byte-order mark before the first exam."""
    rows: dict[str, list[tuple[str, str, str]]] = {"train": [], "test": []}
    for exam in exams:
        for epoch in np.flatnonzero(exam.scored).tolist():
            rows[exam.split].append((exam.name, exam.image(epoch), STAGES[exam.labels[epoch]]))
    train = pl.DataFrame(rows["train"], schema=["exam", "image", "stage"], orient="row")
    test = pl.DataFrame(rows["test"], schema=["exam", "image", "stage"], orient="row")
    for name, table in ((TRAIN, train), (TEST, test.drop("stage"))):
        files.write_text(root / name, "\ufeff" + to_delimited(table, header=False))
    files.write_text(root / SAMPLE_ANSWERS, "".join(f"{STAGES[0]}\n" for _ in range(len(test))))


def _truth(exams: list[_Exam]) -> pl.DataFrame:
    parts = [
        pl.DataFrame(
            {
                "row_id": [exam.image(epoch) for epoch in range(len(exam.stages))],
                "split": exam.split,
                "exam": exam.name,
                "stage": [STAGES[k] if scored else None for k, scored in zip(exam.labels, exam.scored, strict=True)],
                "shows": [STAGES[k] for k in exam.stages],
            }
        )
        for exam in exams
    ]
    return pl.concat(parts)


def _counts(exams: list[_Exam]) -> dict[str, int]:
    parts = {part: sum(int(e.scored.sum()) for e in exams if e.split == part) for part in ("train", "test")}
    many = {f"{part} exams": sum(e.split == part for e in exams) for part in ("train", "test")}
    slips = sum(int((e.labels != e.stages)[e.scored].sum()) for e in exams)
    return {**parts, "in no table": sum(e.unscored for e in exams), **many, "slips": slips}
