"""Every command of the command line once, on tiny data, in one process that sees what it wants to reach; as a script: DATA OUT.

It prints a line a command: its name, its exit code, how many connections were wanted by then, and the end of stderr.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import connections
import edf_bytes
import small_runs

INTERRUPTED = 130  # a page or a service that was stopped
STOPPED = ("serve", "review", "sleep review")


def prepare(data: Path, out: Path) -> None:
    """Write what the commands read: a template, nights, stages of another program, and a recipe to search."""
    rows = (data / "labels.csv").read_text(encoding="utf-8").splitlines()
    (out / "template.csv").write_text("\n".join(["file,label", *(row.rpartition(",")[0] for row in rows[1:])]) + "\n", encoding="utf-8")
    (out / "nights").mkdir()
    (out / "given").mkdir()
    stages = [[edf_bytes.tal(0, (0.0, 600.0, "Sleep stage 2"))] + [edf_bytes.tal(i) for i in range(1, 600)]]
    lines = "".join(f"{i + 1},{'N2' if i % 3 else 'W'},0.2,0.2,0.4,0.1,0.1\n" for i in range(20))
    for name in ("a", "b", "c"):
        (out / "nights" / f"{name}.edf").write_bytes(edf_bytes.plus(600, tals=stages).bytes())
        (out / "given" / f"{name}.csv").write_text(f"epoch,stage,p_W,p_N1,p_N2,p_N3,p_R\n{lines}", encoding="utf-8")


def commands(data: Path, out: Path) -> list[tuple[Any, ...]]:
    """Return the words of each command, in an order in which each finds what it needs."""
    table, run, images = data / "labels.csv", out / "run", data / "images"
    tiny = {"split__folds": 2, "train__epochs": 1, "data__on_bad": "skip"}
    one, quick = small_runs.flags(**tiny), small_runs.flags(**(tiny | {"train__epochs": 0}))
    space = ("--set", "tune.space={'probe.strengths' = [[1.0], [10.0]]}")
    dogs = {"model.backbone": '"test_resnet"', "model.weights": '"none"', "input.size": 32, "train.epochs": 2, "train.threads": 1}
    dogs |= {"schedule.options.phases": [[1, 0.1, 0.01], [1, 0.01, 0.001]], "schedule.options.cycle": 1, "average.epochs": 2}
    small = [word for key, value in dogs.items() for word in ("--set", f"{key}={value}")]
    night, given = out / "nights" / "a.edf", out / "given"
    return [
        ("fit", table, "-o", run, *one),
        ("job", run / "members" / "main" / "fold-0" / "spec.json"),
        ("predict", run, images, "-o", out / "p.parquet"),
        ("merge", out / "p.parquet", "--of", images, "-o", out / "m.parquet"),
        ("evaluate", run, table, "-o", out / "evaluated"),
        ("audit", images, "-o", out / "audit.parquet"),
        ("split", table, "--target", "label", "-o", out / "folds.csv"),
        ("show", images, "-o", out / "batch.png"),
        ("decide", run),
        ("conformal", run),
        ("fit", table, "-o", out / "second", *quick),
        ("compare", run, out / "second"),
        ("leaderboard", run),
        ("report", run),
        ("ledger", run),
        ("runs", out),
        ("diff", run, out / "second"),
        ("submit", run, "--template", out / "template.csv", "-o", out / "s.csv"),
        ("export", run, "--to", "onnx", "-o", out / "exported"),
        ("review", run, "--decisions", out / "r.sqlite", "-o", out / "d.csv", "--port", "0"),
        ("serve", run, "--port", "0"),
        ("find-rate", table, "-o", out / "rate", "--steps", "10", "--repeats", "1", *one),
        ("trace", table, "-o", out / "trace", "--steps", "1", *one),
        ("tune", table, "-o", out / "tune", "--trials", "1", *quick, *space),
        ("ablate", table, "-o", out / "ablate", "--pieces", "smoothing", *one),
        ("simulate", "dogs", out / "dogs", "--size", "200", "--px", "32"),
        ("reproduce", "dogs", "--data", out / "dogs" / "data", "--profile", "cpu", "-o", out / "reproduced", *small),
        ("explain", "dogs"),
        ("recipes",),
        ("doctor",),
        ("sleep check", out / "nights", "-o", out / "issues.csv"),
        ("sleep stage", out / "nights", "-o", out / "staged", "--engine", given),
        ("sleep stats", given),
        ("sleep export", night, "-o", out / "night.tsv"),
        ("sleep compare", given / "a.csv", given / "b.csv"),
        ("sleep plot", given / "a.csv", "-o", out / "night.png"),
        ("sleep adapt", out / "nights", "-o", out / "own.json", "--engine", given),
        ("sleep render", night, "-o", out / "rendered", "--last", "2"),
        ("sleep review", night, "--stages", given / "a.csv", "-o", out / "reviewed.csv", "--port", "0"),
    ]


def names() -> set[str]:
    """Return the names of all commands that the help lists."""
    import typer

    from tapetum.cli import app

    found: set[str] = set()
    for name, one in typer.main.get_command(app).commands.items():  # type: ignore[attr-defined]
        inner = getattr(one, "commands", None)
        found |= {name} if inner is None else {f"{name} {deeper}" for deeper in inner}
    return found


def stopped_once_it_listens(bound: threading.Event) -> None:
    """Send this process the signal of Ctrl-C once a page or a service has taken a port."""
    bound.wait()
    time.sleep(0.5)
    os.kill(os.getpid(), signal.SIGINT)


def main() -> None:
    data, out = Path(sys.argv[1]), Path(sys.argv[2])
    connections.watch()
    prepare(data, out)
    bound = threading.Event()
    sys.addaudithook(lambda event, _: bound.set() if event == "socket.bind" else None)
    for name, *words in commands(data, out):
        if name in STOPPED:
            bound.clear()
            threading.Thread(target=stopped_once_it_listens, args=(bound,), daemon=True).start()
        said = small_runs.cli(*name.split(), *words)
        print(name, said.code, len(connections.SEEN), said.err[-300:].replace("\n", " "), sep="\t")
    print("seen", connections.SEEN)


if __name__ == "__main__":
    main()
