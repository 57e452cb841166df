"""Where the time of a training step goes, on this machine and with these images: read, decode, augment, forward, backward, optimizer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from tapetum.core import columns, files
from tapetum.core.config import Loaded
from tapetum.core.errors import UserError, listed, nearest
from tapetum.core.progress import Log
from tapetum.core.runs import TRACE, Record, Run
from tapetum.workflow.session import Session
from tapetum.workflow.stages.plan import plan_of
from tapetum.workflow.stages.prepare import prepare
from tapetum.workflow.stages.train import write_spec

if TYPE_CHECKING:
    from tapetum.learn.training.tracing import Traced

NAME = "trace"


def trace(
    source: Any,
    out: Path | str,
    loaded: Loaded,
    *,
    member: str | None = None,
    steps: int = 20,
    log: Log | None = None,
    command: str = "tapetum.api.trace",
) -> dict[str, Any]:
    """Train some batches as the recipe does, with a clock around each part; nothing of it is kept but the times.

    Args:
        source: as for ``fit``.
        out: a run folder of its own; ``trace.json`` is in it.
        loaded: the recipe.
        member: which one, where there are several.
        steps: batches; an epoch that has fewer ends earlier.
        log: where messages go.
        command: kept in the run's record.

    Returns:
        ``{"run", "member", "engine", "steps", "images", "seconds", "images_per_second", "parts", "trains_at", "table"}``: ``parts`` has
        seconds and share of each part, ``trains_at`` the images a second with the recipe's threads for images.

    Raises:
        UserError: an unknown member, or one that does not train on single images.
    """
    record, members = Record(log), loaded.recipe.members()
    name = next(iter(members)) if member is None else member
    if name not in members:
        raise UserError(f"there is no member {name!r} (there are: {listed(members)}).{nearest(name, members)}")
    if members[name].sequence.length > 1:
        raise UserError(f"member {name!r} answers sequences", need="a member of single images")
    with Run.opened(out, loaded, {}) as run:
        try:
            with record.stage("files"):
                session = Session(run, prepare(run, source, loaded.recipe, record), loaded.recipe, record)
            with record.stage("trace"):
                found, engine = _traced(session, name, steps)
            result = {"run": str(run.root), "member": name, "engine": engine, **_figures(found)}
            files.write_json(run.file(TRACE), result)
            return {**result, "table": table_of(found)}
        finally:
            record.write(run, command)


def _traced(session: Session, name: str, steps: int) -> tuple[Traced, str]:
    from tapetum.learn.training import job, tracing
    from tapetum.learn.training.fold import Training
    from tapetum.learn.training.keep import Keeper

    plan = plan_of(session, name)
    fold = plan["folds"][0]
    folder = session.run.root / NAME / name
    spec = write_spec(session, session.ref(name, fold), {**plan, "cuts": {}}, folder / "spec.json")
    training = Training(job.build(files.read_json(spec), session.manifest, Keeper(folder), session.log))
    optimizer = training.begin()
    return tracing.trace(training, optimizer, steps), training.runtime.engine.name


def _figures(found: Traced) -> dict[str, Any]:
    parts = {name: {"seconds": round(s, 6), "share": round(s / found.total, 4)} for name, s in _parts(found).items()}
    return {
        "steps": found.steps,
        "images": found.images,
        "seconds": round(found.total, 6),
        "images_per_second": round(found.images / found.total, 2),
        "parts": parts,
        "trains_at": None if found.threaded is None else round(found.images / found.threaded, 2),
    }


def _parts(found: Traced) -> dict[str, float]:
    """Return the seconds of each part, and those of none."""
    return {**found.seconds, "other": max(0.0, found.total - sum(found.seconds.values()))}


def table_of(found: Traced) -> str:
    """Return a line for each part: milliseconds a step, and its share."""
    lines = [["part", "ms a step", "share"]]
    lines += [[name, f"{1000 * s / found.steps:.1f}", f"{s / found.total:.1%}"] for name, s in _parts(found).items()]
    lines.append(["all", f"{1000 * found.total / found.steps:.1f}", "100.0%"])
    text = columns.aligned(lines, whole=range(len(lines[0])))
    rate = f"{found.images / found.total:.1f} images/s, images read by the thread that trains"
    threads = "" if found.threaded is None else f"; {found.images / found.threaded:.1f} with the recipe's threads for images"
    return f"{text}\n{rate}{threads}"
