"""Write EDF+ with edfio: signals, and stages as annotations. Nothing that identifies anybody is written: these fields hold X."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tapetum.core import extras, files
from tapetum.sleep.hypnogram import Hypnogram
from tapetum.sleep.stages import SHORT

MOST_CHARACTERS = 8  # of a number in a header


def write_edf(
    path: Path | str,
    signals: Sequence[tuple[str, str, float, np.ndarray]],
    night: Hypnogram | None = None,
    clock: datetime.time | None = None,
) -> Path:
    """Write a recording as EDF+.

    Args:
        path: the file.
        signals: (name, unit, samples a second, values) each; all of one length in seconds.
        night: stages to write as annotations ``Sleep stage W`` …; None for none.
        clock: time of day at the start.

    Raises:
        EnvironmentFault: edfio is not installed.
    """
    edfio = _edfio()
    made = [
        edfio.EdfSignal(np.asarray(values, dtype=np.float64), rate, label=name, physical_dimension=unit, physical_range=_range(values))
        for name, unit, rate, values in signals
    ]
    stages = None if night is None else stage_annotations(night)
    start = (clock or datetime.time(0, 0)).replace(microsecond=0)
    return files.write_bytes(path, edfio.Edf(made, starttime=start, annotations=stages).to_bytes())


def write_stages(path: Path | str, night: Hypnogram) -> Path:
    """Write a hypnogram as EDF+ that is as long as the night: an annotation an epoch, and a signal of the stages' numbers."""
    edfio = _edfio()
    codes = np.array([9, 0, 1, 2, 3, 5])[night.stages.astype(np.int64) + 1]  # of the EDF FAQ; 9: unscored, 5: REM
    numbers = edfio.EdfSignal.from_hypnogram(codes.astype(np.float64), night.epoch, label="Hypnogram")
    start = (night.clock or datetime.time(0, 0)).replace(microsecond=0)
    whole = edfio.Edf([numbers], starttime=start, data_record_duration=night.epoch, annotations=stage_annotations(night))
    return files.write_bytes(path, whole.to_bytes())


def stage_annotations(night: Hypnogram) -> list[Any]:
    """Return an EDF+ annotation for each epoch, as ``Sleep stage N2``; unscored epochs are ``Sleep stage ?``; and lights off and on."""
    edfio = _edfio()
    texts = [f"Sleep stage {SHORT[stage] if stage >= 0 else '?'}" for stage in night.stages.tolist()]
    lights = [(at, text) for at, text in ((night.lights.off, "Lights off"), (night.lights.on, "Lights on")) if at is not None]
    stages = [edfio.EdfAnnotation(i * night.epoch, night.epoch, text) for i, text in enumerate(texts)]
    return [*stages, *(edfio.EdfAnnotation(at, None, text) for at, text in lights)]


def _range(values: np.ndarray) -> tuple[float, float]:
    """Return physical limits that hold all values and can be written in a header's eight characters."""
    largest = float(np.nanmax(np.abs(values), initial=0.0)) or 1.0
    digits = 10 ** np.ceil(np.log10(largest) - 3)  # three digits
    edge = float(np.ceil(largest / digits) * digits)
    edge = float(f"{edge:.6g}"[:MOST_CHARACTERS])
    return -edge, edge


def _edfio() -> Any:
    extras.need("sleep", "writing EDF", "edfio")
    import edfio

    return edfio
