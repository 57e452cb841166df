"""The results of the sleep commands in words, for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tapetum.core.words import plural, verb

Result = Mapping[str, Any]
SHOWN = 12  # rows of the issue table without --verbose
_UNITS = {
    "SE": "%",
    "SME": "%",
    "awakenings": "",
    "transitions": "",
    "cycles": "",
    "awakening index": "an hour",
    "fragmentation": "an hour",
}
_LIGHTS = ("lights off", "lights on", "lights from")
_SHORT = ("TIB", "TST", "SE", "SOL", "WASO", "REM latency", "N1", "N2", "N3", "REM")  # columns of a table of several nights


def check(result: Result, verbose: bool) -> list[str]:
    """Return what each recording holds, and its issues."""
    lines = []
    for night in result["nights"]:
        rates = sorted({f"{one['rate']:g}" for one in night["channels"].values()}, key=float)
        parts = f", {plural(len(night['segments']), 'segment')}" if len(night["segments"]) > 1 else ""
        lines.append(
            f"{night['file']}: {night['hours']:.2f} h{parts}, {plural(len(night['channels']), 'channel')} at {', '.join(rates)} Hz"
        )
    return [*lines, *issues(result["issues"], verbose), *_written(result)]


def issues(rows: Sequence[Mapping[str, str]], verbose: bool) -> list[str]:
    """Return a line for each row of an issue table; notes only with ``verbose``."""
    shown = [row for row in rows if verbose or row["kind"] != "note"]
    most = len(shown) if verbose else SHOWN
    lines = [_issue(row) for row in shown[:most]]
    more = len(shown) - most
    if more > 0:
        lines.append(f"… and {more} more: --verbose")
    notes = len(rows) - len(shown)
    if notes:
        lines.append(f"{plural(notes, 'note')}: --verbose")
    return lines


def stats(result: Result, verbose: bool) -> list[str]:
    """Return one night's figures a line each, or several nights a line each."""
    nights = result["nights"]
    if len(nights) == 1:
        figures = {name: value for name, value in nights[0].items() if name not in ("file", *_LIGHTS)}
        lines = [_lights(nights[0]), *(f"{name:16s} {_value(value)} {_unit(name)}".rstrip() for name, value in figures.items())]
        if verbose:
            lines += [f"{name}: {meaning}" for name, meaning in result["definitions"].items()]
    else:
        width = max(len(night["file"]) for night in nights)
        lines = ["  ".join(["night".ljust(width), *(name.rjust(max(6, len(name))) for name in _SHORT)])]
        lines += ["  ".join([n["file"].ljust(width), *(_value(n[name]).rjust(max(6, len(name))) for name in _SHORT)]) for n in nights]
        without = sum(night["lights from"] is None for night in nights)
        lines += (
            [f"{without} of {plural(len(nights), 'night')} {verb(without, 'has', 'have')} no lights off or on: the whole hypnogram counts"]
            if without
            else []
        )
    return [*lines, *issues(result["issues"], verbose), *_written(result)]


def export(result: Result, verbose: bool) -> list[str]:
    """Return what was written."""
    return [f"{plural(result['epochs'], 'epoch')}; written to {result['out']}"]


def compare(result: Result, verbose: bool) -> list[str]:
    """Return how far two scorers agree."""
    names = result["stages"]
    lines = [
        f"accuracy {result['accuracy']:.3f}, kappa {_value(result['kappa'], 3)} over {plural(result['epochs'], 'epoch')} that both scored"
    ]
    lines.append("kappa of each stage: " + ", ".join(f"{name} {_value(one, 3)}" for name, one in result["by_stage"].items()))
    lines.append("".join(["first / second".ljust(16), *(name.rjust(7) for name in names)]))
    lines += ["".join([name.ljust(16), *(str(n).rjust(7) for n in row)]) for name, row in zip(names, result["confusion"], strict=True)]
    kept = _SHORT if not verbose else tuple(result["differences"])
    return [*lines, "second − first: " + ", ".join(f"{name} {_signed(result['differences'][name])}" for name in kept)]


