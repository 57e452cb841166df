"""A Slurm of this machine for tests: ``sbatch`` runs the tasks of an array one after another in a process aside.

``install`` writes the commands into a folder and puts it on the PATH. In ``FAKE_SLURM`` (a folder) each task has a file with its state,
``<job>_<number>``. A task named in the file ``lose`` (a number a line) is lost once: it never starts, as if its node were gone; one in
``forget`` is lost once, too, and no command knows it any more. ``tells`` (``NUMBER STATE`` a line) has states that tasks end with,
``size`` the largest array, ``room`` how many tasks may wait and run. Commands answer about the cluster that ``sbatch`` names, ``fake``.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

COMMANDS = ("sbatch", "squeue", "sacct", "scancel")


def install(folder: Path, monkeypatch) -> Path:
    """Write the four commands, put them on the PATH, and return the folder of states."""
    home = folder / "states"
    home.mkdir(parents=True)
    for name in COMMANDS:
        place = folder / name
        place.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{__file__}" {name} "$@"\n', encoding="utf-8")
        place.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_SLURM", str(home))
    return home


def option(words: list[str], name: str) -> str:
    return next(word.partition("=")[2] for word in words if word.startswith(f"{name}="))


def number_in(place: Path) -> int:
    return int(place.read_text(encoding="utf-8")) if place.exists() else 1_000_000


def once(place: Path, number: str) -> bool:
    """Tell whether a file names a task, and strike it out there."""
    wanted = place.read_text(encoding="utf-8").split() if place.exists() else []
    if number in wanted:
        place.write_text("\n".join(n for n in wanted if n != number), encoding="utf-8")
    return number in wanted


def sbatch(home: Path, words: list[str]) -> None:
    if "--refuse" in words:
        raise SystemExit("sbatch: error: invalid partition specified")
    job = len(list(home.glob("*.words"))) + 1
    count = int(option(words, "--array").partition("-")[2]) + 1
    if count > number_in(home / "size"):
        raise SystemExit("sbatch: error: Batch job submission failed: Invalid job array specification")
    if count + sum(place.read_text(encoding="utf-8") in ("PENDING", "RUNNING") for place in home.glob("*_*")) > number_in(home / "room"):
        raise SystemExit("sbatch: error: Batch job submission failed: Job violates accounting/QOS policy (job submit limit)")
    (home / f"{job}.words").write_bytes(os.fsencode("\n".join(words)))
    first, _, last = option(words, "--array").partition("-")
    for number in range(int(first), int(last) + 1):
        (home / f"{job}_{number}").write_text("PENDING", encoding="utf-8")
    aside = [sys.executable, __file__, "run", str(job), words[-1]]
    subprocess.Popen(aside, start_new_session=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    print(f"{job};fake")


def run(home: Path, job: str, script: str) -> None:
    """Run the tasks of an array; this is the process aside."""
    states = sorted(home.glob(f"{job}_*"), key=lambda place: int(place.name.partition("_")[2]))
    told = home / "tells"
    tells = dict(line.split() for line in told.read_text(encoding="utf-8").splitlines()) if told.exists() else {}
    for state in states:
        number = state.name.partition("_")[2]
        if once(home / "lose", number):
            state.write_text("NODE_FAIL", encoding="utf-8")
            continue
        if once(home / "forget", number):
            state.unlink()
            continue
        if state.read_text(encoding="utf-8") != "PENDING":
            continue
        state.write_text("RUNNING", encoding="utf-8")
        done = subprocess.run(["sh", script], env={**os.environ, "SLURM_ARRAY_TASK_ID": number}, check=False)
        state.write_text(tells.get(number, "COMPLETED" if done.returncode == 0 else "FAILED"), encoding="utf-8")


def main() -> None:
    name, *words = sys.argv[1:]
    home = Path(os.environ["FAKE_SLURM"])
    if name in COMMANDS[1:] and "--clusters=fake" not in words:
        raise SystemExit("slurm_load_jobs error: Invalid job id specified")
    if name == "sbatch":
        sbatch(home, words)
    elif name == "run":
        run(home, *words)
    elif name == "squeue":
        job = option(words, "--jobs")
        found = {place.name.partition("_")[2]: place.read_text(encoding="utf-8") for place in home.glob(f"{job}_*")}
        print("\n".join(number for number, state in found.items() if state in ("PENDING", "RUNNING")))
    elif name == "sacct":
        place = home / option(words, "--jobs")
        print(place.read_text(encoding="utf-8") if place.exists() else "")
    elif name == "scancel":
        for place in home.glob(f"{words[-1]}_*"):
            if place.read_text(encoding="utf-8") == "PENDING":
                place.write_text("CANCELLED", encoding="utf-8")


if __name__ == "__main__":
    main()
