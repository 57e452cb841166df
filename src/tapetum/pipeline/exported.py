"""An exported pipeline: ``ensemble.json`` and a file a member, run by ONNX Runtime, OpenVINO or torch; it decides as the pipeline does.

With ONNX and OpenVINO neither torch nor timm is imported.
"""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tapetum.core import files
from tapetum.core.config import Input
from tapetum.core.errors import DataError, EnvironmentFault, UserError
from tapetum.core.places import EXPORT, refuse_nowhere
from tapetum.core.progress import Log
from tapetum.core.tables import Dense, Manifest
from tapetum.data.images.archives import DecodeError
from tapetum.data.images.decode import Composition, read_row
from tapetum.data.images.form import Form
from tapetum.data.images.given import Source
from tapetum.decide.steps import Rows
from tapetum.pipeline.combine import Answered, combine
from tapetum.pipeline.framed import framed, one_view
from tapetum.pipeline.frozen import KEYS, Frozen, check_files, checked, unseen

MARKER, FORMAT = EXPORT, 1
BATCH = 32
Session = Callable[[np.ndarray, np.ndarray | None], list[np.ndarray]]  # (images, side numbers) → each target's (B, F, K)


@dataclasses.dataclass(frozen=True)
class Member:
    """One member: how it sees images, and what answers them.

    Args:
        spec: its part of ``ensemble.json``.
        settings: the recipe's ``[input]``.
        form: channels and depth of its images.
        session: answers a batch.
    """

    spec: Mapping[str, Any]
    settings: Input
    form: Form
    session: Session


class Exported(Frozen):
    """A loaded export.

    Args:
        folder: where it was loaded from.
        spec: its ``ensemble.json``.
        members: ready to answer.
    """

    def __init__(self, folder: Path, spec: dict[str, Any], members: list[Member]) -> None:
        super().__init__(folder, spec)
        self.members = members

    @classmethod
    def load(cls, folder: Path | str) -> Exported:
        """Load an exported folder.

        Raises:
            UserError: it is not there, or holds no export.
            DataError: a file is absent, or is not the one that was written.
            EnvironmentFault: what runs this format is not installed, or a newer version of Tapetum wrote it.
        """
        refuse_nowhere(folder)
        folder = Path(folder)
        if not (folder / MARKER).exists():
            raise UserError(f"{folder} holds no exported pipeline (no {MARKER})", fix="make one with: tapetum export RUN --to onnx -o DIR")
        place = folder / MARKER
        spec = checked(files.read_json(place), place, FORMAT, keys=(*KEYS, "to"), fix="export the pipeline again")
        members = []
        for one in spec["members"]:
            check_files(folder, one["files"], MARKER, fix="export the pipeline again")
            session = open_session(spec["to"], [folder / name for name in one["files"]])
            members.append(Member(one, Input.model_validate(one["input"]), Form.from_dict(one["form"]), session))
        return cls(folder, spec, members)

    def answer(
        self,
        manifest: Manifest,
        log: Log | None = None,
        tick: Callable[[int, int], None] | None = None,
        *,
        sources: Sequence[Sequence[Source]] | None = None,
        told: Callable[[Answered, Rows], None] | None = None,
    ) -> dict[str, Dense]:
        """Return one Dense a scored target for every row of a manifest, in its order.

        Args:
            manifest: the rows.
            log: told why rows are missing; :attr:`problems` keeps it.
            tick: told how many images are done, of how many.
            sources: what each row is composed of, where that is not the manifest's files.
            told: told what each member answered, before that is combined, and the rows.
        """
        self.problems = {}
        total = len(manifest)
        answered = {one.spec["name"]: [np.full((total, len(one.spec["folds"]), self.targets[t].width), np.nan, np.float32)
                                       for t in one.spec["targets"]] for one in self.members}  # fmt: skip
        for start in range(0, total, BATCH):
            rows = range(start, min(start + BATCH, total))
            for member in self.members:
                self._batch(member, manifest, rows, answered[member.spec["name"]], sources)
            if tick is not None:
                tick(rows.stop, total)
        self.log_missing(manifest, log)
        dense = {one.spec["name"]: self._dense(one, answered[one.spec["name"]], manifest) for one in self.members}
        known = unseen(manifest)
        if told is not None:
            told(dense, known)
        return combine(self.spec["decisions"], self.scored, dense, known, log)

    def _batch(
        self,
        member: Member,
        manifest: Manifest,
        rows: Sequence[int],
        out: list[np.ndarray],
        sources: Sequence[Sequence[Source]] | None,
    ) -> None:
        """Answer some rows by one member; one that cannot be read keeps NaN, with its reason."""
        images, at = [], []
        how, hashes = Composition.from_input(member.settings), manifest.frame["sha256"]
        for row in rows:
            if row in self.problems:
                continue
            try:
                given = manifest.paths(row) if sources is None else sources[row]
                image = one_view(read_row(given, how, hashes[row])[1])
                images.append(framed(member.form.fit(image, manifest.row_ids[row]), member.settings))
                at.append(row)
            except DecodeError as error:
                self.problems[row] = error.reason
        if images:
            side = _side(member.spec["side"], manifest, at)
            for whole, part in zip(out, member.session(np.stack(images), side), strict=True):
                whole[at] = part

    def _dense(self, member: Member, p: list[np.ndarray], manifest: Manifest) -> dict[int, dict[str, Dense]]:
        """Return fold → target → answers of one member."""
        ids = np.asarray(manifest.row_ids, dtype=object)
        status = np.array(["missing" if row in self.problems else "ok" for row in range(len(ids))], dtype=object)
        found: dict[int, dict[str, Dense]] = {}
        for number, fold in enumerate(member.spec["folds"]):
            of_fold = found.setdefault(fold, {})
            for name, values in zip(member.spec["targets"], p, strict=True):
                one = np.ascontiguousarray(values[:, number])
                one[status != "ok"] = np.nan
                fold_of = np.full(len(ids), fold, dtype=np.int16)
                of_fold[name] = Dense(self.targets[name], ids, one, np.full_like(one, np.nan), fold_of, status)
        return found