def stage(result: Result, verbose: bool) -> list[str]:
    """Return the statistics of the nights, their issues, and where everything is."""
    lines = stats({**result, "definitions": {}, "out": None}, verbose)
    first = result["nights"][0]["file"] if result["nights"] else ""
    return [*lines, f"written to {result['out']}: a folder a night with its figure, review list and exports ({first} …)"]


def adapt(result: Result, verbose: bool) -> list[str]:
    """Return each step's figures, its gain with the interval, and what is used."""
    from tapetum.core.intervals import span

    lines = [
        f"{plural(result['nights'], 'night')} of {plural(result['subjects'], 'subject')}, "
        f"{plural(result['epochs'], 'epoch')}; cross-validated by subject"
    ]
    for name, figures in result["figures"].items():
        lines.append(
            f"{name:14s} " + ", ".join(f"{metric} {_figure(figures[metric]['value'])}" for metric in ("macro_f1", "kappa", "log_loss"))
        )
    for name, of in result["gains"].items():
        for over in ("alone", "before") if verbose else ("alone",):
            shown = [
                f"{metric} {_figure(of[over][metric]['value'], '+')} ({span(of[over][metric], 3, '+')})" for metric in ("macro_f1", "kappa")
            ]
            lines.append(f"gain of {name} over {'the scorer' if over == 'alone' else 'the step before'}: " + ", ".join(shown))
    used = " and ".join(result["use"]) or "nothing"
    lines.append(f"used: {used}; {result['reason']}")
    return [*lines, *issues(result["issues"], verbose), f"written to {result['out']}"]


def _figure(value: float | None, sign: str = "") -> str:
    """Return a figure; one that is undefined, as the kappa of a single stage, is a dash."""
    return "–" if value is None else f"{value:{sign}.3f}"


def review(result: Result, verbose: bool) -> list[str]:
    """Return what was decided, what that does to the statistics, and where everything is."""
    counts = f"{result['confirmed']:,} confirmed, {result['changed']:,} changed, {result['unscored']:,} unscored"
    lines = [f"{result['decided']:,} of {plural(result['epochs'], 'epoch')} decided ({result['listed']:,} were listed): {counts}"]
    before, after = result["before"], result["after"]
    moved = [f"{name} {_value(before[name])} → {_value(after[name])}" for name in _SHORT if before[name] != after[name]]
    lines += [", ".join(moved)] if moved else []
    return [*lines, *issues(result["issues"], verbose), f"written to {result['out']}; changes in {result['changes']}"]


def render(result: Result, verbose: bool) -> list[str]:
    """Return how many images were drawn, and what is missing."""
    return [
        *issues(result["issues"], verbose),
        f"{plural(result['images'], 'image')} of {plural(len(result['nights']), 'night')}; written to {result['out']}",
    ]


def plot(result: Result, verbose: bool) -> list[str]:
    """Return where the figure is."""
    return [f"written to {result['out']}"]


def _lights(night: Mapping[str, Any]) -> str:
    """Return when the night begins and ends, and who says so."""
    if night["lights from"] is None:
        return "lights           no annotation says lights off or on: the whole hypnogram counts"
    times = [f"{name.removeprefix('lights ')} {_clock(night[name])}" for name in _LIGHTS[:2] if night[name] is not None]
    return f"lights           {', '.join(times)} after the start ({night['lights from']})"


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 3600}:{int(seconds) // 60 % 60:02d}:{int(seconds) % 60:02d}"


def _issue(row: Mapping[str, str]) -> str:
    where = f", {row['signal']}" if row["signal"] else ""
    epochs = "" if row["epochs"] == "none" else f" (epochs {row['epochs']})"
    about = "" if row["what"].startswith(row["file"]) else f"{row['file']}{where}: "  # a refusal names its file itself
    return f"{row['kind']}: {about}{row['what']}; {row['assumed']}{epochs}"


def _written(result: Result) -> list[str]:
    return [f"written to {result['out']}"] if result.get("out") else []


def _unit(name: str) -> str:
    return "%" if name.startswith("%") else _UNITS.get(name, "min")


def _value(value: float | None, digits: int = 1) -> str:
    return "–" if value is None else str(value) if isinstance(value, int) else f"{value:.{digits}f}"


def _signed(value: float | None) -> str:
    return "–" if value is None else f"{value:+.1f}"
