"""Depthwise convolutions whose gradients in bf16 take as little time on a CPU as their forward pass does.

torch's own bf16 gradients are slow there (2.14, oneDNN): that of the weights of kernels above 3 × 3, and that of the images at a step of
2, take two to thirty times as long as forward convolutions of the same size. So both are written as such: the images' gradient as
forward convolutions, one for each phase of the step, and that of the weights in tiles of 3 × 3. The sums are the same in another order.
``bench/training_speed.py`` measures what it is worth.
"""

from __future__ import annotations

import types
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

TILE = 3  # side of the kernels whose weight gradient is fast
_BACKWARD = torch.ops.aten.convolution_backward


class _Depthwise(torch.autograd.Function):
    """A depthwise convolution of images (B, C, H, W) with one kernel (C, 1, K, K) a channel, K odd."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, step: int, pads: tuple[int, int, int, int]) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.step, ctx.pads = step, pads
        return _convolved(x, weight, step, pads)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor | None, Tensor | None, None, None]:
        (x, weight), grad = ctx.saved_tensors, grads[0]
        to_x, to_weight = ctx.needs_input_grad[:2]
        return (
            _of_images(x, weight, grad, ctx.step, ctx.pads) if to_x else None,
            _of_weights(x, weight, grad, ctx.step, ctx.pads) if to_weight else None,
            None,
            None,
        )


def attach(module: nn.Module, engine: Any) -> None:
    """Let the depthwise convolutions in a module learn by these gradients on an engine that is slow at its own; else by torch's."""
    for one in module.modules():
        if isinstance(one, nn.Conv2d) and _suits(one):
            vars(one).pop("forward", None)
            if (engine.device, engine.precision, engine.backend) == ("cpu", "bf16", "torch"):
                vars(one)["forward"] = types.MethodType(_forward, one)  # a deep copy of the module is then bound to the copy


def _suits(one: nn.Conv2d) -> bool:
    side, step, same = one.kernel_size[0], one.stride[0], _pads_itself(one)
    square = one.kernel_size == (side, side) and one.stride == (step, step) and one.dilation == (1, 1)
    even = same or (not isinstance(one.padding, str) and one.padding == (one.padding[0],) * 2 and one.padding_mode == "zeros")
    known = same or type(one).forward is nn.Conv2d.forward
    slow = side % 2 == 1 and side >= TILE and (side, step) != (TILE, 1)
    return known and square and even and slow and 1 < one.groups == one.in_channels == one.out_channels


def _pads_itself(one: nn.Conv2d) -> bool:
    """Tell whether this is timm's convolution that pads as TensorFlow does; timm is not imported for the question."""
    return type(one).__name__ == "Conv2dSame" and type(one).__module__.startswith("timm.")


def _forward(self: nn.Conv2d, x: Tensor) -> Tensor:
    if not (torch.is_grad_enabled() and torch.is_autocast_enabled("cpu")):
        return type(self).forward(self, x)
    dtype = torch.get_autocast_dtype("cpu")
    out: Tensor = _Depthwise.apply(x.to(dtype), self.weight.to(dtype), self.stride[0], _pads(self, x))
    return out if self.bias is None else out + self.bias.to(dtype)[:, None, None]


def _pads(one: nn.Conv2d, x: Tensor) -> tuple[int, int, int, int]:
    """Return the zeros left, right, above and below the images."""
    if not _pads_itself(one):
        return (int(one.padding[0]),) * 4
    (side, step), sizes = (one.kernel_size[0], one.stride[0]), (x.shape[-1], x.shape[-2])
    missing = [max((-(-size // step) - 1) * step + side - size, 0) for size in sizes]
    return (missing[0] // 2, missing[0] - missing[0] // 2, missing[1] // 2, missing[1] - missing[1] // 2)


def _convolved(x: Tensor, weight: Tensor, step: int, pads: tuple[int, int, int, int]) -> Tensor:
    if len(set(pads)) == 1 and pads[0] >= 0:
        return F.conv2d(x, weight, None, step, pads[0], 1, len(weight))
    return F.conv2d(F.pad(x, pads), weight, None, step, 0, 1, len(weight))


def _of_images(x: Tensor, weight: Tensor, grad: Tensor, step: int, pads: tuple[int, int, int, int]) -> Tensor:
    """Return the gradient of the images: each phase of the step sees the part of the kernel that meets it."""
    out = torch.empty_like(x)
    for row in range(step):
        for column in range(step):
            part = weight[:, :, row::step, column::step]
            top, above = _phase(row, step, pads[2], x.shape[2], grad.shape[2], part.shape[2])
            left, beside = _phase(column, step, pads[0], x.shape[3], grad.shape[3], part.shape[3])
            place = out[:, :, top::step, left::step]
            if place.numel() and part.numel():
                place.copy_(_convolved(grad, part.flip(2, 3), 1, (*beside, *above)))
            else:
                place.zero_()
    return out


def _phase(at: int, step: int, pad: int, size: int, answers: int, taps: int) -> tuple[int, tuple[int, int]]:
    """Return the first row (or column) of a phase, and the zeros that its convolution needs before and after; less than 0 cuts."""
    first = (at - pad) % step
    rows = max(-(-(size - first) // step), 0)
    meets = (first + pad - at) // step  # the answer that the kernel's first tap of this phase comes from
    return first, (taps - 1 - meets, rows - 1 + meets - (answers - 1))


def _of_weights(x: Tensor, weight: Tensor, grad: Tensor, step: int, pads: tuple[int, int, int, int]) -> Tensor:
    """Return the gradient of the weights, in tiles that overlap where the kernel's side is no multiple of theirs."""
    padded = F.pad(x, pads)
    out, tile = torch.empty_like(weight), weight.new_empty(len(weight), 1, TILE, TILE)
    starts = [*range(0, weight.shape[-1] - TILE, TILE), weight.shape[-1] - TILE]
    height, width = (step * (size - 1) + TILE for size in grad.shape[2:])
    for row in starts:
        for column in starts:
            seen = padded[:, :, row : row + height, column : column + width]
            found = _BACKWARD(grad, seen, tile, None, [step] * 2, [0, 0], [1, 1], False, [0, 0], len(weight), [False, True, False])
            out[:, :, row : row + TILE, column : column + TILE] = found[1]
    return out
