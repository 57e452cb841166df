"""The command that serves a pipeline over HTTP."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from tapetum.cli import texts
from tapetum.cli.commands import command

app = typer.Typer()


@command(
    app,
    "tapetum serve runs/first",
    "tapetum serve first-onnx --host 0.0.0.0 --token-file token.txt",
    text=texts.serve,
)
def serve(
    pipeline: Annotated[Path, typer.Argument(help="a pipeline folder, a run that holds one, or an exported folder")],
    host: Annotated[str, typer.Option(help="address to listen at; one that other machines reach needs a token")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0 takes a free one", min=0, max=65535)] = 8000,
    token_file: Annotated[
        Path | None, typer.Option("--token-file", help="a file with the token that callers must send; else TAPETUM_TOKEN counts")
    ] = None,
    allow_host: Annotated[
        list[str] | None, typer.Option("--allow-host", help="a further name that the service may be called by, as that of a proxy")
    ] = None,
    max_bytes: Annotated[int | None, typer.Option("--max-bytes", help="of one request; 32 MiB", min=1)] = None,
    max_pixels: Annotated[int | None, typer.Option("--max-pixels", help="of an image; 50 million", min=1)] = None,
    max_images: Annotated[int | None, typer.Option("--max-images", help="of one request; 32", min=1)] = None,
    waiting: Annotated[int | None, typer.Option(help="images that wait at most; 128", min=1)] = None,
    reading: Annotated[float | None, typer.Option(help="seconds in which a request must have been sent; 30", min=0.01)] = None,
    deadline: Annotated[float | None, typer.Option(help="seconds in which a request must have been answered; 30", min=0.01)] = None,
) -> dict[str, Any]:
    """Answer images over HTTP, with a page to try it; Ctrl-C stops it once what was asked is answered."""
    from tapetum import api

    bounds: dict[str, Any] = {"max_bytes": max_bytes, "max_pixels": max_pixels, "max_images": max_images}
    times: dict[str, Any] = {"waiting": waiting, "reading": reading, "deadline": deadline}
    return api.serve(pipeline, host, port, token_file=token_file, allow_host=allow_host or (), **bounds, **times, log=_show)


def _show(message: str) -> None:
    print(message, file=sys.stderr, flush=True)
