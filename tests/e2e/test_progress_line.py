"""The progress of a fit on a real terminal: one line that is redrawn, and nothing of it is left at the end."""

from __future__ import annotations

import os
import re
import struct
import subprocess
import sys

import pytest

import small_runs

pty = pytest.importorskip("pty")
WIDTH = 100
_CODE = re.compile(r"\x1b\[([0-9;?]*)([A-Za-z])")


class Screen:
    """A terminal: what stands on it after some output, how long its lines became, and how many lines were redrawn at once."""

    def __init__(self) -> None:
        self.lines: list[str] = [""]
        self.row = self.column = self.longest = self.most_up = 0

    def feed(self, text: str) -> None:
        at = 0
        while at < len(text):
            if found := _CODE.match(text, at):
                self._obey(found[1], found[2])
                at = found.end()
                continue
            self._put(text[at])
            at += 1

    def _obey(self, number: str, what: str) -> None:
        if what == "K":
            line = self.lines[self.row]
            self.lines[self.row] = "" if number == "2" else line[: self.column]
        elif what == "A":
            self.most_up = max(self.most_up, int(number or 1))
            self.row = max(0, self.row - int(number or 1))

    def _put(self, letter: str) -> None:
        if letter == "\r":
            self.column = 0
        elif letter == "\n":
            self.row += 1
            if self.row == len(self.lines):
                self.lines.append("")
        else:
            line = self.lines[self.row].ljust(self.column)
            self.lines[self.row] = line[: self.column] + letter + line[self.column + 1 :]
            self.column += 1
            self.longest = max(self.longest, self.column)


@pytest.fixture(scope="module")
def watched(planted, tmp_path_factory):
    """A fit on a terminal of 100 columns: its screen and its raw output."""
    import fcntl
    import termios

    out = tmp_path_factory.mktemp("watched") / "run"
    words = ["fit", str(planted / "labels.csv"), "-o", str(out), *small_runs.flags(train__epochs=8)]
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, WIDTH, 0, 0))
    hidden = ("COLUMNS", "LINES", "NO_COLOR", "CI", "FORCE_COLOR", "TTY_COMPATIBLE")
    env = {key: value for key, value in os.environ.items() if key not in hidden} | {"TERM": "xterm-256color", "OMP_NUM_THREADS": "1"}
    child = subprocess.Popen([sys.executable, "-m", "tapetum", *words], stdin=theirs, stdout=theirs, stderr=theirs, env=env)
    os.close(theirs)
    raw = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:
            break
        if not part:
            break
        raw += part
    os.close(ours)
    assert child.wait() == 0, raw.decode()[-2000:]
    screen = Screen()
    screen.feed(raw.decode())
    return screen, raw.decode()


def test_nothing_of_the_line_is_left(watched):
    screen, _ = watched
    shown = [line.rstrip() for line in screen.lines if line.strip()]
    assert len(shown) <= 8
    assert shown[0].startswith("accuracy ")
    assert shown[-1].startswith("next ")


def test_it_is_one_line_within_the_width(watched):
    screen, raw = watched
    results = [line for line in raw.splitlines() if line.startswith(("report", "next"))]
    drawn = [_CODE.sub("", line) for line in re.split(r"[\r\n]+", raw)]
    assert max(len(line) for line in drawn if line not in results and not line.startswith(("report", "next"))) <= WIDTH
    assert screen.most_up <= 1


def test_it_has_a_rate_and_the_time_left(watched):
    _, raw = watched
    assert re.search(r"\d/s, \d+ s left", _CODE.sub("", raw))


def test_the_clock_goes_on_after_a_work_is_done(watched):
    _, raw = watched
    drawn = [line for line in re.split(r"[\r\n]+", _CODE.sub("", raw)) if re.search(r" (training|pipeline|report) ", line)]
    assert drawn
    assert all(line[0] in "-\\|/" for line in drawn), "the spinner turns while there is work"
