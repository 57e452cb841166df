"""What a GPU changes: fit, precisions, layout, memory, resume, predict, ONNX Runtime, and speed beside timm. One command.

Where CUDA is not there it says so and ends with exit code 0. ``--device cpu`` tries the script itself on a tiny scale. Run:
``python bench/gpu.py``.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

import recorded
from tapetum import api
from tapetum.core import draws, files
from tapetum.core.tables import Predictions
from tapetum.learn.runtime import Engine, Runtime

PAIRS = 7  # of interleaved measurements; the lower quartile of their ratios counts
TOLERANCE = {"32": 1e-3, "bf16": 0.05, "fp16": 0.02}  # of probabilities, against 32 bits on the CPU


@dataclasses.dataclass(frozen=True)
class Scale:
    """How large the checks are."""

    device: str
    backbone: str
    size: int
    images: int
    batch: int
    steps: int


FULL = Scale("cuda", "resnet50", 224, 600, 128, 30)
TINY = Scale("cpu", "test_efficientnet", 32, 60, 8, 2)


def plant(home: Path, scale: Scale) -> Path:
    """Write images of three classes that differ by their colour, and their table."""
    rng, lines = draws.generator("gpu"), ["file,label"]
    for number in range(scale.images):
        k = number % 3
        x = rng.integers(0, 120, (scale.size, scale.size, 3), dtype=np.uint8)
        x[..., k] += 100
        Image.fromarray(x).save(home / f"i{number}.png")
        lines.append(f"i{number}.png,c{k}")
    files.write_text(home / "labels.csv", "\n".join(lines) + "\n")
    return home / "labels.csv"


def fit(data: Path, out: Path, scale: Scale, **sets: Any) -> Any:
    how = {"model__weights": "none", "probe__enabled": False, "train__batch": scale.batch, "split__folds": 2, "optimizer__rate": 1e-3}
    more = {**how, "epochs": 2, "size": scale.size, "backbone": scale.backbone, **sets}
    return api.fit(data, out, target="label", id="file", path="file", log=recorded.log, **more)


def by_engine(run: Path, images: list[Path], engine: Engine) -> np.ndarray:
    """Return a run's probabilities for images, computed so."""
    from tapetum.pipeline import Pipeline
    from tapetum.pipeline.fastest import with_engines

    loaded = Pipeline.load(run / "pipeline")
    loaded = with_engines(loaded, {member.name: engine for member in loaded.members})
    manifest = loaded.read([str(one) for one in images], lambda _: None)
    return next(iter(loaded.answer(manifest).values())).p


def check_fit(home: Path, data: Path, scale: Scale) -> str:
    """Fit with what is decided by itself; the plan must have the device."""
    result = fit(data, home / "run", scale)
    engine = files.read_json(home / "run" / "plan.json")["members"]["main"]["engine"]
    if engine["device"] != scale.device:
        raise AssertionError(f"trained on {engine['device']}")
    return f"{Engine.from_dict(engine).name}; {result['figures'][0]['metric']} {result['figures'][0]['value']:.3f}"


def check_engines(home: Path, data: Path, scale: Scale) -> str:
    """Answer by every precision and layout; probabilities must be those of the CPU within the tolerance."""
    images = sorted(home.glob("i*.png"))[:60]
    reference, found = by_engine(home / "run", images, Engine("cpu", "32")), []
    for precision in ("32", "bf16", *(("fp16",) if scale.device == "cuda" else ())):
        for last in (False, True):
            p = by_engine(home / "run", images, Engine(scale.device, precision, last))  # type: ignore[arg-type]
            worst = float(np.abs(p - reference).max())
            if worst > TOLERANCE[precision]:
                raise AssertionError(f"{precision}, channels last {last}: {worst:.3g}")
            found.append(f"{precision}{' channels last' if last else ''} {worst:.1e}")
    return "largest difference of a probability: " + ", ".join(found)


def check_training(home: Path, data: Path, scale: Scale) -> str:
    """Train in every precision; each must end well."""
    for precision in ("bf16", *(("fp16",) if scale.device == "cuda" else ())):
        fit(data, home / f"run-{precision}", scale, train__precision=precision, train__channels_last=True)
    return "bf16 and fp16 train" if scale.device == "cuda" else "bf16 trains"


