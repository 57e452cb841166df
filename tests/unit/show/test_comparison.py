"""Runs beside each other: the page and the index say what the runs' files hold, and what cannot be compared is named."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from report_runs import make_run, text_of
from tapetum import api
from tapetum.core import files, metrics
from tapetum.core.errors import DataError, UserError
from tapetum.core.tables import Predictions
from tapetum.decide.compare import compare
from tapetum.show import index, words
from tapetum.show.run_files import read_run


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """Two runs on the same rows; the second answers the first target worse, was trained longer, and is older."""
    folder = tmp_path_factory.mktemp("runs")
    first, second = make_run(folder / "a", rows=60), make_run(folder / "b", rows=60)
    table = Predictions.read(second / "oof.parquet")
    dense = [table.dense(t.name) for t in table.targets]
    dense[0].p[:30] = np.roll(dense[0].p[:30], 1, axis=1)
    Predictions.from_dense(dense).write(second / "oof.parquet")
    files.write_text(second / "recipe.toml", (second / "recipe.toml").read_text().replace("epochs = 6", "epochs = 9"))
    record = files.read_json(second / "run.json")
    files.write_json(second / "run.json", record | {"started": record["started"] - 90})
    return first, second


def read(place) -> str:
    return Path(place).read_text(encoding="utf-8")


def test_a_metrics_line_says_its_name_and_direction(monkeypatch):
    made = metrics.Metric("hinge", ("single",), False, "counts", title="hinge error")
    monkeypatch.setitem(metrics.METRICS, "hinge", made)
    told = {"a": "probe", "b": "chance", "metric": "hinge", "value": -0.5, "low": -0.6, "high": -0.4}
    assert words.verdict(told) == "The probe is better than the baseline by 0.500 in hinge error (95 % interval 0.400 to 0.600)."


def test_paired_difference_is_that_of_compare(two, tmp_path):
    page = text_of(read(api.report(two[0], tmp_path / "c.html", others=[two[1]])))
    a, b = (read_run(run) for run in two)
    groups = dict(zip(a.manifest.row_ids, a.manifest.groups.tolist(), strict=True))
    found = compare(a.final.dense("breed"), b.final.dense("breed"), metric="macro_f1", groups=groups)
    assert words.interval(found.difference.low, found.difference.high, sign=True) in page
    assert f"is better than {two[1].as_posix()} by {words.number(found.difference.value)}" in page
    assert "train.epochs" in page
    assert "On 59 common images" in page


def test_comparison_is_one_file_without_the_network(two, tmp_path):
    place = api.report(two[0], tmp_path / "c.html", others=two[1])
    page = read(place)
    assert re.findall(r"""(?:src|href|action)\s*=\s*["'](?!data:|#)[^"']*""", page) + re.findall(r"url\(|@import|https?://", page) == []
    assert read(api.report(two[0], tmp_path / "again.html", others=[two[1]])) == page
    assert api.report(two[0], others=[two[1]]) == str(two[0].resolve().parent / "comparison.html")


def test_classes_that_differ_most_come_first(two, tmp_path):
    page = read(api.report(two[0], tmp_path / "c.html", others=[two[1]]))
    part = page[page.index("F1 of each class") :]
    values = [float(v) for v in re.findall(r"<td>([\d.]+)</td></tr>", part[: part.index("</table>")])]
    assert values == sorted(values, reverse=True)
    scores = []
    for run in two:
        dense = read_run(run).final.dense("breed")
        rows = dense.where(dense.scorable)
        scores.append({line["class"]: line["f1"] for line in metrics.per_class(rows.target, rows.p, rows.y)})
    assert values[0] == pytest.approx(max(abs(scores[0][k] - scores[1][k]) for k in scores[0]), abs=5e-4)


def test_class_that_one_run_alone_scores_has_no_difference(two, tmp_path):
    other = make_run(tmp_path / "c", rows=40)
    table = Predictions.read(other / "oof.parquet")
    Predictions.from_dense([table.dense(t.name) for t in table.targets if t.name != "breed"]).write(other / "oof.parquet")
    page = read(api.report(two[0], tmp_path / "c.html", others=[other]))
    part = page[page.index("F1 of each class") :]
    part = part[: part.index("</table>")]
    assert part.count("<td>–</td></tr>") == part.count("</tr>") - 1, "all but the heading"


def test_runs_on_other_rows_have_no_paired_difference(two, tmp_path):
    other = make_run(tmp_path / "c", rows=40)
    table = Predictions.read(other / "oof.parquet")
    dense = [table.dense(t.name) for t in table.targets]
    for one in dense:
        one.row_ids[:] = [f"new{i}" for i in range(len(one.row_ids))]
    Predictions.from_dense(dense).write(other / "oof.parquet")
    page = text_of(read(api.report(two[0], tmp_path / "c.html", others=[other])))
    assert "no row is predicted by all" in page


def test_what_cannot_be_compared_is_named(two, tmp_path):
    with pytest.raises(UserError, match="is given twice"):
        api.report(two[0], others=[two[0]])
    with pytest.raises(UserError, match="several runs"):
        api.report(two[0], others=[two[1]], data=tmp_path)
    (empty := tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="is not a run"):
        api.report(two[0], others=[empty])
    files.copy(two[0] / "recipe.toml", empty / "recipe.toml")
    with pytest.raises(DataError, match="is not finished"):
        api.report(two[0], others=[empty])


def test_index_lists_every_run_the_newest_first(two, tmp_path):
    folder = two[0].parent.parent
    found = api.list_runs(folder, tmp_path / "index.html")
    assert [line["run"] for line in found["runs"]] == ["a/run", "b/run"]
    leading = next(f for f in files.read_json(two[0] / "metrics.json")["figures"] if f["how"] == "cross-validated")
    for key in ("value", "low", "high", "n", "groups"):
        assert found["runs"][0][key] == leading[key]
    assert f"macro F1 {leading['value']:.3f} [{leading['low']:.3f}, {leading['high']:.3f}]" in found["table"]
    page = read(found["out"])
    assert words.interval(leading["low"], leading["high"]) in text_of(page)


def test_index_links_to_the_reports_that_exist(two, tmp_path):
    folder = two[0].parent.parent
    api.report(two[0])
    page = read(api.list_runs(folder, folder / "sub" / "index.html")["out"])
    assert re.findall(r'href="([^"]+)"', page) == ["../a/run/report.html"]
    assert (folder / "sub" / "../a/run/report.html").exists()


def test_index_names_broken_and_unfinished_runs(tmp_path):
    run = make_run(tmp_path / "broken", rows=20)
    (run / "metrics.json").write_text("{")
    started = files.make_folder(tmp_path / "started")
    files.copy(run / "recipe.toml", started / "recipe.toml")
    files.write_json(started / "run-id.json", {})
    whole = make_run(tmp_path / "whole", rows=20)
    files.write_json(whole / "run.json", {})
    found = {line["run"]: line["state"] for line in index.lines_of(tmp_path)}
    assert found["whole/run"] == "finished"
    assert found["started"] == "not finished"
    assert "is not JSON" in found["broken/run"]


ODD = {
    "metrics.json": [{"figures": 5}, {"headline": {"target": "breed"}}, {"headline": 5}, {"figures": [{"target": "breed"}]}],
    "run.json": [{"starts": 3}, {"starts": [4]}, {"seconds": "x"}, {"log": 5}],
    "origin.json": [[1], [{"key": "name"}]],
}


@pytest.mark.parametrize(("name", "content"), [(name, content) for name, every in ODD.items() for content in every])
def test_files_of_another_form_are_named_and_hide_nothing(two, tmp_path, name, content):
    run = shutil.copytree(two[1], tmp_path / "odd")
    shutil.copytree(two[1], tmp_path / "whole")
    files.write_json(run / name, content)
    found = {line["run"]: line["state"] for line in index.lines_of(tmp_path)}
    assert found["whole"] == "finished"
    assert name in found["odd"]
    with pytest.raises(DataError, match=re.escape(name)):
        api.report(run, tmp_path / "report.html")


def test_links_and_the_inside_of_runs_are_left_out(tmp_path):
    run = make_run(tmp_path / "a", rows=20)
    make_run(run / "trials", rows=20)
    (tmp_path / "loop").symlink_to(tmp_path)
    assert [line["run"] for line in index.lines_of(tmp_path)] == ["a/run"]
    assert [line["run"] for line in index.lines_of(run)] == ["run"]


def test_folders_that_cannot_be_read_are_named(tmp_path, monkeypatch):
    make_run(tmp_path / "open", rows=20)
    (tmp_path / "closed").mkdir()
    listing = Path.iterdir

    def refused(folder):
        if folder.name == "closed":
            raise PermissionError(13, "Permission denied")
        return listing(folder)

    monkeypatch.setattr(Path, "iterdir", refused)
    said = []
    assert len(index.lines_of(tmp_path, said.append)) == 1
    assert said == [f"warning: 1 folder cannot be read: {tmp_path / 'closed'}. Runs in there are not listed"]
    with pytest.raises(UserError, match=r"holds no run, and 1 folder cannot be read: .*closed"):
        index.lines_of(tmp_path / "closed")


def test_a_folder_without_runs_is_refused(tmp_path):
    with pytest.raises(UserError, match="holds no run"):
        index.lines_of(tmp_path)
    with pytest.raises(UserError, match="does not exist"):
        api.list_runs(tmp_path / "nosuch")
    with pytest.raises(UserError, match=r"\.csv"):
        api.list_runs(tmp_path, tmp_path / "index.csv")
