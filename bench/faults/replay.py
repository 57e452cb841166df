"""What a disk may hold after the power failed: the operations of one fit, replayed with unsynced ones dropped and reordered.

The model: at the moment of the crash, what was written to a file since its last sync may be there in part (a front part, or any of its
pieces with zeros between). A name that was made, changed or removed since the last sync of its folder may or may not hold; in half of
the states the names are lost from the end (a journal), in the other half in any order. What was synced holds. Every state is checked in
memory: a file under its own name is one that the fit wrote whole, and a folder that is made whole is complete. Some states are laid
on a disk, where the same command must end with the hashes of the uninterrupted fit.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import random
import shutil
from collections.abc import Sequence

from bench.faults import trials
from bench.faults.enumerated import operations_of
from bench.faults.forge import FINE, Forge
from bench.faults.journal import Outcome
from bench.faults.shim import Operation
from bench.faults.trials import Base

TOGETHER = 1_000  # states that are made and checked at a time
Names = dict[int, dict[str, int]]  # folder → name → what it is of


@dataclasses.dataclass
class Name:
    """A change of names: what comes (folder, name, thing) and what goes (folder, name); and when the folders were synced."""

    when: int
    adds: tuple[int, str, int] | None
    drops: tuple[int, str] | None
    synced: float = float("inf")

    def apply(self, names: Names) -> None:
        """Let it hold."""
        if self.drops is not None:
            folder, name = self.drops
            if self.adds is None or names.get(folder, {}).get(name) == self.adds[2]:
                names.get(folder, {}).pop(name, None)
        if self.adds is not None:
            names.setdefault(self.adds[0], {})[self.adds[1]] = self.adds[2]

    @property
    def folders(self) -> set[int]:
        """The folders whose sync makes it last."""
        return {part[0] for part in (self.adds, self.drops) if part is not None}


class Disk:
    """A file system that remembers when everything was written and synced.

    Args:
        operations: of one process, in order.
        root: the folder that they are below.
    """

    def __init__(self, operations: Sequence[Operation], root: str) -> None:
        self.root, self.names, self.changes, self.now = root, {0: {}}, [], 0  # type: tuple[str, Names, list[Name], int]
        self.folders, self.count = {0}, 0
        self.writes: dict[int, list[tuple[int, int, bytes | None]]] = {}  # file → (when, place, data; None: cut to that size)
        self.syncs: dict[int, list[int]] = {}
        self.whole: dict[str, set[str]] = {}  # path → the hashes of what it held when it got its name
        self.complete: dict[str, list[set[str]]] = {}  # folder that got its name whole → the paths in it
        self._kept: dict[tuple[int, int], bytes] = {}
        self.operations = len(operations)
        for self.now, operation in enumerate(operations, start=1):
            self._do(operation)

    def _do(self, one: Operation) -> None:
        found, (folder, name) = self._find(one.path), self._place(one.path)
        if one.kind == "o" and found is None and folder is not None:
            self.count += 1
            self.writes[self.count] = []
            self._change(Name(self.now, (folder, name, self.count), None))
        elif one.kind == "o" and found is not None and one.place:
            self.writes[found].append((self.now, 0, None))
        elif one.kind == "m" and found is None and folder is not None:
            self.count += 1
            self.folders.add(self.count)
            self.names[self.count] = {}
            self._change(Name(self.now, (folder, name, self.count), None))
        elif one.kind in "wt" and found is not None:
            self.writes[found].append((self.now, one.place, one.data if one.kind == "w" else None))
        elif one.kind == "u" and found is not None and not self.names.get(found):
            self._change(Name(self.now, None, (folder or 0, name)))
        elif one.kind == "n" and found is not None:
            to, new = self._place(one.second)
            assert to is not None
            self._change(Name(self.now, (to, new, found), (folder or 0, name)))
            self._got_name(one.second, found)
        elif one.kind == "s" and found is not None:
            self.syncs.setdefault(found, []).append(self.now)
            for change in self.changes if found in self.folders else ():
                if change.synced == float("inf") and found in change.folders:
                    change.synced = self.now

    def _change(self, change: Name) -> None:
        self.changes.append(change)
        change.apply(self.names)

    def _got_name(self, path: str, thing: int) -> None:
        paths = {path: thing} if thing not in self.folders else {f"{path}/{p}": t for p, t in walk(self.names, thing).items()}
        for place, file in paths.items():
            self.whole.setdefault(place, set()).add(digest(self.content(file, self.writes[file])))
        if thing in self.folders:
            self.complete.setdefault(path, []).append(set(paths))

    def _parts(self, path: str) -> list[str]:
        return path[len(self.root) :].strip("/").split("/")

    def _find(self, path: str) -> int | None:
        at: int | None = 0
        for part in self._parts(path):
            at = at if part == "" or at is None else self.names.get(at, {}).get(part)
        return at

    def _place(self, path: str) -> tuple[int | None, str]:
        parts = self._parts(path)
        return self._find("/".join([self.root, *parts[:-1]])), parts[-1]

    @staticmethod
    def content(_: int, writes: Sequence[tuple[int, int, bytes | None]]) -> bytes:
        """Return what a file holds after some writes."""
        out = bytearray()
        for _, place, data in writes:
            if data is None:
                out = out[:place].ljust(place, b"\0")
            else:
                out[len(out) : place] = b"\0" * max(0, place - len(out))
                out[place : place + len(data)] = data
        return bytes(out)

    def crash(self, when: int, rng: random.Random) -> dict[str, bytes]:
        """Return path → content of what a disk may hold where the power failed after so many operations."""
        names: Names = {0: {}}
        done = [change for change in self.changes if change.when <= when]
        open_ones = [change for change in done if change.synced > when]
        if rng.random() < 0.5:  # a journal: the last ones are lost
            kept = {id(change) for change in open_ones[: rng.randint(0, len(open_ones))]}
        else:
            kept = {id(change) for change in open_ones if rng.random() < 0.5}
        for change in done:
            if change.synced <= when or id(change) in kept:
                change.apply(names)
        return {path: self._survived(file, when, rng) for path, file in walk(names, 0).items() if file in self.writes}

    def _survived(self, file: int, when: int, rng: random.Random) -> bytes:
        synced = max((at for at in self.syncs.get(file, ()) if at <= when), default=0)
        sure = [w for w in self.writes[file] if w[0] < synced]
        rest = [w for w in self.writes[file] if synced < w[0] <= when]
        if not rest:
            if (file, len(sure)) not in self._kept:  # one object for each: its hash is computed once
                self._kept[file, len(sure)] = self.content(file, sure)
            return self._kept[file, len(sure)]
        some = rest[: rng.randint(0, len(rest))] if rng.random() < 0.5 else [w for w in rest if rng.random() < 0.5]
        content = self.content(file, [*sure, *some])
        return content[: rng.randint(0, len(content))] if some and rng.random() < 0.3 else content

    def wrong(self, state: dict[str, bytes]) -> str:
        """Return what no reader may find: a torn file under its own name, a folder that is not complete; blank: nothing."""
        for path, content in state.items():
            place = f"{self.root}/{path}"
            hidden = any(part.startswith(".") for part in path.split("/"))
            if not hidden and place in self.whole and digest(content) not in self.whole[place]:
                return f"{path} is torn ({len(content)} bytes)"
        for folder, versions in self.complete.items():
            there = {f"{self.root}/{path}" for path in state if f"{self.root}/{path}".startswith(f"{folder}/")}
            if there and there not in versions and "/." not in folder[len(self.root) :]:
                return f"{folder[len(self.root) :]} is not complete"
        return ""


def walk(names: Names, folder: int) -> dict[str, int]:
    """Return path → file of all below a folder."""
    out: dict[str, int] = {}
    for name, thing in names.get(folder, {}).items():
        if thing in names:
            out |= {f"{name}/{path}": file for path, file in walk(names, thing).items()}
        else:
            out[name] = thing
    return out


@functools.lru_cache(20_000)
def digest(content: bytes) -> str:
    """Return the SHA-256 of some bytes."""
    return hashlib.sha256(content).hexdigest()


def campaign(base: Base, states: int, resumed: int, seed: int = 0) -> Outcome:
    """Make states of crashes, check all of them in memory, and go on from some of them."""
    operations, wanted, place = operations_of(base, "fit", with_data=True)
    disk, every, journal = Disk(operations, str(place)), max(1, states // max(resumed, 1)), base.journal("crash states of fit")
    numbers = range(every // 2, states, every)[:resumed]
    parts = [f"{seed}: {a}-{min(a + TOGETHER, states)} of {states}" for a in range(0, states, TOGETHER)]
    journal.begin([*parts, *(f"{seed}: on from {number} of {states}" for number in numbers)], states, operations=len(operations))
    seen: set[str] = set()  # hashes of states, those of parts that were finished before left out

    def drawn(number: int) -> dict[str, bytes]:
        return disk.crash(1 + number * disk.operations // states, random.Random(f"{seed}-{number}"))

    for part, first in zip(parts, range(0, states, TOGETHER), strict=True):
        if part not in journal.done:
            made = [drawn(number) for number in range(first, min(first + TOGETHER, states))]
            found = [one for one in map(disk.wrong, made) if one]
            before = len(seen)
            seen |= {digest(repr(sorted((path, digest(content)) for path, content in state.items())).encode()) for state in made}
            journal.add(part, found, trials=len(made), wrong=len(found), notes={"different states": len(seen) - before})

    def go_on(forge: Forge, number: int) -> None:
        at = base.home / f"crash-{number}"
        for path, content in drawn(number).items():
            (at / path).parent.mkdir(parents=True, exist_ok=True)
            (at / path).write_bytes(content)
        at.mkdir(exist_ok=True)
        code, printed = forge.run("fit", None, **base.given("fit", at))
        found = printed[-1500:] if code not in FINE else trials.differences(trials.results("fit", at), wanted)
        journal.add(
            f"{seed}: on from {number} of {states}",
            [f"resumed from state {number}: {found}"] if found else [],
            trials=0,
            wrong=int(bool(found) and code in FINE),
            notes={"resumed": 1},
        )
        shutil.rmtree(at, ignore_errors=True)

    trials.each(base, [one for one in numbers if f"{seed}: on from {one} of {states}" not in journal.done], go_on)
    shutil.rmtree(place)
    return journal.outcome()
