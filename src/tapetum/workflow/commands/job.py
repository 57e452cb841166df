"""Run one job from its spec: a fold of a member, or some rows of a long prediction."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tapetum.core import files, locks
from tapetum.core.progress import Log
from tapetum.core.runs import Record
from tapetum.workflow.commands import predict_apart


def run(spec: Path, *, wait: bool = False, devices: int = 1, log: Log | None = None) -> dict[str, Any]:
    """Run a job, or go on with it; return its final state, and under ``log`` its messages.

    Args:
        spec: its file.
        wait: where another process runs the same job, until it ends.
        devices: processes that train a fold together.
        log: where messages go.
    """
    record = Record(log)
    if devices > 1:
        from tapetum.learn import ranks

        # before the processes start: a process that waits for the others of its fold gives up after minutes, and an orphan may take hours
        (locks.await_free if wait else locks.refuse_held)(spec.parent)
        found = ranks.launch(["-m", "tapetum", "job", str(spec.resolve()), "--json", *(["--wait"] if wait else [])], devices)
        for message in found.get("log", ()):
            record(message)
        return found
    if files.read_json(spec).get("kind") == predict_apart.KIND:
        return {**predict_apart.run_part(spec, wait=wait, log=record), "log": record.messages}
    from tapetum.learn.training import job

    return {**job.run(spec, wait=wait, log=record), "log": record.messages}
