from __future__ import annotations

import dataclasses
from pathlib import Path

import imagehash
import numpy as np
import polars as pl
import pytest
from PIL import Image
from skimage import data as photographs

from images import quiet
from tapetum.core.config import Data
from tapetum.core.errors import DataError, UserError
from tapetum.core.tables import Dense, Manifest
from tapetum.core.targets import Target
from tapetum.data import audit, layouts, split
from tapetum.data.audit import near_duplicates
from tapetum.data.audit.image_statistics import chroma, misnamed, sampled, thumbnail
from tapetum.data.audit.table import found_text
from tapetum.data.images.decode import Composition
from tapetum.data.images.formats import content_format
from tapetum.systems.dogs.simulate import simulate_dogs
from tapetum.systems.hpa.simulate import simulate_hpa


@pytest.fixture(scope="module")
def dogs(tmp_path_factory):
    out = tmp_path_factory.mktemp("dogs")
    summary = simulate_dogs(out, size=420, px=72, seed=1)
    manifest = layouts.read(Path(summary["paths"]["source"]), Data(), quiet)
    return manifest, audit.examine(manifest, Composition(), quiet, workers=2), pl.read_csv(out / "truth.csv")


def rows_of(truth: pl.DataFrame, *planted: str) -> set[str]:
    return set(truth.filter(pl.col("planted").is_in(planted).fill_null(False))["row_id"])


def test_every_planted_fault_is_found_and_no_other(dogs):
    manifest, table, truth = dogs
    assert dict(table.schema) == audit.AUDIT_SCHEMA
    assert table["row_id"].to_list() == manifest.row_ids
    assert set(table.filter("gray")["row_id"]) == rows_of(truth, "gray")
    assert set(table.filter(pl.col("status") == "missing")["row_id"]) == rows_of(truth, "truncated", "no_image")
    assert set(table.filter(pl.col("misnamed").is_not_null())["row_id"]) == rows_of(truth, "misnamed")
    assert set(table.filter(pl.col("decision") == "exclude")["row_id"]) == rows_of(truth, "truncated", "no_image")
    assert f"{table['gray'].sum()} gray" in found_text(table)


def test_planted_duplicates_are_found_with_their_originals_and_no_others(dogs):
    _, table, truth = dogs
    pairs = {frozenset(p) for p in truth.filter(pl.col("copy_of").is_not_null()).select("row_id", "copy_of").iter_rows()}
    found: dict[str, set[str]] = {}
    for row_id, name in audit.duplicates(table).items():
        found.setdefault(name, set()).add(row_id)
    sets = {frozenset(members) for members in found.values()}
    assert sets <= pairs  # precision 1
    exact = {frozenset(p) for p in truth.filter(pl.col("planted") == "exact").select("row_id", "copy_of").iter_rows()}
    assert exact <= sets
    assert len(sets) >= 0.8 * len(pairs)
    assert set(table.filter(pl.col("duplicate_kind") == "exact")["row_id"]) == {r for pair in exact for r in pair}
    labels = dict(truth.select("row_id", "label").iter_rows())
    notes = dict(table.select("row_id", "note").iter_rows())
    for pair in exact:
        a, b = pair
        assert (labels[a] != labels[b]) == ("labelled otherwise" in notes[a]) == ("labelled otherwise" in notes[b])


def test_sets_of_duplicates_share_a_fold(dogs):
    manifest, table, _ = dogs
    from tapetum.core.config import Split

    done = split.assign_folds(manifest, Split(folds=3), 0, quiet, duplicates=audit.duplicates(table))
    fold = dict(zip(done.row_ids, done.fold.tolist(), strict=True))
    for _, members in table.filter(pl.col("duplicate").is_not_null()).group_by("duplicate"):
        assert len({fold[r] for r in members["row_id"]}) == 1


