"""The ledger of submissions: what was handed in, made how, what we expected of it and what came back.

One JSON line an event in ``ledger.jsonl``: a ``submission`` (the file's hash, the recipe, our own estimate) or an ``outside`` score that
the user entered for one. Lines are only ever added. The relation of own and outside figures shows how far the folds can be trusted.
"""

from __future__ import annotations

import dataclasses
import datetime
import math
from pathlib import Path
from typing import Any

import numpy as np

from tapetum.core import files
from tapetum.core.errors import DataError, UserError, listed
from tapetum.core.marks import estimate, main
from tapetum.core.runs import Run
from tapetum.core.words import plural

NAME = "ledger.jsonl"


@dataclasses.dataclass(frozen=True)
class Submission:
    """One file handed in.

    Args:
        sha256: of its bytes.
        file: its name.
        made: UTC, ISO 8601.
        metric: of the own estimate.
        own: ``{"value", "low", "high", …}`` as of an interval; None where nothing could be estimated.
        recipe: name and hash, or whatever says how it was made.
        note: free text.
        outside: board → the last score entered.
    """

    sha256: str
    file: str
    made: str
    metric: str | None
    own: dict[str, Any] | None
    recipe: dict[str, Any]
    note: str
    outside: dict[str, float]


@dataclasses.dataclass(frozen=True)
class Relation:
    """How own estimates and outside scores of one board relate.

    Args:
        board: its name.
        n: submissions with both figures.
        rank_correlation: Spearman's; None for fewer than three, or where one side does not vary.
        offset: mean of outside − own.
        offset_low, offset_high: its 95 % t interval; None for fewer than two.
        spread: standard deviation of outside − own.
        inside: how many outside scores fall into the own interval, of those that have one.
        with_interval: how many have one.
        submissions: files handed in so far, scored or not.
    """

    board: str
    n: int
    rank_correlation: float | None
    offset: float | None
    offset_low: float | None
    offset_high: float | None
    spread: float | None
    inside: int
    with_interval: int
    submissions: int

    def __str__(self) -> str:
        if not self.n:
            return f"{self.board}: no outside score yet ({plural(self.submissions, 'submission')})"
        rank = "undefined" if self.rank_correlation is None else f"{self.rank_correlation:+.2f}"
        bounds = "" if self.offset_low is None else f" [{self.offset_low:+.4f}, {self.offset_high:+.4f}]"
        inside = f"{self.inside} of {self.with_interval} outside scores lie in our interval"
        if not self.with_interval:
            inside = "our estimates have no interval (too few groups)"
        return (
            f"{self.board}: {self.n} of {plural(self.submissions, 'submission')} scored; outside − own {self.offset:+.4f}{bounds}; "
            f"rank correlation {rank}; {inside}"
        )


