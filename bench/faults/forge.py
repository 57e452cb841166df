"""A process that has imported everything and forks a child for each trial, which may fail on purpose: imports take ten times longer.

As a script it is that process: it reads one JSON line a trial and answers with two, the child's process id and how it ended.
A trial's step is the name of a function in ``steps.py``, or ``module:function`` of any other module that can be imported.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import importlib
import importlib.metadata
import json
import os
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
FINE = (0, 4)  # exit codes of a command that did its work; 4: some images are damaged
MODULES = (
    "tapetum.api",
    "tapetum.cli.commands",
    "tapetum.workflow.commands.fit",
    "tapetum.workflow.commands.predict",
    "tapetum.workflow.commands.review",
    "tapetum.learn.graphs",
    "tapetum.pipeline.pipeline",
    "tapetum.show.report",
    "matplotlib.figure",
    "onnxruntime",
)


class Forge:
    """The process and its children, one at a time.

    Args:
        library: what children have loaded to fail (see ``shim.py``); None: they cannot.
        path: folders that children import from, beside the repository's root.
    """

    def __init__(self, library: Path | None = None, path: Sequence[Path] = ()) -> None:
        fixed = {"OMP_NUM_THREADS": "1", "POLARS_MAX_THREADS": "1", "HF_HUB_OFFLINE": "1", "MKL_NUM_THREADS": "1"}
        env = {**os.environ, **fixed, "PYTHONPATH": os.pathsep.join(map(str, (ROOT, *path)))}
        if library is not None:
            env["LD_PRELOAD"] = str(library)
        command = [sys.executable, "-m", "bench.faults.forge"]
        self.process = subprocess.Popen(command, env=env, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def start(self, step: str, fault: dict[str, Any] | None = None, learn: bool = False, **given: Any) -> int:
        """Start a step (see ``steps.py``) in a child of its own session; return its process id."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"step": step, "fault": fault, "learn": learn, "given": given}) + "\n")
        self.process.stdin.flush()
        return int(self._line())

    def end(self) -> tuple[int, str]:
        """Wait for the child; return its exit code (negative: the signal) and what it printed."""
        answer = json.loads(self._line())
        return answer["code"], answer["printed"]

    def run(self, step: str, fault: dict[str, Any] | None = None, **given: Any) -> tuple[int, str]:
        """Start a step and wait for it."""
        self.start(step, fault, **given)
        return self.end()

    def learn(self, step: str, **given: Any) -> None:
        """Run a step once, and import here whatever it imported, so that later children have it."""
        self.start(step, None, learn=True, **given)
        code, printed = self.end()
        assert code in FINE, printed

    def close(self) -> None:
        """End the process."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()

    def _line(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, "the process that starts the trials ended"
        return line


def _child(trial: dict[str, Any], log: int, learned: int) -> None:
    os.setsid()
    os.dup2(log, 1)
    os.dup2(log, 2)
    sys.stdout, sys.stderr = (os.fdopen(number, "w", buffering=1, closefd=False) for number in (1, 2))
    code = 1
    try:
        from bench.faults.shim import Fault

        module, _, function = trial["step"].rpartition(":")
        step = getattr(importlib.import_module(module or "bench.faults.steps"), function)

        if trial["fault"] is not None:
            Fault(**trial["fault"]).arm()
        code = step(**trial["given"])
    except BaseException:
        traceback.print_exc()
    with contextlib.suppress(OSError):
        sys.stdout.flush()
    if trial["learn"]:
        os.write(learned, json.dumps(sorted(sys.modules)).encode())
    os._exit(code)


def _prepare() -> None:
    """Do once what each command does alike: build the command line, compile the templates of the report."""
    import typer.main

    from tapetum.cli import app
    from tapetum.show.report import templates

    typer.main.get_command = functools.cache(typer.main.get_command)
    typer.main.get_command(app)
    for name in templates().list_templates(filter_func=lambda name: name.endswith(".jinja") and not name.startswith("review/")):
        templates().get_template(name)
    importlib.metadata.entry_points = functools.cache(importlib.metadata.entry_points)


def main() -> None:
    for name in MODULES:
        importlib.import_module(name)
    _prepare()
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for line in sys.stdin:
        trial = json.loads(line)
        with tempfile.TemporaryFile() as log, tempfile.TemporaryFile() as learned:
            if (child := os.fork()) == 0:
                _child(trial, log.fileno(), learned.fileno())
            print(child, file=answers)
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            log.seek(0)
            learned.seek(0)
            printed, modules = log.read().decode(errors="replace"), learned.read()
        for name in json.loads(modules or "[]"):
            if name not in sys.modules:
                with contextlib.suppress(Exception):
                    importlib.import_module(name)
        gc.freeze()  # what is here lasts: a child that collected it would copy all of it
        print(json.dumps({"code": code, "printed": printed}), file=answers)


if __name__ == "__main__":
    main()
