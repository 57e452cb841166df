"""The function that writes a pipeline in another format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tapetum.api.outputs import writes
from tapetum.api.results import Result
from tapetum.core.disk import refuse_unwritable
from tapetum.core.errors import UserError, for_python
from tapetum.core.places import EXPORT, pipeline_folder, refuse_absent, refuse_nowhere
from tapetum.core.progress import Log
from tapetum.core.runs import Record, Run
from tapetum.core.tables import Manifest
from tapetum.core.words import plural


@for_python
@writes(out="folder")
def export(
    pipeline: Path | str,
    to: str = "onnx",
    out: Path | str | None = None,
    *,
    images: Any = None,
    int8: bool = False,
    log: Log | None = None,
) -> Result:
    """Write a pipeline as ONNX, OpenVINO or ``torch.export``, where its answers to real images stay the same.

    The folder holds a file for each member and ``ensemble.json``: classes, preprocessing, decisions, the files' SHA-256, and how far the
    answers agree. ``tapetum predict`` takes it like a pipeline.

    Args:
        pipeline: its folder, or a run.
        to: ``onnx``, ``openvino`` or ``torch-export``.
        out: the folder to write; None: ``pipeline-FORMAT`` beside the pipeline.
        images: to compare the answers on: a file, a folder, an archive or a table; None takes the training images of the run.
        int8: 8-bit weights and activations (ONNX), where the metric of each target on out-of-fold rows of the run falls by 0.01 at
            most; else nothing is written.
        log: told what is done.

    Returns:
        ``{"out", "to", "files", "gate", "simple"}``, and ``int8`` where that was asked for; ``gate`` has the number of images and, for
        each target, ``agreement`` (the share of images with the label of the pipeline in 32 bits), ``largest_difference`` (of a
        probability), ``differ`` (images with another label) and ``close_calls`` (those of them that rounding alone can decide).

    Raises:
        UserError: an unknown format, a pipeline that cannot be exported, or no images to compare on.
        EnvironmentFault: the extra ``export`` is not installed.
        DataError: fewer than 99.5 % of the labels agree; then nothing is written.
    """
    folder = pipeline_folder(pipeline)
    refuse_nowhere(images)
    place = folder.parent / f"pipeline-{to}" if out is None else Path(out)
    _check_place(place)
    if out is None:
        refuse_unwritable(place, "folder")
    from tapetum.learn import graphs

    graphs.check_format(to)
    from tapetum.pipeline import Pipeline
    from tapetum.pipeline.exchange import check
    from tapetum.pipeline.exchange import export as write

    record = Record(log)
    loaded = Pipeline.load(folder)
    check(loaded)
    heldout = _of_run(folder, "export the pipeline of a run, or leave out --int8") if int8 else None
    manifest = heldout or _of_run(folder) if images is None else loaded.read([images], record)
    found = write(loaded, to, place, manifest, record, heldout=heldout)
    worst = min(one["agreement"] for one in found["gate"]["targets"].values())
    lines = [found["int8"]["summary"]] if int8 else []
    lines += [f"written to {place}; {worst:.1%} of the labels of {plural(found['gate']['images'], 'image agrees', 'images agree')}"]
    return Result(found, lines=lines, path=place)


def _check_place(place: Path) -> None:
    """Refuse a place that holds something else than an export."""
    if place.is_file() or (place.is_dir() and any(place.iterdir()) and not (place / EXPORT).exists()):
        raise UserError(f"{place} is there and holds no export", need="a new or empty folder", fix="choose another place with -o")


def _of_run(folder: Path, fix: str = "name some: --images DIR") -> Manifest:
    """Return the rows of the run that a pipeline lies in; ``fix`` says what to do where there is none.

    Raises:
        UserError: it lies in none.
        DataError: the images are not there any more.
    """
    run = Run(folder.parent)
    if folder.name != run.pipeline.name or not run.manifest_file.exists():
        what = "there are no images to compare the exported answers on: the pipeline lies in no run"
        raise UserError(what, fix=fix)
    manifest = run.checked(run.manifest_file.name).manifest()
    refuse_absent(manifest, fix="name others: --images DIR")
    return manifest