def open_session(to: str, places: Sequence[Path]) -> Session:
    """Return what answers a batch by a written graph.

    Raises:
        EnvironmentFault: its package is not installed.
    """
    package = {"onnx": "onnxruntime", "openvino": "openvino", "torch-export": "torch"}[to]
    if importlib.util.find_spec(package) is None:
        raise EnvironmentFault(f"{places[0].name} needs {package}, which is not installed", fix=f"pip install {package}")
    return {"onnx": _onnx, "openvino": _openvino, "torch-export": _torch}[to](places[0])


def _onnx(place: Path) -> Session:
    import onnxruntime

    onnxruntime.disable_telemetry_events()
    session = onnxruntime.InferenceSession(place.read_bytes(), providers=["CPUExecutionProvider"])
    return lambda x, side: session.run(None, {"image": x} if side is None else {"image": x, "side": side})


def _openvino(place: Path) -> Session:
    import openvino

    model = openvino.compile_model(str(place), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})

    def answer(x: np.ndarray, side: np.ndarray | None) -> list[np.ndarray]:
        found = model([x] if side is None else [x, side])
        return [found[number] for number in range(len(found))]

    return answer


def _torch(place: Path) -> Session:
    import torch

    module = torch.export.load(place).module()

    def answer(x: np.ndarray, side: np.ndarray | None) -> list[np.ndarray]:
        with torch.inference_mode():
            given = [torch.from_numpy(x)] + ([] if side is None else [torch.from_numpy(side)])
            return [one.numpy() for one in module(*given)]

    return answer


def _side(names: Sequence[str], manifest: Manifest, rows: Sequence[int]) -> np.ndarray | None:
    """Return the side numbers of some rows as the table has them; NaN where one is missing."""
    if not names:
        return None
    absent = [name for name in names if name not in manifest.frame.columns]
    if absent:
        raise DataError(f"the side number {absent[0]!r} is not in the table", need=f"the columns {', '.join(names)}")
    import polars as pl

    columns = manifest.frame[list(rows)].select(pl.col(name).cast(pl.Float32, strict=False) for name in names)
    return columns.to_numpy().astype(np.float32)
