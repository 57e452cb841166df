"""The trunk of a network: any timm model by name, without its classifier, with the weights that the recipe asks for."""

from __future__ import annotations

import difflib
import hashlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from timm.models._input import get_model_args
from torch import Tensor, nn

from tapetum.core import files
from tapetum.core.errors import DataError, UserError, first_line
from tapetum.core.words import plural
from tapetum.learn.models import channels as adaptation
from tapetum.learn.models.weights import Weights

_ANY_SIZE = {"dynamic_img_size": True, "dynamic_img_pad": True}  # vision transformers: position embeddings follow the image


def create(
    weights: Weights,
    *,
    channels: int = 3,
    policy: str = "repeat",
    pooling: str = "default",
    size: tuple[int, int] | None = None,
    drop_path: float = 0.0,
    options: Mapping[str, Any] | None = None,
) -> nn.Module:
    """Return a timm model that gives feature vectors (``num_classes=0``), with its weights loaded strictly.

    Args:
        weights: from :func:`tapetum.learn.models.weights.find`; ``none`` starts from torch's random numbers.
        channels: of the images.
        policy: what becomes of the first layer where ``channels`` differs from the weights'.
        pooling: ``default``, ``avg``, ``max``, ``avgmax``, ``catavgmax``, or ``levels``: mean and deviation of the maps of every level,
            joined to the pooled last one, so that a head sees textures as well as things (images far from photographs: microscopy,
            spectrograms).
        size: (height, width) of the images, for models of a fixed size; None keeps the model's.
        drop_path: stochastic depth.
        options: further arguments of the timm model.

    Raises:
        UserError: no such model (the nearest names are offered), pooling or option that it has not.
        DataError: weights that do not fit the model; the keys are named.
    """
    name = weights.backbone
    check_name(name)
    arguments: dict[str, Any] = {"num_classes": 0, **weights.arguments, **(options or {})}
    pooled = pooling not in ("default", "levels")
    if pooled:
        arguments["global_pool"] = pooling
    if drop_path:
        arguments["drop_path_rate"] = drop_path
    adaptation.check_policy(policy)
    if weights.random:
        return _levelled(_created(name, arguments, channels, size), pooling, channels)
    state = weights.state()
    keep_norm = {"fc_norm": False} if pooled and "norm.weight" in state and "pos_embed" in state else {}
    backbone = _created(name, arguments, channels, size, keep_norm)
    if channels != weights.channels:
        if weights.channels != 3:
            raise UserError(
                f"the weights {weights.source} were trained on {plural(weights.channels, 'channel')}, the images have {channels}",
                need="the same number, or weights trained on 3",
            )
        state = adaptation.adapt_state(state, adaptation.stems(backbone, channels), channels, policy)
    load(backbone, state, weights.source)
    return _levelled(backbone, pooling, channels)


