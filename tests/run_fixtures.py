"""Runs that several tests look at, each made once for all processes of a session."""

from __future__ import annotations

from pathlib import Path

import pytest

import small_runs
from images import plant, write_table


@pytest.fixture(scope="session")
def planted(tmp_path_factory) -> Path:
    """24 readable images of three classes in groups of two: ``labels.csv`` and ``images/``."""
    return small_runs.once(tmp_path_factory, "planted", lambda place: plant(place, classes=3, each=8, size=32, group_size=2))


@pytest.fixture(scope="session")
def damaged(tmp_path_factory) -> Path:
    """As ``planted`` with one truncated training image, four test rows in ``test.csv``, one of them truncated, and a template."""

    def make(place: Path) -> None:
        plant(place, classes=3, each=8, size=32, group_size=2, truncated=True)
        plant(place / "more", classes=2, each=2, size=32, seed=1, truncated=True)
        names = [f"more/images/{c}/{c}_00{i}.png" for c in ("ant", "bee") for i in (0, 1)]
        write_table(place / "test.csv", ["file"], [[name] for name in names])
        write_table(place / "template.csv", ["file", "label"], [[name, "ant"] for name in reversed(names)])

    return small_runs.once(tmp_path_factory, "damaged", make)


@pytest.fixture(scope="session")
def tuned(tmp_path_factory, damaged) -> Path:
    """A finished run on ``damaged`` that ships its fine-tuned folds, with a test part."""

    def make(place: Path) -> None:
        values = {"decide__choose": "finetune", "data__on_bad": "skip", "data__test": [str(damaged / "test.csv")]}
        small_runs.fit(damaged / "labels.csv", place / "run", **values)

    return small_runs.once(tmp_path_factory, "tuned", make) / "run"


@pytest.fixture(scope="session")
def probed(tmp_path_factory, planted) -> Path:
    """A finished run on ``planted``: the probe alone."""
    return (
        small_runs.once(tmp_path_factory, "probed", lambda place: small_runs.fit(planted / "labels.csv", place / "run", train__epochs=0))
        / "run"
    )


@pytest.fixture
def other_images(tmp_path) -> Path:
    """A folder of five images that no run has seen."""
    plant(tmp_path / "new", classes=1, each=5, size=40, seed=7)
    return tmp_path / "new" / "images" / "ant"