def check_memory(home: Path, data: Path, scale: Scale) -> str:
    """Allow a part of the memory that a batch needs: it must be computed in pieces, and training must end."""
    if scale.device != "cuda":
        return "not checked without a GPU"
    said: list[str] = []
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(min(1.0, 6 * 2**30 / total))
    try:
        how = {"train__batch": 256, "train__precision": "32", "epochs": 1, "log": said.append, "model__weights": "none"}
        more = {"probe__enabled": False, "split__folds": 2, "size": 224, "backbone": scale.backbone}
        api.fit(data, home / "run-memory", target="label", id="file", path="file", **how, **more)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    halved = next((text for text in said if "now computed in" in text), None)
    if halved is None:
        raise AssertionError("6 GiB were enough: nothing was halved")
    return halved


def check_resume(home: Path, data: Path, scale: Scale) -> str:
    """End a job after its first epoch and go on; its answers must be those of the whole run."""
    from tapetum.learn.training import job

    spec = home / "run" / "members" / "main" / "fold-0" / "spec.json"
    again = home / "run" / "members" / "main" / "fold-7"
    files.copy(spec, again / "spec.json")

    class Killed(Exception):
        pass

    def kill(epochs: int, seconds: float) -> bool:
        raise Killed

    with contextlib.suppress(Killed):
        job.run(again / "spec.json", may_go_on=kill)
    job.run(again / "spec.json")
    job.run(again / "spec.json")
    one, two = (Predictions.read(place.parent / "epochs.parquet").frame["p"].to_list() for place in (spec, again / "spec.json"))
    worst = float(np.abs(np.array(one) - np.array(two)).max())
    files.remove(again)
    if worst > 1e-3:
        raise AssertionError(f"probabilities differ by {worst:.3g}")
    return f"largest difference of a probability {worst:.1e}"


def check_predict(home: Path, data: Path, scale: Scale) -> str:
    """Predict files to a table; labels must be those of the CPU."""
    images = sorted(home.glob("i*.png"))
    api.predict(home / "run", images, home / "p.parquet", engine="torch", log=recorded.log)
    dense = Predictions.read(home / "p.parquet").dense("label")
    same = float((dense.p.argmax(1) == by_engine(home / "run", images, Engine("cpu", "32")).argmax(1)).mean())
    if same < 0.995:
        raise AssertionError(f"labels agree on {same:.1%}")
    return f"labels agree on {same:.1%} of {len(images)} images"


def check_onnx(home: Path, data: Path, scale: Scale) -> str:
    """Run the exported network by ONNX Runtime on the GPU and on the CPU."""
    import onnxruntime

    provider = "CUDAExecutionProvider" if scale.device == "cuda" else "CPUExecutionProvider"
    if provider not in onnxruntime.get_available_providers():
        return "not checked: this onnxruntime has no CUDA (pip install onnxruntime-gpu)"
    api.export(home / "run", "onnx", home / "onnx", log=recorded.log)
    model = sorted((home / "onnx").glob("*.onnx"))[0]
    sessions = [onnxruntime.InferenceSession(str(model), providers=[name]) for name in (provider, "CPUExecutionProvider")]
    given = sessions[0].get_inputs()[0]
    kind = np.uint8 if "uint8" in given.type else np.float32
    shape = [n if isinstance(n, int) else 16 for n in given.shape]
    x = draws.generator("onnx").integers(0, 255, shape).astype(kind)
    x = x if kind is np.uint8 else x / np.float32(255)
    one, two = (session.run(None, {given.name: x})[0] for session in sessions)
    worst = float(np.abs(one - two).max())
    if worst > 1e-2:
        raise AssertionError(f"outputs differ by {worst:.3g}")
    return f"{sessions[0].get_providers()[0]}: largest difference {worst:.1e}"


def seconds(scale: Scale, step: Callable[[], None]) -> float:
    """Return seconds a step, after two to warm up."""
    for _ in range(2):
        step()
    if scale.device == "cuda":
        torch.cuda.synchronize()
    began = time.perf_counter()
    for _ in range(scale.steps):
        step()
    if scale.device == "cuda":
        torch.cuda.synchronize()
    return (time.perf_counter() - began) / scale.steps


