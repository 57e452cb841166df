"""What a fold leaves on disk while it trains, in an order that a kill cannot break: weights, predictions, history, and the marker last.

``state.json`` names the one resume file that counts and how many rows of history and which checkpoints belong to it, with their hashes;
whatever a killed epoch left beyond that is dropped at the next start.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl
from torch import Tensor

from tapetum.core import files, hashes, kept_json, locks
from tapetum.core.errors import DataError
from tapetum.core.tables import Predictions
from tapetum.learn.models.backbone import tensors_from_bytes, tensors_to_bytes
from tapetum.learn.ranks import ALONE, Ranks

HASHED = ("spec.json", "scaling.json", "history.csv", "schedule.csv", "epochs.parquet", "stage-*.parquet")  # once the fold is done
LAST = "last"  # as the hash of the resume file is named, beside those of the checkpoints


@dataclasses.dataclass(frozen=True)
class Keeper:
    """The files of one fold's folder.

    Args:
        folder: ``members/<member>/fold-<k>``.
        generation: of the lock on the folder (:func:`tapetum.core.locks.lock`), for who writes; None for who reads.
        ranks: of the processes that train the fold together; the first one writes, and the others wait for it.
    """

    folder: Path
    generation: int | None = None
    ranks: Ranks = ALONE

    @property
    def writes(self) -> bool:
        """Whether this process writes the files."""
        return self.ranks.rank == 0

    @property
    def state_file(self) -> Path:
        """The marker, written last."""
        return self.folder / "state.json"

    def state(self) -> dict[str, Any]:
        """Return the marker; empty before the first epoch ended."""
        return kept_json.read_object(self.state_file) if self.state_file.exists() else {}

    def tensors(self, state: Mapping[str, Any]) -> dict[str, Tensor]:
        """Return the tensors that a state resumes from."""
        return tensors_from_bytes(self._content(self.folder / state["last"], state.get("sha256", {}).get(LAST)))

    def checkpoint_file(self, checkpoint: str) -> Path:
        """Return the file of a checkpoint's weights (``epoch-003/ema`` is in ``epoch-003+ema.safetensors``)."""
        return self.folder / "checkpoints" / f"{checkpoint.replace('/', '+')}.safetensors"

    def checkpoint(self, name: str) -> dict[str, Tensor]:
        """Return the weights of a checkpoint.

        Raises:
            DataError: the file, or another one of the fold, is not the one that this fold wrote.
        """
        hashes.check_fold(self.folder)
        return tensors_from_bytes(self._content(self.checkpoint_file(name), self.state().get("sha256", {}).get(name)))

    def keep(
        self,
        tensors: Mapping[str, Tensor],
        checkpoints: Mapping[str, Mapping[str, Tensor]],
        heldout: Predictions | None,
        history: list[dict[str, Any]],
        state: dict[str, Any],
    ) -> None:
        """Write all that an epoch leaves; the marker comes last.

        Args:
            tensors: what a resume needs (network, optimizer, average).
            checkpoints: this epoch's weights by checkpoint name.
            heldout: held-out predictions of every checkpoint so far; None for a refit, which holds nothing out.
            history: one row an epoch.
            state: the rest of the marker.
        """
        if self.writes:
            self._check_holder()
            for name, weights in checkpoints.items():
                files.write_bytes(self.checkpoint_file(name), tensors_to_bytes(weights))
            if heldout is not None:
                heldout.write(self.folder / "epochs.parquet")
            files.write_csv(self.folder / "history.csv", pl.DataFrame(history, infer_schema_length=None))
            last = f"last/step-{state['progress']['step']:07d}-{state['progress']['epoch']:03d}.safetensors"
            content = tensors_to_bytes(tensors)
            files.write_bytes(self.folder / last, content)
            self._check_holder()
            hashes = {**self._hashes(state), LAST: hashlib.sha256(content).hexdigest()}
            files.write_json(self.state_file, {**state, "last": last, "sha256": hashes})
            for old in (self.folder / "last").glob("*.safetensors"):
                if old.name != Path(last).name:
                    files.remove(old)
        self.ranks.wait()

    def add(self, checkpoint: str, weights: Mapping[str, Tensor], heldout: Predictions | None) -> None:
        """Keep a checkpoint that is beside the epochs; until :meth:`finish` names it, a restart makes it again."""
        if self.writes:
            self._check_holder()
            files.write_bytes(self.checkpoint_file(checkpoint), tensors_to_bytes(weights))
            if heldout is not None:
                heldout.write(self.folder / "epochs.parquet")
        self.ranks.wait()

    def finish(self, state: dict[str, Any]) -> dict[str, Any]:
        """Mark the fold as done; the resume file goes, once no other process reads it any more."""
        self.ranks.wait()
        done = {k: v for k, v in state.items() if k not in ("last", "rest")} | {"status": "done"}
        if self.writes:
            self._check_holder()
            done["sha256"] = self._hashes(state)
            hashes.keep(self.folder, [place.name for pattern in HASHED for place in self.folder.glob(pattern)])
            files.write_json(self.state_file, done)
            files.remove(self.folder / "last")
        self.ranks.wait()
        return done

    def _hashes(self, state: Mapping[str, Any]) -> dict[str, str]:
        """Return the hashes of a state's checkpoints; those that were kept stay as they were then."""
        known = self.state().get("sha256", {})
        return {name: known.get(name) or files.sha256(self.checkpoint_file(name)) for name in state.get("checkpoints", ())}

    def _content(self, path: Path, digest: str | None) -> bytes:
        """Return the bytes of a file of this fold; one without a hash was written by an earlier version."""
        if not path.is_file():
            raise DataError(f"{path} is absent", fix=hashes.mend_fold(self.folder))
        content = path.read_bytes()
        if digest is not None and hashlib.sha256(content).hexdigest() != digest:
            raise DataError(
                f"{path} is not the file that this fold wrote (its bytes are others)",
                fix=hashes.mend_fold(self.folder),
            )
        return content

    def _check_holder(self) -> None:
        """Refuse to write where another process holds the folder by now."""
        if self.generation is not None:
            locks.check_generation(self.folder, self.generation)

    def prune(self, wanted: set[str]) -> None:
        """Remove the weights of checkpoints that nobody chose."""
        keep = {self.checkpoint_file(name).name for name in wanted}
        for file in (self.folder / "checkpoints").glob("*.safetensors"):
            if file.name not in keep:
                files.remove(file)

    def held_so_far(self, checkpoints: list[str]) -> Predictions | None:
        """Return the held-out predictions of the checkpoints that count."""
        path = self.folder / "epochs.parquet"
        if not checkpoints or not path.exists():
            return None
        return Predictions.read(path).select(checkpoint=checkpoints)

    def history_so_far(self, rows: int) -> list[dict[str, Any]]:
        """Return the rows of history that count."""
        path = self.folder / "history.csv"
        if not rows or not path.exists():
            return []
        return files.read_csv(path).head(rows).to_dicts()
