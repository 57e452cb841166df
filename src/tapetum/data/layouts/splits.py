"""The words that tables and folders use for their parts, and what they mean here."""

from __future__ import annotations

import polars as pl

from tapetum.core.errors import DataError, UserError, listed
from tapetum.core.progress import Log
from tapetum.core.tables import SPLITS
from tapetum.core.words import plural, verb
from tapetum.data.layouts.cells import text_column

HELD = "val"  # validation rows: training rows that fold 0 holds out
SPLIT_WORDS = {
    "train": "train",
    "training": "train",
    "test": "test",
    "testing": "test",
    "val": HELD,
    "valid": HELD,
    "validation": HELD,
    "dev": HELD,
    "extra": "extra",
    "spare": "spare",
}


def read_splits(frame: pl.DataFrame, name: str, log: Log) -> pl.DataFrame:
    """Translate the words in ``split``; validation rows become training rows that fold 0 holds out, and the log says so.

    Raises:
        DataError: another word; its row is named.
        UserError: validation rows and a ``fold`` column disagree.
    """
    if frame["split"].dtype != pl.String:
        frame = frame.with_columns(text_column(frame["split"]))
    words = [SPLIT_WORDS.get(word.strip().lower(), word) if word else word for word in frame["split"].to_list()]
    heldout = [word == HELD for word in words]
    odd = [i for i, word in enumerate(words) if word and word not in (*SPLITS, HELD)]
    if odd:
        row_id, word = frame["row_id"][odd[0]], words[odd[0]]
        raise DataError(
            f"{name} row {row_id!r} has split = {word!r} ({len(odd)} of {plural(len(words), 'row')} "
            f"{verb(len(odd), 'has', 'have')} such a word)",
            need=f"one of {listed(SPLIT_WORDS, 20)}",
            fix="correct the column, or, if it means something else: --set data.split=none",
        )
    splits = pl.Series("split", ["train" if word == HELD else word for word in words], dtype=pl.String)
    frame = frame.with_columns(splits)
    if not any(heldout):
        return frame
    if "fold" in frame.columns:
        found = {raw for raw, is_held in zip(frame["split"].to_list(), heldout, strict=True) if is_held}
        raise UserError(
            f"{name} has rows of split {listed(sorted(map(str, found)))} and a fold column", fix="leave one: --set data.fold=none"
        )
    log(
        f"{name}: {plural(sum(heldout), 'row')} of the validation split "
        f"{verb(sum(heldout), 'is', 'are')} held out as fold 0; the other training rows always train"
    )
    return frame.with_columns(pl.Series("fold", [0 if is_held else -1 for is_held in heldout], dtype=pl.Int16))
