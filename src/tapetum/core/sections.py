"""The sections of a recipe: each value with its type, its bounds and its default, in the order of the way that data goes."""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

Spec = str | dict[str, Any]  # a name from a package's choices.py, or {"name": …, parameter: value}
Count = Annotated[int, Field(ge=1)]
Amount = Annotated[int, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
Rate = Annotated[float, Field(gt=0, le=100)]
NotNegative = Annotated[float, Field(ge=0)]
Pixels = Annotated[int, Field(ge=1, le=16384)]


def _takes_numbers(annotation: Any) -> bool:
    return annotation in (int, float) or any(_takes_numbers(one) for one in get_args(annotation))


class Section(BaseModel):
    """Base of all sections: frozen, unknown keys refused."""

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        annotation = cls.model_fields[str(info.field_name)].annotation
        if isinstance(value, bool) and annotation is not bool and _takes_numbers(annotation):
            raise PydanticCustomError("bool_for_number", "a number")
        return value

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=(), allow_inf_nan=False)


class Data(Section):
    """Where rows come from and what their columns mean."""

    layout: str = "auto"
    targets: tuple[Spec, ...] = ()
    id: str | None = None
    path: str | tuple[str, ...] | None = None  # a column, a template 'train/{Id}_{red,green}.png', or several columns
    group: str | None = None
    sequence: str | None = None
    position: str | None = None
    split: str | None = None
    fold: str | None = None
    weight: str | None = None
    side: tuple[str, ...] = ()
    join: tuple[str, ...] = ()  # further tables, joined by the id or by columns of the same name
    test: tuple[str, ...] = ()  # tables of test rows
    extra: tuple[str, ...] = ()  # tables of rows that train and never score
    pseudo: str | None = None  # a Predictions file whose confident test rows train
    pseudo_bound: float = Field(0.9, ge=0, le=1)
    exclude: str | None = None  # a text file of row ids left out, one a line
    audit: str | None = None  # auto: look for near duplicates and gray photos; an audit.parquet: its column `decision` is obeyed
    derive: dict[str, str] = {}  # new target → arithmetic over class numbers
    on_bad: Literal["refuse", "skip"] = "refuse"
    blank: Literal["refuse", "context"] = "refuse"
    limit: Annotated[int, Field(ge=2)] | None = None  # draw this many training rows (stratified); the rest become uncovered


class Split(Section):
    """How rows are held out."""

    scheme: Literal["auto", "image"] = "auto"  # image: rows, even where groups exist; needs allow_leak
    folds: int = Field(5, ge=2)
    holdout: float | None = Field(None, gt=0, lt=1)
    stratify: tuple[str, ...] = ()  # targets to balance; empty: all of them
    allow_leak: str | None = None


class Input(Section):
    """How the files of a row become one image, and how large it is."""

    size: Pixels | tuple[Pixels, Pixels] | Literal["native"] = 224  # pixels; (height, width)
    resize: Literal["stretch", "crop", "pad"] = "stretch"
    interpolation: Literal["nearest", "bilinear", "bicubic"] = "bicubic"  # as most of timm's weights were trained
    colour: Literal["auto", "rgb", "gray"] = "auto"
    alpha: Literal["drop", "white", "black", "keep"] = "white"
    paths: Literal["channels", "views"] = "channels"
    max_pixels: Count = 178_956_970  # of one file; a larger image is refused before it is decoded, since it may fill the memory
    crop: tuple[Amount, Amount, Count, Count] | None = None  # top, left, height, width, before resizing
    bands: tuple[tuple[Amount, Count], ...] = ()  # row bands start:end
    bands_as: Literal["rows", "channels", "views"] = "rows"
    join: Literal["none", "x", "y"] = "none"  # several images of a row set side by side
    normalise: Literal["weights", "data", "none"] | dict[Literal["mean", "std"], tuple[NotNegative, ...]] = "weights"
    gains: tuple[NotNegative, ...] = ()  # of each channel after normalising: a factor before pretrained weights see it; none: 1 each
    cache: Literal["none", "memory"] = "memory"


class Model(Section):
    """The network."""

    backbone: str = "tf_efficientnet_lite0"
    weights: str = "auto"  # auto | none | hub | local-dir:PATH | package:NAME
    channels: Literal["repeat", "zero", "mean", "copy:R", "copy:G", "copy:B"] = "repeat"  # where the image has not 3 channels
    pooling: Literal["default", "avg", "max", "avgmax", "catavgmax", "levels"] = "default"
    dropout: float = Field(0.0, ge=0, lt=1)
    drop_path: float = Field(0.0, ge=0, lt=1)
    head: Spec | None = None  # None: the head that fits the target's kind
    heads: dict[str, Spec] = {}  # target → head
    sharing: Spec = "hard"
    side_width: int = Field(32, ge=0)  # of the layer over side numbers; 0: they go to the heads as they are
    options: dict[str, Any] = {}  # handed to timm.create_model


class SequenceConfig(Section):
    """A model over neighbouring images of one sequence; length 1 is no sequence model."""

    length: int = Field(1, ge=1)
    head: Spec = "bilstm"
    target: Literal["last", "centre", "all"] = "all"
    positions: int = Field(1, ge=1)  # columns of the last feature map taken within each image
    windows: int = Field(0, ge=0)  # images joined along x and cut into this many overlapping windows; 0: one image a step
    window_width: int = Field(0, ge=0)
    window_stride: int = Field(0, ge=0)
    features: str = "end-to-end"  # end-to-end | frozen | the name of a member whose fold models give the features


