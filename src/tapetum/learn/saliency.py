"""Which pixels an answer came from: gradients, integrated gradients and Grad-CAM for any backbone, and sheets to look at.

Maps are explanations of one network's answer, not proofs: a map that looks right does not make the answer right.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tapetum.core import files
from tapetum.core.errors import EnvironmentFault, UserError, listed, nearest
from tapetum.core.words import plural
from tapetum.learn.models.backbone import as_map

Method = Literal["gradient", "loss", "integrated", "gradcam"]
METHODS: tuple[str, ...] = get_args(Method)


def saliency(
    network: nn.Module,
    x: Tensor,
    target: str,
    class_index: int | Tensor | None = None,
    method: Method = "gradient",
    *,
    side: Tensor | None = None,
    truth: Tensor | None = None,
    steps: int = 32,
) -> Tensor:
    """Return a map of each image that says how much a pixel matters, not negative and not scaled.

    Args:
        network: images → dict of logits, with its ``backbone`` for Grad-CAM; run in evaluation mode and left as it was.
        x: images (B, C, H, W) or (B, V, C, H, W), uint8 or float in [0, 1].
        target: whose answer is explained.
        class_index: the class, one for all or one an image (B,); None: the class that each image is given.
        method: ``gradient`` of the class's logit; ``loss``, the gradient of the loss (it vanishes for sure answers);
            ``integrated`` gradients from black; ``gradcam`` on the last feature map.
        side: scaled side numbers (B, S).
        truth: for ``loss``: (B, K) as the target codes it; None: the class of ``class_index`` is taken as the truth.
        steps: of the path of ``integrated``.

    Returns:
        (B, H, W) float32, (B, V, H, W) for views. Gradients: the largest |derivative| over channels; integrated gradients: |sum over
        channels|; Grad-CAM: the positive part, interpolated to the image's size.

    Raises:
        UserError: an unknown method, target or class.
        EnvironmentFault: ``integrated`` without the extra ``explain``.

    Source: Simonyan et al. 2014, arXiv 1312.6034; Sundararajan et al. 2017, arXiv 1703.01365; Selvaraju et al. 2017, arXiv 1610.02391.
    """
    if method not in METHODS:
        raise UserError(f"there is no saliency method {method!r} (there are: {listed(METHODS)}).{nearest(method, METHODS)}")
    x = (x.to(torch.float32) / 255 if x.dtype == torch.uint8 else x.to(torch.float32)).detach()
    with evaluating(network), torch.enable_grad():
        classes = _classes(network, x, target, class_index, side)
        score = _Score(network, target, classes, side)
        if method == "gradcam":
            return _gradcam(network, x, score)
        if method == "integrated":
            return _integrated(x, score, steps).sum(dim=-3).abs()
        objective = score if method == "gradient" else _Loss(network, target, classes, side, truth)
        return gradient(x, objective).abs().amax(dim=-3)


def gradient(x: Tensor, objective: Callable[[Tensor], Tensor]) -> Tensor:
    """Return the derivative of a number an image (B,) by its pixels, in the shape of ``x``."""
    x = x.clone().requires_grad_(True)
    return torch.autograd.grad(objective(x).sum(), x)[0].detach()


def normalised(maps: Tensor, top: float = 0.99) -> Tensor:
    """Scale each map (…, H, W) to [0, 1] by its quantile ``top``, so that one pixel does not darken the rest; an empty map stays 0."""
    flat = maps.flatten(-2)
    peak = flat.quantile(top, dim=-1, keepdim=True)
    peak = torch.where(peak > 0, peak, flat.amax(dim=-1, keepdim=True))
    return (flat / peak.clamp_min(1e-30)).clamp(0, 1).unflatten(-1, maps.shape[-2:])


def overlay(image: Tensor, map_: Tensor, strength: float = 0.6) -> np.ndarray:
    """Lay a map over its image.

    Args:
        image: (C, H, W), uint8 or float in [0, 1]; one channel shows gray, further ones than three are left out.
        map_: (H, W) in [0, 1].
        strength: how much the colours may cover.

    Returns:
        (H, W, 3) uint8.
    """
    import matplotlib

    under = shown(image).astype(np.float32)
    heat = map_.detach().cpu().numpy().astype(np.float32)
    colour = 255 * matplotlib.colormaps["inferno"](heat)[..., :3].astype(np.float32)
    cover = (strength * heat)[..., None]
    return ((1 - cover) * (0.75 * under) + cover * colour).round().clip(0, 255).astype(np.uint8)


@dataclasses.dataclass(frozen=True)
class Shown:
    """Images to explain.

    Args:
        x: (B, C, H, W) or (B, V, C, H, W).
        row_ids: their ids (B,).
        side: scaled side numbers (B, S).
        truth: as for :func:`saliency`.
    """

    x: Tensor
    row_ids: Sequence[str]
    side: Tensor | None = None
    truth: Tensor | None = None


def write_sheets(
    folder: Path | str,
    network: nn.Module,
    images: Shown,
    target: str,
    *,
    class_index: int | Tensor | None = None,
    methods: Sequence[Method] = ("gradient", "gradcam"),
    classes: Sequence[str] = (),
) -> Path:
    """Write a sheet for each image (the image, then one overlay a method) and ``saliency.json``, which lists them.

    Args:
        folder: ``saliency/`` of a run; what ``saliency.json`` lists already stays.
        network: as for :func:`saliency`.
        images: of several views the first is shown.
        target: whose answer is explained.
        class_index: as for :func:`saliency`.
        methods: which maps, left to right.
        classes: names in order, for the list; empty: the network's, else numbers.

    Returns:
        The path of ``saliency.json``.
    """
    from PIL import Image

    folder, x, side = Path(folder), images.x, images.side
    with evaluating(network):
        floats = x.to(torch.float32) / 255 if x.dtype == torch.uint8 else x.to(torch.float32)
        index = _classes(network, floats, target, class_index, side)
    maps = [normalised(saliency(network, x, target, index, method, side=side, truth=images.truth)) for method in methods]
    if x.ndim == 5:
        x, maps = x[:, 0], [m[:, 0] for m in maps]
    names = list(classes) or list(getattr(getattr(network, "targets", {}).get(target), "classes", ()))
    listing = folder / "saliency.json"
    entries: list[dict[str, Any]] = files.read_json(listing) if listing.exists() else []
    for i, row_id in enumerate(images.row_ids):
        tiles = [shown(x[i]), *(overlay(x[i], m[i]) for m in maps)]
        name = f"{len(entries):04d}.png"
        with files.whole(folder / name) as aside:
            Image.fromarray(np.concatenate(tiles, axis=1)).save(aside)
        k = int(index[i])
        entry = {"row_id": str(row_id), "file": name, "method": ", ".join(methods), "target": target}
        entries.append({**entry, "class": names[k] if k < len(names) else str(k)})
    return files.write_json(listing, entries)


def shown(image: Tensor) -> np.ndarray:
    """Return an image (C, H, W) as (H, W, 3) uint8 for looking at."""
    values = image.detach().cpu()
    values = values if values.dtype == torch.uint8 else (values.float().clamp(0, 1) * 255).round().to(torch.uint8)
    if values.shape[0] == 2:
        values = torch.cat([values, torch.zeros_like(values[:1])])
    values = values[:1].expand(3, -1, -1) if values.shape[0] == 1 else values[:3]
    return values.permute(1, 2, 0).contiguous().numpy()


@contextlib.contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Put a network into evaluation mode; every module then gets its own mode back."""
    modes = {module: module.training for module in network.modules()}
    network.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


