"""The command line: one function a command; the work is done in :mod:`tapetum.api`. Heavy modules are imported when needed.

Results go to stdout (``--json`` for machines), progress and errors to stderr.
"""

from __future__ import annotations

import errno
import os
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from tapetum import __version__
from tapetum.cli import answers, images, inquiry, mending, runs, serving, sleep
from tapetum.cli.streams import file_names_are_utf8, replace_unprintable
from tapetum.core import allocator, disk, errors


class Whole(TyperGroup):
    """Commands with the whole of their first sentence, over several lines where it is long."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write a line or more for each command."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, one.get_short_help_str(limit=1000)) for name, one in self.commands.items() if not one.hidden])


# What the system answers where a place cannot be written, and where the machine failed.
_DENIED = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_FAILED = (errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENODEV, errno.ENXIO, errno.ESTALE, errno.ETIMEDOUT, errno.EBUSY)

app = typer.Typer(
    name="tapetum",
    cls=Whole,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
for group in (runs, images, answers, serving, inquiry):
    app.add_typer(group.app)  # without a name its commands are beside the others
app.add_typer(sleep.app, name="sleep", cls=Whole)
mending.know(app)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"tapetum {__version__}")
        raise typer.Exit


@app.callback(epilog="Example:\n\n\b\n  tapetum fit images -o runs/first\n  tapetum fit -h")
def tapetum(
    version: Annotated[bool, typer.Option("--version", help="print the version", callback=_print_version, is_eager=True)] = False,
) -> None:
    """Labelled images in, a classifier that one can trust out, with the evidence."""


def _refuse_blank(words: list[str]) -> None:
    """Refuse blank arguments: a path that is blank would be the folder at work."""
    if "" in words:
        before = words[words.index("") - 1] if words.index("") else "tapetum"
        raise errors.UserError(f"the argument after {before!r} is blank", need="a value", fix="is a variable of the shell unset?")


def _help_words(words: list[str]) -> list[str]:
    """Return ``help`` and ``help COMMAND`` as the options that they stand for."""
    return [*(word for word in words[1:2] if word != "help"), "--help"] if words[:1] == ["help"] else words


def _told(error: OSError) -> str | None:
    """Return the sentence for an error of the system, or None for one that is a fault of Tapetum's own."""
    number = disk.number_of(error)
    if number not in (*_DENIED, *_FAILED):
        return None
    what = "written" if number in _DENIED else "read or written"
    fix = "Choose another place with -o" if number in _DENIED else "The same command goes on once the machine can"
    file = error.filename
    if number in (errno.EACCES, errno.EPERM) and file and os.path.exists(file) and not os.access(file, os.R_OK):
        what, fix = "read", "Give yourself the right to read it"
    return f"error: {file or 'a file'} cannot be {what}: {os.strerror(number)}. {fix}"


def main() -> None:
    """Run the command line; every known error ends with its own exit code and one sentence."""
    allocator.keep_memory()
    file_names_are_utf8()
    replace_unprintable()
    os.environ.setdefault("HF_HUB_OFFLINE", "0" if "--online" in sys.argv else "1")
    sys.argv[1:] = _help_words(sys.argv[1:])
    try:
        _refuse_blank(sys.argv[1:])
        app()
    except errors.TapetumError as error:
        print(f"error: {mending.suited(error, mending.running())}", file=sys.stderr)
        raise SystemExit(error.exit_code) from None
    except SystemExit as end:
        if end.code == errors.INTERRUPTED:  # what typer makes of Ctrl-C
            print("interrupted; what was finished is saved, and the same command goes on", file=sys.stderr)
        raise
    except UnicodeEncodeError as error:  # a name of bytes that are not UTF-8, where nothing said so earlier
        print(f"error: {error.object[:200]!r} is not UTF-8. Rename it", file=sys.stderr)
        raise SystemExit(errors.DATA) from None
    except OSError as error:
        if (told := _told(error)) is None:
            raise
        print(mending.suited_text(told), file=sys.stderr)
        raise SystemExit(errors.ENVIRONMENT) from None
