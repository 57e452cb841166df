"""The function that lets a person decide what an audit found, on a page of this machine."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tapetum.api.outputs import writes
from tapetum.api.recipe import recipe_of
from tapetum.api.results import Result
from tapetum.core import table_files
from tapetum.core.config import Loaded
from tapetum.core.errors import for_python
from tapetum.core.options import several
from tapetum.core.places import refuse_nowhere
from tapetum.core.progress import Log
from tapetum.core.runs import Record, Run


@for_python
@writes(out="file")
def review(
    source: Any,
    out: Path | str | None = None,
    *,
    recipe: Loaded | str | Path | None = None,
    target: Any = None,
    log: Log | None = None,
    ready: Callable[[str], object] | None = None,
    **options: Any,
) -> Result:
    """Serve the review page until it is stopped (Ctrl-C), then write the decisions.

    Args:
        source: data as for :func:`~tapetum.api.fit`, or a run, whose out-of-fold predictions then order the images.
        out: the table of decisions, ``.csv`` or ``.parquet``; None: ``decisions.csv`` beside the file of decisions.
        recipe: how images are composed; as for :func:`~tapetum.api.fit`.
        target: of data: as for :func:`~tapetum.api.fit`; of a run: whose labels are decided.
        log: told the page's address.
        ready: called with the address when the page can be opened.
        options: ``audit`` (a table to review), ``decisions`` (the SQLite file), ``data`` (where the data of a run are now), ``port``
            (default: any that is free), ``unlabelled`` (of a run: images to label, most worth first; ``out`` is then a table for
            ``fit(extra=…)``), ``export=True`` (only write the table), and those of :func:`~tapetum.api.fit`.

    Returns:
        ``{"out", "decisions", "rows", "decided", "kept", "excluded", "relabelled", "contested", "kappa", "twice"}``.
    """
    mine = {name: options.pop(name, None) for name in ("audit", "decisions", "data", "unlabelled")}
    port, is_served = int(options.pop("port", 0)), not options.pop("export", False)
    refuse_nowhere(source, mine["audit"], mine["data"], mine["unlabelled"])
    of_run = Run.at(source) is not None
    given = options if of_run or isinstance(recipe, Loaded) or target is None else options | {"target": target}
    loaded = recipe_of(recipe, given)
    from tapetum.workflow.commands.review import review_source
    from tapetum.workflow.commands.review_page import Reviewing

    about = None if target is None else str(several(target)[0]).partition(":")[0]
    paths = {name: None if value is None else Path(value) for name, value in mine.items()}
    place = None if out is None else Path(out)
    how = Reviewing(paths["audit"], paths["decisions"], place, about, paths["data"], port, is_served, paths["unlabelled"])
    if how.unlabelled is not None:
        from tapetum.workflow.commands.labelling import label_source

        found = label_source(source, Record(log), how, ready)
    else:
        found = review_source(source, loaded, Record(log), how, ready)
    rows = functools.partial(table_files.read_any, found["out"], escaped=how.unlabelled is None)
    return Result(found, rows=rows, path=found["out"])
