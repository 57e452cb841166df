"""Every kind of file that a finished run holds, exchanged with that of another run, cut or removed: who reads it names it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import small_runs
from tapetum import api
from tapetum.core import files, hashes
from tapetum.core.errors import DataError, TapetumError
from tapetum.core.runs import Run
from tapetum.learn.training.keep import Keeper
from tapetum.pipeline import Pipeline
from tapetum.show.run_files import read_run
from tapetum.workflow.commands.audit import vectors_of

VALUES = {
    "train__epochs": 1,
    "split__folds": 2,
    "decide__choose": "finetune",
    "predict__saliency": "gradient",
    "predict__saliency_rows": 2,
    "predict__arrays": True,
}


def chosen(run: Path) -> None:
    for fold, checkpoint in files.read_json(run / "decisions.json")["epochs"]["main"]["per_fold"].items():
        Keeper(run / "members" / "main" / f"fold-{fold}").checkpoint(checkpoint)


GOES_ON = {
    "fit": lambda run: small_runs.fit(run.parent / "data" / "labels.csv", run, **VALUES),
    "decide": api.decide,
}
OF_ROOT = {
    "finished": Run.finished,  # compare, leaderboard, conformal
    "diff": lambda run: api.diff(run, run),
    "submit": lambda run: api.submit(run, run / "recipe.toml", run.parent / "s.csv"),
    "audit": lambda run: api.audit(run, run.parent / "a.csv"),
}
REPORT = {"report": read_run}  # report, runs, review
LOADED = {"predict": Pipeline.load}  # predict, evaluate, export, serve
READERS = {  # a kind of file → what reads it; the first kind that fits counts
    "audit.parquet": {},  # people change it; its rows carry the hashes of their images
    "report.html": {},  # only written
    "memory.json": {},  # only written
    "hashes.json": {},  # its own tests
    "checkpoints/": {"chosen": chosen},
    "arrays/": {},  # only written
    "pipeline/pipeline.json": LOADED,
    "pipeline/README.md": {},  # for people
    "pipeline/": LOADED,
    "vectors.npy": {"vectors": lambda run: vectors_of(Run(run), [])},
    "features/": REPORT | GOES_ON,
    "members/main/fold-0/oof.parquet": REPORT,  # made anew by every decision
    "members/main/fold-1/oof.parquet": REPORT,
    "members/": REPORT | GOES_ON,
    "saliency/": REPORT,
    "decisions.json": OF_ROOT | REPORT,  # these are made anew where a run goes on
    "metrics.json": OF_ROOT | REPORT,
    "oof.parquet": OF_ROOT | REPORT,
    "test.parquet": OF_ROOT | REPORT,
    "": OF_ROOT | REPORT | GOES_ON,
}


def of_other_images(run):
    frame, meta = files.read_parquet(run / "audit.parquet")
    files.write_parquet(run / "audit.parquet", frame.with_columns(sha256=frame["sha256"].reverse()), meta)


def refitted(run: Path) -> None:
    """Go on with a run whose probe is to be made anew from the vectors."""
    hashes.forget(run)
    shutil.rmtree(run / "members" / "probe")
    GOES_ON["fit"](run)


@pytest.fixture(scope="module")
def runs(tmp_path_factory, planted):
    def make(place):
        for name, seed in (("run", 0), ("other", 1)):
            small_runs.fit(planted / "labels.csv", place / name, **VALUES, seed=seed)
        shutil.copytree(planted, place / "data")

    return small_runs.once(tmp_path_factory, "files-of-a-run", make)


def names(run: Path) -> list[str]:
    return [n for n in small_runs.contents(run) if Path(n).name not in (".lock", ".holder.json")]


def readers(name: str) -> dict:
    return next(found for kind, found in READERS.items() if kind in name)


def changes(run: Path, other: Path, name: str):
    """Yield the ways in which a file is another one, made one after another: that of another run, half of it, none."""
    place, content = run / name, (run / name).read_bytes()
    if (other / name).exists() and (other / name).read_bytes() != content:
        place.write_bytes((other / name).read_bytes())
        yield "exchanged"
    place.write_bytes(content[: len(content) // 2])
    yield "cut"
    place.unlink()
    yield "absent"
    place.write_bytes(content)


def refusal(read, run):
    """Return what a reader of a run refuses with."""
    try:
        read(run)
    except TapetumError as error:
        return str(error)
    return "nothing"


def test_every_file_that_is_read_is_refused_by_name(runs, tmp_path):
    run = shutil.copytree(runs / "run", tmp_path / "run")
    shutil.copytree(runs / "data", tmp_path / "data")
    hashed = files.read_json(run / "hashes.json")["sha256"]
    wrong, tried = [], 0
    for name in names(run):
        found = readers(name)
        for change in changes(run, runs / "other", name):
            for reader, read in found.items():
                tried += 1
                said = refusal(read, run)
                if Path(name).name not in said:
                    wrong.append((name, change, reader, said))
    assert not wrong
    assert tried > 300
    assert set(hashed) <= set(names(run))


FOLDERS = {  # a folder of a run → what reads it, beside fit, which makes it anew
    "members": REPORT | {"decide": api.decide, "leaderboard": api.leaderboard, "views": lambda run: api.compare_views(run, "flips")},
    "features": REPORT | {"decide": api.decide, "audit": lambda run: api.audit(run, run.parent / "a.csv")},
    "saliency": REPORT,
    "pipeline": {
        "predict": lambda run: api.predict(run, run.parent / "data" / "images"),
        "evaluate": lambda run: api.evaluate(run, run.parent / "data" / "labels.csv"),
        "export": lambda run: api.export(run, "onnx", run.parent / "exported"),
    },
}


def folders(run: Path) -> list[str]:
    found = [place.relative_to(run).as_posix() for place in run.rglob("*") if place.is_dir()]
    return [name for name in found if name.partition("/")[0] in FOLDERS and not {"checkpoints", "last", "arrays"} & set(name.split("/"))]


def test_every_folder_that_is_read_is_refused_by_name(runs, tmp_path):
    run, wrong, tried = shutil.copytree(runs / "run", tmp_path / "run"), [], set()
    shutil.copytree(runs / "data", tmp_path / "data")
    for name in folders(run):
        aside = (run / name).rename(tmp_path / "aside")
        for reader, read in FOLDERS[name.partition("/")[0]].items():
            tried.add((name, reader))
            said = refusal(read, run)
            if Path(name).name not in said:
                wrong.append((name, reader, said))
        aside.rename(run / name)
    assert not wrong
    assert {("members/main/fold-1", "report"), ("members/probe/fold-0", "leaderboard"), ("pipeline", "predict")} <= tried
    assert ("members/main/fold-1", "decide") in tried


def test_report_of_a_run_whose_pipeline_was_moved_is_written(runs, tmp_path):
    """A report shows nothing of it: a pipeline that works elsewhere is no damage."""
    run = shutil.copytree(runs / "run", tmp_path / "run")
    shutil.rmtree(run / "pipeline")
    assert Path(api.report(run)).exists()


def test_exchanged_vectors_are_refused_when_a_run_goes_on(runs, tmp_path):
    run = shutil.copytree(runs / "run", tmp_path / "run")
    shutil.copytree(runs / "data", tmp_path / "data")
    store = next((run / "features").iterdir())
    (store / "vectors.npy").write_bytes((next((runs / "other" / "features").iterdir()) / "vectors.npy").read_bytes()[::-1])
    with pytest.raises(DataError, match=r"vectors\.npy is not the file that was written"):
        refitted(run)
    shutil.rmtree(store)
    GOES_ON["fit"](run)


@pytest.mark.parametrize("reader", ["report", "review", "decide"])
@pytest.mark.parametrize("change", [of_other_images, lambda run: (run / "audit.parquet").unlink()], ids=["other", "absent"])
def test_audit_of_other_images_is_refused(runs, tmp_path, reader, change):
    run = shutil.copytree(runs / "run", tmp_path / "run")
    change(run)
    read = {**REPORT, **GOES_ON, "review": lambda run: api.review(run, tmp_path / "d.csv", export=True)}[reader]
    with pytest.raises(DataError, match=r"audit\.parquet (has other images than the run|is absent|does not exist)"):
        read(run)
