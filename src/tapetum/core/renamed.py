"""Recipe keys that had another name in earlier versions.

A recipe that a person writes is refused with the new name. What an earlier version wrote into a run is read under the new name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

RENAMED = {"train.epoch": "train.checkpoint"}  # former section.key → the key of the same section today

LIKE = {"train.epoch": "the number of epochs is 'train.epochs'"}  # what the former name may be a typo of


def with_new_names(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return nested recipe values with former keys under their names of today, those of members, profiles and the search space too."""
    out = dict(values)
    for old, new in RENAMED.items():
        section, former = old.split(".")
        if isinstance(table := out.get(section), Mapping) and former in table:
            out[section] = {new.split(".")[1] if key == former else key: value for key, value in table.items()}
    match out.get("member"):
        case list() | tuple() as members:
            out["member"] = [with_new_names(table) for table in members]
        case Mapping() as members:  # of a profile
            out["member"] = _each(members)
    if isinstance(profiles := out.get("profile"), Mapping):
        out["profile"] = _each(profiles)
    match out.get("tune"):
        case {"space": Mapping() as space, **rest}:
            out["tune"] = {**rest, "space": {RENAMED.get(key, key): value for key, value in space.items()}}
    return out


def _each(tables: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    return {name: with_new_names(table) for name, table in tables.items()}
