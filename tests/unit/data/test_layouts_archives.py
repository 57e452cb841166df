from __future__ import annotations

import io
import json
import tarfile
import zipfile
from pathlib import Path

import pytest

from images import plant, quiet, write_table
from tapetum.core import files
from tapetum.core.config import Data
from tapetum.core.errors import DataError, UserError
from tapetum.core.tables import Manifest
from tapetum.data import layouts
from tapetum.data.images.archives import DecodeError, read_bytes
from tapetum.data.layouts.reading import open_sheet


def same(one: Manifest, two: Manifest) -> None:
    columns = [c for c in one.frame.columns if c != "path"]
    assert two.frame.select(columns).equals(one.frame.select(columns))
    assert two.targets == one.targets
    for row in range(len(one)):
        assert [read_bytes(p) for p in two.paths(row)] == [read_bytes(p) for p in one.paths(row)]


def tar(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as out:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            out.addfile(info, io.BytesIO(content))
    return path


# ------------------------------------------------------------------------------------------------------- webdataset


def test_tar_samples_share_names_up_to_the_dot(tmp_path):
    planted = plant(tmp_path, each=2)
    images = [(tmp_path / name).read_bytes() for name in planted.files]
    (tmp_path / "shards").mkdir()
    tar(tmp_path / "shards" / "b-1.tar", {"x/2.png": images[2], "x/2.cls": b"5\n", "x/._2.png": b"", "x/2.note": b""})
    tar(tmp_path / "shards" / "a-0.tar", {"./0.red.png": images[0], "./0.blue.png": images[1], "./0.cls": b"10"})
    said: list[str] = []
    manifest = layouts.read(tmp_path / "shards", Data(), said.append)
    assert "layout 'webdataset'" in said[0]
    assert manifest.row_ids == ["0", "x/2"]
    assert manifest.targets[0].classes == ("5", "10")
    assert manifest.frame["path"].to_list() == [["a-0.tar!/0.blue.png", "a-0.tar!/0.red.png"], ["b-1.tar!/x/2.png"]]
    assert read_bytes(manifest.paths(0)[1]) == images[0]
    assert any("x/2.note" in text for text in said)
    with pytest.raises(DecodeError, match="no such member"):
        read_bytes(tmp_path / "shards" / "a-0.tar!/0.green.png")


def test_webdataset_keeps_every_column_and_its_bytes(tmp_path):
    planted = plant(tmp_path, each=3)
    rows = [
        [f, planted.files[-1 - i], label, "u v" if i % 3 else "w", str(i / 4), "test" if i == 4 else "train", str(i)]
        for i, (f, label) in enumerate(zip(planted.files, planted.labels, strict=True))
    ]
    table = write_table(tmp_path / "all.csv", ["one", "two", "label", "many", "size", "split", "depth"], rows)
    targets = ("label", "many:multi", "size:regression")
    one = layouts.read(table, Data(targets=targets, path=("one", "two"), side=("depth",)), quiet)
    one = one.with_column("many", [[], *one.frame["many"].to_list()[1:]])
    place = layouts.write(one, tmp_path / "s.tar", "webdataset", quiet)
    two = layouts.read(place, Data(targets=targets, side=("depth",)), quiet)
    same(one, two)
    assert layouts.write(two, tmp_path / "again.tar", "webdataset", quiet).read_bytes() == place.read_bytes()


def test_broken_and_compressed_archives_and_bare_samples_are_named(tmp_path):
    image = (tmp_path / plant(tmp_path, each=1).files[0]).read_bytes()
    tar(tmp_path / "bare.tar", {"0.png": image, "1.cls": b"x"})
    with pytest.raises(DataError, match=r"bare\.tar has 1 sample without an image: 1"):
        layouts.read(tmp_path / "bare.tar", Data(), quiet)
    tar(tmp_path / "odd.tar", {"0.png": image, "0.json": b"[1]"})
    with pytest.raises(DataError, match=r"member 0\.json holds no columns"):
        layouts.read(tmp_path / "odd.tar", Data(), quiet)
    with tarfile.open(tmp_path / "gz.tar", "w:gz") as out:
        out.add(tmp_path / "labels.csv", "0.cls")
    with pytest.raises(DataError, match=r"not a plain tar archive .*unpack compressed"):
        layouts.read(tmp_path / "gz.tar", Data(), quiet)
    tar(tmp_path / "kinds.tar", {"0.png": image, "0.json": b'{"t": 1}', "1.png": image, "1.json": b'{"t": "x"}'})
    with pytest.raises(DataError, match="cells of several kinds in 't': int, str"):
        layouts.read(tmp_path / "kinds.tar", Data(targets=("t",)), quiet)


# -------------------------------------------------------------------------------------------------------- croissant


def croissant(root: Path, distribution: list[dict], fields: list[dict], **more: object) -> Path:
    meta = {
        "@context": {"cr": "http://mlcommons.org/croissant/"},
        "distribution": distribution,
        "recordSet": [{"@id": "default", "field": fields, **more}],
    }
    (root / "croissant.json").write_text(json.dumps(meta))
    return root


def field(name: str, source: str, kind: str, extract: dict, data_type: str = "sc:Text", **more: object) -> dict:
    return {"@id": f"default/{name}", "dataType": data_type, "source": {kind: {"@id": source}, "extract": extract, **more}}


CSV = {"@type": "cr:FileObject", "@id": "labels.csv", "contentUrl": "https://example.org/d/labels.csv", "encodingFormat": "text/csv"}
FILES = {"@type": "cr:FileSet", "@id": "images", "includes": "images/**/*.png"}
IMAGE = "sc:ImageObject"


def test_croissant_reads_columns_of_a_csv(tmp_path):
    planted = plant(tmp_path, each=2)
    fields = [
        field("image", "labels.csv", "fileObject", {"column": "file"}, IMAGE),
        field("kind", "labels.csv", "fileObject", {"column": "label"}),
        field("group", "labels.csv", "fileObject", {"column": "group"}),
    ]
    manifest = layouts.read(croissant(tmp_path, [CSV], fields), Data(targets=("kind",)), quiet)
    assert manifest.frame["kind"].to_list() == planted.labels
    assert manifest.groups.tolist() == planted.groups
    assert all(p.is_file() for row in range(len(manifest)) for p in manifest.paths(row))


def test_croissant_reads_file_sets_also_in_a_zip(tmp_path):
    planted = plant(tmp_path, each=2)
    regex = {"regex": "^images/([^/]+)/"}
    fields = [
        field("image", "images", "fileSet", {"fileProperty": "content"}, IMAGE),
        field("kind", "images", "fileSet", {"fileProperty": "fullpath"}, transform=regex),
    ]
    manifest = layouts.read(croissant(tmp_path, [FILES], fields), Data(targets=("kind",)), quiet)
    assert dict(zip(manifest.row_ids, manifest.frame["kind"], strict=True)) == dict(zip(planted.files, planted.labels, strict=True))
    with zipfile.ZipFile(tmp_path / "p.zip", "w") as archive:
        for name in planted.files:
            archive.write(tmp_path / name, name)
    box = {"@type": "cr:FileObject", "@id": "box", "contentUrl": "p.zip", "sha256": files.sha256(tmp_path / "p.zip")}
    zipped = layouts.read(croissant(tmp_path, [box, {**FILES, "containedIn": {"@id": "box"}}], fields), Data(targets=("kind",)), quiet)
    assert zipped.frame["kind"].equals(manifest.frame["kind"])
    assert read_bytes(zipped.paths(0)[0]) == (tmp_path / planted.files[0]).read_bytes()
    box["sha256"] = "0" * 64
    with pytest.raises(DataError, match=r"p\.zip has another SHA-256"):
        layouts.read(croissant(tmp_path, [box, {**FILES, "containedIn": {"@id": "box"}}], fields), Data(targets=("kind",)), quiet)


def test_a_star_in_a_croissant_glob_stays_within_a_folder(tmp_path):
    plant(tmp_path, each=2)
    image = field("image", "images", "fileSet", {"fileProperty": "content"}, IMAGE)
    for pattern, found in (("images/*.png", 0), ("images/*/*_000.png", 3), ("**", 7), ("images/ant/ant_00?.png", 2)):
        source = croissant(tmp_path, [{**FILES, "includes": pattern}], [image])
        if found:
            assert len(open_sheet(source, Data(), quiet).frame) == found + (pattern == "**")  # croissant.json too
        else:
            with pytest.raises(DataError, match=r"nothing in .* is called"):
                open_sheet(source, Data(), quiet)


def test_croissant_refuses_by_name_what_it_does_not_read(tmp_path):
    plant(tmp_path, each=2)
    image = field("image", "labels.csv", "fileObject", {"column": "file"}, IMAGE)
    changed = field("kind", "labels.csv", "fileObject", {"column": "label"})
    changed["source"]["transform"] = {"@type": "x", "replace": "a/b", "regex": ".*", "delimiter": ","}
    for odd, says in (
        (field("kind", "labels.csv", "fileObject", {"jsonPath": "$.x"}), r"'kind' uses extract\.jsonPath"),
        ({**field("kind", "labels.csv", "fileObject", {"column": "label"}), "references": {}}, "'kind' uses references"),
        (field("kind", "labels.csv", "fileObject", {"column": "lable"}), "reads 'lable' of 'labels.csv'"),
        (field("kind", "gone.csv", "fileObject", {"column": "label"}), "comes from 'gone.csv'"),
        (changed, "uses transform delimiter, replace;"),
    ):
        with pytest.raises((UserError, DataError), match=says):
            layouts.read(croissant(tmp_path, [CSV], [image, odd]), Data(targets=("kind",)), quiet)
    (tmp_path / "labels.csv").unlink()
    with pytest.raises(DataError, match=r"not at .*labels\.csv.*fetch it yourself"):
        layouts.read(croissant(tmp_path, [CSV], [image]), Data(targets=("kind",)), quiet)


@pytest.mark.parametrize("paths", [("one",), ("one", "two")])
def test_croissant_round_trip(tmp_path, paths):
    planted = plant(tmp_path, each=2)
    rows = [
        [f, planted.files[0], label, str(i / 4), str(i % 2)] for i, (f, label) in enumerate(zip(planted.files, planted.labels, strict=True))
    ]
    table = write_table(tmp_path / "all.csv", ["one", "two", "label", "size", "fold"], rows)
    targets = ("label", "size:regression")
    one = layouts.read(table, Data(targets=targets, path=paths), quiet)
    same(one, layouts.read(layouts.write(one, tmp_path / "out", "croissant", quiet), Data(targets=targets), quiet))