class Ledger:
    """The submissions of a run.

    Args:
        path: ``ledger.jsonl``, or the folder that holds it.
    """

    def __init__(self, path: Path | str) -> None:
        path = Path(path)
        self.path = path if path.suffix == ".jsonl" else path / NAME

    def add(
        self,
        file: Path | str,
        *,
        recipe: dict[str, Any] | None = None,
        metric: str | None = None,
        own: dict[str, Any] | None = None,
        note: str = "",
        made: str | None = None,
    ) -> Submission:
        """Enter a submission; the same bytes again change nothing and return the entry that stands.

        Args:
            file: what is handed in.
            recipe: what made it.
            metric: of ``own``.
            own: our estimate, see :func:`tapetum.core.marks.estimate`, or ``{"value": …}``.
            note: free text.
            made: time; None: now.

        Raises:
            DataError: the file does not exist.
        """
        if not Path(file).is_file():
            raise DataError(f"submission {file} does not exist", fix="check the path")
        digest = files.sha256(file)
        for known in self.submissions():
            if known.sha256 == digest:
                return known
        entry = {
            "event": "submission",
            "sha256": digest,
            "file": Path(file).name,
            "made": made or datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "metric": metric,
            "own": own,
            "recipe": recipe or {},
            "note": note,
        }
        files.append_line(self.path, entry)
        return self.find(digest)

    def score(self, which: str, value: float, *, board: str = "outside", made: str | None = None) -> Submission:
        """Enter the outside score of a submission; a later one for the same board replaces it in every figure.

        Args:
            which: its file name, or the first characters of its hash.
            value: the score, in the unit of the own estimate.
            board: where it came from (``public``, ``private``).
            made: time; None: now.

        Raises:
            UserError: no such submission, several, or a value that is no number.
        """
        if not math.isfinite(value):
            raise UserError(f"outside score {value} is not a number")
        entry = self.find(which)
        when = made or datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        files.append_line(self.path, {"event": "outside", "sha256": entry.sha256, "board": board, "score": value, "made": when})
        return self.find(entry.sha256)

    def find(self, which: str) -> Submission:
        """Return the submission of a file name or of the beginning of a hash."""
        every = self.submissions()
        found = [s for s in every if s.sha256 == which] or [s for s in every if which and (s.file == which or s.sha256.startswith(which))]
        if len(found) == 1:
            return found[0]
        if found:
            raise UserError(
                f"{plural(len(found), 'submission is', 'submissions are')} called {which!r}: {listed(s.sha256[:12] for s in found)}",
                need="the beginning of one hash",
            )
        raise UserError(
            f"there is no submission {which!r} (there are: {listed(f'{s.file} {s.sha256[:12]}' for s in every) or 'none'})",
            need="a name or the beginning of a hash from the list, or a submission's file that is there",
        )

    def submissions(self) -> list[Submission]:
        """Return all submissions in the order in which they were entered."""
        out: dict[str, dict[str, Any]] = {}
        for number, event in enumerate(self._events(), start=1):
            kind = event.get("event")
            if kind == "submission":
                out[event["sha256"]] = {k: v for k, v in event.items() if k != "event"} | {"outside": {}}
            elif kind == "outside" and event.get("sha256") in out:
                out[event["sha256"]]["outside"][event["board"]] = event["score"]
            else:
                raise DataError(f"line {number} of {self.path} is neither a submission nor a score of one", fix="restore the file")
        return [Submission(**values) for values in out.values()]

    def boards(self) -> list[str]:
        """Return the boards that scores came from, in order of first appearance."""
        return list(dict.fromkeys(board for s in self.submissions() for board in s.outside))

    def relation(self, board: str = "outside") -> Relation:
        """Return how own estimates and a board's scores relate."""
        every = self.submissions()
        pairs = [(s.own, s.outside[board]) for s in every if s.own and s.own.get("value") is not None and board in s.outside]
        own, outside = np.array([o["value"] for o, _ in pairs]), np.array([score for _, score in pairs])
        bounded = [(o, score) for o, score in pairs if o.get("low") is not None]
        inside = sum(o["low"] <= score <= o["high"] for o, score in bounded)
        apart = outside - own
        mean = float(apart.mean()) if len(apart) else None
        spread = low = high = None
        if len(apart) > 1 and mean is not None:
            from scipy.special import stdtrit

            spread = float(apart.std(ddof=1))
            half = float(stdtrit(len(apart) - 1, 0.975)) * spread / math.sqrt(len(apart))
            low, high = mean - half, mean + half
        return Relation(board, len(pairs), _spearman(own, outside), mean, low, high, spread, inside, len(bounded), len(every))

    def _events(self) -> list[dict[str, Any]]:
        if not self.path.exists():
            return []
        try:
            return [files.from_json(line) for line in files.read_lines(self.path) if line.strip()]
        except ValueError as error:
            raise DataError(f"{self.path} is not a ledger ({error})", need="one JSON object a line", fix="restore the file") from None


def _spearman(a: np.ndarray, b: np.ndarray) -> float | None:
    """Return Spearman's rank correlation, ties at their mean rank; None where it is not defined."""
    from scipy.stats import spearmanr

    if len(a) < 3 or (a == a[0]).all() or (b == b[0]).all():
        return None
    return float(spearmanr(a, b).statistic)


def enter(run: Run, written: Path, target: str | None = None, *, note: str = "") -> None:
    """Enter a submission in the run's ledger, with our own estimate of the target's leading metric and how it was measured.

    Args:
        run: whose ledger.
        written: the file that is handed in.
        target: which one it answers; None: the leading one.
        note: free text.
    """
    measured = files.read_json(run.file("metrics.json"))
    figure = main(measured["figures"], target or measured["headline"]["target"])
    recipe, metric = run.recipe(), None if figure is None else figure["metric"]
    made_by = {"name": recipe.name, "hash": recipe.hash()}
    Ledger(run.root).add(written, recipe=made_by, metric=metric, own=None if figure is None else estimate(figure), note=note)
