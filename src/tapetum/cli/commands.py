"""How a command is declared: its help ends with examples, it takes ``--json`` and ``--verbose``, and what it returns is printed."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

import typer

from tapetum.cli.progress import Progress
from tapetum.cli.streams import show
from tapetum.core import errors
from tapetum.core.words import verb

Text = Callable[[Mapping[str, Any], bool], Sequence[str]]  # (result, verbose) → lines for people
Json = Annotated[bool, typer.Option("--json", help="print the result as JSON")]
Verbose = Annotated[bool, typer.Option("--verbose", help="print the log and every table too")]


def command(
    app: typer.Typer,
    *examples: str,
    text: Text,
    name: str | None = None,
    leave_out: Sequence[str] = (),
    is_partly: Callable[[Mapping[str, Any]], bool] = lambda result: False,
) -> Callable[[Callable[..., Mapping[str, Any]]], Callable[..., None]]:
    """Register a function as a command.

    Args:
        app: where it is registered.
        examples: command lines that the help shows.
        text: makes lines for people of what the function returns; ``--json`` prints the result itself.
        name: of the command; None: the function's.
        leave_out: keys of the result that ``--json`` does not print.
        is_partly: takes a result; true where the command ends with exit code 4.

    The function gets ``log``, which shows progress, where it declares it.
    """

    def register(function: Callable[..., Mapping[str, Any]]) -> Callable[..., None]:
        declared = dict(inspect.signature(function, eval_str=True).parameters)
        logs = declared.pop("log", None) is not None

        @functools.wraps(function)
        def run(**given: Any) -> None:
            as_json, verbose = given.pop("json"), given.pop("verbose", False)
            if logs:
                with Progress(verbose) as log:
                    result = function(**given, log=log)
            else:
                result = function(**given)
            show({key: value for key, value in result.items() if key not in leave_out} if as_json else text(result, verbose))
            if is_partly(result):
                raise SystemExit(errors.PARTLY)

        shared = {"verbose": Verbose, "json": Json} if logs else {"json": Json}
        added = [inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=one) for key, one in shared.items()]
        vars(run)["__signature__"] = inspect.Signature([*declared.values(), *added])  # typer reads a command's options from it
        app.command(name, epilog=_epilog(examples))(run)
        return run

    return register


def _epilog(examples: Sequence[str]) -> str:
    return "\n".join([f"{verb(len(examples), 'Example', 'Examples')}:", "", "\b", *(f"  {line}" for line in examples)])
