"""Images without labels are labelled on the page, and training reads them beside the data."""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import subprocess
import sys
import urllib.request

import polars as pl
import pytest

import small_runs
from tapetum import api
from tapetum.core.errors import DataError, UserError
from tapetum.core.runs import Run


@contextlib.contextmanager
def labelling(*words: str):
    """Serve the page and give a function that posts a decision; it ends as Ctrl-C ends it."""
    command = [sys.executable, "-m", "tapetum", "review", *words, "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    address = next((part for line in process.stderr for part in line.split() if part.startswith("http://")), "")

    def decide(**decision):
        headers = {"origin": address.rstrip("/"), "content-type": "application/json"}
        with urllib.request.urlopen(urllib.request.Request(f"{address}decide", json.dumps(decision).encode(), headers)) as answer:
            return json.load(answer)

    with urllib.request.urlopen(address) as page:
        decide.page = page.read().decode()
    try:
        yield decide
    finally:
        process.send_signal(signal.SIGINT)
        decide.told, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors


def test_labels_given_on_the_page_train_beside_the_data(probed, planted, other_images, tmp_path):
    run = shutil.copytree(probed, tmp_path / "run")
    shutil.copyfile(planted / "images" / "ant" / "ant_000.png", other_images / "twin.png")
    (other_images / "broken.png").write_bytes(b"no image")
    out = tmp_path / "labelled.csv"
    with labelling(str(run), "--unlabelled", str(other_images), "-o", str(out)) as decide:
        assert "0 of 7 decided" in decide.page
        decide(row=0, action="relabel", labels=["bee"], window="w", seen=0)
        decide(row=1, action="relabel", labels=["cat"], window="w", seen=0)
        decide(row=2, action="exclude", window="w", seen=0)
    assert f"tapetum fit DATA --extra {out}" in decide.told
    table = pl.read_csv(out)
    assert table["label"].to_list() == ["bee", "cat"]
    assert all((tmp_path / path).is_file() for path in table["file"])
    small_runs.fit(planted / "labels.csv", tmp_path / "more", train__epochs=0, data__extra=[str(out)])
    manifest = Run(tmp_path / "more").manifest()
    assert manifest.split.tolist().count("extra") == 2
    (other_images / "later.png").write_bytes((other_images / "twin.png").read_bytes())
    again = api.review(run, out, unlabelled=other_images, export=True)
    assert (again["labelled"], again["rows"], again["excluded"]) == (2, 8, 1)  # a folder may grow


def test_what_cannot_be_labelled_is_named(probed, planted, other_images, tmp_path):
    run = shutil.copytree(probed, tmp_path / "run")
    with pytest.raises(UserError, match="is no run"):
        api.review(planted / "labels.csv", unlabelled=other_images, export=True)
    with pytest.raises(UserError, match="does not exist"):
        api.review(run, unlabelled=tmp_path / "absent", export=True)
    own = api.review(run, tmp_path / "own.csv", unlabelled=planted / "images", export=True)
    assert own["rows"] == 0  # the run learnt from all of them
    api.review(run, tmp_path / "new.csv", decisions=tmp_path / "d.sqlite", unlabelled=other_images, export=True)
    with pytest.raises(DataError, match="holds decisions on other data"):
        api.review(run, tmp_path / "new.csv", decisions=tmp_path / "d.sqlite", unlabelled=planted / "images", export=True)


def test_each_image_goes_through_the_backbone_once(probed, other_images, tmp_path, monkeypatch):
    from tapetum.learn.models.network import Network
    from tapetum.pipeline.pipeline import Pipeline
    from tapetum.workflow.commands import labelling

    queues, passed, trunk = [], [], Network._trunk

    def counted(network, x, **how):
        passed.append(len(x))
        return trunk(network, x, **how)

    monkeypatch.setattr(Network, "_trunk", counted)
    monkeypatch.setattr(labelling, "serve", lambda *given: None)
    monkeypatch.setattr(labelling, "pages_of", lambda review, *given: queues.append(review.queue))
    api.review(probed, tmp_path / "labelled.csv", decisions=tmp_path / "d.sqlite", unlabelled=other_images)
    views = Pipeline.load(probed).members[0].predict.views
    assert sum(passed) == 5 * (1 if isinstance(views, str) else len(views))
    assert sorted(queues[0].order.tolist()) == list(range(5))
    assert len(set(Run(probed).manifest().fold.tolist())) > 1  # several heads on one backbone
