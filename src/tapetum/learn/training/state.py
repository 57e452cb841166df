"""Optimizer, scaler and average states as tensors (for safetensors) and plain JSON values, and back, bit for bit."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from tapetum.core.errors import DataError, UserError

_TENSOR, _TUPLE, _DICT, _FLOAT, _DTYPE = "$tensor", "$tuple", "$dict", "$float", "$dtype"


def pack(state: Any) -> tuple[dict[str, Tensor], Any]:
    """Part a nested state into its tensors and the rest.

    Args:
        state: of dicts (any plain keys), lists, tuples, tensors, numbers, texts, None; as ``optimizer.state_dict()``.

    Returns:
        name → tensor (contiguous copies on the CPU, as safetensors wants them), and JSON values that say where each is.

    Raises:
        UserError: something else is inside (a function, an object).
    """
    tensors: dict[str, Tensor] = {}
    return tensors, _pack(state, "state", tensors)


def unpack(tensors: Mapping[str, Tensor], rest: Any) -> Any:
    """Put together again what :func:`pack` parted, with the same types.

    Raises:
        DataError: a tensor is missing.
    """
    if isinstance(rest, list):
        return [unpack(tensors, part) for part in rest]
    if not isinstance(rest, dict):
        return rest
    if _TENSOR in rest:
        if rest[_TENSOR] not in tensors:
            raise DataError(f"the saved state has no tensor {rest[_TENSOR]!r}", need="both files of one checkpoint")
        return tensors[rest[_TENSOR]].clone()
    if _TUPLE in rest:
        return tuple(unpack(tensors, part) for part in rest[_TUPLE])
    if _DICT in rest:
        return {unpack(tensors, key): unpack(tensors, value) for key, value in rest[_DICT]}
    if _FLOAT in rest:
        return float(rest[_FLOAT])
    if _DTYPE in rest:
        return getattr(torch, rest[_DTYPE])
    return {key: unpack(tensors, value) for key, value in rest.items()}


def _pack(value: Any, place: str, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, Tensor):
        tensors[place] = value.detach().cpu().clone(memory_format=torch.contiguous_format)
        return {_TENSOR: place}
    if isinstance(value, float) and not math.isfinite(value):
        return {_FLOAT: repr(value)}
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, Mapping):
        if all(isinstance(key, str) and not key.startswith("$") for key in value):
            return {key: _pack(part, f"{place}.{key}", tensors) for key, part in value.items()}
        return {_DICT: [[_pack(key, f"{place}.key", tensors), _pack(part, f"{place}.{key}", tensors)] for key, part in value.items()]}
    if isinstance(value, (list, tuple)):
        parts = [_pack(part, f"{place}.{i}", tensors) for i, part in enumerate(value)]
        return {_TUPLE: parts} if isinstance(value, tuple) else parts
    if isinstance(value, torch.dtype):
        return {_DTYPE: str(value).removeprefix("torch.")}
    raise UserError(f"the state at {place} is a {type(value).__name__}", need="tensors, numbers and texts", fix="use another optimizer")