# ---------------------------------------------------------------------------------------------------------- what is derived


class _Score:
    """The logit of each image's class (B,); for a head with fewer logits than classes (ordinal), the log-probability."""

    def __init__(self, network: nn.Module, target: str, classes: Tensor, side: Tensor | None) -> None:
        self.network, self.target, self.classes, self.side = network, target, classes, side

    def __call__(self, x: Tensor, classes: Tensor | None = None, side: Tensor | None = None) -> Tensor:
        """Score images; captum hands in the classes and side numbers that belong to its steps."""
        classes, side = (self.classes, self.side) if classes is None else (classes, side)
        logits = _logits(self.network, x, self.target, side)
        if _width(self.network, self.target) > logits.shape[1]:
            logits = _log_p(self.network, self.target, logits)
        return logits.gather(1, classes[:, None]).squeeze(1)


class _Loss(_Score):
    """The loss of each image (B,): cross-entropy, binary cross-entropy over labels, or the squared error of a number."""

    def __init__(self, network: nn.Module, target: str, classes: Tensor, side: Tensor | None, truth: Tensor | None) -> None:
        super().__init__(network, target, classes, side)
        self.truth = truth
        self.kind = getattr(getattr(network, "targets", {}).get(target), "kind", "single")

    def __call__(self, x: Tensor, classes: Tensor | None = None, side: Tensor | None = None) -> Tensor:
        """Return the loss of images."""
        logits = _logits(self.network, x, self.target, self.side)
        if self.kind == "regression":
            if self.truth is None:
                raise UserError("the loss of a number needs its label", need="labels (B, 1)", fix="take method 'gradient'")
            return (logits - self.truth).square().sum(dim=1)
        k = max(_width(self.network, self.target), logits.shape[1])
        truth = F.one_hot(self.classes, k).to(logits) if self.truth is None else self.truth.to(logits)
        if self.kind == "multi":
            return F.binary_cross_entropy_with_logits(logits, truth, reduction="none").sum(dim=1)
        log_p = logits.log_softmax(dim=1) if k == logits.shape[1] else _log_p(self.network, self.target, logits)
        return -(truth * log_p).sum(dim=1)