class Loss(Section):
    """What is minimised."""

    name: str | None = None  # an expression such as '0.5*focal+0.5*lovasz'; None: what fits the target's kind
    smoothing: float = Field(0.0, ge=0, lt=1)
    smoothing_over: Literal["K", "K-1"] = "K"
    class_weights: Literal["none", "balanced"] | tuple[NotNegative, ...] = "none"
    options: dict[str, dict[str, Any]] = {}  # loss → its parameters
    targets: dict[str, str] = {}  # target → expression
    weights: dict[str, NotNegative] | Literal["equal", "learned"] = "equal"  # between targets
    logit_adjust: float = Field(0.0, ge=0)  # τ of arXiv 2007.07314


class Optimizer(Section):
    """How weights move."""

    name: str = "adamw"
    rate: Rate = 3e-4
    weight_decay: float = Field(0.01, ge=0)
    layer_decay: float = Field(1.0, gt=0, le=1)
    head_rate: float = Field(1.0, gt=0)  # the head's rate as a multiple
    options: dict[str, Any] = {}


class Schedule(Section):
    """The rate over steps, as a multiple of the optimizer's rate."""

    name: str = "cosine"
    warmup: float = Field(0.1, ge=0)  # epochs if ≥ 1, else a share of all steps
    options: dict[str, Any] = {}


class Stage(Section):
    """A part of training with values of its own; None keeps the recipe's."""

    epochs: int = Field(ge=1)
    trains: str = "all"  # head | top-N | all
    size: Pixels | tuple[Pixels, Pixels] | None = None
    batch: Count | None = None
    rate: Rate | None = None
    schedule: Schedule | None = None
    predict: bool = False  # write test predictions at the stage's end


class Train(Section):
    """The loop."""

    epochs: int = Field(8, ge=0)
    batch: Count | Literal["auto"] = 32
    accumulate: int = Field(1, ge=1)
    clip: float = Field(1.0, ge=0)  # global norm of the gradients; 0 clips nothing
    precision: Literal["auto", "32", "bf16", "fp16"] = "auto"
    channels_last: bool = True
    threads: Count | None = None
    workers: int = Field(0, ge=0)
    start: Literal["probe", "random"] = "probe"
    frozen_norm: bool = False
    monitor: str = "auto"
    patience: Count | None = None
    patience_on: str = "loss"
    epoch: Count | str = "best"  # whose weights are taken: a number, last, swa, soup; best: cross-fitted
    restart_on_nan: bool = True


class Probe(Section):
    """The linear baseline on cached features."""

    enabled: bool = True
    size: Pixels | Literal["auto"] = "auto"  # pixels; auto: 9/7 of input.size where pretrained weights take any size
    views: tuple[str, ...] = Field(("plain", "hflip"), min_length=1)
    strengths: tuple[Positive, ...] = Field(
        (0.1, 1.0, 10.0, 100.0, 1e3, 1e4, 1e5), min_length=1
    )  # inverse regularisation C, chosen by inner folds


class Average(Section):
    """Averages of weights along training."""

    name: Literal["none", "ema", "swa", "soup"] = "none"
    decay: float = Field(0.999, ge=0, lt=1)
    start: float = Field(0.75, ge=0, le=1)  # share of the epochs after which SWA begins
    rate: Rate | None = None
    epochs: int = Field(0, ge=0)  # further epochs of SWA after the schedule; full_batch: steps
    full_batch: bool = False
    best: int = Field(3, ge=1)
    refresh_norm: bool | Literal["auto"] = "auto"  # BatchNorm statistics anew for the average; auto: of swa and soup, ema averages them

    @property
    def refreshes(self) -> bool:
        """Whether the averaged weights get BatchNorm statistics of their own."""
        return self.name in ("swa", "soup") if self.refresh_norm == "auto" else self.refresh_norm


class Memory(Section):
    """What happens when memory runs out."""

    keep_effective: bool = True
    floor: int = Field(1, ge=1)


Reducer = Literal["plain", "mean", "logits", "max"]  # of the views' probabilities, or of logits before them; plain: the image as it is


class Predict(Section):
    """How answers are taken."""

    batch: int = Field(64, ge=1)
    views: Spec | tuple[Spec, ...] = "plain"  # plain | flips | dihedral | crops | random | scales; several are joined
    reduce: Literal["auto", "plain", "mean", "logits", "max"] | dict[str, Reducer] = "mean"  # auto: what held-out rows prefer
    keep_draws: bool = False
    saliency: Literal["none", "gradient", "loss", "integrated", "gradcam"] = "none"  # maps of the worst and some right answers
    saliency_rows: int = Field(12, ge=2)

    def reducer(self, target: str) -> str:
        """Return how a target's views are reduced; before anything is chosen ``auto`` is the mean."""
        how = self.reduce.get(target, "mean") if isinstance(self.reduce, dict) else self.reduce
        return "mean" if how == "auto" else how


class Decide(Section):
    """From probabilities to decisions; every step is cross-fitted."""

    choose: Literal["auto", "probe", "finetune"] = "auto"
    calibrate: Spec = "none"
    blend: Spec = "mean"
    steps: tuple[Spec, ...] = ()  # priors, thresholds, context … in order
    pipeline: Literal["folds", "refit", "best-fold"] = "folds"


class Tune(Section):
    """The search space of ``tapetum tune``: recipe key → {low, high, log} or a list of values."""

    space: dict[str, Any] = {}
    trials: int = Field(20, ge=1)
    budget: str | None = None
    sampler: Literal["tpe", "random"] = "tpe"
    prune: bool = True  # end a trial after a fold in which it is worse than the median of the trials before
