"""A member's networks as one function of images alone, written as ONNX, OpenVINO or ``torch.export``.

The function takes images as they come from the preprocessing, (B, C, H, W) uint8 or float32 in [0, 1], and where the member has side
numbers those as the table has them, (B, S) float32 with NaN where one is missing. It gives the probabilities of each scored target as
(B, F, K): one row for each of F networks, the member's test-time views reduced already.
"""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tapetum.core import extras
from tapetum.core.choices import name_of
from tapetum.core.config import Predict, Spec
from tapetum.core.errors import UserError, listed
from tapetum.core.targets import Target
from tapetum.data.images import views
from tapetum.learn.models.heads import Coral, Head
from tapetum.learn.models.network import Network
from tapetum.learn.side import Scaling

VIEWS = ("plain", "hflip", "vflip", "flips", "dihedral")  # views that need no resizing and draw nothing
NEEDS = {"onnx": ("onnx", "onnxscript", "onnxruntime"), "openvino": ("onnx", "onnxscript", "openvino"), "torch-export": ()}
FORMATS = tuple(NEEDS)
OPSET = 18


class Written(nn.Module):
    """What is written as a file: a function of images, and of side numbers where it has :attr:`names`, with an output for each target."""

    names: tuple[str, ...]
    targets: Mapping[str, Target]

    @property
    def inputs(self) -> tuple[str, ...]:
        """The names of what it takes, which are the arguments of ``forward``."""
        return ("image", "side") if self.names else ("image",)

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of what it gives."""
        return tuple(f"p{number}" for number in range(len(self.targets)))


class Graph(Written):
    """The networks of one member as one function.

    Args:
        networks: that answer, in the order of the answers' second axis.
        scalings: of side numbers, one for each network.
        predict: views and how they are reduced.
        shared: all networks have one backbone and one normalisation, which then run once.

    Raises:
        UserError: views that a graph cannot hold.
    """

    def __init__(self, networks: Sequence[Network], scalings: Sequence[Scaling | None], predict: Predict, *, shared: bool) -> None:
        super().__init__()
        specs: tuple[Spec, ...] = predict.views if isinstance(predict.views, tuple) else (predict.views,)
        odd = [name_of(spec) for spec in specs if name_of(spec) not in VIEWS]
        if odd:
            raise UserError(f"the test-time view {odd[0]!r} cannot be exported", need=f"one of {listed(VIEWS)}", fix="fit with other views")
        self.networks, self.shared = nn.ModuleList(networks).eval(), shared
        self.targets = {name: target for name, target in networks[0].targets.items() if target.scored}
        self.how = {name: predict.reducer(name) for name in self.targets}
        self.alone = "plain" in self.how.values() and views.first_draw(specs[0]) > 0
        self.specs: tuple[Spec, ...] = ("plain", *specs) if self.alone else specs
        self.names = scalings[0].names if scalings[0] else ()
        keep_scalings(self, scalings)

    def forward(self, image: Tensor, side: Tensor | None = None) -> tuple[Tensor, ...]:
        """Return the probabilities (B, F, K) of each target of :attr:`targets`."""
        seen = [self._logits(x, side) for spec in self.specs for x in views.expand(image, spec)]
        answers = []
        for name in self.targets:
            of_folds = [
                self._reduced(network.head(name), name, [view[number][name] for view in seen])
                for number, network in enumerate(self._networks())
            ]
            answers.append(torch.stack(of_folds, dim=1))
        return tuple(answers)

    def _networks(self) -> Iterator[Network]:
        yield from self.networks  # type: ignore[misc]

    def _logits(self, x: Tensor, side: Tensor | None) -> list[dict[str, Tensor]]:
        """Return the logits of one view, a dict for each network."""
        inputs = [next(self._networks()).head_inputs(x)] * len(self.networks) if self.shared else None
        out = []
        for number, network in enumerate(self._networks()):
            f, map_ = inputs[number] if inputs else network.head_inputs(x)
            extra = None if network.side is None or side is None else network.side(scaled(self, side, number))
            shared = [f] * len(network.targets) if network.sharing is None else network.sharing(f, map_)
            out.append({name: network.head(name)(part, extra) for name, part in zip(network.targets, shared, strict=True)})
        return out

    def _reduced(self, head: Head, name: str, logits: Sequence[Tensor]) -> Tensor:
        """Return one network's probabilities for one target (B, K), as :mod:`tapetum.learn.inference` reduces views."""
        how, several = self.how[name], logits[1:] if self.alone else logits
        if how == "plain":
            return probabilities(head, logits[0])
        if how == "logits":
            return probabilities(head, torch.stack(list(several)).mean(0))
        stack = torch.stack([probabilities(head, one) for one in several])
        if how != "max" or head.target.kind == "regression":
            return stack.mean(0)
        most = stack.amax(0)
        return most / most.sum(1, keepdim=True) if head.target.is_distribution else most


