"""Simulated nights as EDF+ files: the same signals that the images are drawn from, and a scorer's stages as annotations."""

from __future__ import annotations

import datetime
from pathlib import Path

import numpy as np

from tapetum.sleep.edf_write import write_edf
from tapetum.sleep.hypnogram import Hypnogram
from tapetum.systems.sleep_images.channels import CHANNELS
from tapetum.systems.sleep_images.signals import Recording

LIGHTS_OFF = datetime.time(22, 30)


def write_recording(path: Path | str, recording: Recording, labels: np.ndarray | None) -> Path:
    """Write a night.

    Args:
        path: the file.
        recording: its signals.
        labels: the stage of each epoch (T,), −1 for unscored; None for a night without annotations.
    """
    epochs = [recording.epoch(number) for number in range(len(recording))]
    signals = [
        (name, channel.unit, float(channel.rate), np.concatenate([epoch[name] for epoch in epochs]))
        for name, channel in CHANNELS.items()
        if name in epochs[0]
    ]
    return write_edf(path, signals, None if labels is None else Hypnogram(labels), LIGHTS_OFF)
