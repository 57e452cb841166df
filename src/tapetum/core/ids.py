"""Match the ids of two tables: exactly, else by the file name that both mean, where that is unambiguous.

A submission's template says ``abc`` where the row id is the file ``abc.jpg``, or its path ``folder/abc.jpg``.
"""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Callable, Iterable

from tapetum.core.words import plural

_ENDING = re.compile(r"(?<=[^/.])\.[A-Za-z][A-Za-z0-9]{1,4}$")


@dataclasses.dataclass(frozen=True)
class Matched:
    """Which id of one table is which of another.

    Args:
        of: wanted id → id at hand, for those that match.
        how: rule → ids matched by it (wanted), for the rules other than equality.
    """

    of: dict[str, str]
    how: dict[str, list[str]]

    def text(self) -> str:
        """Return what to log about ids that are not equal; empty where all are."""
        parts = []
        for rule, ids in self.how.items():
            first = ids[0]
            parts.append(f"{plural(len(ids), 'id is', 'ids are')} matched by {rule} ({first!r} is row {self.of[first]!r})")
        return "; ".join(parts)


def match(wanted: Iterable[str | None], have: Iterable[str]) -> Matched:
    """Match ids exactly, then without the ending, by the file name, and by the file name without its ending.

    A rule matches a pair only where no other id of either table has the same name under it, and where their endings do not differ
    (``a.v1`` is not ``a.v2``).

    Args:
        wanted: ids of the first table; blanks are passed over.
        have: ids of the second.
    """
    here, there = list(dict.fromkeys(i for i in wanted if i)), list(dict.fromkeys(have))
    known = set(there)
    of = {i: i for i in here if i in known}
    how: dict[str, list[str]] = {}
    if len(of) == len(here):
        return Matched(of, how)
    for rule, key in _RULES.items():
        ours, theirs = Counter(map(key, here)), Counter(map(key, there))
        place = {key(i): i for i in there}
        used = set(of.values())
        for i in here:
            name = key(i)
            other = place.get(name)
            if i in of or other is None or other in used or ours[name] > 1 or theirs[name] > 1 or _differ(i, other):
                continue
            of[i] = other
            how.setdefault(rule, []).append(i)
    return Matched(of, how)


def _base(name: str) -> str:
    return name.rpartition("/")[2]


def _stem(name: str) -> str:
    return _ENDING.sub("", name)


def _differ(one: str, other: str) -> bool:
    """Tell whether two names cannot mean one file: other endings, or other folders (one may lack the folders above)."""
    folders = [name.split("/")[:-1] for name in (one, other)]
    short, long = sorted(folders, key=len)
    if short and long[-len(short) :] != short:
        return True
    endings = [found[0].lower() for name in (one, other) if (found := _ENDING.search(name))]
    return len(endings) == 2 and endings[0] != endings[1]


_RULES: dict[str, Callable[[str], str]] = {
    "the name without its ending": _stem,
    "the file name": _base,
    "the file name without its ending": lambda name: _stem(_base(name)),
}
