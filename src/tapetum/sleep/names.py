"""Names of channels: every recorder has its own, and here ``C3-M2``, ``C3-A2``, ``EEG C3-A2`` and ``C3:A2`` are one.

The table is in ``channels.csv`` beside this file (label, name); users lay their own over it. Labels are compared without case, blanks,
signs and the leading kind (EEG, EOG, EMG, ECG). What is not in the table and reads as one or two electrodes of the 10–20 system is that.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Mapping
from importlib import resources
from pathlib import Path

from tapetum.core.delimited import parse_delimited, read_delimited
from tapetum.core.errors import DataError

EARS = {"A1": "M1", "A2": "M2", "TP9": "M1", "TP10": "M2", "LM": "M1", "RM": "M2"}
_ELECTRODE = r"(?:fp[12z]|af[3478z]|f[1-8z]|fc[1-6z]|c[1-6z]|cp[1-6z]|p[1-8z]|po[3478z]|o[12z]|t[3-8]|e[12]|a[12]|m[12]|tp9|tp10)"
_PAIR = re.compile(rf"({_ELECTRODE})(?:[-_/:. ]*({_ELECTRODE}|ref|le|avg|av|g1|gnd))?(?:[-_. ]?\d)?", re.IGNORECASE)
_KIND = re.compile(r"^(?:eeg|eog|emg|ecg|ekg|poly|resp|sao2|psg)[ :_-]+", re.IGNORECASE)
_COMMON = ("REF", "LE", "AVG", "AV", "G1", "GND")  # references that the recorder made


@dataclasses.dataclass(frozen=True)
class Name:
    """What a label means.

    Args:
        name: as ``C3-M2``, ``C3`` (referenced by the recorder to something common), ``Chin``, ``SpO2``; blank where it is not known.
        electrode: of a derivation, as ``C3``; blank for other signals.
        reference: as ``M2``; blank where the label does not name one.
    """

    name: str
    electrode: str = ""
    reference: str = ""


def meaning(label: str, table: Mapping[str, str] | None = None) -> Name:
    """Return what a label means.

    Args:
        label: as the recorder wrote it.
        table: compact label → name; None: the table of this package.
    """
    found = (known() if table is None else table).get(compact(label)) or (known() if table is None else table).get(
        compact(_KIND.sub("", label))
    )
    plain = found if found is not None else _KIND.sub("", label).strip().strip("()[]")
    pair = _PAIR.fullmatch(plain)
    if pair is None:
        return Name(found or "")
    electrode, reference = _proper(pair[1]), _proper(pair[2] or "")
    reference = "" if reference.upper() in _COMMON else reference
    return Name(f"{electrode}-{reference}" if reference else electrode, electrode, reference)


def load(path: Path | str | None) -> dict[str, str]:
    """Return the table of this package with a user's laid over it.

    Args:
        path: a CSV file with the columns ``label`` and ``name``; None for none.

    Raises:
        DataError: other columns, or a row without one of the two.
    """
    out = dict(known())
    if path is None:
        return out
    frame, _ = read_delimited(Path(path))
    if not {"label", "name"} <= set(frame.columns):
        raise DataError(f"{path} has the columns {', '.join(frame.columns)}", need="label and name", fix="name the columns so")
    for line, (label, name) in enumerate(frame.select("label", "name").iter_rows(), start=2):
        if not label or not name:
            raise DataError(f"{path} line {line} lacks a label or a name", need="both", fix="fill it in or remove the line")
        out[compact(label)] = name
    return out


def compact(label: str) -> str:
    """Return a label without case, blanks and signs, as the table is searched by."""
    return re.sub(r"[\s_\-./:()\[\]+]+", "", label).lower()


@functools.lru_cache(maxsize=1)
def known() -> dict[str, str]:
    """Return the table of this package: compact label → name."""
    text = (resources.files(__package__) / "channels.csv").read_text(encoding="utf-8")
    frame, _ = parse_delimited(text, "channels.csv")
    return {compact(label): name for label, name in frame.select("label", "name").iter_rows()}


def _proper(electrode: str) -> str:
    """Return an electrode as it is written: ``fpz`` is ``Fpz``, ``a2`` is ``M2``."""
    upper = electrode.upper()
    return EARS.get(upper, upper if len(upper) < 3 and not upper.endswith("Z") else upper[:1] + upper[1:].lower())
