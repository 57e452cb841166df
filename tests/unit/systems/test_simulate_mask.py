from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image
from sklearn.metrics import f1_score

from small_runs import contents
from tapetum.core import draws
from tapetum.core.config import Data
from tapetum.core.errors import UserError
from tapetum.data import layouts
from tapetum.systems.mask.faces import Looks, draw_photo
from tapetum.systems.mask.masks import STATES, Kind
from tapetum.systems.mask.people import PEOPLE, age_class, best_score, draw_signs, label_given_signs, plan_people
from tapetum.systems.mask.simulate import simulate_mask

SIZE, PX = 210, 24


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    out = tmp_path_factory.mktemp("mask")
    return out, simulate_mask(out, size=SIZE, px=PX, seed=3)


def test_the_layout_reads_back_with_people_and_answers(made):
    out, summary = made
    said: list[str] = []
    manifest = layouts.read(Path(summary["paths"]["source"]), Data(), said.append)
    assert any("layout 'masks'" in line for line in said)
    assert any("hidden files left out" in line for line in said)
    truth = pl.read_csv(out / "truth.csv", schema_overrides={"ans": pl.String, "person": pl.String})
    assert len(manifest) == SIZE == summary["counts"]["train"] + summary["counts"]["test"]
    train = manifest.where(manifest.split == "train")
    by_id = {row["row_id"]: row for row in truth.iter_rows(named=True)}
    assert [manifest.target("ans").classes[k] for k in train.truth("ans").argmax(axis=1)] == [by_id[r]["ans"] for r in train.row_ids]
    assert train.groups.tolist() == [by_id[r]["person"] for r in train.row_ids]
    assert set(train.groups).isdisjoint(truth.filter(pl.col("split") == "test")["person"])
    assert set(truth.filter(pl.col("split") == "test")["ans"]) == set(map(str, range(18)))
    assert np.isnan(manifest.where(manifest.split == "test").truth("ans")).all()
    info = pl.read_csv(out / "data" / "eval" / "info.csv")
    assert info.columns == ["ImageID", "ans"]
    assert set(info["ImageID"]) == set(truth.filter(pl.col("split") == "test")["row_id"])


def test_files_are_of_three_formats_with_hidden_ones_among_them(made):
    out, _ = made
    photos = [p for p in (out / "data" / "train" / "images").rglob("*") if p.is_file()]
    assert {p.suffix for p in photos if not p.name.startswith(".")} == {".jpg", ".jpeg", ".png"}
    assert any(p.name.startswith("._mask") for p in photos)
    for photo in photos:
        if not photo.name.startswith("."):
            with Image.open(photo) as image:
                assert image.size == (PX, PX * 4 / 3)
                assert image.format == ("PNG" if photo.suffix == ".png" else "JPEG")


def test_bytes_depend_on_the_seed_alone(made, tmp_path):
    out, _ = made
    simulate_mask(tmp_path / "again", size=SIZE, px=PX, seed=3)
    assert contents(tmp_path / "again") == contents(out)
    simulate_mask(tmp_path / "other", size=SIZE, px=PX, seed=4)
    assert contents(tmp_path / "other" / "data" / "eval").keys() != contents(out / "data" / "eval").keys()


def test_people_have_the_shape_of_the_real_ones():
    people = [p for p in plan_people(4500, 0) if p.part == "train"]
    assert len(people) == 2700
    cells = np.bincount([p.gender * 3 + int(age_class(p.years)) for p in people], minlength=6)
    assert np.abs(cells - PEOPLE).max() <= 1
    assert {min(p.said_years for p in people), max(p.said_years for p in people)} == {18, 60}
    wrong = [p for p in people if p.said_gender != p.gender or age_class(p.said_years) != age_class(p.years)]
    assert len(wrong) == sum(p.planted in ("gender", "age") for p in people) == 28


def test_what_is_planted_is_in_the_labels(made):
    out, summary = made
    truth = pl.read_csv(out / "truth.csv")
    assert truth.filter(pl.col("planted").is_null()).select((pl.col("ans") == pl.col("shows")).all()).item()
    assert truth.filter(pl.col("planted").is_not_null()).select((pl.col("ans") != pl.col("shows")).all()).item()
    people = truth.filter(pl.col("planted").is_not_null()).group_by("planted").agg(pl.col("person").n_unique())
    assert dict(people.iter_rows()) == {"gender": 2, "age": 2, "swapped": 2}
    assert [summary["counts"][key] for key in ("wrong gender", "wrong age", "swapped")] == [2, 2, 2]


def test_ceiling_probabilities_are_calibrated_and_unbeaten():
    people = plan_people(4500, 1)
    gender, years, said_gender, said_years = (
        np.repeat([getattr(p, name) for p in people], 7) for name in ("gender", "years", "said_gender", "said_years")
    )
    mask = np.tile([0, 0, 0, 0, 0, 1, 2], len(people))
    rng = np.random.default_rng(0)
    lower = (mask == 2) | (mask == 1) & (rng.random(len(mask)) < 0.5)
    labels = mask * 6 + said_gender * 3 + age_class(said_years)
    p = label_given_signs(*draw_signs(gender, years, rng), mask, lower)
    assert np.allclose(p.sum(axis=1), 1)
    right, top = p.argmax(axis=1) == labels, p.max(axis=1)
    between = (top > 0.5) & (top < 0.8)
    assert abs(right[between].mean() - top[between].mean()) < 0.03
    best = best_score(labels, gender, years, mask, lower, seed=0)
    assert f1_score(labels, p.argmax(axis=1), average="macro") < best + 0.005
    assert 0.7 < best < 0.95


def test_a_mask_hides_the_signs_of_the_lower_face_alone():
    person, other = (plan_people(30, seed)[0] for seed in (0, 1))
    looks = Looks.draw(draws.generator("looks"))

    def photo(who, state):
        rng = draws.generator("photo")
        kind = None if state == "none" else Kind.draw(rng)
        return np.asarray(draw_photo(who, looks, state, kind, rng, 48)).astype(int)

    lower = [np.array([*person.age_signs[:2], 70.0]), np.array([*person.gender_signs[:2], -3.0])]
    changed = dataclasses.replace(person, age_signs=lower[0], gender_signs=lower[1])
    seen = {state: np.abs(photo(person, state) - photo(changed, state)).max() for state in STATES}
    assert seen["none"] > 30
    assert seen["chin"] > 30
    assert seen["worn"] < 30
    assert np.abs(photo(person, "worn") - photo(other, "worn")).max() > 30


def test_sizes_too_small_and_places_in_use_are_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="no simulation"):
        simulate_mask(tmp_path, size=SIZE, px=PX)
    with pytest.raises(UserError, match="at least 210"):
        simulate_mask(tmp_path / "new", size=70)
