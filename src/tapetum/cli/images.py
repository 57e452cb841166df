"""Commands that look at images and labels before anything is trained: audit, split, show; and simulate, which makes some."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from tapetum.cli import streams, texts
from tapetum.cli.commands import command
from tapetum.cli.options import Data, Member, NowAt, with_recipe
from tapetum.core.options import READING, SPLITTING

app = typer.Typer()


@command(app, "tapetum audit images -o audit.csv", "tapetum audit runs/first", text=texts.audit)
@with_recipe(*READING)
def audit(
    source: Annotated[Path, typer.Argument(help="data as for fit, or a run, whose answers then judge the labels")],
    recipe: Any,
    log: Any,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="a .parquet or .csv file (default: audit.parquet, of a run in its folder)")
    ] = None,
    target: Annotated[list[str] | None, typer.Option("--target", help="of data: as for fit; of a run: whose labels are judged")] = None,
    data: NowAt = None,
    channels: Annotated[
        bool, typer.Option("--channels", help="also look for exchanged channels by features: each image goes through the backbone twice")
    ] = False,
) -> dict[str, Any]:
    """Find damaged, misnamed, gray, doubled and wrongly labelled images; training obeys the column 'decision' (data.audit)."""
    from tapetum import api

    return api.audit(source, out, recipe=recipe, target=target[0] if target else None, data=data, channels=channels, log=log)


@command(app, "tapetum review runs/first", "tapetum review images --audit audit.csv -o decisions.csv", text=texts.review)
@with_recipe(*READING)
def review(
    source: Annotated[Path, typer.Argument(help="data as for fit, or a run, whose predictions then order the images")],
    recipe: Any,
    log: Any,
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", help="the table of decisions, .csv or .parquet (default: decisions.csv, of a run in its folder)"),
    ] = None,
    audit: Annotated[Path | None, typer.Option(help="an audit to review (default: that of the run, else one is made)")] = None,
    decisions: Annotated[Path | None, typer.Option(help="the file in which decisions are kept (default: review.sqlite)")] = None,
    target: Annotated[list[str] | None, typer.Option("--target", help="of data: as for fit; of a run: whose labels are decided")] = None,
    data: NowAt = None,
    port: Annotated[int, typer.Option(help="to listen at on this machine; 0: any that is free", min=0, max=65535)] = 8017,
    export: Annotated[bool, typer.Option("--export", help="only write the table of what was decided")] = False,
    unlabelled: Annotated[
        Path | None, typer.Option(help="of a run: label these images, those first of which it is least sure; -o is a table for fit --extra")
    ] = None,
) -> dict[str, Any]:
    """Decide on a page what the audit found, by keys; what is decided is a table that training reads (data.audit)."""
    from tapetum import api
    from tapetum.core.runs import Run

    about = target[0] if target and Run.at(source) is not None else None
    kept: dict[str, Any] = {"audit": audit, "decisions": decisions, "data": data, "port": port, "export": export, "unlabelled": unlabelled}
    return api.review(source, out, recipe=recipe, target=about, **kept, log=log, ready=streams.tell_address)


@command(app, "tapetum split labels.csv --target label --group patient -o folds.csv", text=texts.table, leave_out=("table",))
@with_recipe(*READING, *SPLITTING)
def split(
    data: Data,
    recipe: Any,
    log: Any,
    out: Annotated[Path | None, typer.Option("-o", "--out", help="write the manifest with its folds here, as .parquet or .csv")] = None,
) -> dict[str, Any]:
    """Draw folds and print, for each fold and class, how many rows and groups it holds."""
    from tapetum import api

    return api.folds(data, recipe=recipe, out=out, log=log)


@command(app, "tapetum show images -o batch.png", name="show", text=texts.show)
@with_recipe(*READING, "size", "seed")
def show_batches(
    data: Data,
    recipe: Any,
    log: Any,
    out: Annotated[Path, typer.Option("-o", "--out", help="a .png file")],
    rows: Annotated[int, typer.Option(help="images shown", min=1)] = 8,
    draws: Annotated[int, typer.Option(help="times that each is augmented", min=1)] = 4,
    member: Member = None,
) -> dict[str, Any]:
    """Draw batches as training would see them: originals, augmented and mixed images, channels, labels."""
    from tapetum import api

    return api.show(data, out, recipe=recipe, rows=rows, draws=draws, member=member, log=log)


@command(app, "tapetum simulate dogs look-alikes", text=texts.simulate)
def simulate(
    log: Any,
    name: Annotated[str, typer.Argument(help="dogs, hpa, mask, sleep, or a system of another package")],
    out: Annotated[Path, typer.Argument(help="a new folder")],
    size: Annotated[str, typer.Option(help="small, full, or how many images")] = "small",
    px: Annotated[int | None, typer.Option(help="typical side of an image (default: the simulator's own)", min=8, max=4096)] = None,
    seed: Annotated[int, typer.Option(help="the same seed gives the same bytes", min=0)] = 0,
    zip: Annotated[bool, typer.Option("--zip", help="archives instead of folders")] = False,
    edf: Annotated[bool, typer.Option("--edf", help="of sleep: the same nights as EDF+ recordings too")] = False,
) -> dict[str, Any]:
    """Write synthetic data in the exact layout of a reference system; test labels and planted flaws are listed outside it."""
    from tapetum import api

    return api.simulate(name, out, size=size, px=px, seed=seed, zip=zip, edf=edf, log=log)
