"""The state of a review: which images are shown next, what was decided, how fast, and how far two passes agree."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import threading
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
import polars as pl

from tapetum.core import files
from tapetum.core.errors import UserError
from tapetum.core.tables import Manifest
from tapetum.core.words import plural
from tapetum.show.review.queue import PLAIN, Queue
from tapetum.show.review.store import Decided, Store

ACTIONS = ("keep", "exclude", "relabel")
STATES = ("open", "decided", "all")
MOST_UNDONE = 500  # since the last look: of more, all decisions are read again


@dataclasses.dataclass(frozen=True)
class Filter:
    """Which images are shown.

    Args:
        kind: a kind of finding, ``nothing found``, or empty for all.
        label: a label that they have, or empty.
        state: ``open``, ``decided`` or ``all``.
        text: a part of their row id.
        turn: 1, or 2: the blind second pass, in which only images that were decided in the first are shown.
    """

    kind: str = ""
    label: str = ""
    state: str = "open"
    text: str = ""
    turn: int = 1


class Review:
    """A queue and its decisions.

    Args:
        queue: the images.
        store: their decisions.
    """

    def __init__(self, queue: Queue, store: Store) -> None:
        self.queue, self.store = queue, store
        self.place = {row_id: row for row, row_id in enumerate(queue.manifest.row_ids)}
        self._read: tuple[int, int] | None = None  # what was read of the file last
        self._first = 0  # which images the first pass had decided then
        self._holding: dict[int, dict[str, Decided]] = {1: {}, 2: {}}
        self._reading = threading.Lock()
        self._kept: dict[tuple[Filter, int], list[int]] = {}
        self._masks: dict[tuple[Filter, int], np.ndarray] = {}
        self._suggested = np.array([labels is not None for labels in queue.suggested], dtype=bool)
        self.several = queue.target is not None and queue.target.kind == "multi"

    def holding(self, turn: int = 1) -> dict[str, Decided]:
        """Return the decisions that hold, those of other processes too."""
        with self._reading:
            if (now := self.store.last()) != self._read:
                self._holding, self._read = self._held(self._read, now), now
                self._first = hash(frozenset(self._holding[1]))
            return self._holding[turn]

    def _held(self, before: tuple[int, int] | None, now: tuple[int, int]) -> dict[int, dict[str, Decided]]:
        """Return what holds, of which only what changed is read: a hundred thousand decisions take seconds."""
        if before is None or now[1] - before[1] > MOST_UNDONE:
            return {each: self.store.holding(each) for each in (1, 2)}
        held = {each: dict(known) for each, known in self._holding.items()}  # others may read the old ones
        for row_id, turn in self.store.undone(now[1] - before[1]):
            if (one := self.store.of_row(row_id, turn)) is not None:
                held[turn][row_id] = one
            else:
                held[turn].pop(row_id, None)
        for turn, known in held.items():
            known.update({one.row_id: one for one in self.store.standing(turn, before[0])})
        return held

    def rows(self, wanted: Filter, after: int | None = None) -> Iterator[int]:
        """Yield the rows that a filter lets through, in the order of the queue (in the second pass in another, fixed order).

        Args:
            wanted: the filter.
            after: begin behind this row of the queue, whether it is decided or not; None, or a row that is not there: at the beginning.
        """
        decided, ids = self.holding(wanted.turn), self.queue.manifest.row_ids
        matching = self._matching(wanted)
        start = 0 if after is None or not 0 <= after < len(ids) or not self._masks[self._key(wanted)][after] else matching.index(after) + 1
        for row in matching[start:]:
            if wanted.state == "all" or (ids[row] in decided) == (wanted.state == "decided"):
                yield row

    def _matching(self, wanted: Filter) -> list[int]:
        """Return the rows that a filter lets through whether they are decided or not; kept, as long as the first pass stands."""
        ids, first, key = self.queue.manifest.row_ids, self.holding(1), self._key(wanted)
        if key not in self._kept:
            order: list[int] = self.queue.order.tolist()
            if wanted.turn == 2:
                order = sorted((row for row in order if ids[row] in first), key=lambda row: hashlib.sha256(ids[row].encode()).digest())
            queue, text = self.queue, wanted.text.lower()
            if len(self._kept) > 64:
                self._kept.clear()
                self._masks.clear()
            if wanted.kind:
                order = [row for row in order if wanted.kind in (queue.kinds[row] or (PLAIN,))]
            if wanted.label:
                order = [row for row in order if wanted.label in (queue.given[row] or ())]
            self._kept[key] = [row for row in order if text in ids[row].lower()] if text else order
            self._masks[key] = np.zeros(len(ids), dtype=bool)
            self._masks[key][self._kept[key]] = True
        return self._kept[key]

    def _key(self, wanted: Filter) -> tuple[Filter, int]:
        self.holding(1)  # reads what other processes decided
        return dataclasses.replace(wanted, state="all"), self._first if wanted.turn == 2 else 0

    def decide(
        self, row: int, action: str, labels: Sequence[str], *, turn: int, reviewer: str, window: str, seen: int
    ) -> tuple[Decided, Decided | None]:
        """Keep a decision.

        Returns:
            The decision, and another one that somebody made on this image since the page was shown (``seen`` is the number of the
            decision that the page knew, 0 for none); both stay in the file.

        Raises:
            UserError: no such row, action or class.
        """
        row_id = self._checked(row, action, labels)
        if turn == 2 and action == "keep" and self.queue.given[row] is not None:
            raise UserError("the second pass hides the label, so it cannot be kept", need="the class of the image, or exclude")
        before = self.store.of_row(row_id, turn)
        (done,) = self.store.add([row_id], action, labels, turn=turn, reviewer=reviewer, window=window)
        return done, before if before is not None and before.number > seen and before.window != window else None

    def decide_all(self, wanted: Filter, action: str, count: int, *, reviewer: str, window: str) -> int:
        """Decide all open images that a filter lets through; ``count`` is how many the person was told of.

        Raises:
            UserError: they are not as many any more, or the action needs a label.
        """
        if action not in ("keep", "exclude", "accept"):
            raise UserError(f"a bulk decision is {action!r}", need="keep, exclude or accept")
        if wanted.turn == 2:
            raise UserError("the second pass has no bulk decisions", need="a decision on each image by itself")
        rows = list(self.rows(dataclasses.replace(wanted, state="open")))
        if action == "accept":
            rows = [row for row in rows if self.queue.suggested[row] is not None]
        if len(rows) != count:
            raise UserError(
                f"{plural(len(rows), 'image is', 'images are')} open now, and {count} were confirmed", fix="look again and confirm"
            )
        ids, name = self.queue.manifest.row_ids, "-".join(map(str, (window, *self.store.last())))
        if action == "accept":
            for labels in dict.fromkeys(labels for row in rows if (labels := self.queue.suggested[row]) is not None):
                same = [ids[row] for row in rows if self.queue.suggested[row] == labels]
                self.store.add(same, "relabel", labels, reviewer=reviewer, window=window, bulk=name)
        else:
            self.store.add([ids[row] for row in rows], action, reviewer=reviewer, window=window, bulk=name)
        return len(rows)

    def counts(self, wanted: Filter) -> dict[str, int]:
        """Return how many images the filter's finding and label leave, and how many of them are decided."""
        total, matching = len(self._matching(wanted)), self._masks[self._key(wanted)]
        decided = np.array([self.place[row_id] for row_id in self.holding(wanted.turn) if row_id in self.place], dtype=np.int64)
        done, suggested = int(matching[decided].sum()), matching & self._suggested
        left = int(suggested.sum()) - int(suggested[decided].sum())
        return {"total": total, "decided": done, "open": total - done, "suggested": left}

    @functools.cached_property
    def kinds(self) -> dict[str, int]:
        """Return how many images each finding has, the most frequent of each rank first as the audit lists them."""
        found = Counter(kind for kinds in self.queue.kinds for kind in (kinds or (PLAIN,)))
        return dict(found)

    def agreement(self) -> dict[str, float | int | None]:
        """Return on how many images both passes decided, the share that agrees, and Cohen's kappa (1960); None where it is undefined."""
        first, second = self.holding(1), self.holding(2)
        pairs = [
            (self._outcome(first[row_id]), self._outcome(second[row_id])) for row_id in second if row_id in first and row_id in self.place
        ]
        if not pairs:
            return {"images": 0, "agree": None, "kappa": None}
        count, agree = len(pairs), sum(a == b for a, b in pairs) / len(pairs)
        left, right = Counter(a for a, _ in pairs), Counter(b for _, b in pairs)
        chance = sum(left[name] * right[name] for name in left) / count**2
        return {"images": count, "agree": agree, "kappa": None if chance == 1 else (agree - chance) / (1 - chance)}

    def table(self, audit: pl.DataFrame) -> pl.DataFrame:
        """Return an audit with the decisions of the first pass in its columns ``decision``, ``target`` and ``suggested``."""
        decided, target = self.store.holding(1), self.queue.target
        rows = audit.select("row_id", "decision", "target", "suggested").rows()
        out = []
        for row_id, decision, about, suggested in rows:
            mine = decided.get(row_id)
            if mine is None:
                out.append((decision, about, suggested))
            elif mine.action == "relabel":
                out.append(("relabel", target.name if target is not None else about, list(mine.labels)))
            else:  # what is kept stays with its copies
                out.append(("group" if mine.action == "keep" and decision == "group" else mine.action, about, suggested))
        names = ("decision", "target", "suggested")
        columns = [pl.Series(name, [row[i] for row in out], dtype=audit.schema[name]) for i, name in enumerate(names)]
        return audit.with_columns(columns)

    def _outcome(self, decision: Decided) -> tuple[str, ...]:
        """Return what a decision makes of an image: its labels, of which there may be none, that it is left out, or still has no label."""
        if decision.action == "exclude":
            return ("", "excluded")
        labels = decision.labels if decision.action == "relabel" else self.queue.given[self.place[decision.row_id]]
        return ("", "unknown") if labels is None else tuple(sorted(labels))

    def _checked(self, row: int, action: str, labels: Sequence[str]) -> str:
        if not 0 <= row < len(self.queue.manifest):
            raise UserError(f"there is no row {row}", need=f"0 to {len(self.queue.manifest) - 1}")
        if action not in ACTIONS:
            raise UserError(f"the decision is {action!r}", need=f"one of {', '.join(ACTIONS)}")
        unknown = [label for label in labels if label not in self.queue.classes]
        if unknown or (action == "relabel" and len(labels) != 1 and not self.several) or (action != "relabel" and labels):
            need = "classes of the target, or an empty list where it has none of them," if self.several else "a class of the target"
            raise UserError(f"the new label is {list(labels)}", need=f"{need} for relabel, and none for keep and exclude")
        if len(set(labels)) != len(labels):
            raise UserError(f"the new label is {list(labels)}", need="each class once")
        return self.queue.manifest.row_ids[row]


def fingerprint(manifest: Manifest) -> str:
    """Return what tells the rows of a review from those of other data: their ids."""
    return files.fingerprint(sorted(manifest.row_ids))


def page_mark(queue: Queue) -> str:
    """Return what tells a page whose numbers of rows and classes are those of a queue from the page of any other."""
    target = "" if queue.target is None else queue.target.name
    return files.fingerprint([*queue.manifest.row_ids, target, *queue.classes])
