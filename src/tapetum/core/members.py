"""``[[member]]`` tables of a recipe: their names, which sections they may have, and values laid over them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tapetum.core.checking import suggestion
from tapetum.core.errors import UserError, listed, nearest
from tapetum.core.nested import merge

OWN_KEYS = ("name", "only_folds", "enabled")  # of the table itself; all others are a recipe's
TRAINS = ("seed", "input", "augment", "mix", "sample", "model", "sequence", "loss", "optimizer", "schedule", "train", "stages", "average")
SECTIONS = (*TRAINS, "memory", "predict")  # that a member reads; all others are read of the recipe alone
OF_THE_RUN = ("data", "split", "probe", "decide", "tune", "statements", "profile", "member", "track")
OF_THE_RUN_IN_PREDICT = ("arrays", "saliency", "saliency_rows")


def name_of(table: Mapping[str, Any]) -> str:
    """Return a member's name.

    Raises:
        UserError: none, or one that no folder can have or no dotted key can name.
    """
    if not table.get("name"):
        raise UserError("a [[member]] table has no name", need="name = '…' in each")
    name = str(table["name"])
    if name != name.strip() or any(c in './\\:*?"<>|' or not c.isprintable() for c in name):
        raise UserError(f"a [[member]] table has the name {name!r}", need="a name that can be a folder's, without dots, as effnet-b2")
    return name


def check(table: Mapping[str, Any]) -> None:
    """Refuse a member's keys that a member does not have, and wrong values of its own ones, whether it is enabled or not."""
    name = name_of(table)
    for key, value in table.items():
        if key in OF_THE_RUN:
            raise _of_the_run(name, key)
        if key == "predict" and isinstance(value, Mapping):
            for inner in value:
                if inner in OF_THE_RUN_IN_PREDICT:
                    raise _of_the_run(name, f"predict.{inner}")
        if key not in (*SECTIONS, *OWN_KEYS):
            offer = suggestion(key, (*SECTIONS, *OWN_KEYS))
            raise UserError(
                f"member {name!r}: the recipe has no key {key!r}.{f' Did you mean {offer!r}?' if offer else ' See: tapetum explain'}"
            )
    if not isinstance(enabled := table.get("enabled", True), bool):
        raise UserError(f"member {name!r} has enabled = {enabled!r}", need="true or false")
    folds = table.get("only_folds", ())
    if not isinstance(folds, (list, tuple)) or any(type(fold) is not int or fold < 0 for fold in folds):
        raise UserError(f"member {name!r} has only_folds = {folds!r}", need="a list of fold numbers, as [0, 2]")


def laid_over(members: Any, by_name: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return member tables with values laid over some of them: ``{"age-1": {"train": {"epochs": 2}}}``.

    Raises:
        UserError: an unknown member, or values that are no table.
    """
    tables: Sequence[Any] = members if isinstance(members, (list, tuple)) else ()
    if odd := [table for table in tables if not isinstance(table, Mapping)]:
        raise UserError(f"member has {odd[0]!r} in it", need="tables, as member = [{name = 'a'}]")
    names = [str(table.get("name", "")) for table in tables]
    for name, values in by_name.items():
        if name not in names:
            raise UserError(f"there is no member {name!r} (there are: {listed(names, 40) or 'none'}).{nearest(name, names)}")
        if not isinstance(values, Mapping):
            raise UserError(f"member.{name} is set to {values!r}", need=f"a key and its value, as member.{name}.enabled = true")
    return [merge(table, by_name.get(name, {})) for name, table in zip(names, tables, strict=True)]


def _of_the_run(name: str, key: str) -> UserError:
    return UserError(
        f"member {name!r} has {key}, which is read of the whole recipe alone",
        need=f"sections that a member may have: {listed(SECTIONS, 20)}",
        fix=f"set {key} beside the [[member]] tables",
    )