def test_cells_turned_over_are_duplicates_only_where_asked(tmp_path):
    summary = simulate_hpa(tmp_path, size=150, px=64, seed=3)
    manifest = layouts.read(Path(summary["paths"]["source"]), Data(), quiet)
    truth = pl.read_csv(tmp_path / "truth.csv")
    turned = audit.examine(manifest, Composition(), quiet, dihedral=True)
    pairs = {r for row in truth.filter(pl.col("planted").is_not_null()).select("row_id", "copy_of").iter_rows() for r in row}
    assert set(audit.duplicates(turned)) == pairs
    plain = audit.duplicates(audit.examine(manifest, Composition(), quiet))
    assert rows_of(truth, "exact") <= set(plain)
    assert not rows_of(truth, "turned") & set(plain)
    assert turned["gray"].null_count() == len(turned)  # four channels have no colour


def test_hashes_are_those_of_imagehash_and_products_count_bits():
    images = [photographs.astronaut(), photographs.coffee(), photographs.chelsea(), photographs.rocket()]
    small = np.stack([thumbnail(p) for p in images])
    codes = near_duplicates.perceptual_hashes(small)
    for i, a in enumerate(small):
        for j, b in enumerate(small):
            hashes = [imagehash.phash(Image.fromarray(((x - x.min()) / np.ptp(x) * 255).astype(np.uint8))) for x in (a, b)]
            assert 32 * (1 - codes[i] @ codes[j]) == pytest.approx(hashes[0] - hashes[1], abs=1e-4)


def test_edited_photograph_is_a_duplicate_and_others_are_not():
    originals = [
        photographs.astronaut(),
        photographs.coffee(),
        photographs.chelsea(),
        photographs.rocket(),
        photographs.hubble_deep_field(),
    ]
    copies = []
    for p in originals:
        cut = Image.fromarray(p[6:, 8:]).resize((150, 130)).point(lambda v: min(255, int(v * 1.08)))
        copies.append(np.asarray(cut))
    small = np.stack([thumbnail(p) for p in originals + copies])
    found = near_duplicates.find_duplicates([str(i) for i in range(10)], small)
    assert found.set.tolist() == [0, 1, 2, 3, 4] * 2
    assert not found.exact.any()
    mirrored = np.stack([thumbnail(p) for p in [originals[0], originals[0][:, ::-1]]])
    assert near_duplicates.find_duplicates(["a", "b"], mirrored).set.tolist() == [-1, -1]
    assert near_duplicates.find_duplicates(["a", "b"], mirrored, dihedral=True).set.tolist() == [0, 0]


def test_flat_images_are_compared_by_content_alone():
    flat = np.stack([thumbnail(np.full((20, 30, 3), value, dtype=np.uint8)) for value in (0, 0, 9)])
    found = near_duplicates.find_duplicates(["a", "a", "b"], flat)
    assert found.set.tolist() == [0, 0, -1]
    assert near_duplicates.find_duplicates([None, None, None], flat).set.tolist() == [-1, -1, -1]


def test_being_the_same_is_passed_on():
    rng = np.random.default_rng(0)
    base = rng.normal(size=(32, 32))
    for _ in range(3):
        base = (base + np.roll(base, 1, 0) + np.roll(base, 1, 1)) / 3
    small = np.stack([thumbnail(np.uint8(np.clip(128 + 200 * x, 0, 255))[..., None]) for x in (base, base, base.T)])
    found = near_duplicates.find_duplicates(["a", "b", "b"], small)
    assert found.set.tolist() == [0, 0, 0]
    assert found.exact.tolist() == [False, True, True]


def test_vectors_bring_candidates_and_thumbnails_decide():
    small = np.stack([thumbnail(p) for p in (photographs.astronaut(), photographs.coffee(), photographs.astronaut())])
    small[2] = np.roll(small[2], 1, axis=1)
    vectors = np.ones((3, 4), dtype=np.float32)
    assert near_duplicates.find_duplicates(["a", "b", "c"], small, vectors=vectors).set.tolist() == [0, -1, 0]
    vectors[2] = np.nan
    near_duplicates.find_duplicates(["a", "b", "c"], small, vectors=vectors)


def test_gray_is_a_matter_of_chroma_and_sepia_is_none():
    gray = np.repeat(photographs.camera()[..., None], 3, axis=-1)
    sepia = (gray * np.array([1.0, 0.85, 0.6])).astype(np.uint8)
    difference, deviation = chroma(sampled(gray))
    assert difference == deviation == 0
    assert min(chroma(sampled(sepia))) > 8
    assert chroma(sampled(photographs.camera()[..., None])) == (None, None)
    wide = photographs.astronaut().astype(np.uint16) * 257
    assert chroma(sampled(wide)) == pytest.approx(chroma(sampled(photographs.astronaut())), rel=1e-3)


