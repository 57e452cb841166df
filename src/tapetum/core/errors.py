"""Errors that name what was given, what is needed and how to fix it, and their exit codes."""

from __future__ import annotations

import difflib
import functools
import inspect
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterable
from typing import Any, ParamSpec, TypeVar

from tapetum.core import caller
from tapetum.core.naming import in_python

Given = ParamSpec("Given")
Made = TypeVar("Made")

USAGE, DATA, PARTLY, ENVIRONMENT, INTERRUPTED = 2, 3, 4, 5, 130  # 0: all went well


class TapetumError(Exception):
    """Base of every error that Tapetum raises on purpose.

    Args:
        what: what was found, with the name of the file, row or key.
        need: what must hold instead.
        fix: what the user can do about it.
    """

    exit_code = USAGE
    asked_from_python = False  # the caller knows arguments, not flags

    def __init__(self, what: str, *, need: str | None = None, fix: str | None = None) -> None:
        self.what, self.need, self.fix = what, need, fix
        super().__init__(str(self))

    def __str__(self) -> str:
        return in_python(self.text) if self.asked_from_python else self.text

    @property
    def text(self) -> str:
        """The sentence with the flags of the command line."""
        text = (self.what if self.need is None else f"{self.what.rstrip('.')}; needed: {self.need}").rstrip(".")
        if not self.fix:
            return text
        return f"{text}{' ' if text.endswith('?') else '. '}{self.fix.rstrip('.')}"


class UserError(TapetumError):
    """A wrong call: a flag, a recipe key, a combination that cannot work (exit code 2)."""


class KindError(UserError, TypeError):
    """A value of a kind that is not taken; the message has those that are (exit code 2)."""


class DataError(TapetumError):
    """Data that cannot be used as it is: the file, row or column is named (exit code 3)."""

    exit_code = DATA


class EnvironmentFault(TapetumError):
    """Something is missing on this machine: weights, a device, an extra, disk space, a lock (exit code 5)."""

    exit_code = ENVIRONMENT


REFUSALS: dict[int, type[TapetumError]] = {kind.exit_code: kind for kind in (UserError, DataError)}  # what no further try mends


def said_by(stderr: str) -> tuple[str | None, str | None]:
    """Return the error that a command line of ours ended with, and the last line that it wrote; None where there is none."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    sentences = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    return (sentences[-1] if sentences else None), (lines[-1] if lines else None)


def ending(code: int) -> str:
    """Return how a process ended, in words."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"ended by {signal.Signals(-code).name}"
    except ValueError:
        return "its process is gone"


def warn_caller(message: str) -> None:
    """Warn at the line outside of Tapetum that called it."""
    level, frame = 1, sys._getframe(0)
    while frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] == "tapetum":
        level, frame = level + 1, frame.f_back  # type: ignore[assignment]
    warnings.warn(message, UserWarning, stacklevel=level)


def for_python(function: Callable[Given, Made]) -> Callable[Given, Made]:
    """Let the errors of a function of the Python API name arguments (``target=``) where they name flags (``--target``).

    Arguments of a kind that no such function takes (a number as ``out``) are refused before anything is done, and what the function changes
    for the whole process is put back (:mod:`tapetum.core.caller`).
    """
    names = list(inspect.signature(function).parameters)

    @functools.wraps(function)
    def run(*given: Given.args, **named: Given.kwargs) -> Made:
        try:
            _check_kinds(
                {**dict(zip(names, given, strict=False)), **{name: one for name, one in named.items() if name in names or name == "port"}}
            )
            with caller.call():
                return function(*given, **named)
        except TapetumError as error:
            error.asked_from_python = True
            error.args = (str(error),)
            raise

    return run


def _is_path(value: Any) -> bool:
    return isinstance(value, (str, os.PathLike)) and os.fspath(value) != ""


def unexpanded(path: object) -> str | None:
    """Return the mend of a path that starts with ``~``, which a shell replaces and Python does not, or of an address; None for others."""
    text = os.fsdecode(path) if isinstance(path, (str, os.PathLike)) else ""
    if "://" in text or text.startswith("file:/"):
        return "files are not read from or written to an address; give the path"
    return "~ is not replaced here; write the home folder out" if text == "~" or text.startswith(("~/", "~\\")) else None


_KINDS: dict[str, tuple[Callable[[Any], bool], str]] = {  # arguments that mean the same in every function of the API
    "out": (_is_path, "the path of a file or folder"),
    "plan": (_is_path, "the path of a plan.json"),
    "template": (_is_path, "the path of a sample submission"),
    "spec": (_is_path, "the path of a spec.json"),
    "run": (_is_path, "the folder of a run"),
    "pipeline": (lambda value: _is_path(value) or hasattr(value, "answer"), "the folder of a pipeline or run, or a loaded pipeline"),
    "recipe": (lambda value: _is_path(value) or hasattr(value, "recipe"), "a name, a TOML file or what load_recipe returned"),
    "budget": (lambda value: isinstance(value, str), "a time as '90s', '10m' or '2h'"),
    "profile": (lambda value: isinstance(value, str), "a name"),
    "preset": (lambda value: isinstance(value, str), "a name"),
    "port": (
        lambda value: isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 65535,
        "a whole number from 0 to 65535",
    ),
    "log": (callable, "a function that takes a text, as print"),
}


def _check_kinds(given: dict[str, Any]) -> None:
    for name, value in given.items():
        fits, need = _KINDS.get(name, (None, ""))
        if fits is not None and value is not None and not fits(value):
            raise KindError(f"{name} is {shorten(repr(value), 60)}", need=need)
        if name == "out" and (fix := unexpanded(value)) is not None:
            raise UserError(f"out is {os.fsdecode(value)}", need=need, fix=fix)


def nearest(name: str, names: Iterable[str]) -> str:
    """Return ``" Did you mean 'x'?"`` for the name most like ``name``, or an empty string."""
    close = closest(name, names)
    return f" Did you mean {close!r}?" if close else ""


def closest(name: str, names: Iterable[object], cutoff: float = 0.6) -> str | None:
    """Return the name most like ``name``; among those as like, the one of the same length (``epochz``: ``epochs``, not ``epoch``)."""
    close = difflib.get_close_matches(name, [str(n) for n in names], n=5, cutoff=cutoff)
    return min(close, key=lambda other: (_edits(name, other), abs(len(other) - len(name)))) if close else None


def _edits(a: str, b: str) -> int:
    """Return how many letters must be put in, left out or changed to get from one to the other (Levenshtein)."""
    row = list(range(len(b) + 1))
    for i, left in enumerate(a, start=1):
        before, row[0] = row[0], i
        for j, right in enumerate(b, start=1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (left != right))
    return row[-1]


def shorten(text: str, width: int) -> str:
    """Return a text that fits a width; the end of a longer one gives way."""
    return text if len(text) <= width else f"{text[: width - 1].rstrip()}…"


def listed(names: Iterable[object], most: int = 8) -> str:
    """Return the first few names, comma-separated, and how many more there are."""
    texts = [str(n) for n in names]
    more = f", … ({len(texts) - most} more)" if len(texts) > most else ""
    return ", ".join(texts[:most]) + more


def first_line(error: BaseException, *, named: bool = False) -> str:
    """Return the first line of what an error of another package says, cut to 200 letters; its type where it says nothing, as many do.

    ``named``: with its type in front.
    """
    kind = type(error).__name__
    said = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    return (f"{kind}: {said}" if named and said else said or kind)[:200]
