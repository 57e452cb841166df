"""After audit and split no two copies of an image lie in different folds, whatever the sizes, groups and kinds of folds."""

import tempfile
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tapetum.core.config import Data, Split
from tapetum.core.errors import DataError
from tapetum.data import audit, layouts, split
from tapetum.data.images.decode import Composition


@st.composite
def copied(draw):
    """Draw how often each image is there, by which bytes, the rows' groups, and how rows are split.

    Copies that are not exact stay apart where the data declare them to be of two groups; those are look-alikes, in no set.
    """
    sizes = draw(st.lists(st.sampled_from([1, 1, 2, 3, 5]), min_size=5, max_size=10))
    kinds = draw(st.sampled_from(["exact", "near", "both"]))
    grouped = draw(st.booleans())
    how = draw(st.sampled_from([Split(folds=2), Split(folds=3), Split(folds=5), Split(holdout=0.3)]))
    return sizes, kinds, grouped, how, draw(st.integers(0, 2**32))


def written(folder: Path, sizes: list[int], kinds: str, grouped: bool, rng: np.random.Generator) -> tuple[Path, dict[str, int]]:
    """Write images with copies as a table in any order, and return which image each file shows."""
    lines, shows = [], {}
    for number, size in enumerate(sizes):
        coarse = Image.fromarray(rng.integers(20, 235, (9, 9, 3)).astype(np.uint8)).resize((72, 72), Image.Resampling.BICUBIC)
        for copy in range(size):
            is_near = copy > 0 and kinds != "exact" and (kinds == "near" or copy % 2 == 1)
            image = coarse.point(lambda value, by=copy: min(value + 2 * by, 255)).resize((64, 64)) if is_near else coarse
            name = f"{number}-{copy}.png"
            image.save(folder / name)
            shows[name] = number
            lines.append(f"{name},{'ab'[len(lines) % 2]},{int(rng.integers(20)) if grouped else number * 10 + copy}\n")
    rng.shuffle(lines)
    (folder / "t.csv").write_text("file,label,person\n" + "".join(lines), encoding="utf-8")
    return folder / "t.csv", shows


@given(copied())
@settings(max_examples=15, deadline=None)
def test_copies_never_lie_in_different_folds(case):
    sizes, kinds, grouped, how, seed = case
    with tempfile.TemporaryDirectory() as place:
        table, shows = written(Path(place), sizes, kinds, grouped, np.random.default_rng(seed))
        manifest = layouts.read(table, Data(targets=("label",), group="person" if grouped else None), lambda _: None)
        sets = audit.duplicates(audit.examine(manifest, Composition(), lambda _: None, workers=1))
    try:
        done = split.assign_folds(manifest, how, seed % 100, lambda _: None, duplicates=sets)
    except DataError:  # fewer groups than folds are left
        assert how.holdout is None
        return
    fold = dict(zip(done.row_ids, done.fold.tolist(), strict=True))
    for rows in (sets, {} if grouped and kinds != "exact" else shows, dict(zip(manifest.row_ids, manifest.groups, strict=True))):
        for number in set(rows.values()):
            assert len({fold[row_id] for row_id, other in rows.items() if other == number}) == 1, number
