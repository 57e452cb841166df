"""A task of a long prediction: which rows it has, that it makes the parts of its driver, and what it refuses."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapetum.core import files, locks
from tapetum.core.errors import EnvironmentFault
from tapetum.core.parts import Parts
from tapetum.core.runs import Record
from tapetum.core.tables import Manifest
from tapetum.workflow.commands import predict, predict_apart
from tapetum.workflow.commands.predict_apart import ranges, run_part


@given(st.lists(st.integers(1, 3000), min_size=1, max_size=300), st.data())
def test_tasks_have_each_wanted_part_once(sizes, data):
    wanted = sorted(data.draw(st.sets(st.sampled_from(range(len(sizes))))))
    found = ranges(sizes, wanted)
    assert [number for one in found for number in one.numbers] == wanted
    for one in found:
        assert one.numbers == list(range(one.numbers[0], one.numbers[0] + len(one.numbers)))
        assert one.first == sum(sizes[: one.numbers[0]])
        assert one.sizes == [sizes[number] for number in one.numbers]
        assert sum(one.sizes) <= 49 * predict.PART or len(one.numbers) == 1


def test_a_hundred_million_rows_are_two_thousand_tasks():
    whole, rest = divmod(100_000_000, predict.PART)
    sizes = [predict.PART] * whole + [rest]
    found = ranges(sizes, range(len(sizes)))
    assert (len(found), sum(sum(one.sizes) for one in found)) == (1993, 100_000_000)


class Here:
    """A place that runs tasks in this process, some of them."""

    name = "here"

    def __init__(self, stop=None):
        self.specs, self.stop = [], stop

    def run(self, tasks):
        from tapetum.workflow.launch.tasks import Ended

        for task in tasks:
            if len(self.specs) == self.stop:
                raise KeyboardInterrupt
            self.specs.append(task.spec)
            run_part(task.spec)
            yield task, Ended(0, "{}")

    def close(self):
        pass


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(predict, "PART", 4)
    monkeypatch.setattr(predict_apart, "ROWS", 8)


def work_of(probed, images):
    from tapetum.pipeline import Pipeline

    loaded = Pipeline.load(probed / "pipeline")
    record = Record()
    return predict.Work(loaded, loaded.read([images], record), record)


def test_a_driver_that_died_finds_what_its_tasks_did(probed, planted, tmp_path, small):
    work = work_of(probed, planted / "images")
    out = tmp_path / "p.parquet"
    dead = Here(stop=1)
    with pytest.raises(KeyboardInterrupt):
        predict.write(work, out, elsewhere=lambda *given: predict_apart.predict_elsewhere(dead, *given))
    run_part(sorted((tmp_path / "p.parquet.parts").glob(".task-*/spec.json"))[1])  # an orphan that ends after its driver
    place = Here()
    predict.write(work, out, elsewhere=lambda *given: predict_apart.predict_elsewhere(place, *given))
    assert len(place.specs) == 1
    predict.write(work, tmp_path / "one.parquet")
    assert out.read_bytes() == (tmp_path / "one.parquet").read_bytes()


def left_alone(work, out):
    """Return the spec of a task whose driver died before it ran."""
    with pytest.raises(KeyboardInterrupt):
        predict.write(work, out, elsewhere=lambda *given: predict_apart.predict_elsewhere(Here(stop=0), *given))
    return min(Parts(out).folder.glob(".task-*/spec.json"))


def test_an_orphan_writes_nothing_into_another_commands_parts(probed, planted, tmp_path, small):
    """Its images, or its pipeline, may be others by now: the table would be of both."""
    out = tmp_path / "p.parquet"
    spec = left_alone(work_of(probed, planted / "images"), out)
    with locks.lock(Parts(out).folder), pytest.raises(EnvironmentFault, match="was taken over by process"):
        run_part(spec)
    assert not list(Parts(out).folder.glob("part-*"))


def test_an_orphan_makes_no_folder_anew(probed, planted, tmp_path, small, monkeypatch):
    """The command that followed it has written the table and removed the parts."""
    out = tmp_path / "p.parquet"
    spec, answered_part = left_alone(work_of(probed, planted / "images"), out), predict_apart.answered_part

    def followed(*given):
        files.remove(Parts(out).folder)
        return answered_part(*given)

    monkeypatch.setattr(predict_apart, "answered_part", followed)
    with pytest.raises(EnvironmentFault, match="is not there any more"):
        run_part(spec)
    assert not Parts(out).folder.exists()


def test_a_task_of_another_pipeline_is_refused(probed, planted, tmp_path, small):
    work, kept = work_of(probed, planted / "images"), []

    class Broken(Here):
        def run(self, tasks):
            spec = files.read_json(tasks[0].spec)
            files.write_json(tasks[0].spec, {**spec, "identity": "another"})
            with pytest.raises(EnvironmentFault, match="another version of Tapetum"):
                run_part(tasks[0].spec)
            kept.append(shutil.copytree(tasks[0].spec.parent.parent, tmp_path / "kept.parts"))
            files.write_json(tasks[0].spec, spec)
            return super().run(tasks)

    predict.write(work, tmp_path / "p.parquet", elsewhere=lambda *given: predict_apart.predict_elsewhere(Broken(), *given))
    assert not list(kept[0].glob("part-*"))


def test_some_rows_of_a_manifest_are_read_alone(tmp_path):
    import polars as pl

    frame = pl.DataFrame({"row_id": [f"r{n}" for n in range(9)], "path": [[f"{n}.png"] for n in range(9)]})
    place = Manifest(frame, (), tmp_path).write(tmp_path / "m.parquet")
    assert Manifest.read(place, rows=range(3, 6)).row_ids == ["r3", "r4", "r5"]
    assert Manifest.read(place).root == Manifest.read(place, rows=range(0)).root


def test_a_part_is_there_or_is_made(probed, planted, tmp_path, small):
    work = work_of(probed, planted / "images")
    place = Here()
    parts = Parts(tmp_path / "q.parquet")
    marks = {number: f"mark {number}" for number in (1, 2, 4)}
    with locks.lock(parts.folder):
        predict_apart.predict_elsewhere(place, work, parts, marks)
    assert sorted(one.name for one in parts.folder.glob("part-*")) == [f"part-00000{n}.parquet" for n in (1, 2, 4)]
    rows = [parts.read(number).frame["row_id"].to_list() for number in (1, 2, 4)]
    ids = np.array(work.manifest.row_ids)
    assert rows == [ids[4:8].tolist(), ids[8:12].tolist(), ids[16:20].tolist()]
