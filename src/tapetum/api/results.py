"""What the functions of the API return: a mapping that prints well, is a table in a notebook, and becomes a data frame."""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tapetum.core.errors import EnvironmentFault, UserError
from tapetum.core.words import plural

if TYPE_CHECKING:
    import pandas
    import polars

SHOWN = 20  # rows of a table in a notebook


class Result(dict[str, Any]):
    """The result of a function of the API: its values by name, as ``result["figures"]``.

    Args:
        values: by name; what a command prints as ``--json``.
        lines: the result in words; None: ``values["table"]``.
        rows: the table, as records or as a function that makes a data frame; None where there is none.
        path: the folder or file that was written.
    """

    def __init__(
        self,
        values: Mapping[str, Any],
        *,
        lines: Sequence[str] | None = None,
        rows: Sequence[Mapping[str, Any]] | Callable[[], polars.DataFrame] | None = None,
        path: Path | str | None = None,
    ) -> None:
        super().__init__(values)
        self._lines, self._rows = lines, rows
        self._path = None if path is None else Path(path)

    @property
    def path(self) -> Path | None:
        """The folder or file that was written; None where nothing was."""
        return self._path

    def to_polars(self) -> polars.DataFrame:
        """Return the table of the result.

        Raises:
            UserError: the result has none.
        """
        import polars

        if self._rows is None:
            raise UserError("this result has no table", need=f"one of its values: {', '.join(self)}")
        return self._rows() if callable(self._rows) else polars.DataFrame(list(self._rows), infer_schema_length=None, strict=False)

    def to_pandas(self) -> pandas.DataFrame:
        """Return the table of the result as pandas has it.

        Raises:
            EnvironmentFault: pandas is not installed.
            UserError: the result has no table.
        """
        frame = self.to_polars()
        try:
            import pandas
        except ImportError:
            raise EnvironmentFault("pandas is not installed", fix="pip install pandas, or use to_polars()") from None
        return pandas.DataFrame(frame.to_dict(as_series=False))  # polars' own way needs pyarrow

    def __repr__(self) -> str:
        text = "\n".join(self._lines) if self._lines is not None else str(self.get("table") or ", ".join(self))
        return text if self._path is None else f"{text}\nwritten to {self._path}"

    def _repr_html_(self) -> str:
        """Return the result as HTML for a notebook; every text in it is escaped."""
        parts = [f"<div>{html.escape(line)}</div>" for line in self._lines or ()]
        if self._rows is not None:
            parts.append(_table(self.to_polars()))
        elif self._lines is None:
            parts.append(f"<pre>{html.escape(str(self.get('table') or ', '.join(self)))}</pre>")
        if self._path is not None:
            parts.append(f"<div>written to <code>{html.escape(str(self._path))}</code></div>")
        return "\n".join(parts)


def of_run(values: Mapping[str, Any]) -> Result:
    """Return the result of a run: its summary as the command line prints it, and its figures as the table."""
    from tapetum.core.files import read_json
    from tapetum.show import summary

    metrics = read_json(Path(values["run"]) / "metrics.json")
    lines = [*summary.lines(metrics), f"report: {values['report']}"]
    return Result(values, lines=lines, rows=values["figures"], path=values["run"])


def _table(frame: polars.DataFrame) -> str:
    head = "".join(f"<th>{html.escape(name)}</th>" for name in frame.columns)
    body = ["".join(f"<td>{html.escape(_cell(cell))}</td>" for cell in row) for row in frame.head(SHOWN).iter_rows()]
    more = f"<div>… {plural(len(frame) - SHOWN, 'more row')}</div>" if len(frame) > SHOWN else ""
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(f'<tr>{row}</tr>' for row in body)}</tbody></table>{more}"


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4g}"
    return ", ".join(map(_cell, value)) if isinstance(value, (list, tuple)) else str(value)
