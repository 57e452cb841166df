"""The sleep laboratory measured: statistics beside YASA's, what adaptation is worth on simulated nights, and how fast epochs are drawn.

Run: ``python bench/sleep_lab.py [--subjects 20 --epochs 300] [--kept DIR]``. Answers of YASA are kept in ``--kept``, so that a run goes on
where it was stopped.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import yasa

import recorded
from tapetum import api
from tapetum.core import draws, files
from tapetum.sleep import adapt, render
from tapetum.sleep.agreement import agreement
from tapetum.sleep.edf import read_edf
from tapetum.sleep.edf_write import write_edf
from tapetum.sleep.engines import Yasa
from tapetum.sleep.hypnogram import Hypnogram
from tapetum.sleep.issues import Issues
from tapetum.sleep.names import known
from tapetum.sleep.statistics import statistics
from tapetum.systems.sleep_images.channels import CHANNELS
from tapetum.systems.sleep_images.cues import draw_cues, draw_scores
from tapetum.systems.sleep_images.hypnograms import nights
from tapetum.systems.sleep_images.recordings import write_recording
from tapetum.systems.sleep_images.signals import Recording, draw_sleeper

PAIRS = {
    "TIB": "TIB", "SPT": "SPT", "TST": "TST", "SE": "SE", "SME": "SME", "SOL": "SOL", "WASO in SPT": "WASO", "awakening index": "SFI",
    "Wake": "WAKE", "N1": "N1", "N2": "N2", "N3": "N3", "REM": "REM", "% N1": "%N1", "% N2": "%N2", "% N3": "%N3", "% REM": "%REM",
    "WASO": "WASO", "REM latency": "Lat_REM",
}  # fmt: skip
WHY = {
    "WASO": "AASM counts Wake from sleep onset to lights on; YASA up to the last epoch of sleep",
    "REM latency": "AASM counts from the first epoch of sleep; YASA from the start of the hypnogram",
}
NEEDED = ("C4-M1", "C3-M2", "E1-M2", "E2-M1", "Chin")


def beside_yasa(path: Path) -> tuple[list[list[str]], int]:
    """Return for each figure: nights where both agree to 0.001, and the largest difference."""
    names = np.array(["UNS", "WAKE", "N1", "N2", "N3", "REM"])
    apart: dict[str, list[float]] = {name: [] for name in PAIRS}
    with np.load(path, allow_pickle=False) as given:
        stages = [given[name] for name in given.files]
    for one in stages:
        ours, theirs = statistics(Hypnogram(one)), yasa.Hypnogram(names[one + 1].tolist(), n_stages=5).sleep_statistics()
        for mine, other in PAIRS.items():
            apart[mine].append(abs(ours[mine] - float(theirs[other])))
    rows = [
        [mine, PAIRS[mine], str(sum(one < 1e-3 for one in found)), f"{max(found):.1f}", WHY.get(mine, "")] for mine, found in apart.items()
    ]
    return rows, len(stages)


def real_night(path: Path) -> dict[str, Any]:
    """Return the agreement of YASA with the scorer of one real night, over the epochs that have a signal, and how many epochs those are."""
    with np.load(path, allow_pickle=False) as given:
        x, place, truth = given["x"] * given["scale"], given["epoch_index"], given["night_stage"]
    signal = np.zeros((len(truth), x.shape[1]))
    signal[place] = x
    with tempfile.TemporaryDirectory() as folder:
        read = read_edf(write_edf(Path(folder) / "night.edf", [("C4-M1", "", 128.0, signal.reshape(-1))]))  # which electrode, nobody says
        answer = Yasa()(read, known(), Issues(""))
    there = np.zeros(len(truth), dtype=bool)
    there[place] = True
    scored = np.where(there & (truth >= 0) & (truth <= 4), truth, -1)
    return {**agreement(Hypnogram(scored), answer), "of": len(truth)}


def simulated(subjects: int, epochs: int, kept: Path) -> list[tuple[str, str, Hypnogram, Hypnogram]]:
    """Return YASA's answers and the scorer's labels of simulated nights, one a subject."""
    out = []
    for number in range(subjects):
        rng = draws.generator("bench", "sleep_lab", number)
        stages = nights(epochs).draw(rng)
        cues, labels = draw_cues(stages, rng), draw_scores(stages, rng)
        place = kept / f"{epochs}-{number:02d}.npy"
        if not place.exists():
            start = time.perf_counter()
            p = answered(Recording(cues, draw_sleeper(rng, draws.key("bench sleeper", number))))
            files.write_array(place, p)
            print(f"subject {number + 1}: {time.perf_counter() - start:.0f} s", flush=True)
        p = np.load(place, allow_pickle=False)
        out.append((f"night {number}", f"subject {number}", Hypnogram(p.argmax(axis=1), p=p, scorer="YASA"), Hypnogram(labels)))
    return out


def answered(recording: Recording) -> np.ndarray:
    """Return YASA's probabilities of a simulated night, through an EDF file of the channels that it needs."""
    parts = [recording.epoch(number) for number in range(len(recording))]
    signals = [(n, "uV", float(CHANNELS[n].rate), np.concatenate([part[n] for part in parts])) for n in NEEDED if n in parts[0]]
    with tempfile.TemporaryDirectory() as folder:
        read = read_edf(write_edf(Path(folder) / "night.edf", signals))
        p = Yasa()(read, known(), Issues("")).p
    assert p is not None
    return p