def _logits(network: nn.Module, x: Tensor, target: str, side: Tensor | None) -> Tensor:
    found = network(x) if side is None else network(x, side)
    if target not in found:
        raise UserError(f"the network answers no target {target!r} (it answers: {listed(found)}).{nearest(target, found)}")
    return found[target]


def _width(network: nn.Module, target: str) -> int:
    """Return how many classes a target has; 0 where the network does not say."""
    known = getattr(network, "targets", {}).get(target)
    return 0 if known is None else known.width


def _log_p(network: nn.Module, target: str, logits: Tensor) -> Tensor:
    """Return the log-probability of each class (B, K), for heads whose logits are not one a class."""
    probabilities: Any = network.probabilities
    return probabilities({target: logits})[target].clamp_min(1e-12).log()


def _classes(network: nn.Module, x: Tensor, target: str, class_index: int | Tensor | None, side: Tensor | None) -> Tensor:
    """Return the class explained for each image (B,) int64."""
    with torch.no_grad():
        logits = _logits(network, x, target, side)
        width = max(_width(network, target), logits.shape[1])
        if class_index is None and width > logits.shape[1]:
            logits = _log_p(network, target, logits)
    if class_index is None:
        return logits.argmax(dim=1)
    index = torch.as_tensor(class_index, dtype=torch.int64, device=x.device)
    index = index.expand(len(x)) if index.ndim == 0 else index
    if index.shape != (len(x),) or int(index.min()) < 0 or int(index.max()) >= width:
        raise UserError(
            f"class_index {class_index} does not fit {plural(len(x), 'image')} and {plural(width, 'class', 'classes')}",
            need=f"0 to {width - 1}, one an image",
        )
    return index


# ---------------------------------------------------------------------------------------------------------- methods


def _integrated(x: Tensor, score: _Score, steps: int) -> Tensor:
    """Return integrated gradients from black, in the shape of ``x``: they sum to the score's difference from black's."""
    try:
        from captum.attr import IntegratedGradients
    except ImportError:
        raise EnvironmentFault(
            "integrated gradients need captum, which is not installed", fix="pip install 'tapetum[explain]', or take method 'gradient'"
        ) from None
    extra = (score.classes, score.side)
    found = IntegratedGradients(score).attribute(x, 0.0, additional_forward_args=extra, n_steps=steps, internal_batch_size=len(x))
    return found.detach().to(torch.float32)


def _gradcam(network: nn.Module, x: Tensor, score: _Score) -> Tensor:
    """Return Grad-CAM maps at the image's size: channels of the last map, weighted by the score's mean gradient, positive part."""
    x = x.clone().requires_grad_(True)  # a network whose weights are frozen still has a graph
    with _last_map(network) as kept:
        total = score(x).sum()
    if not kept:
        raise UserError(f"{type(network).__name__} never asked its backbone for a feature map", fix="take method 'gradient'")
    raw = kept[-1]
    slope = torch.autograd.grad(total, raw)[0]
    images = x.flatten(0, 1) if x.ndim == 5 else x
    activation, weight = (as_map(network.backbone, images, part.detach()).float() for part in (raw, slope))
    cam = (weight.mean(dim=(2, 3), keepdim=True) * activation).sum(dim=1, keepdim=True).relu()
    cam = F.interpolate(cam, size=x.shape[-2:], mode="bilinear", align_corners=False)[:, 0]
    return cam.unflatten(0, (-1, x.shape[1])) if x.ndim == 5 else cam


@contextlib.contextmanager
def _last_map(network: nn.Module) -> Iterator[list[Tensor]]:
    """Keep what the backbone's last map is while the block runs.

    A transformer's last tokens do not do: where the class token alone is read, the others have no gradient. What its last block reads
    (after its first norm) still has.
    """
    backbone: Any = getattr(network, "backbone", None)
    if backbone is None or not hasattr(backbone, "forward_features"):
        raise UserError(f"Grad-CAM needs a network with a timm backbone, not {type(network).__name__}", fix="take method 'gradient'")
    kept: list[Tensor] = []
    blocks = getattr(backbone, "blocks", None)
    first_norm = getattr(blocks[-1], "norm1", None) if isinstance(blocks, (nn.Sequential, nn.ModuleList)) and len(blocks) else None
    if first_norm is not None:
        hook = first_norm.register_forward_hook(lambda module, given, out: kept.append(out))
        try:
            yield kept
        finally:
            hook.remove()
        return
    forward_features = backbone.forward_features

    def keeping(*args: Any, **kwargs: Any) -> Tensor:
        kept.append(forward_features(*args, **kwargs))
        return kept[-1]

    backbone.forward_features = keeping
    try:
        yield kept
    finally:
        del backbone.forward_features
