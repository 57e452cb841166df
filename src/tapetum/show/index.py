"""An index of the runs in a folder: what each was, its figure with the interval, its marks, and where its report is."""

from __future__ import annotations

import datetime
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tapetum.core import columns, files, marks
from tapetum.core.errors import DataError, UserError, listed
from tapetum.core.progress import Log
from tapetum.core.records import stage_seconds
from tapetum.core.runs import TRACE, Run
from tapetum.core.words import plural
from tapetum.show import words
from tapetum.show.report import templates
from tapetum.show.run_files import RunFiles, read_run

DEEPEST = 4  # folders below the given one in which runs are looked for


def lines_of(folder: Path, log: Log | None = None) -> list[dict[str, Any]]:
    """Return a line for each run in a folder and in those below it, the newest first.

    Links are not followed, and nothing is looked for inside a run. A run that cannot be read has its reason in ``state``.

    Args:
        folder: where the runs are.
        log: told which folders cannot be read, so that runs in them are not listed.

    Raises:
        UserError: the folder is not there, or there is no run in it.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder", need="the folder that holds the runs", fix="give it as: tapetum runs DIR")
    closed: list[Path] = []
    found = [_line(place, folder) for place in _runs(folder, closed)]
    unread = f"{plural(len(closed), 'folder')} cannot be read: {listed(map(str, closed), 3)}" if closed else ""
    if closed and log is not None and found:
        log(f"warning: {unread}. Runs in there are not listed")
    if not found:
        what = f"{folder} holds no run" + (f", and {unread}" if unread else "")
        raise UserError(what, need="a folder of runs", fix="make one with: tapetum fit DATA -o RUN")
    return sorted(sorted(found, key=lambda line: line["run"]), key=lambda line: line["started"] or "", reverse=True)


def line_of(found: RunFiles, name: str) -> dict[str, Any]:
    """Return the line of a run.

    Args:
        found: its files.
        name: what it is called.
    """
    head = found.metrics.get("headline") or {}
    figure = marks.main(found.metrics.get("figures") or [], head["target"], head["metric"]) if head else None
    started = found.record.get("started")
    seconds = sum(stage_seconds(found.record)[0].values())
    kept = figure or {}
    return {
        "run": name,
        "state": _state(found, bool(head)),
        "recipe": next((row["value"] for row in found.origin if row["key"] == "name"), None),
        "targets": [target.name for target in found.targets],
        "target": head.get("target"),
        "metric": head.get("metric"),
        **{key: kept.get(key) for key in ("value", "low", "high", "n", "groups")},
        "how": marks.how_of(figure) if figure else None,
        "marks": list(kept.get("marks", ())),
        "warnings": len(found.metrics.get("warnings") or []),
        "started": _date(started),
        "seconds": round(seconds, 1) if seconds else None,
    }


def text_of(lines: Sequence[dict[str, Any]]) -> str:
    """Return the index as a table for the terminal, and the marks below it."""
    shown = [["run", "recipe", "targets", "figure", "measured", "started"]]
    numbered = list(dict.fromkeys(mark for line in lines for mark in line["marks"]))
    for line in lines:
        shown.append(
            [
                line["run"],
                str(line["recipe"] or "–"),
                listed(line["targets"], 3) or "–",
                _figure_text(line),
                (line["how"] or "–") + marks.numbered(line, numbered),
                (line["started"] or "–")[:16].replace("T", " "),
            ]
        )
    return "\n".join([columns.aligned(shown, whole=(3, 4)), *(f"[{number}] {mark}" for number, mark in enumerate(numbered, start=1))])


def write_index(lines: Sequence[dict[str, Any]], folder: Path, out: Path) -> Path:
    """Write the index as an HTML page with links to the reports, and return its path."""
    found = [line | {"link": _link(folder / line["run"] / "report.html", out)} for line in lines]
    numbered = list(dict.fromkeys(mark for line in lines for mark in line["marks"]))
    shown = [line | {"numbers": marks.numbered(line, numbered)} for line in found]
    page = {"title": f"Runs in {folder.resolve().name}", "runs": shown, "marks": numbered}
    return files.write_text(out, templates().get_template("index.html.jinja").render(page).lstrip())


def _runs(folder: Path, closed: list[Path], depth: int = 0) -> Iterator[Path]:
    """Yield the run folders in a folder, the folder itself among them; folders that cannot be read go to ``closed``."""
    if Run.at(folder) is not None and any((folder / name).exists() for name in ("run-id.json", "manifest.parquet", "oof.parquet")):
        yield folder
        return
    if depth == DEEPEST:
        return
    try:
        below = sorted(place for place in folder.iterdir() if place.is_dir() and not place.is_symlink())
    except OSError:
        closed.append(folder)
        return
    for place in below:
        if not place.name.startswith("."):
            yield from _runs(place, closed, depth + 1)


def _line(place: Path, folder: Path) -> dict[str, Any]:
    name = place.relative_to(folder).as_posix()
    name = name if name != "." else place.resolve().name
    try:
        return line_of(read_run(place), name)
    except (DataError, KeyError, TypeError, ValueError, AttributeError) as error:  # one run never hides the others
        empty = dict.fromkeys(("recipe", "target", "metric", "value", "low", "high", "n", "groups", "how", "started", "seconds"))
        state = "not finished" if not (place / "manifest.parquet").exists() else f"cannot be read: {_why(error)}"
        return {"run": name, "state": state, "targets": [], "marks": [], "warnings": 0, **empty}


def _why(error: Exception) -> str:
    return str(error) if isinstance(error, DataError) else f"a file of it is not what a run writes ({type(error).__name__}: {error})"


def _state(found: RunFiles, is_scored: bool) -> str:
    if found.final is not None and is_scored:
        return "finished"
    return "a trace" if found.run.file(TRACE).exists() else "not finished"


def _figure_text(line: dict[str, Any]) -> str:
    if line["state"] != "finished":
        return line["state"]
    if line["value"] is None:
        return "not defined"
    span = "" if line["low"] is None else f" [{line['low']:.3f}, {line['high']:.3f}]"
    return f"{words.metric_name(line['metric'])} {line['value']:.3f}{span}"


def _link(report: Path, out: Path) -> str | None:
    if not report.exists():
        return None
    return Path(os.path.relpath(report.resolve(), out.resolve().parent)).as_posix()


def _date(started: Any) -> str | None:
    if not isinstance(started, (int, float)):
        return None
    return datetime.datetime.fromtimestamp(started, datetime.UTC).isoformat(timespec="seconds")