def test_a_set_of_gray_images_has_none_that_stand_out(tmp_path):
    for i in range(4):
        Image.fromarray(np.roll(photographs.camera(), 90 * i)).save(tmp_path / f"{i}.png")
    manifest = Manifest(pl.DataFrame({"row_id": list("abcd"), "path": [[f"{i}.png"] for i in range(4)]}), (), tmp_path)
    assert audit.examine(manifest, Composition(), quiet)["gray"].null_count() == 4


@pytest.mark.parametrize(
    ("start", "name"),
    [(b"\x89PNG\r\n", "PNG"), (b"\xff\xd8\xff\xe0", "JPEG"), (b"RIFF\x01\x02\x03\x04WEBP", "WEBP"), (b"MM\0*", "TIFF"), (b"<html>", None)],
)
def test_formats_are_known_by_their_first_bytes(start, name, tmp_path):
    assert content_format(start) == name
    assert misnamed(tmp_path / "a.jpg", start) == (None if name in ("JPEG", None) else f"a.jpg is {name}")


def noisy(kind="single", n=400, k=4, wrong=0.08, seed=0):
    """Rows whose probabilities know the true class, some labels being wrong: (dense, rows with wrong labels)."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(k, size=n)
    given = truth.copy()
    bad = np.sort(rng.choice(n, int(wrong * n), replace=False))
    given[bad] = (given[bad] + rng.integers(1, k, len(bad))) % k
    logits = rng.normal(size=(n, k)) + 4 * np.eye(k)[truth]
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    y = np.eye(k)[given]
    if kind == "multi":
        p = 1 / (1 + np.exp(-(rng.normal(size=(n, k)) + 6 * np.eye(k)[truth] - 3)))
    target = Target("breed", kind, tuple(f"c{i}" for i in range(k)))
    ids = np.array([f"r{i}" for i in range(n)], dtype=object)
    dense = Dense(target, ids, p.astype(np.float32), y.astype(np.float32), np.zeros(n, np.int16), np.full(n, "ok", dtype=object))
    return dense, set(bad.tolist()), truth


@pytest.mark.parametrize("kind", ["single", "ordinal", "multi"])
def test_wrong_labels_are_flagged_and_ranked_first(kind):
    dense, bad, truth = noisy(kind)
    found = audit.label_errors.find_suspects(dense)
    flagged = set(np.flatnonzero(found.flagged).tolist())
    assert len(flagged & bad) >= 0.6 * len(bad)
    assert len(flagged & bad) >= 0.6 * len(flagged)
    worst = np.argsort(-found.suspicion)[: len(bad)]
    assert len(set(worst.tolist()) & bad) >= 0.75 * len(bad)
    assert np.mean([found.suggested[i] == [f"c{truth[i]}"] for i in bad]) > 0.7


def test_neighbours_are_asked_where_there_are_vectors():
    dense, bad, truth = noisy()
    weak = dataclasses.replace(dense, p=np.full_like(dense.p, 0.25))
    vectors = (np.eye(4)[truth] + np.random.default_rng(1).normal(0, 0.1, (len(truth), 4))).astype(np.float32)
    vectors[7] = np.nan
    found = audit.label_errors.find_suspects(weak, vectors=vectors)
    others = np.array([i not in bad for i in range(len(truth))]) & ~np.isnan(found.disagreement)
    assert found.disagreement[sorted(bad - {7})].min() > 0.6 > 0.5 > found.disagreement[others].max()
    assert np.isnan(found.disagreement[7])
    with pytest.raises(DataError, match="vectors"):
        audit.label_errors.find_suspects(dense, vectors=vectors[:5])


def test_rows_without_answer_or_label_are_passed_over():
    dense, _, _ = noisy(n=120, k=5)
    p, y, status = dense.p.copy(), dense.y.copy(), dense.status.copy()
    y[dense.y[:, 4] == 1] = np.nan  # class 4 stands in no row
    p[3], status[3] = np.nan, "missing"
    found = audit.label_errors.find_suspects(dataclasses.replace(dense, p=p, y=y, status=status))
    unknown = np.isnan(y).any(axis=1) | (status != "ok")
    assert np.isnan(found.suspicion[unknown]).all()
    assert not found.flagged[unknown].any()
    assert not np.isnan(found.suspicion[~unknown]).any()
    with pytest.raises(DataError, match="no row"):
        audit.label_errors.find_suspects(dataclasses.replace(dense, y=np.full_like(y, np.nan)))
    with pytest.raises(UserError, match="number"):
        audit.label_errors.find_suspects(dataclasses.replace(dense, target=Target("age", "regression")))


def test_suspects_join_the_table_and_keep_decisions(dogs):
    manifest, table, truth = dogs
    rng = np.random.default_rng(0)
    target, ids = manifest.targets[0], manifest.row_ids
    shown = dict(truth.select("row_id", "shows").iter_rows())
    order = rng.permutation(len(ids))[: len(ids) - 20]
    y = manifest.truth(target.name)[order]
    logits = rng.normal(size=y.shape) + 6 * np.stack([np.eye(25)[target.classes.index(shown[ids[i]])] for i in order])
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    dense = Dense(
        target,
        np.array([ids[i] for i in order], dtype=object),
        p.astype(np.float32),
        y,
        np.zeros(len(order), np.int16),
        np.full(len(order), "ok", dtype=object),
    )
    said: list[str] = []
    done = audit.add_suspects(table, dense, said.append)
    assert done["row_id"].to_list() == ids
    assert done["decision"].to_list() == table["decision"].to_list()
    wrong = set(truth.filter(pl.col("shows") != pl.col("label"))["row_id"]) & set(dense.row_ids)
    flagged = done.filter("suspect")
    assert len(wrong & set(flagged["row_id"])) >= 0.4 * len(wrong)
    assert wrong <= set(done.sort("suspicion", descending=True, nulls_last=True)["row_id"][: len(wrong) + 3])
    for row in flagged.filter(pl.col("row_id").is_in(list(wrong))).iter_rows(named=True):
        assert row["suggested"] == [shown[row["row_id"]]]
        assert f"looks like {shown[row['row_id']]}" in row["note"]
    assert done["suspicion"].null_count() == 20
    assert "suspect" in said[-1]
    assert audit.add_suspects(done, dense, quiet).drop("note").equals(done.drop("note"))


def decided(table: pl.DataFrame, **actions: str) -> pl.DataFrame:
    words = [actions.get(r, d) for r, d in table.select("row_id", "decision").iter_rows()]
    return table.with_columns(pl.Series("decision", words))


@pytest.fixture
def few(tmp_path):
    for name, image in (("a", photographs.astronaut()), ("b", photographs.coffee()), ("c", photographs.chelsea())):
        Image.fromarray(image).resize((64, 64)).save(tmp_path / f"{name}.png")
    (tmp_path / "d.png").write_bytes((tmp_path / "a.png").read_bytes())
    (tmp_path / "e.png").write_bytes(b"broken")
    names = list("abcde")
    frame = pl.DataFrame(
        {
            "row_id": names,
            "path": [[f"{n}.png"] for n in names],
            "kind": ["x", "y", "x", "x", "y"],
            "tags": [["p"], ["q"], ["p", "q"], ["p"], ["q"]],
            "split": ["train", "train", "test", "train", "train"],
        }
    )
    targets = (Target("kind", "single", ("x", "y")), Target("tags", "multi", ("p", "q")))
    manifest = Manifest(frame, targets, tmp_path)
    return manifest, audit.examine(manifest, Composition(), quiet)


def test_decisions_are_obeyed_and_no_row_is_dropped(few):
    manifest, table = few
    assert dict(table.select("row_id", "decision").iter_rows()) == {"a": "group", "b": "keep", "c": "keep", "d": "group", "e": "exclude"}
    assert audit.duplicates(table) == {"a": "a", "d": "a"}
    assert audit.duplicates(decided(table, d="keep", a="keep")) == {}
    said: list[str] = []
    done = audit.apply(manifest, decided(table, b="exclude", c="exclude"), said.append)
    assert done.row_ids == manifest.row_ids
    assert done.split.tolist() == ["train", "spare", "test", "train", "spare"]  # test rows stay; e is damaged
    assert said == [
        "warning: exclude and relabel are for training rows alone; 1 other row stays in: c",
        "2 rows are left out as the audit decided: b, e",
    ]
    assert audit.apply(manifest, decided(table, e="keep"), quiet) is manifest


@pytest.mark.parametrize(("target", "labels", "cell"), [("kind", ["y"], "y"), ("tags", ["p", "q"], ["p", "q"])])
def test_relabelled_rows_get_what_is_suggested(few, target, labels, cell):
    manifest, table = few
    mine = pl.col("row_id") == "a"
    table = decided(table, a="relabel", e="keep").with_columns(
        pl.when(mine).then(pl.lit(target)).otherwise(pl.col("target")).alias("target"),
        pl.when(mine).then(pl.lit(pl.Series([labels]))).otherwise(pl.col("suggested")).alias("suggested"),
    )
    done = audit.apply(manifest, table, quiet)
    assert done.frame[target][0] == cell if isinstance(cell, str) else done.frame[target][0].to_list() == cell
    assert done.frame.schema == manifest.frame.schema
    assert done.frame[1:].equals(manifest.frame[1:])
    wrong = table.with_columns(pl.when(mine).then(pl.lit(pl.Series([["z"]]))).otherwise(pl.col("suggested")).alias("suggested"))
    with pytest.raises(UserError, match="of a as 'z'"):
        audit.apply(manifest, wrong, quiet)


def test_relabel_takes_a_number_as_a_spreadsheet_writes_it(few):
    manifest, table = few
    names = {"x": "1", "y": "2"}
    targets = tuple(dataclasses.replace(t, classes=("1", "2")) if t.name == "kind" else t for t in manifest.targets)
    numbered = Manifest(manifest.frame.with_columns(pl.col("kind").replace(names)), targets, manifest.root)
    table = decided(table, a="relabel", e="keep").with_columns(target=pl.lit("kind"), suggested=pl.Series([["2.0"]] * len(table)))
    assert audit.apply(numbered, table, quiet).frame["kind"][0] == "2"


def test_several_labels_for_a_single_target_are_refused(few):
    manifest, table = few
    table = decided(table, a="relabel").with_columns(target=pl.lit("kind"), suggested=pl.Series([["y", "x"]] * len(table)))
    with pytest.raises(DataError, match=r"'kind' are to be relabelled with several labels each: a; needed: one label"):
        audit.apply(manifest, table, quiet)


def test_a_single_target_refuses_none_of_the_classes(few):
    manifest, table = few
    table = decided(table, a="relabel").with_columns(
        target=pl.lit("kind"), suggested=pl.Series([[]] * len(table), dtype=pl.List(pl.String))
    )
    with pytest.raises(DataError, match=r"'kind' are to be relabelled with none of the classes: a; needed: one label"):
        audit.apply(manifest, table, quiet)


def test_unknown_and_empty_decisions_are_refused(few):
    _, table = few
    with pytest.raises(DataError, match="exclude"):
        audit.decisions(decided(table, b="exclud"))
    with pytest.raises(DataError, match="relabelled"):
        audit.decisions(decided(table, b="relabel"))


def test_a_blank_target_is_the_only_one(few):
    manifest, table = few
    table = decided(table, b="relabel").with_columns(suggested=pl.Series([["x"]] * len(table)))
    with pytest.raises(DataError, match=r"'b'.*'target' is blank; needed: one of kind, tags"):
        audit.apply(manifest, table, quiet)
    alone = dataclasses.replace(manifest, frame=manifest.frame.drop("tags"), targets=manifest.targets[:1])
    assert audit.apply(alone, table, quiet).frame["kind"].to_list() == ["x", "x", "x", "x", "y"]


def test_copies_with_other_labels_are_counted(few):
    manifest, _ = few
    assert "label conflict" not in found_text(audit.examine(manifest, Composition(), quiet))
    kinds = pl.Series("kind", ["y", "y", "x", "x", "y"])
    relabelled = dataclasses.replace(manifest, frame=manifest.frame.with_columns(kinds))
    assert "2 label conflict" in found_text(audit.examine(relabelled, Composition(), quiet))


def test_the_table_survives_parquet(few, tmp_path):
    from tapetum.core import files

    _, table = few
    files.write_parquet(tmp_path / "audit.parquet", table)
    assert files.read_parquet(tmp_path / "audit.parquet")[0].equals(table)


def look_alikes(folder, groups, exact=()):
    """Return rows of one photograph taken again and again, with the groups of the data; rows in ``exact`` have the bytes of the first."""
    photo = photographs.astronaut()
    for i in range(len(groups)):
        shifted = photo[: 500 - 2 * i, : 500 - 2 * i] if i not in exact else photo[:500, :500]
        Image.fromarray(shifted).resize((64, 64)).save(folder / f"{i}.png")
    names = [str(i) for i in range(len(groups))]
    frame = pl.DataFrame({"row_id": names, "path": [[f"{n}.png"] for n in names], "kind": ["x"] * len(names)})
    given = pl.Series("group", groups, dtype=pl.String)
    return Manifest(frame.with_columns(given), (Target("kind", "single", ("x",)),), folder)


@pytest.mark.parametrize("column", ["group", "sequence"])
def test_look_alikes_never_join_groups_of_the_data(tmp_path, column):
    manifest = look_alikes(tmp_path, ["ann", "ann", "bob", "bob"])
    manifest = dataclasses.replace(manifest, frame=manifest.frame.rename({"group": column}))
    said: list[str] = []
    table = audit.examine(manifest, Composition(), said.append)
    joined = split.join_duplicates(manifest, audit.duplicates(table), said.append)
    assert joined.groups.tolist() == ["ann", "ann", "bob", "bob"]
    assert "look alike and stay apart: " in " ".join(said)
    assert any("group bob, not joined" in (note or "") for note in table["note"].to_list()[:2])
    assert audit.duplicates(table) == {"0": "0", "1": "0", "2": "2", "3": "2"}  # within a group they are duplicates as ever


def test_equal_bytes_join_groups_of_the_data_and_are_named(tmp_path):
    manifest = look_alikes(tmp_path, ["ann", "bob", "cyd"], exact=(0, 1))
    said: list[str] = []
    table = audit.examine(manifest, Composition(), said.append)
    joined = split.join_duplicates(manifest, audit.duplicates(table), said.append)
    assert joined.groups.tolist() == ["ann", "ann", "cyd"]
    assert any("joined to them: bob to ann" in text for text in said)


def test_rows_without_a_group_are_no_bridge(tmp_path):
    manifest = look_alikes(tmp_path, ["ann", None, "bob", None])
    joined = split.join_duplicates(manifest, audit.duplicates(audit.examine(manifest, Composition(), quiet)), quiet)
    assert joined.groups[0] != joined.groups[2]
    assert len(set(joined.groups)) == 2  # each row without a group joins one of them


def test_a_decision_in_the_file_joins_look_alikes(tmp_path):
    manifest = look_alikes(tmp_path, ["ann", "bob"])
    table = audit.examine(manifest, Composition(), quiet)
    assert audit.duplicates(table) == {}
    table = decided(table, **{"0": "group", "1": "group"}).with_columns(duplicate=pl.lit("0"))
    assert split.join_duplicates(manifest, audit.duplicates(table), quiet).groups.tolist() == ["ann", "ann"]


@pytest.mark.shared_data
def test_real_photos_have_no_duplicates_and_few_gray_ones(shared_data):
    labels = pl.read_csv(shared_data / "dogs" / "labels.csv")
    names = labels["file"].to_list()
    root = next(p for p in (shared_data / "dogs", shared_data / "dogs" / "images") if (p / names[0]).is_file())
    manifest = Manifest(pl.DataFrame({"row_id": names, "path": [[n] for n in names]}), (), root)
    table = audit.examine(manifest, Composition(), quiet)
    assert table["duplicate"].null_count() == len(table)
    assert table["gray"].sum() <= 3