def whole_night(epochs: int = 1000) -> float:
    """Return seconds of processor time to draw a night of all channels at 480 × 270 from its EDF file; one core does it all."""
    rng = draws.generator("bench", "sleep_lab", "night")
    stages = nights(epochs).draw(rng)
    with tempfile.TemporaryDirectory() as folder:
        path = write_recording(Path(folder) / "night.edf", Recording(draw_cues(stages, rng), draw_sleeper(rng, 1)), stages)
        start = time.process_time()
        found = api.sleep_render(path, Path(folder) / "images", width=480)
        assert found["images"] == epochs
        return time.process_time() - start


def speed(epochs: int) -> dict[str, float]:
    """Return epochs a second on one core, filters and PNG files included, of a simulated night of all channels."""
    rng = draws.generator("bench", "sleep_lab", "speed")
    stages = nights(epochs).draw(rng)
    out = {}
    with tempfile.TemporaryDirectory() as folder:
        recording = Recording(draw_cues(stages, rng), draw_sleeper(rng, 1))
        read = read_edf(write_recording(Path(folder) / "night.edf", recording, stages))
        for name, width, how in (("traces, 480", 480, "traces"), ("traces, 1920", 1920, "traces"), ("spectra, 1920", 1920, "spectra")):
            start = time.process_time()
            prepared = render.prepare(read, known(), Issues(""))
            filtering = time.process_time() - start
            many = render.write(Path(folder) / name, prepared, (width, how), (1, None), lambda done, total: None)
            out[name] = many / (time.process_time() - start)
            out[f"{name}, filters alone"] = many / filtering
    return out


def main() -> int:
    """Measure, print and record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=recorded.DATA)
    parser.add_argument("--subjects", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=300)
    parser.add_argument("--kept", type=Path, default=Path(tempfile.gettempdir()) / "tapetum-sleep-lab")
    parser.add_argument("--dry", action="store_true", help="print only; leave docs alone")
    args = parser.parse_args()
    compared, many = beside_yasa(args.data / "hypnograms" / "stages.npz")
    print(recorded.table(["here", "YASA", "nights equal", "largest difference", "why"], compared), flush=True)
    real = real_night(args.data / "eeg-nights" / "ucddb018.npz")
    print(real, flush=True)
    drawn, seconds = speed(60), whole_night()
    print(drawn, f"a night of 1,000 epochs: {seconds:.1f} s", flush=True)
    found = adapt.adapt(simulated(args.subjects, args.epochs, files.make_folder(args.kept)))
    found.pop("fitted")
    text = page(compared, many, found, args) + "\n\n" + measured(real, drawn, seconds)
    print(text)
    if not args.dry:
        values = {"beside_yasa": compared, "real_night": real, "epochs_a_second": drawn, "seconds_a_night": seconds, "adapted": found}
        recorded.record("sleep_lab", "The sleep laboratory", text, values, "yasa", "edfio", "numpy", "scipy")
    return 0


def measured(real: dict[str, Any], drawn: dict[str, float], seconds: float) -> str:
    """Return the text of the real night and of speed."""
    kappas = ", ".join(f"{name} {kappa:.2f}" for name, kappa in real["by_stage"].items() if kappa is not None)
    return "\n\n".join(
        (
            "**One real night**, `ucddb018` (one EEG channel whose electrode and unit are not stated, no EOG, no EMG): YASA and the scorer "
            f"agree in {100 * real['accuracy']:.1f} % of {real['epochs']} epochs with a signal (of {real['of']}), kappa "
            f"{real['kappa']:.3f} ({kappas}). One night says nothing of others.",
            "**Rendering**, epochs a second of processor time on one core, of a simulated night of all channels, PNG files included:",
            recorded.table(["", "epochs a second"], [[name, f"{value:.0f}"] for name, value in drawn.items()]),
            f"A night of 1,000 epochs at 480 × 270, from the EDF file to the images: {seconds:.1f} s of processor time on one core.",
        )
    )


def page(compared: list[list[str]], many: int, found: dict[str, Any], args: argparse.Namespace) -> str:
    """Return the text of adaptation and statistics."""
    rows = []
    for name, figures in found["figures"].items():
        cells = [name, f"{figures['macro_f1']['value']:.3f}", f"{figures['kappa']['value']:.3f}", f"{figures['log_loss']['value']:.3f}"]
        for over in ("alone", "before"):
            gains = found["gains"].get(name, {}).get(over)
            cells += ["–", "–"] if gains is None else [recorded.difference(gains["macro_f1"]), recorded.difference(gains["kappa"])]
        rows.append(cells)
    head = ["", "macro-F1", "kappa", "log-loss", "gain in macro-F1 over YASA", "in kappa", "over the step before: macro-F1", "kappa"]
    return "\n\n".join(
        (
            f"**Adaptation.** {args.subjects} simulated sleepers, a night of {args.epochs} epochs each, with a scorer's slips in labels; "
            "YASA reads the EDF+ files of the simulator. Each subject's night is decided with values from the others'; differences are "
            "paired, with 95 % intervals clustered by subject. YASA never saw simulated signals, so its level here says nothing of real "
            "nights.",
            recorded.table(head, rows),
            f"`tapetum sleep adapt` uses: {' and '.join(found['use']) or 'nothing'} ({found['reason']}).",
            f"**Statistics** of {many} real nights (Sleep-EDF Expanded) beside `yasa.Hypnogram.sleep_statistics`: nights in which both are "
            "equal (to 0.001), and the largest difference in minutes, % or an hour.",
            recorded.table(["here", "YASA", "nights equal", "largest difference", "why"], compared),
        )
    )


if __name__ == "__main__":
    sys.exit(main())