def ours(scale: Scale, training: bool) -> Callable[[], None]:
    """Return a step of Tapetum's engine: bf16, channels last, its runtime's backward and step."""
    import timm

    runtime = Runtime(Engine(scale.device, "bf16", True), deterministic=False)
    network = runtime.to_device(timm.create_model(scale.backbone, num_classes=10))
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4)
    x, y = runtime.to_device(torch.rand(scale.batch, 3, scale.size, scale.size)), torch.zeros(scale.batch, dtype=torch.long)
    y = y.to(runtime.device)

    def train() -> None:
        with runtime.autocast():
            loss = torch.nn.functional.cross_entropy(network(x), y)
        runtime.backward(loss)
        runtime.step(network, optimizer, 1e-4, 1.0)

    @torch.inference_mode()
    def answer() -> None:
        with runtime.autocast():
            network(x)

    network.train(training)
    return train if training else answer


def timms(scale: Scale, training: bool) -> Callable[[], None]:
    """Return a step as timm's scripts do it by default: fp16 or bf16 autocast with ``--amp``, the usual layout."""
    import timm
    from timm.utils import NativeScaler

    device, dtype = torch.device(scale.device), torch.float16 if scale.device == "cuda" else torch.bfloat16
    network = timm.create_model(scale.backbone, num_classes=10).to(device)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4)
    scaler = NativeScaler() if scale.device == "cuda" else None
    x = torch.rand(scale.batch, 3, scale.size, scale.size, device=device)
    y = torch.zeros(scale.batch, dtype=torch.long, device=device)

    def train() -> None:
        optimizer.zero_grad()
        with torch.autocast(device.type, dtype=dtype):
            loss = torch.nn.functional.cross_entropy(network(x), y)
        if scaler is None:
            loss.backward()
            optimizer.step()
        else:
            scaler(loss, optimizer, clip_grad=1.0, parameters=network.parameters())

    @torch.inference_mode()
    def answer() -> None:
        with torch.autocast(device.type, dtype=dtype):
            network(x)

    network.train(training)
    return train if training else answer


def speeds(scale: Scale) -> Iterator[tuple[str, dict[str, float]]]:
    """Yield what was measured of training and of answering: images a second of both, and the lower quartile of the ratio of pairs."""
    for name, training in (("training", True), ("answering", False)):
        both = ours(scale, training), timms(scale, training)
        pairs = [tuple(seconds(scale, step) for step in both) for _ in range(PAIRS)]
        mine, theirs = (scale.batch / statistics.median(one) for one in zip(*pairs, strict=True))
        ratio = statistics.quantiles([b / a for a, b in pairs], n=4)[0]
        yield name, {"tapetum": mine, "timm": theirs, "ratio": ratio}


CHECKS: dict[str, Callable[[Path, Path, Scale], str]] = {
    "fit": check_fit,
    "precision and layout": check_engines,
    "training in half precision": check_training,
    "out of memory": check_memory,
    "resume": check_resume,
    "predict": check_predict,
    "ONNX Runtime": check_onnx,
}


def main() -> int:
    """Check and measure; the exit code is 1 where a check failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="cpu: try the script, tiny; nothing is recorded")
    args = parser.parse_args()
    if args.device == "cuda" and not torch.cuda.is_available():
        print("no CUDA device is here: nothing was run")
        return 0
    scale, rows, failed = (FULL if args.device == "cuda" else TINY), [], 0
    with tempfile.TemporaryDirectory() as folder:
        data = plant(Path(folder), scale)
        for name, check in CHECKS.items():
            try:
                text, holds = check(Path(folder), data, scale), "yes"
            except Exception as error:  # the other checks still count
                text, holds, failed = f"{type(error).__name__}: {error}", "no", failed + 1
            rows.append([name, text.replace("|", "/"), holds])
            print(*rows[-1], sep=": ", flush=True)
    measured = dict(speeds(scale))
    figures = [[name, *(f"{one[key]:,.0f}" for key in ("tapetum", "timm")), f"{one['ratio']:.2f}"] for name, one in measured.items()]
    about = f"{scale.backbone} at {scale.size} pixels, batches of {scale.batch}, images at hand on the device; {PAIRS} pairs, interleaved"
    speed = recorded.table(["", "Tapetum, images/s", "timm, images/s", "ratio (lower quartile)"], figures)
    text = recorded.table(["check", "found", "holds"], rows) + f"\n\n{about}:\n\n{speed}"
    print(text)
    if scale.device == "cuda":
        where = torch.cuda.get_device_name(0)
        recorded.record("gpu", "On a GPU", f"{where}.\n\n{text}", {"checks": rows, "speeds": measured}, "torch", "timm", "onnxruntime")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
