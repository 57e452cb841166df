"""Which column means what: declared, or inferred by a stated rule and printed; never guessed silently."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import polars as pl

from tapetum.core.config import Data
from tapetum.core.errors import DataError, UserError, listed
from tapetum.core.expressions import codes, expression_names
from tapetum.core.tables import RESERVED
from tapetum.core.targets import Target, read_target
from tapetum.core.words import plural, verb
from tapetum.data.images.formats import IMAGE_SUFFIXES
from tapetum.data.layouts import several
from tapetum.data.layouts.nearby import path_beside
from tapetum.data.layouts.paths import is_template, template_columns, unknown_column
from tapetum.data.layouts.sheet import Sheet

ID_NAMES = ("row_id", "id", "image_id", "imageid")  # read as the id column, in any case of letters
PLAIN_ROLES = ("group", "sequence", "position", "split", "fold", "weight", "sha256")  # inferred by exactly this name
_FLAGS = {"id": "--id", "group": "--group"}


@dataclasses.dataclass(frozen=True)
class Roles:
    """The columns of one sheet by meaning.

    Args:
        path: a column, template, or several.
        plain: role → column, for id, group, sequence, position, split, fold, weight and sha256.
        targets: the targets in order, classes not yet read from the data.
        side: columns of side numbers.
        why: (role, column, reason) for the printed schema.
        unused: columns without a role.
    """

    path: str | tuple[str, ...]
    plain: dict[str, str]
    targets: tuple[Target, ...]
    side: tuple[str, ...]
    why: tuple[tuple[str, str, str], ...]
    unused: tuple[str, ...]

    def lines(self) -> Iterator[str]:
        """Yield the schema, a line a role."""
        roles = [role for role, _, _ in self.why]
        columns = [column for _, column, _ in self.why]
        wide, wider = max(map(len, roles)), max(map(len, columns))
        for role, column, reason in self.why:
            yield f"  {role:<{wide}}  {column:<{wider}}  {reason}"
        if self.unused:
            yield f"  not used: {listed(self.unused, 20)}"


def find_roles(sheet: Sheet, data: Data, *, labelled: bool = True, first: Sequence[Target] = ()) -> Roles:
    """Give every column of a sheet its meaning.

    Args:
        sheet: the rows.
        data: what the user declares.
        labelled: false where targets may be absent (test tables, images to predict).
        first: the targets of the table that this one is added to, which are its own too, whether declared or found there.

    Raises:
        UserError: a declared column that does not exist, or no target named: the candidates are listed.
        DataError: no column, or more than one, that can hold the paths.
    """
    frame, why = sheet.frame, []
    path, reason = _path_role(sheet, data)
    why.append(("path", path if isinstance(path, str) else ", ".join(path), reason))
    plain: dict[str, str] = {}
    for role in ("id", *PLAIN_ROLES):
        found = _plain_role(role, sheet, data, required=labelled)
        if found is not None:
            plain[role] = found[0]
            why.append(("row_id" if role == "id" else role, *found))
    if "id" not in plain:
        why.insert(1, ("row_id", why[0][1], "no id column: the path, relative to the table"))
    specs, origin = (data.targets, "declared") if data.targets else (sheet.targets, "of this layout")
    targets = tuple(_as_the_layout_has_it(read_target(spec), data.targets, sheet) for spec in specs)
    if not any(target.scored for target in targets):  # identities are beside what the layout brings, not in its place
        targets = (*(read_target(spec) for spec in sheet.targets), *targets) if data.targets else targets
    if first:
        targets, origin = tuple(first), "declared" if data.targets else "as in the first table"
    side = tuple(data.side)
    _refuse_reserved([t.name for t in targets], "target", sheet.name)
    _refuse_reserved(side, "side number", sheet.name)
    _refuse_reserved(data.derive, "derived target", sheet.name)
    used = {*plain.values(), *side, *(t.name for t in targets), *_path_columns(path, frame.columns)}
    if not targets and labelled:
        raise _no_target(sheet, [c for c in frame.columns if c not in used])
    for target in targets:
        if target.name not in frame.columns:
            if labelled:
                raise unknown_column(target.name, frame.columns, sheet.name, "--target", _rest(target, specs))
            why.append(("target", target.name, "absent: no labels"))
        else:
            brought = (
                "of this layout"
                if not first and target.scored and not any(read_target(s).name == target.name for s in data.targets)
                else origin
            )
            why.append(("target", target.name, f"{_kind_text(target)}, {brought}"))
    for column in side:
        if column not in frame.columns:
            raise unknown_column(column, frame.columns, sheet.name, "--side")
        why.append(("side number", column, "declared"))
    unused = tuple(c for c in frame.columns if c not in used)
    return Roles(path, plain, targets, side, tuple(why), unused)


def layout_target(sheet: Sheet, name: str) -> Target | None:
    """Return the target of this name that the layout brings with its classes in order; None where it brings none, or reads them."""
    return next((t for t in map(read_target, sheet.targets) if t.name == name and t.classes), None)


def _as_the_layout_has_it(target: Target, specs: Sequence[Any], sheet: Sheet) -> Target:
    """Return a target with the layout's classes in the layout's order (and its kind) where the user states none of his own.

    The codes of a derived target depend on that order. An ordinal target takes no order from classes that have none.
    """
    own, stated = layout_target(sheet, target.name), several.declared(specs, target.name)
    if own is None or target.classes or target.is_identity:
        return target
    if "kind" not in stated:
        return dataclasses.replace(target, kind=own.kind, classes=own.classes)
    alike = own.kind == target.kind or (own.kind, target.kind) == ("ordinal", "single")
    return dataclasses.replace(target, classes=own.classes) if alike else target


def changed_codes(sheet: Sheet, targets: Sequence[Target], name: str, expression: str) -> str | None:
    """Say how the codes of a layout's derived target change by an expression over the targets named; None where they stay.

    An expression over other targets than the layout's is the user's own.
    """
    parts = expression_names(expression)
    own = {n: target for n in expression_names(sheet.derive[name]) if (target := layout_target(sheet, n)) is not None}
    now = {t.name: t for t in targets if t.name in own and t.classes and t.kind in ("single", "ordinal")}
    if set(parts) != set(own) or set(now) != set(own):
        return None
    was = codes(sheet.derive[name], own)
    for classes, code in codes(expression, now).items():
        if (before := was.get(classes)) not in (None, code):
            orders = [f"{n} = {listed(own[n].classes, 12)}" for n in own if now[n].classes != own[n].classes]
            of_layout = f" (the layout's order is {'; '.join(orders)})" if orders else ""
            return f"{', '.join(' '.join(one) for one in sorted(classes))} would be {code} instead of {before}{of_layout}"
    return None


def _refuse_reserved(names: Iterable[str], what: str, table: str) -> None:
    """Refuse names that columns of the manifest have."""
    reserved = [name for name in names if name in RESERVED]
    if reserved:
        raise UserError(
            f"a {what} of {table} is called {reserved[0]!r}, which has a meaning of its own here",
            need=f"another name than {listed(sorted(RESERVED), 20)}",
            fix=f"rename it, as {reserved[0]}_label" + ("" if what == "derived target" else ", in the table"),
        )


def _path_role(sheet: Sheet, data: Data) -> tuple[str | tuple[str, ...], str]:
    columns = sheet.frame.columns
    if data.path is not None:
        for item in [data.path] if isinstance(data.path, str) else data.path:
            if item not in columns and not is_template(item, columns):
                raise unknown_column(item, columns, sheet.name, "--path")
        return data.path, "declared"
    if "path" in sheet.roles:
        return sheet.roles["path"], "of this layout"
    candidates = [name for name in columns if _holds_images(sheet.frame[name])]
    if len(candidates) == 1:
        return candidates[0], "inferred: the only column whose every cell ends like an image file"
    if "path" in candidates:
        return "path", "inferred: it is called so, and its cells end like image files"
    if candidates:
        raise DataError(
            f"{sheet.name} has {plural(len(candidates), 'column')} of image files: {listed(candidates)}",
            need="the one to read, or all of them as channels or views",
            fix=f"name it: --path {candidates[0]}, or several: {' '.join(f'--path {c}' for c in candidates)}",
        )
    found = path_beside(sheet.frame, sheet.root)
    raise DataError(
        f"{sheet.name} has no column whose every cell ends like an image file (it has: {listed(columns, 20)}){_nearly(sheet.frame)}",
        fix=f"say where its images are: {found}" if found else "name it: --path COLUMN, or a template: --path 'images/{ID_COLUMN}.png'",
    )


def _nearly(frame: pl.DataFrame) -> str:
    """Return which column comes next to holding image files, its first odd cell and how many there are; empty where none does."""
    found = [(name, odd) for name in frame.columns if (odd := _odd_paths(frame[name])) is not None and not odd.all()]
    if not found:
        return ""
    name, odd = min(found, key=lambda one: int(one[1].sum()))
    row, count = int(odd.arg_true()[0]), int(odd.sum())
    cell = frame[name][row]
    shown = "blank" if cell is None else repr(cell.to_list() if isinstance(cell, pl.Series) else cell)
    return (
        f". {name!r} comes nearest: {count} of {plural(len(frame), 'cell')} "
        f"{verb(count, 'does', 'do')} not, first row {row + 1}, which is {shown}"
    )


def _odd_paths(column: pl.Series) -> pl.Series | None:
    """Return which cells of a column of text, or of lists of texts, do not end like image files; None for any other column."""
    ending = "(?i)(" + "|".join(suffix.replace(".", r"\.") for suffix in IMAGE_SUFFIXES) + ")$"
    if column.dtype == pl.List(pl.String):
        fits = [bool(cell) and all(re.search(ending, one or "") for one in cell) for cell in column.to_list()]
        return ~pl.Series(fits, dtype=pl.Boolean)
    return ~column.str.contains(ending).fill_null(False) if column.dtype == pl.String else None


def _holds_images(column: pl.Series) -> bool:
    odd = _odd_paths(column)
    return odd is not None and len(odd) > 0 and not odd.any()


def _plain_role(role: str, sheet: Sheet, data: Data, required: bool) -> tuple[str, str] | None:
    columns = sheet.frame.columns
    declared = getattr(data, role, None)
    if declared == "none" and "none" not in columns:  # do not infer it
        return None
    if declared is not None:
        if declared in columns:
            return declared, "declared"
        if role in sheet.roles:  # a layout's own way of saying it (folders called train and test)
            return sheet.roles[role], "of this layout"
        if required:
            without = f"Write --set data.{role}=none where there is none"
            raise unknown_column(declared, columns, sheet.name, _FLAGS.get(role, f"--set data.{role}="), fix=without)
        return None
    if role in sheet.roles:
        return sheet.roles[role], "of this layout"
    named = _targets_named(data)
    for name in columns:
        if name not in named and (name.lower() in ID_NAMES if role == "id" else name == role):
            return name, "inferred: it is called so"
    return None


def _targets_named(data: Data) -> set[str]:
    return {read_target(spec).name for spec in data.targets} - RESERVED | set(data.side)


def _path_columns(path: str | Sequence[str], columns: Sequence[str]) -> set[str]:
    out: set[str] = set()
    for item in [path] if isinstance(path, str) else path:
        out.update([item] if item in columns else template_columns(item))
    return out


def _no_target(sheet: Sheet, rest: Sequence[str]) -> UserError:
    candidates = [c for c in rest if sheet.frame[c].drop_nulls().n_unique() > 1]
    if not candidates:
        return UserError(f"{sheet.name} has no column left that could be a target", need="a column of labels", fix="name it: --target NAME")
    return UserError(
        f"no target is named; columns that could be one: {listed(candidates)}",
        fix=f"name it: --target {candidates[0]}, or with its kind, as --target {candidates[0]}:multi",
    )


def _rest(target: Target, specs: Sequence[Any]) -> str:
    text = next((s for s in specs if isinstance(s, str) and s.partition(":")[0] == target.name), target.name)
    return text.removeprefix(target.name)


def _kind_text(target: Target) -> str:
    if target.is_identity:
        return "identities, never scored"
    return {"single": "single label", "multi": "several labels", "ordinal": "ordered classes", "regression": "a number"}[target.kind]
