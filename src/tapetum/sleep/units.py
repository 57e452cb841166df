"""Units of physical signals: how recorders write them, and how they are brought to microvolts."""

from __future__ import annotations

TO_MICROVOLTS = {"nV": 1e-3, "uV": 1.0, "mV": 1e3, "V": 1e6}
_SAME = {
    **dict.fromkeys(("uv", "µv", "μv", "microv", "microvolt", "microvolts", "u v"), "uV"),
    **dict.fromkeys(("mv", "millivolt", "millivolts"), "mV"),
    **dict.fromkeys(("nv", "nanovolt", "nanovolts"), "nV"),
    **dict.fromkeys(("v", "volt", "volts"), "V"),
    **dict.fromkeys(("%", "percent", "pct", "%sat"), "%"),
    **dict.fromkeys(("cmh2o", "cm h2o"), "cmH2O"),
    **dict.fromkeys(("db", "dba"), "dB"),
    **dict.fromkeys(("g", "gn"), "g"),
    **dict.fromkeys(("", "-", "n/a", "na", "none", "unknown", "?", "au", "a.u.", "a.u"), ""),
}


def plain_unit(written: str) -> str:
    """Return a unit as it is written here: ``µV``, ``uv`` and ``microvolt`` are all ``uV``; blank where there is none."""
    return _SAME.get(" ".join(written.lower().split()), written)
