"""What became of each trial, a line of JSON each: a campaign that was stopped goes on where it stopped.

A trial counts for the source that it was tried on. After a defect is mended, trials that survived on the source before count too where
they are asked for by name (``--also``); those that failed are run again.
"""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import json
import os
import threading
import time
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

from bench.faults.forge import ROOT


@dataclasses.dataclass
class Outcome:
    """A line of the table.

    Args:
        campaign: its name.
        trials: how many were made.
        of: of how many that there are; 0: there is no such number.
        survived: those that ended well, or were refused by name and then ended well.
        lost: rows that were lost, doubled or moved.
        wrong: results that differ from those of the uninterrupted command, or torn files that were read as good.
        failures: what went wrong, the first of them.
        notes: what else is worth keeping.
    """

    campaign: str
    trials: int = 0
    of: int = 0
    survived: int = 0
    lost: int = 0
    wrong: int = 0
    failures: list[str] = dataclasses.field(default_factory=list)
    notes: dict[str, Any] = dataclasses.field(default_factory=dict)


class Journal:
    """The finished trials of one campaign.

    Args:
        campaign: its name.
        folder: of the journals; None: nothing is kept on the disk.
        also: sources whose trials count too, where they survived.
    """

    def __init__(self, campaign: str, folder: Path | None, also: Collection[str] = ()) -> None:
        self.campaign, self.also, self.source = campaign, also, source()
        self.about: dict[str, Any] = {}
        self.done: dict[str, dict[str, Any]] = {}
        self._lines: dict[str, list[dict[str, Any]]] = {}
        self._lock, self._at = threading.Lock(), time.perf_counter()
        self._file = None if folder is None else folder / f"{campaign.replace(': ', '-').replace(' ', '-')}.jsonl"
        content = self._file.read_text(encoding="utf-8") if self._file is not None and self._file.exists() else ""
        self._torn = bool(content) and not content.endswith("\n")  # it was killed while it wrote
        for line in map(_parsed, content.split("\n")):
            if "about" in line:
                self.about = line
            elif line:
                self._lines.setdefault(line["trial"], []).append(line)

    def begin(self, trials: Iterable[str], of: int = 0, **notes: Any) -> None:
        """Say which trials there are; those of them that are known already are in :attr:`done`."""
        kept = {name: line for name in trials if (line := self._last(name, self.source, self.also))}
        old = {name: line["source"] for name, line in kept.items() if line["source"] != self.source}
        self.about = {"about": self.campaign, "source": self.source, "of": of, "notes": notes, "kept": old}
        self.done = kept
        self._write(self.about)

    def _last(self, name: str, source: str, also: Collection[str]) -> dict[str, Any] | None:
        for line in reversed(self._lines.get(name, [])):
            if line["source"] == source or (line["source"] in also and not line["failed"]):
                return line
        return None

    def add(self, trial: str, found: Sequence[str] = (), *, wrong: int = 0, whole: bool = True, **counts: Any) -> None:
        """Keep a finished trial, or some of one name; ``found`` is empty where all survived.

        Args:
            trial: its name.
            found: what went wrong, an item for each that failed.
            wrong: results that are wrong.
            whole: False for some trials of which others lack, as the time was over: they count now and are run again later.
            counts: how many ``trials`` it stands for, if not one; rows ``lost``; ``notes`` to add up.
        """
        made = counts.get("trials", 1)
        failed = max(len(found), min(wrong, made))
        line = {"trial": trial, "source": self.source, "trials": made, "failed": failed, "lost": counts.get("lost", 0), "wrong": wrong}
        line |= {"notes": counts.get("notes") or {}, "found": [one[:2000] for one in found[:40]]}
        with self._lock:
            self.done[trial] = line
            if whole:
                self._write(line)

    def _write(self, line: dict[str, Any]) -> None:
        if self._file is None:
            return
        self._file.parent.mkdir(parents=True, exist_ok=True)
        with self._file.open("a", encoding="utf-8") as file:
            file.write(("\n" if self._torn else "") + json.dumps(line) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self._torn = False

    def finished(self) -> Outcome | None:
        """Return the outcome of what the file holds, for the source that it was begun with last; None: nothing was begun."""
        if not self.about:
            return None
        of, kept = self.about["source"], self.about["kept"]
        found = {name: self._last(name, kept.get(name, of), ()) or self._last(name, of, ()) for name in self._lines}
        self.done = {name: line for name, line in found.items() if line is not None}
        return self.outcome()

    def outcome(self) -> Outcome:
        """Return what was found so far."""
        out = Outcome(self.campaign, of=self.about["of"], notes=dict(self.about["notes"]))
        for line in self.done.values():
            out.trials += line["trials"]
            out.survived += line["trials"] - line["failed"]
            out.lost += line["lost"]
            out.wrong += line["wrong"]
            out.failures += line["found"][: 40 - len(out.failures)]
            for key, value in line["notes"].items():
                out.notes[key] = out.notes.get(key, 0) + value
        sources = collections.Counter(line["source"] for line in self.done.values())
        return dataclasses.replace(out, notes={**out.notes, "sources": dict(sources)})


def _parsed(line: str) -> dict[str, Any]:
    """Return a line; one that is blank or torn is empty."""
    try:
        return dict(json.loads(line))
    except ValueError:
        return {}


def source() -> str:
    """Return the hash of the program that is tried."""
    digest = hashlib.sha256()
    root = ROOT / "src"
    for path in sorted(root.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts and ".egg-info" not in str(path):
            digest.update(f"{path.relative_to(root).as_posix()}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()[:12]