def probabilities(head: Head, logits: Tensor) -> Tensor:
    """Return a head's probabilities (B, K) by operators that every format has."""
    if not isinstance(head, Coral):
        return head.probabilities(logits)
    above = [column[:, None] for column in torch.sigmoid(logits).unbind(1)]
    for k in range(1, len(above)):  # a running minimum; ONNX has no operator for it
        above[k] = torch.minimum(above[k], above[k - 1])
    one, none, whole = torch.ones_like(above[0]), torch.zeros_like(above[0]), torch.cat(above, dim=1)
    return torch.cat([one, whole], dim=1) - torch.cat([whole, none], dim=1)


def check_format(to: str) -> None:
    """Refuse a format that is not known, or whose packages are not installed.

    Raises:
        UserError: another word.
        EnvironmentFault: a package is absent.
    """
    if to not in FORMATS:
        raise UserError(f"the format is {to!r}", need=f"one of {listed(FORMATS)}", fix="set --to onnx")
    extras.need("export", f"export to {to}", *NEEDS[to])


def keep_scalings(graph: nn.Module, scalings: Sequence[Scaling | None]) -> None:
    """Keep the scalings of side numbers, one for each network, in a graph."""
    for number, scaling in enumerate(scalings):
        if scaling is not None:
            graph.register_buffer(f"mean_{number}", torch.tensor(scaling.mean, dtype=torch.float32))
            graph.register_buffer(f"std_{number}", torch.tensor(scaling.std, dtype=torch.float32))


def scaled(graph: nn.Module, side: Tensor, number: int) -> Tensor:
    """Return side numbers (…, S) as a network takes them, 0 where one is missing; ``graph`` is one of :func:`keep_scalings`."""
    out = (side - getattr(graph, f"mean_{number}")) / getattr(graph, f"std_{number}")
    return torch.where(torch.isnan(out), torch.zeros_like(out), out)


def example(shape: Sequence[int], dtype: str) -> Tensor:
    """Return two images (2, C, H, W), or windows of them, of different content, to trace a graph with."""
    out = torch.zeros((2, *shape), dtype=getattr(torch, dtype))
    return out + torch.arange(2, dtype=out.dtype).view(2, *(1 for _ in shape))


def write(graph: Written, to: str, folder: Path, name: str, arguments: Sequence[Tensor]) -> list[str]:
    """Write a graph into a folder; return the names of its files, the one to open first.

    Args:
        graph: of one member, or of several.
        to: one of :data:`FORMATS`.
        folder: to write to.
        name: of the member.
        arguments: two rows of what it takes besides the side numbers, see :func:`example`.
    """
    given = (*arguments, torch.zeros((2, len(graph.names)))) if len(arguments) < len(graph.inputs) else tuple(arguments)
    with torch.no_grad(), quiet():
        return _WRITERS[to](_traced(graph, given, graph.inputs), graph, folder, name)


def _onnx(program: Any, graph: Written, folder: Path, name: str) -> list[str]:
    _onnx_model(program, graph).save(folder / f"{name}.onnx", external_data=False)
    return [f"{name}.onnx"]


def _onnx_model(program: Any, graph: Written) -> Any:
    return _converted(program, graph.inputs, graph.outputs)


def _converted(program: Any, inputs: Sequence[str], outputs: Sequence[str], *, optimize: bool = True) -> Any:
    names: dict[str, Any] = {"input_names": inputs, "output_names": outputs}
    return torch.onnx.export(program, opset_version=OPSET, dynamo=True, verbose=False, optimize=optimize, **names)


def to_onnx(
    module: nn.Module, arguments: tuple[Tensor, ...], inputs: Sequence[str], outputs: Sequence[str], *, optimize: bool = True
) -> bytes:
    """Return a module as the bytes of an ONNX model that takes any number of rows.

    Args:
        module: in evaluation mode.
        arguments: what it is traced with; their first axis is that of rows.
        inputs: names of the arguments, which are those of its ``forward``.
        outputs: names of what it returns.
        optimize: fold constants; without it every weight keeps its name.
    """
    with torch.no_grad(), quiet():
        program = _traced(module, arguments, inputs)
        written: bytes = _converted(program, inputs, outputs, optimize=optimize).model_proto.SerializeToString()
    return written


def _traced(module: nn.Module, arguments: tuple[Tensor, ...], inputs: Sequence[str]) -> Any:
    rows = torch.export.Dim("rows", min=1)
    return torch.export.export(module, arguments, dynamic_shapes={name: {0: rows} for name in inputs}, strict=False)


def _openvino(program: Any, graph: Written, folder: Path, name: str) -> list[str]:
    import openvino

    model = openvino.Core().read_model(model=_onnx_model(program, graph).model_proto.SerializeToString())  # convert_model has telemetry
    openvino.save_model(model, folder / f"{name}.xml", compress_to_fp16=False)
    return [f"{name}.xml", f"{name}.bin"]


def _torch_export(program: Any, graph: Written, folder: Path, name: str) -> list[str]:
    torch.export.save(program, folder / f"{name}.pt2")
    return [f"{name}.pt2"]


_WRITERS = {"onnx": _onnx, "openvino": _openvino, "torch-export": _torch_export}


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep the exporters' own progress and warnings off the terminal."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
