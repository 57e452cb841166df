"""``tapetum sleep``: commands for a sleep laboratory."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from tapetum.cli import sleep_texts as texts
from tapetum.cli.commands import command
from tapetum.cli.streams import tell_address

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, context_settings={"help_option_names": ["-h", "--help"]})
Seconds = Annotated[float, typer.Option("--epoch", help="seconds of an epoch, where the file does not tell", min=1)]
Scheme = Annotated[str, typer.Option("--scheme", help="what the numbers 4 and 5 mean: aasm, rk, or auto (rk where there is any 5)")]
LightsOff = Annotated[float | None, typer.Option(help="seconds from the start (default: by the annotations, else the start)", min=0)]
LightsOn = Annotated[float | None, typer.Option(help="seconds from the start (default: by the annotations, else the end)", min=0)]
Recordings = Annotated[list[Path], typer.Argument(help="EDF or BDF files, or folders of them")]
Channels = Annotated[Path | None, typer.Option("--channels", help="a CSV table (label, name) laid over the built-in names of channels")]
Engine = Annotated[
    str, typer.Option("--engine", help="yasa; the folder of a pipeline or run; or hypnograms of another program (a file or folder)")
]
OneHypnogram = Annotated[Path, typer.Argument(help="a hypnogram: EDF+ with annotations, CSV, TSV, text or JSON")]


@app.callback()
def sleep() -> None:
    """Polysomnography: recordings in, hypnograms and statistics out."""


def _is_partly(result: Any) -> bool:
    return bool(result["refused"])


@command(app, "tapetum sleep check nights -o issues.csv", name="check", text=texts.check, is_partly=_is_partly)
def sleep_check(
    log: Any,
    recordings: Recordings,
    out: Annotated[Path | None, typer.Option("-o", "--out", help="write the issue table here, as .csv")] = None,
    channels: Channels = None,
) -> dict[str, Any]:
    """Read recordings, and say what is wrong with their files and electrodes, and what is assumed instead."""
    from tapetum import api

    return api.sleep_check(recordings, out, channels=channels, log=log)


@command(
    app,
    "tapetum sleep stats night.csv",
    "tapetum sleep stats hypnograms -o statistics.csv",
    name="stats",
    text=texts.stats,
    is_partly=_is_partly,
)
def sleep_stats(
    log: Any,
    hypnograms: Annotated[list[Path], typer.Argument(help="hypnograms (EDF+ with annotations, CSV, TSV, text, JSON), or folders of them")],
    out: Annotated[Path | None, typer.Option("-o", "--out", help="write a row a night here, as .csv")] = None,
    lights_off: LightsOff = None,
    lights_on: LightsOn = None,
    epoch: Seconds = 30.0,
    scheme: Scheme = "auto",
) -> dict[str, Any]:
    """Compute a night's statistics by the AASM's definitions: TST, efficiency, latencies, WASO, stages, cycles."""
    from tapetum import api

    return api.sleep_stats(hypnograms, out, lights_off=lights_off, lights_on=lights_on, epoch=epoch, scheme=scheme, log=log)


@command(app, "tapetum sleep export night.edf -o night.tsv", name="export", text=texts.export)
def sleep_export(
    log: Any,
    hypnogram: OneHypnogram,
    out: Annotated[Path, typer.Option("-o", "--out", help="a .csv, .tsv (BIDS), .json or .edf (EDF+ annotations) file")],
    epoch: Seconds = 30.0,
    scheme: Scheme = "auto",
) -> dict[str, Any]:
    """Write a hypnogram as another kind of file."""
    from tapetum import api

    return api.sleep_export(hypnogram, out, epoch=epoch, scheme=scheme, log=log)


@command(app, "tapetum sleep compare scorer1.csv scorer2.csv", name="compare", text=texts.compare)
def sleep_compare(
    log: Any,
    a: OneHypnogram,
    b: Annotated[Path, typer.Argument(help="another scorer's hypnogram of the same night")],
    epoch: Seconds = 30.0,
    scheme: Scheme = "auto",
) -> dict[str, Any]:
    """Compare two scorers of a night: kappa, kappa of each stage, confusion, differences of the statistics."""
    from tapetum import api

    return api.sleep_compare(a, b, epoch=epoch, scheme=scheme, log=log)


@command(
    app,
    "tapetum sleep stage night.edf -o staged",
    "tapetum sleep stage nights -o staged --adapted laboratory.json",
    name="stage",
    text=texts.stage,
    is_partly=_is_partly,
)
def sleep_stage(
    log: Any,
    recordings: Recordings,
    out: Annotated[Path, typer.Option("-o", "--out", help="a folder; each night gets one in it")],
    engine: Engine = "yasa",
    adapted: Annotated[Path | None, typer.Option(help="the file that tapetum sleep adapt wrote")] = None,
    channels: Channels = None,
    eeg: Annotated[str | None, typer.Option(help="of YASA: the EEG's label in the file, or 'A|B' for A − B (default: chosen)")] = None,
    eog: Annotated[str | None, typer.Option(help="of YASA: the EOG's label, likewise")] = None,
    emg: Annotated[str | None, typer.Option(help="of YASA: the chin EMG's label, likewise")] = None,
    lights_off: LightsOff = None,
    lights_on: LightsOn = None,
    scheme: Scheme = "auto",
) -> dict[str, Any]:
    """Stage nights: hypnogram, probabilities, statistics, figure, review list and exports for each."""
    from tapetum import api

    return api.sleep_stage(
        recordings,
        out,
        engine=engine,
        adapted=adapted,
        channels=channels,
        eeg=eeg,
        eog=eog,
        emg=emg,
        lights_off=lights_off,
        lights_on=lights_on,
        scheme=scheme,
        log=log,
    )


@command(app, "tapetum sleep adapt scored-nights -o laboratory.json", name="adapt", text=texts.adapt, is_partly=_is_partly)
def sleep_adapt(
    log: Any,
    folder: Annotated[
        Path, typer.Argument(help="recordings, each with its hypnogram beside it (night.edf, night.csv) or in its annotations")
    ],
    out: Annotated[Path, typer.Option("-o", "--out", help="the .json file for tapetum sleep stage --adapted")],
    engine: Engine = "yasa",
    subjects: Annotated[Path | None, typer.Option(help="a CSV table (night, subject); default: each night is of another subject")] = None,
    channels: Channels = None,
    scheme: Scheme = "auto",
) -> dict[str, Any]:
    """Fit calibration and context on scored nights, and say what they gain, cross-validated by subject."""
    from tapetum import api

    return api.sleep_adapt(folder, out, engine=engine, subjects=subjects, channels=channels, scheme=scheme, log=log)


@command(
    app,
    "tapetum sleep review night.edf --stages staged -o night-reviewed.csv",
    "tapetum sleep review night.edf --stages mine.csv --stages colleague.csv -o night-reviewed.edf",
    name="review",
    text=texts.review,
)
def sleep_review(
    log: Any,
    recording: Annotated[Path, typer.Argument(help="an EDF or BDF file")],
    out: Annotated[Path, typer.Option("-o", "--out", help="the corrected hypnogram: a .csv, .tsv (BIDS), .json or .edf file")],
    stages: Annotated[
        list[Path] | None,
        typer.Option(
            help="a hypnogram, or a folder with it, as sleep stage writes; a further one is another scorer's "
            "(default: the file beside the recording, or its annotations)"
        ),
    ] = None,
    decisions: Annotated[Path | None, typer.Option(help="the file in which decisions are kept (default: beside --out)")] = None,
    channels: Channels = None,
    scheme: Scheme = "auto",
    port: Annotated[int, typer.Option(help="to listen at on this machine; 0: any that is free", min=0, max=65535)] = 8017,
    export: Annotated[bool, typer.Option("--export", help="only write what was decided before")] = False,
) -> dict[str, Any]:
    """Decide the stages of a night on a page, a key a stage, uncertain epochs first; writes the hypnogram and a log of changes."""
    from tapetum import api

    kept: dict[str, Any] = {"decisions": decisions, "channels": channels, "scheme": scheme, "port": port, "export": export}
    return api.sleep_review(recording, out, stages=stages or (), **kept, log=log, ready=tell_address)


@command(app, "tapetum sleep render night.edf -o images --last 10", name="render", text=texts.render, is_partly=_is_partly)
def sleep_render(
    log: Any,
    recordings: Recordings,
    out: Annotated[Path, typer.Option("-o", "--out", help="a folder; each night gets one in it")],
    width: Annotated[int, typer.Option(help="of an image in pixels; 480 as the challenge's", min=120, max=3840)] = 1920,
    how: Annotated[str, typer.Option(help="traces, or spectra: EEG, EOG and EMG as multitaper spectrograms")] = "traces",
    first: Annotated[int, typer.Option(help="the first epoch, from 1", min=1)] = 1,
    last: Annotated[int | None, typer.Option(help="the last epoch (default: all)", min=1)] = None,
    mains: Annotated[float | None, typer.Option(help="50 or 60 Hz (default: found in the signals)", min=40, max=70)] = None,
    channels: Channels = None,
) -> dict[str, Any]:
    """Draw epochs of 30 s as images, in the rows, scales and filters of the SNUH challenge."""
    from tapetum import api

    return api.sleep_render(recordings, out, width=width, how=how, first=first, last=last, mains=mains, channels=channels, log=log)


@command(
    app, "tapetum sleep plot night.csv -o night.png", "tapetum sleep plot scorer1 scorer2 -o agreement.png", name="plot", text=texts.plot
)
def sleep_plot(
    log: Any,
    hypnograms: Annotated[list[Path], typer.Argument(help="a hypnogram; or two of the same night, or two folders of them, to compare")],
    out: Annotated[Path, typer.Option("-o", "--out", help="a .png or .svg file")],
    epoch: Seconds = 30.0,
    scheme: Scheme = "auto",
) -> dict[str, Any]:
    """Draw a hypnogram with its probabilities, or how far two scorers agree: confusion, kappa, Bland–Altman."""
    from tapetum import api

    return api.sleep_plot(hypnograms, out, epoch=epoch, scheme=scheme, log=log)
