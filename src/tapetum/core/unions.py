"""Things that are one, put together pair by pair: each is called by the first of its set."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Generic, TypeVar

Thing = TypeVar("Thing", bound=Hashable)


class Unions(Generic[Thing]):
    """Sets of things, each alone until it is joined to another one (disjoint sets with path halving)."""

    def __init__(self) -> None:
        self._leader: dict[Thing, Thing] = {}

    def first(self, one: Thing) -> Thing:
        """Return the first thing of the set that one is in."""
        leader = self._leader
        while leader.setdefault(one, one) != one:
            leader[one] = leader[leader[one]]
            one = leader[one]
        return one

    def join(self, one: Thing, other: Thing) -> None:
        """Make two sets one, which is called as that of ``one``."""
        self._leader[self.first(other)] = self.first(one)

    def joined(self) -> list[tuple[Thing, Thing]]:
        """Return (thing, first of its set) for each thing that is not the first itself, in the order in which they came."""
        return [(one, first) for one in list(self._leader) if (first := self.first(one)) != one]


def united(*sources: Mapping[str, str]) -> dict[str, str]:
    """Return row → the name of its set, where several sources put rows into sets: sets that share a row are one.

    Two sources may give one name to different sets. A set is called by its first row.
    """
    sets = Unions[str]()
    first: dict[tuple[int, str], str] = {}
    for number, source in enumerate(sources):
        for row, name in source.items():
            sets.join(first.setdefault((number, name), row), row)
    return {row: sets.first(row) for source in sources for row in source}
