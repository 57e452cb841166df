"""An exported pipeline: ``ensemble.json`` and a file a member, run by ONNX Runtime, OpenVINO or torch; it decides as the pipeline does.

With ONNX and OpenVINO neither torch nor timm is imported.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib.metadata
import importlib.util
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from tapetum.core import files, hashes, known, processors
from tapetum.core.config import Input, SequenceConfig
from tapetum.core.errors import DataError, EnvironmentFault, TapetumError, UserError, first_line
from tapetum.core.places import EXPORT, refuse_nowhere
from tapetum.core.progress import Log
from tapetum.core.tables import Dense, Manifest
from tapetum.data.images.archives import DecodeError
from tapetum.data.images.decode import Composition, read_row
from tapetum.data.images.form import Form
from tapetum.data.images.given import Source
from tapetum.decide.steps import Rows
from tapetum.learn import sessions
from tapetum.learn.sessions import Session
from tapetum.pipeline.combine import Answered, combine
from tapetum.pipeline.exported_windows import Images, Windows
from tapetum.pipeline.framed import framed, one_view
from tapetum.pipeline.frozen import KEYS, Frozen, checked, unseen

MARKER, FORMAT, DIGEST = EXPORT, 2, "digest"  # since format 2: members over sequences
BATCH = 32
AHEAD = 2  # batches that are read while one is answered


@dataclasses.dataclass(frozen=True)
class Member:
    """One member: how it sees images, and what answers them.

    Args:
        spec: its part of ``ensemble.json``.
        settings: the recipe's ``[input]``.
        form: channels and depth of its images.
        session: answers a batch.
        windows: answers instead, where the member is one over sequences.
    """

    spec: Mapping[str, Any]
    settings: Input
    form: Form
    session: Session
    windows: Windows | None = None

    @property
    def sequence(self) -> SequenceConfig:
        """The recipe's section of a member over sequences; of others its default."""
        return SequenceConfig() if self.windows is None else self.windows.how


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
        spec = checked(files.read_json(place), place, FORMAT, keys=(*KEYS, "to", DIGEST), fix="export the pipeline again")
        if spec.pop(DIGEST) != _digest(spec):
            raise DataError(f"{place} is not the file that was written: its content was changed", fix="export the pipeline again")
        if spec.get("known"):  # older exports do not say
            hashes.compare(folder, {known.FILE: spec["known"]}, MARKER, fix="export the pipeline again")
        members = []
        for one in spec["members"]:
            hashes.compare(folder, one["files"], MARKER, fix="export the pipeline again")
            opened = [open_session(spec, folder / name) for name in one.get("opens", list(one["files"])[:1])]
            windows = Windows(one["sequence"], opened) if "sequence" in one else None
            members.append(Member(one, Input.model_validate(one["input"]), Form.from_dict(one["form"]), opened[0], windows))
        return cls(folder, spec, members)

    def for_rows(self, manifest: Manifest, engine: str = "auto", log: Log | None = None) -> Exported:
        """Return itself: an export is answered in its own format.

        Raises:
            UserError: another engine was asked for.
        """
        own = self.spec["to"].removesuffix("-export")
        if engine not in ("auto", own):
            what = f"{self.folder} is an export for {own}, and the engine is {engine!r}"
            raise UserError(what, fix="leave out --engine, or predict with the run")
        return self

    def for_service(self, log: Log | None = None) -> Exported:
        """Return itself: an export is answered in its own format, which was opened when it was loaded."""
        return self

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
        dense, rows = self.by_member(manifest, log, tick, sources=sources), unseen(manifest)
        if told is not None:
            told(dense, rows)
        return combine(self.spec["decisions"], self.scored, dense, rows, log)

    def by_member(
        self,
        manifest: Manifest,
        log: Log | None = None,
        tick: Callable[[int, int], None] | None = None,
        *,
        sources: Sequence[Sequence[Source]] | None = None,
    ) -> dict[str, dict[int, dict[str, Dense]]]:
        """Return member → fold → target → answers, before they are combined; arguments as for :meth:`answer`."""
        self.problems = {}
        total, count = len(manifest), tick or (lambda done, of: None)
        alone, over = ([one for one in self.members if (one.windows is not None) is kind] for kind in (False, True))
        answered = {one.spec["name"]: [np.full((total, *shape), np.nan, np.float32) for shape in self._shapes(one)] for one in alone}
        work = [(member, range(start, min(start + BATCH, total))) for start in range(0, total, BATCH) for member in alone]
        for (member, rows), (x, at) in zip(work, self._batches(work, manifest, sources), strict=True):
            if x is not None:
                found = member.session(*_inputs(member, x, manifest, at))
                for whole, part in zip(answered[member.spec["name"]], found, strict=True):
                    whole[at] = part
                    finite = np.isfinite(part).reshape(len(at), -1).all(axis=1)
                    self.problems |= {
                        row: "the network's answer is no finite number" for row, good in zip(at, finite, strict=True) if not good
                    }
            if member is alone[-1]:
                count(rows.stop * len(alone) // len(self.members), total)
        for number, member in enumerate(over, start=len(alone)):
            after = functools.partial(self._count, count, number * total, total)
            answered[member.spec["name"]] = self._over_windows(member, manifest, sources, after)
        self.log_missing(manifest, log)
        return {one.spec["name"]: self._dense(one, answered[one.spec["name"]], manifest) for one in self.members}

    def _shapes(self, member: Member) -> list[tuple[int, int]]:
        """Return (F, K) of each target of a member."""
        return [(len(member.spec["folds"]), self.targets[name].width) for name in member.spec["targets"]]

    def _count(self, count: Callable[[int, int], None], before: int, total: int, done: int) -> None:
        count((before + done) // len(self.members), total)

    def _over_windows(
        self, member: Member, manifest: Manifest, sources: Sequence[Sequence[Source]] | None, after: Callable[[int], None]
    ) -> list[np.ndarray]:
        """Return the probabilities (N, F, K) of each target by a member over sequences."""
        if member.windows is None:
            raise ValueError("the member answers single images")

        def read(batches: Sequence[Sequence[int]]) -> Iterator[Images]:
            return self._batches([(member, rows) for rows in batches], manifest, sources)

        def sides(rows: np.ndarray) -> np.ndarray | None:
            found = _side(member.spec["side"], manifest, np.maximum(rows, 0).ravel().tolist())
            return None if found is None else np.where(rows[..., None] < 0, np.float32("nan"), found.reshape(*rows.shape, -1))

        return member.windows.answer(manifest, read, sides, self._shapes(member), after)

    def inputs(self, member: Member, manifest: Manifest, rows: Sequence[int]) -> list[np.ndarray]:
        """Return what a member's graph takes of some rows: images and, where it has them, side numbers; nothing where none can be read."""
        x, at = self._read(member, rows, manifest)
        return [] if x is None else _inputs(member, x, manifest, at)

    def _batches(
        self, work: Sequence[tuple[Member, Sequence[int]]], manifest: Manifest, sources: Sequence[Sequence[Source]] | None
    ) -> Iterator[Images]:
        """Yield the images of each piece of work; a thread reads the next ones meanwhile, in the same order."""
        if len(work) < 2:
            yield from (self._read(*one, manifest, sources) for one in work)
            return
        pool, ahead = ThreadPoolExecutor(1, thread_name_prefix="images"), deque[Future[Images]]()
        try:
            for one in work:
                ahead.append(pool.submit(self._read, *one, manifest, sources))
                if len(ahead) > AHEAD:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _read(self, member: Member, rows: Sequence[int], manifest: Manifest, sources: Sequence[Sequence[Source]] | None = None) -> Images:
        """Return the images of some rows as a member takes them, and which rows; one that cannot be read leaves its reason."""
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
        return (np.stack(images) if images else None), at

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


def write_spec(folder: Path, spec: Mapping[str, Any]) -> None:
    """Write ``ensemble.json``, and in it the hash of its content."""
    files.write_json(folder / MARKER, {**spec, DIGEST: _digest(spec)})


def _digest(spec: Mapping[str, Any]) -> str:
    return files.fingerprint({key: value for key, value in spec.items() if key != DIGEST}, 64)


def open_session(spec: Mapping[str, Any], place: Path) -> Session:
    """Return what answers a batch by a written graph.

    Args:
        spec: of the export.
        place: the file.

    Raises:
        EnvironmentFault: its package is not installed, or does not run the graph (one of a newer version, say).
    """
    to = spec["to"]
    package = sessions.PACKAGES.get(to, "torch")
    if importlib.util.find_spec(package) is None:
        raise EnvironmentFault(f"{place.name} needs {package}, which is not installed", fix=f"pip install {package}")
    try:
        return _opened(to, spec, place)
    except (TapetumError, MemoryError):  # what these say is no fault of the package
        raise
    except Exception as error:  # each package raises what it has
        version = importlib.metadata.version(package)
        raise EnvironmentFault(
            f"{place.name} cannot be opened by {package} {version} ({first_line(error)})", fix=f"pip install -U {package}"
        ) from None


def _opened(to: str, spec: Mapping[str, Any], place: Path) -> Session:
    if to == "onnx":
        return sessions.open_onnx(place.read_bytes())
    if to == "openvino":
        return sessions.open_openvino(place, bf16=bool(spec.get("bf16")) and processors.has_bf16())
    return _torch(place)


def _torch(place: Path) -> Session:
    import torch

    module = torch.export.load(place).module()

    def answer(*arrays: np.ndarray) -> list[np.ndarray]:
        with torch.inference_mode():
            return [one.numpy() for one in module(*(torch.from_numpy(one) for one in arrays))]

    return answer


def _inputs(member: Member, x: np.ndarray, manifest: Manifest, rows: Sequence[int]) -> list[np.ndarray]:
    side = _side(member.spec["side"], manifest, rows)
    return [x] if side is None else [x, side]


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
