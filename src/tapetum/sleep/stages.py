"""Stages of sleep as scorers and programs write them: AASM and R&K names and numbers, brought to the five AASM stages."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from tapetum.sleep.issues import NOTE, Issues

STAGES = ("Wake", "N1", "N2", "N3", "REM")
WAKE, N1, N2, N3, REM = range(5)
UNSCORED = -1
SHORT = ("W", "N1", "N2", "N3", "R")  # as EDF+ annotations and BIDS write them

_NAMES = {
    **dict.fromkeys(("w", "wake", "awake", "wakefulness", "s0", "stage 0", "nrem0"), WAKE),
    **dict.fromkeys(("wach", "wachheit", "waak", "wakker", "éveil", "eveil", "éveillé", "vigilia", "vigília", "veglia", "despierto"), WAKE),
    **dict.fromkeys(("각성", "覚醒", "清醒"), WAKE),
    **dict.fromkeys(("n1", "s1", "nrem1", "nrem 1", "non-rem 1", "stage 1"), N1),
    **dict.fromkeys(("n2", "s2", "nrem2", "nrem 2", "non-rem 2", "stage 2"), N2),
    **dict.fromkeys(("n3", "s3", "nrem3", "nrem 3", "non-rem 3", "sws", "deep", "stage 3", "tiefschlaf"), N3),
    **dict.fromkeys(("n4", "s4", "nrem4", "nrem 4", "non-rem 4", "stage 4"), N3),
    **dict.fromkeys(("r", "rem", "stage rem", "paradoxical", "sommeil paradoxal", "sueño rem", "렘", "レム"), REM),
    **dict.fromkeys(("?", "u", "uns", "unscored", "unknown", "unscorable", "not scored", "undefined", "none", "nan", "n/a"), UNSCORED),
    **dict.fromkeys(("m", "mt", "mov", "movement", "movement time", "art", "artefact", "artifact", "a"), UNSCORED),
}
_OLD = {
    "s1",
    "s2",
    "s3",
    "s4",
    "n4",
    "nrem4",
    "nrem 4",
    "non-rem 4",
    "stage 4",
    "stage 3",
    "stage 2",
    "stage 1",
}  # of Rechtschaffen & Kales
_MOVED = {"m", "mt", "mov", "movement", "movement time"}
_NUMBERS = {
    "0": WAKE,
    "1": N1,
    "2": N2,
    "3": N3,
    "-1": UNSCORED,
    "-2": UNSCORED,
    "6": UNSCORED,
    "7": UNSCORED,
    "8": UNSCORED,
    "9": UNSCORED,
}
_PREFIXES = (
    *("sleep stage ", "sleep_stage_", "sleep-stage-", "stage ", "stage_", "sleep-", "sleep "),
    *("schlafstadium ", "stadium ", "stade ", "fase ", "estadio ", "stadio "),
)
SCHEMES = ("auto", "aasm", "rk")


def stage_of(label: str) -> int | None:
    """Return a stage's number (−1: unscored) from one label with letters; None where it names none, as other events."""
    plain = _plain(label)
    for prefix in ("", *_PREFIXES):
        if plain.startswith(prefix) and (rest := plain[len(prefix) :].strip()) in _NAMES:
            return _NAMES[rest]
    return None


def stages_of(labels: Sequence[str], scheme: str, issues: Issues) -> list[int | None]:
    """Return the stage of each label; None where a label is none.

    Args:
        labels: names or numbers.
        scheme: what the numbers 4 and 5 mean. ``rk``: stage 4 (N3) and REM. ``aasm``: REM, and REM likewise. ``auto``: ``rk`` where any
            5 occurs, REM is named by letters or labels are those of EDF+ (``Sleep stage 4``), else ``aasm``.
        issues: receives what was assumed.
    """
    plain = [_number(label) for label in labels]
    named = any(stage_of(label) == REM for label in labels)  # REM has a name, so 4 is another stage, as in EDF+'s 'Sleep stage 4'
    spelt = any(_bare(label) == "4" and len(label.split()) > 1 for label in labels)
    rk = scheme == "rk" or (scheme == "auto" and ("5" in plain or named or spelt))
    numbers = {**_NUMBERS, "4": N3 if rk else REM, "5": REM}
    out = [numbers.get(short) if short in numbers else stage_of(label) for short, label in zip(plain, labels, strict=True)]
    if "4" in plain and scheme == "auto":
        meant = "stage 4 of R&K, so N3 (REM is 5 or has its name)" if rk else "REM (there is no 5)"
        issues.add("stages are numbers, with 4 among them", f"4 is {meant}; --scheme says otherwise", kind=NOTE)
    words = {_bare(label) for label in labels}
    if words & _OLD or (rk and "4" in plain):
        issues.add("stages are those of Rechtschaffen & Kales", "stages 3 and 4 are N3, stage 1 is N1, stage 2 is N2", kind=NOTE)
    if words & _MOVED or (rk and "6" in plain):
        issues.add("some epochs are movement time", "they count as unscored: AASM has no such stage", kind=NOTE)
    return out


def _number(label: str) -> str:
    """Return a whole number in its shortest form (``4.0``: ``4``), also after ``Sleep stage``; other labels are blank."""
    rest = _bare(label)
    try:
        found = float(rest)
    except ValueError:
        return ""
    return str(int(found)) if found == found // 1 else ""


def _plain(label: str) -> str:
    """Return a label in small letters, without what some files write after it: ``Stage 2 sleep|2`` is ``stage 2``."""
    words = unicodedata.normalize("NFC", label.split("|", maxsplit=1)[0].lower()).split()
    return " ".join(words).removesuffix(" sleep")


def _bare(label: str) -> str:
    plain = _plain(label)
    return next((plain[len(prefix) :].strip() for prefix in _PREFIXES if plain.startswith(prefix)), plain)
