"""What a command shows on stderr while it works: one line of progress, warnings, and with ``--verbose`` the log.

A message that begins with a carriage return passes: ``\\rfeatures: 30 of 90 (33%), 12/s, 5 s left`` is the state of the work, and
``\\rtraining`` the name of a stage. On a terminal the next one takes its place. Elsewhere each tenth of the work is a line. A command
that has nothing to show for some seconds prints that it works.
"""

from __future__ import annotations

import re
import sys
import threading
import time
from types import TracebackType
from typing import Any

from tapetum.cli.mending import suited_text

QUICK = 1.0  # seconds of some work before a line of it is printed where there is no terminal; its end is always printed
SILENCE = 8.0  # seconds without a line after which one is printed
WARNING = "warning: "
_STATE = re.compile(r"(?P<what>.+): (?P<done>[\d,]+) of (?P<total>[\d,]+) \((?P<percent>\d+)%\)")


class Progress:
    """Takes the messages of a command while it runs.

    Args:
        verbose: print the log, not its warnings alone.
    """

    def __init__(self, verbose: bool = False) -> None:
        self._verbose = verbose
        self._stage = "working"
        self._tenths: dict[str, int] = {}
        self._first: dict[str, float] = {}
        self._began = self._printed = time.monotonic()
        self._lock = threading.RLock()
        self._ended = threading.Event()
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> Progress:
        if sys.stderr.isatty():
            self._bar = _bar()
            self._task = self._bar.add_task(self._stage, total=None, rate="")
            self._bar.start()
        else:
            threading.Thread(target=self._break_silence, args=(sys.stderr,), daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._ended.set()
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, message: str) -> None:
        """Show a message of the log, the state of the work, or the name of its stage."""
        text = message.removeprefix("\r")
        with self._lock:
            if text != message:
                self._show_state(text)
            elif self._verbose or text.startswith(WARNING):
                self._print(suited_text(text))

    def _show_state(self, text: str) -> None:
        state = _STATE.match(text)
        if state is None:
            self._stage = text
            if self._bar is not None:
                self._draw(description=text, total=None, completed=0, rate="")
            return
        if self._bar is not None:
            done, total = (int(state[name].replace(",", "")) for name in ("done", "total"))
            rate = text[state.end() :].removeprefix(",").strip()
            self._draw(description=state["what"], completed=done, total=total, rate=rate)
            return
        what, tenth = state["what"], int(state["percent"]) // 10
        began = self._first.setdefault(what, time.monotonic())
        if self._tenths.get(what) != tenth and (tenth == 10 or time.monotonic() - began >= QUICK):
            self._tenths[what] = tenth
            self._print(text)
        if tenth == 10:  # the same work may begin again
            self._first.pop(what), self._tenths.pop(what)

    def _draw(self, **values: Any) -> None:
        self._bar.update(self._task, **values)
        self._bar.tasks[0].finished_time = None  # a full bar would stop the clock and the spinner for all that comes after

    def _print(self, text: str) -> None:
        self._printed = time.monotonic()
        if self._bar is not None:
            self._bar.console.print(text, markup=False, highlight=False, soft_wrap=True)
        else:
            print(text, file=sys.stderr, flush=True)

    def _break_silence(self, stream: Any) -> None:
        while not self._ended.wait(1.0):
            with self._lock:
                now = time.monotonic()
                if now - self._printed >= SILENCE and not self._ended.is_set() and sys.stderr is stream:
                    self._print(f"{self._stage}, {now - self._began:.0f} s")


def _bar() -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn("line"), TextColumn("{task.description}", markup=False), BarColumn(), TextColumn("{task.fields[rate]}"))
    return Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True), transient=True)
