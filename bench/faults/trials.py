"""What campaigns share: the data and the run they start from, what must come out the same, and the outcome that a table shows."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import queue
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from bench.faults import shim
from bench.faults.forge import FINE, ROOT, Forge
from bench.faults.journal import Journal

MINUTES = 0.0  # the most that one campaign takes; 0: no end
RESULTS = {  # what a step must leave, below its place
    "fit": (
        "run/oof.parquet",
        "run/decisions.json",
        "run/metrics.json",
        "run/manifest.parquet",
        "run/pipeline/**/*",
        "run/members/*/*/oof.parquet",
        "run/members/*/*/epochs.parquet",
        "run/members/*/*/checkpoints/*.safetensors",
    ),
    "predict": ("out.*",),
    "export": ("exported/**/*",),
    "review": ("decisions.csv",),
}


@dataclasses.dataclass
class Base:
    """Where trials begin.

    Args:
        home: holds all that trials write; in memory where the system has such a folder.
        library: see ``shim.py``.
        forges: one for each trial that runs at a time.
        journals: the folder of the journals; None: trials are not kept.
        also: see :class:`Journal`.
    """

    home: Path
    library: Path | None
    forges: list[Forge]
    journals: Path | None = None
    also: Sequence[str] = ()

    @property
    def data(self) -> Path:
        return self.home / "data"

    @property
    def run(self) -> Path:
        """A finished run."""
        return self.home / "reference" / "run"

    @property
    def graph(self) -> Path:
        """What an export traces, see :func:`bench.faults.steps.export`."""
        return self.home / "graph.onnx"

    def journal(self, campaign: str) -> Journal:
        """Return the journal of a campaign."""
        return Journal(campaign, self.journals, self.also)

    def given(self, step: str, place: Path) -> dict[str, Any]:
        """Return the arguments of a step at a place."""
        table, plan = str(self.data / "labels.csv"), str(self.run / "plan.json")
        of = {
            "fit": {"data": table, "plan": plan},
            "predict": {"run": str(self.run), "data": str(self.data / "images")},
            "export": {"run": str(self.run), "graph": str(self.graph) if self.graph.exists() else ""},
            "review": {"run": str(self.run), "told": f"{place}.told"},
        }
        return {"place": str(place), **of[step]}

    def close(self) -> None:
        for forge in self.forges:
            forge.close()
        shutil.rmtree(self.home, ignore_errors=True)


def begin(workers: int, steps: Sequence[str] = tuple(RESULTS)) -> Base:
    """Draw a dozen images, one of them damaged, start the forges, and make the run that trials are compared with."""
    import sys
    import tempfile

    sys.path.insert(0, str(ROOT / "tests"))
    from images import plant

    memory = Path("/dev/shm")
    place = memory if os.access(memory, os.W_OK) else Path(tempfile.gettempdir())
    for left in place.glob("tapetum-faults-*-*"):  # of a campaign that was killed
        if not Path("/proc", left.name.split("-")[2]).exists():
            shutil.rmtree(left, ignore_errors=True)
    home = Path(tempfile.mkdtemp(prefix=f"tapetum-faults-{os.getpid()}-", dir=place))
    library = shim.build(ROOT / ".bench" / "faults") if shim.compiler() else None
    base = Base(home, library, [Forge(library) for _ in range(workers)])
    plant(base.data, classes=3, each=4, size=32, group_size=2, truncated=True)
    (home / "reference").mkdir()
    base.forges[0].learn("fit", data=str(base.data / "labels.csv"), place=str(home / "reference"))
    if "export" in steps:
        whole = home / "traced"
        whole.mkdir()
        trace = None if library is None else dataclasses.asdict(shim.Fault(str(whole), trace=str(home / "traced.trace")))
        code, printed = base.forges[0].run("export", trace, **base.given("export", whole))
        assert code in FINE, printed
        shutil.copy(*whole.glob("exported/*.onnx"), base.graph)

    def learn(forge: Forge) -> None:
        for step in steps:
            place = home / f"learn-{id(forge)}-{step}"
            place.mkdir()
            forge.learn(step, **base.given(step, place))

    threads = [threading.Thread(target=learn, args=(forge,)) for forge in base.forges]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return base


def each(base: Base, trials: Iterable[Any], one: Callable[[Forge, Any], None]) -> None:
    """Call a function with a forge for each trial, as many at a time as there are forges."""
    waiting: queue.SimpleQueue[Any] = queue.SimpleQueue()
    for trial in trials:
        waiting.put(trial)
    errors: list[BaseException] = []
    end = time.perf_counter() + 60 * MINUTES

    def work(forge: Forge) -> None:
        while not errors and (not MINUTES or time.perf_counter() < end):
            try:
                trial = waiting.get_nowait()
            except queue.Empty:
                return
            try:
                one(forge, trial)
            except BaseException as error:
                errors.append(error)

    threads = [threading.Thread(target=work, args=(forge,)) for forge in base.forges]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def results(step: str, place: Path) -> dict[str, str]:
    """Return relative path → SHA-256 of what a step must leave."""
    found = (path for pattern in RESULTS[step] for path in sorted(place.glob(pattern)) if path.is_file())
    return {path.relative_to(place).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in found}


def differences(found: dict[str, str], wanted: dict[str, str]) -> str:
    """Return which results differ; blank: none."""
    names = [name for name in {**wanted, **found} if found.get(name) != wanted.get(name)]
    return "" if not names else f"{len(names)} results differ: " + ", ".join(sorted(names)[:4])


def torn(place: Path) -> str:
    """Return the first file that has its name but not its whole content; blank: none."""
    for path in place.rglob("*"):
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(place).parts) and not is_whole(path):
            return f"{path.relative_to(place)} is torn ({path.stat().st_size} bytes)"
    return ""


def is_whole(path: Path) -> bool:
    """Tell whether a file ends where its format says that it does."""
    content = path.read_bytes()
    if path.suffix == ".json":
        try:
            json.loads(content)
        except ValueError:
            return False
    if path.suffix == ".parquet":
        return len(content) > 12 and content[:4] == content[-4:] == b"PAR1" and int.from_bytes(content[-8:-4], "little") < len(content) - 12
    if path.suffix == ".safetensors":
        size = int.from_bytes(content[:8], "little")
        if len(content) < 8 + size:
            return False
        ends = [one["data_offsets"][1] for name, one in json.loads(content[8 : 8 + size]).items() if name != "__metadata__"]
        return len(content) == 8 + size + max(ends, default=0)
    if path.suffix == ".npy":
        return content[:6] == b"\x93NUMPY" and len(content) > 10
    if path.suffix in (".csv", ".toml", ".html"):
        return content.endswith((b"\n", b">"))
    return True


def refusal(code: int, printed: str, killed: bool) -> str:
    """Return what is wrong with how a failing command ended; blank: it did its work, was killed, or named what was wrong."""
    if killed and code == -9:
        return ""
    if code in FINE:
        return ""
    named = any(line.startswith("error: ") for line in printed.splitlines())
    if code > 0 and named and "Traceback" not in printed:
        return ""
    return f"ended with {code} and no error that names a file: {printed[-1500:]}"