def load(backbone: nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    """Load tensors into a backbone: every tensor of the backbone must be there; only a classifier may be left over.

    Position embeddings of another image size are resampled by timm.

    Raises:
        DataError: a tensor is missing, of another shape, or not known to the model.
    """
    current = backbone.state_dict()
    state = dict(state)
    if any(key in state and state[key].shape != value.shape for key, value in current.items()):
        resample = getattr(sys.modules[type(backbone).__module__], "checkpoint_filter_fn", None)
        state = resample(state, backbone) if resample is not None else state
    missing = [key for key in current if key not in state]
    odd = [key for key, value in current.items() if key in state and state[key].shape != value.shape]
    classifier = _classifiers(backbone)
    left = [key for key in state if key not in current and not key.startswith(classifier)]
    for what, keys in (("lack", missing), ("have another shape of", odd), ("have, unknown to the model,", left)):
        if keys:
            raise DataError(
                f"the weights {source} {what} {keys[0]!r} and {plural(len(keys) - 1, 'more tensor')}"
                if len(keys) > 1
                else f"the weights {source} {what} {keys[0]!r}",
                need=f"the tensors of {type(backbone).__name__} as it is configured",
                fix="use the weights that belong to the backbone and its options",
            )
    backbone.load_state_dict({key: state[key] for key in current}, strict=True)


def save(backbone: nn.Module, folder: Path | str, mean: tuple[float, ...] | None = None, std: tuple[float, ...] | None = None) -> Path:
    """Write a backbone as a whole folder in timm's ``local-dir`` format (``config.json`` and ``model.safetensors``).

    Args:
        backbone: a timm model.
        folder: the new folder.
        mean: of each channel, kept in the config; None keeps the model's.
        std: likewise.
    """
    from timm.models._hub import save_config_for_hf

    data = {"mean": list(mean), "std": list(std)} if mean is not None and std is not None else None
    with files.whole_folder(folder) as aside:
        files.write_bytes(aside / "model.safetensors", tensors_to_bytes(backbone.state_dict()))
        save_config_for_hf(backbone, str(aside / "config.json"), data_config=data)
    return Path(folder)


def tensors_to_bytes(state: Mapping[str, Tensor]) -> bytes:
    """Return tensors as the bytes of a safetensors file."""
    from safetensors.torch import save as to_bytes

    return to_bytes({key: value.detach().cpu().contiguous() for key, value in state.items()})


def tensors_from_bytes(content: bytes) -> dict[str, Tensor]:
    """Read what :func:`tensors_to_bytes` gave."""
    from safetensors.torch import load as from_bytes

    return from_bytes(content)


def state_hash(module: nn.Module) -> str:
    """Return a short hash of a module's tensors, parameters and buffers, and of their names."""
    digest = hashlib.sha256()
    for key, value in module.state_dict().items():
        digest.update(key.encode())
        flat = value.detach().cpu().contiguous().reshape(-1)
        digest.update(flat.view(torch.uint8).numpy() if flat.numel() else b"")
    return digest.hexdigest()[:16]


def built(backbone: Any) -> dict[str, Any]:
    """Return how the vector of a backbone is made besides its weights: timm's arguments, and its length where it is over all levels."""
    arguments = get_model_args(backbone) if hasattr(backbone, "_model_args") else {}
    levels = {"levels": backbone.levels_width} if hasattr(backbone, "levels_width") else {}
    return {"arguments": {name: str(value) for name, value in sorted(arguments.items())}, **levels}


def _levelled(backbone: nn.Module, pooling: str, channels: int) -> nn.Module:
    """Note on the backbone how long its vector over all levels is, where the pooling asks for one.

    Raises:
        UserError: a model that shows no levels.
    """
    if pooling != "levels":
        return backbone
    if not hasattr(backbone, "forward_intermediates"):
        raise UserError(f"{type(backbone).__name__} shows no maps between its levels", fix="choose another model.pooling than 'levels'")
    side = max(64, *backbone.pretrained_cfg["input_size"][1:]) if backbone.pretrained_cfg.get("fixed_input_size") else 64  # type: ignore[index,operator,union-attr]
    training = backbone.training
    with torch.no_grad():
        backbone.eval()
        joined, last = _over_levels(backbone, torch.zeros(1, channels, side, side))
        backbone.levels_width = joined.shape[1]  # type: ignore[assignment]
        backbone.last_width = backbone.forward_head(last).shape[1]  # type: ignore[operator]
        backbone.train(training)
    return backbone


def _over_levels(backbone: Any, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and deviation of each level's maps and the pooled last map, each scaled to length 1 (B, D); and the last map itself."""
    last, maps = backbone.forward_intermediates(x)
    parts = [torch.cat([m.mean((2, 3)), (m.var((2, 3), unbiased=False) + 1e-6).sqrt()], dim=1) for m in (map_.float() for map_ in maps)]
    parts.append(backbone.forward_head(last).float())
    return torch.cat([nn.functional.normalize(part, dim=1) for part in parts], dim=1), last


def vector(backbone: Any, x: Tensor) -> Tensor:
    """Return the feature vector (B, D), as the model's pooling makes it."""
    return _over_levels(backbone, x)[0] if hasattr(backbone, "levels_width") else backbone(x)


def width(backbone: Any) -> int:
    """Return the length of the feature vector; the head's own hidden layer counts where the model keeps one."""
    if hasattr(backbone, "levels_width"):
        return int(backbone.levels_width)
    return int(getattr(backbone, "head_hidden_size", None) or backbone.num_features)


def last_width(backbone: Any) -> int | None:
    """Return how many numbers at the end of the vector are the last level's; None where the vector has no other levels."""
    return int(backbone.last_width) if hasattr(backbone, "levels_width") else None


def map_width(backbone: Any) -> int:
    """Return the channels of the last feature map."""
    return int(backbone.num_features)


def vector_and_map(backbone: Any, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the feature vector (B, D) and the last feature map (B, C, h, w) of one pass."""
    if hasattr(backbone, "levels_width"):
        f, out = _over_levels(backbone, x)
        return f, as_map(backbone, x, out)
    out = backbone.forward_features(x)
    return backbone.forward_head(out), as_map(backbone, x, out)


def as_map(backbone: Any, x: Tensor, out: Tensor) -> Tensor:
    """Return what a backbone gives for images ``x`` as a map (B, F, H, W); a transformer's tokens lie as its patches do."""
    if out.ndim == 3:
        tokens = out[:, getattr(backbone, "num_prefix_tokens", 0) :]
        embed: Any = getattr(backbone, "patch_embed", None)
        rows = embed.dynamic_feat_size(x.shape[-2:])[0] if hasattr(embed, "dynamic_feat_size") else int(tokens.shape[1] ** 0.5)
        if rows < 1 or tokens.shape[1] % rows:
            raise UserError(
                f"{type(backbone).__name__} gives {plural(tokens.shape[1], 'token')}, which lie on no grid", fix="choose another backbone"
            )
        return tokens.transpose(1, 2).unflatten(2, (rows, -1))
    if out.shape[1] != backbone.num_features and out.shape[-1] == backbone.num_features:
        return out.permute(0, 3, 1, 2)
    return out


def check_name(name: str) -> None:
    """Refuse a network that timm does not know, with the nearest names."""
    import timm

    if not timm.is_model(name):
        close = difflib.get_close_matches(name, timm.list_models(), n=3, cutoff=0.6)
        raise UserError(
            f"there is no backbone {name!r}", need="a model of timm", fix=f"Did you mean {', '.join(close)}?" if close else None
        )


def _created(
    name: str, arguments: Mapping[str, Any], channels: int, size: tuple[int, int] | None, keep_norm: Mapping[str, Any] | None = None
) -> nn.Module:
    """Create the model; transformers so that they take any size where they can, else exactly the recipe's.

    ``keep_norm`` asks a transformer that pools its tokens to keep the norm that it was trained with before the pooling, for timm would
    put a new one behind it.
    """
    import timm

    known = timm.get_pretrained_cfg(name, allow_unregistered=True)
    sized: list[dict[str, Any]] = [{}]
    if known is not None and known.fixed_input_size:
        sized = [dict(_ANY_SIZE), {"img_size": size} if size is not None else {}]
    attempts = [{**extra, **norm} for norm in ([keep_norm, {}] if keep_norm else [{}]) for extra in sized]
    for extra in attempts:
        try:
            return timm.create_model(name, in_chans=channels, **{**extra, **arguments})
        except TypeError as error:
            if extra and any(key in str(error) for key in extra):
                continue
            raise UserError(f"backbone {name!r} refuses its options: {error}", fix="check model.options") from None
        except (AssertionError, RuntimeError, ValueError, NotImplementedError) as error:
            pool = arguments.get("global_pool")
            raise UserError(
                f"backbone {name!r} cannot be built with {dict(arguments)}: {first_line(error)}",
                fix=f"choose another model.pooling than {pool!r}" if pool else "check model.options",
            ) from None
    raise UserError(f"backbone {name!r} takes no image size", fix="choose another backbone")


def _classifiers(backbone: nn.Module) -> tuple[str, ...]:
    """Return the prefixes under which a model keeps its classifier, and its pooling head where it was removed."""
    known = getattr(backbone, "pretrained_cfg", {}).get("classifier") or ()
    names = (known,) if isinstance(known, str) else tuple(known)
    return (*names, "head_dist.")
