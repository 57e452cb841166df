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

    layout: str = "auto"  # how the data are laid out; auto recognises it
    # what is predicted: a column, or {name, kind, column, classes …}; empty: the folder or the only candidate column
    targets: tuple[Spec, ...] = ()
    id: str | None = None  # the column of row ids; none: the path relative to the manifest
    path: str | tuple[str, ...] | None = None  # the column of image paths, several columns, or a template 'train/{Id}_{red,green}.png'
    group: str | None = None  # the column of groups (patients, people); a group is divided between folds only by split.scheme = 'image'
    sequence: str | None = None  # the column of sequences (exams, nights, videos)
    position: str | None = None  # the column of a row's place in its sequence
    split: str | None = None  # the column that marks train, test and extra rows; folder: from folder names; none: there is none
    fold: str | None = None  # the column of given folds; without it folds are drawn
    weight: str | None = None  # the column of row weights in training and scores
    side: tuple[str, ...] = ()  # columns of tabular features, beside the image
    join: tuple[str, ...] = ()  # further tables, joined by the id or by columns of the same name
    test: tuple[str, ...] = ()  # tables of test rows
    extra: tuple[str, ...] = ()  # tables of rows that train and are never scored
    pseudo: str | None = None  # a Predictions file whose confident test rows train
    pseudo_bound: float = Field(0.9, ge=0, le=1)  # the probability from which such a row is confident
    exclude: str | None = None  # a text file of row ids to leave out, one a line
    audit: str | None = None  # auto: find near duplicates and gray photos; or an audit.parquet, whose column `decision` is obeyed
    derive: dict[str, str] = {}  # new target → arithmetic over class numbers, as 'mask*6 + gender*3 + age'
    on_bad: Literal["refuse", "skip"] = "refuse"  # images that cannot be read: refuse them, or skip them as missing rows
    blank: Literal["refuse", "context"] = "refuse"  # train rows without any label: refuse them, or keep them as context of their sequence
    limit: Annotated[int, Field(ge=2)] | None = None  # draw this many training rows (stratified); the others are not held out

    @field_validator("targets")
    @classmethod
    def _tables_of_targets(cls, specs: tuple[Spec, ...]) -> tuple[Spec, ...]:
        from tapetum.core.targets import read_target  # numpy: only where a recipe has such a table

        for spec in specs:
            if isinstance(spec, dict):
                read_target(spec)
        return specs


class Split(Section):
    """How rows are held out."""

    scheme: Literal["auto", "image"] = "auto"  # auto: groups stay together; image: by rows, even where groups exist (needs allow_leak)
    folds: int = Field(5, ge=2)  # number of folds
    holdout: float | None = Field(None, gt=0, lt=1)  # one split instead of folds: the share of rows that is held out
    stratify: tuple[str, ...] = ()  # targets to balance; empty: all of them
    train_rows: Annotated[int, Field(ge=2)] | None = None  # draw this many (stratified) of the rows that a fold trains on; none: all
    # held-out rows train, too, as in write-ups that validate on training images; every figure is in-sample (needs allow_leak)
    heldout_trains: bool = False
    allow_leak: str | None = None  # the reason why groups may cross folds, or held-out rows train; every figure is then marked


class Input(Section):
    """How the files of a row become one image, and how large it is."""

    size: Pixels | tuple[Pixels, Pixels] | Literal["native"] = 224  # pixels: one side, (height, width), or native
    resize: Literal["stretch", "crop", "pad"] = "stretch"  # stretch to the size; or keep the shape, and crop or pad
    interpolation: Literal["nearest", "bilinear", "bicubic"] = "bicubic"  # of resizing; bicubic as most of timm's weights were trained
    colour: Literal["auto", "rgb", "gray"] = "auto"  # read as colour or gray; auto: as the files are
    # the transparency channel: drop it, put the image on white or black, or keep it
    alpha: Literal["drop", "white", "black", "keep"] = "white"
    paths: Literal["channels", "views"] = "channels"  # several files of a row: channels of one image, or views of it
    max_pixels: Count = 178_956_970  # of one file; a larger image is refused before it is decoded, since it may fill the memory
    crop: tuple[Amount, Amount, Count, Count] | None = None  # top, left, height, width in pixels, before resizing
    bands: tuple[tuple[Amount, Count], ...] = ()  # row bands start:end that are cut out of the image
    bands_as: Literal["rows", "channels", "views"] = "rows"  # put bands under one another, or use them as channels or views
    join: Literal["none", "x", "y"] = "none"  # put several images of a row side by side along x or y
    # mean and deviation of each channel: of the weights, of the data, none, or given
    normalise: Literal["weights", "data", "none"] | dict[Literal["mean", "std"], tuple[NotNegative, ...]] = "weights"
    gains: tuple[NotNegative, ...] = ()  # a factor for each channel after normalising; empty: 1 each
    # JPEG files: whole, or reduced by 2, 4 or 8 while decoding, where that leaves twice the size; no crop, bands or join
    decode: Literal["whole", "reduced"] = "whole"
    cache: Literal["none", "memory"] = "memory"  # keep decoded images in memory


class Model(Section):
    """The network."""

    backbone: str = "tf_efficientnet_lite0"  # any timm model
    weights: str = "auto"  # auto, none (random), hub, local-dir:PATH or package:NAME
    # how pretrained weights are fitted to an image without 3 channels
    channels: Literal["repeat", "zero", "mean", "copy:R", "copy:G", "copy:B"] = "repeat"
    pooling: Literal["default", "avg", "max", "avgmax", "catavgmax", "levels"] = "default"  # from the feature map to a vector
    dropout: float = Field(0.0, ge=0, lt=1)  # before the head
    drop_path: float = Field(0.0, ge=0, lt=1)  # share of residual branches left out (stochastic depth)
    head: Spec | None = None  # from the vector to logits; none: what fits the target's kind
    heads: dict[str, Spec] = {}  # target → head
    sharing: Spec = "hard"  # what several targets share
    targets: tuple[str, ...] = ()  # the targets that the network answers; empty: all of the data
    side_width: int = Field(32, ge=0)  # width of the layer over tabular features; 0: they go to the heads unchanged
    options: dict[str, Any] = {}  # further arguments of timm.create_model


class SequenceConfig(Section):
    """A model over neighbouring images of one sequence; length 1 is no sequence model."""

    length: int = Field(1, ge=1)  # images in a window; 1: no sequence model
    head: Spec = "bilstm"  # the network over the window
    target: Literal["last", "centre", "all"] = "all"  # the step of the window that is predicted
    positions: int = Field(1, ge=1)  # columns of the last feature map that are used of each image
    windows: int = Field(0, ge=0)  # join images along x and cut them into this many overlapping windows; 0: one image a step
    window_width: int = Field(0, ge=0)  # width of such a window in pixels
    window_stride: int = Field(0, ge=0)  # distance between such windows in pixels
    features: str = "end-to-end"  # end-to-end, frozen, or the name of a member whose fold models give the features


class Loss(Section):
    """What is minimised."""

    name: str | None = None  # a loss or a sum as '0.5*focal+0.5*lovasz'; none: what fits the target's kind
    smoothing: float = Field(0.0, ge=0, lt=1)  # label smoothing
    smoothing_over: Literal["K", "K-1"] = "K"  # spread the smoothing over all K classes or over the other K-1
    class_weights: Literal["none", "balanced"] | tuple[NotNegative, ...] = "none"  # none, balanced, or one weight a class
    options: dict[str, dict[str, Any]] = {}  # loss → its parameters
    targets: dict[str, str] = {}  # target → loss
    weights: dict[str, NotNegative] | Literal["equal", "learned"] = "equal"  # between targets: equal, learned, or target → weight
    logit_adjust: float = Field(0.0, ge=0)  # strength τ of logit adjustment (arXiv 2007.07314)


class Optimizer(Section):
    """How weights move."""

    name: str = "adamw"  # the optimizer, or timm:NAME
    rate: Rate = 3e-4  # learning rate
    weight_decay: float = Field(0.01, ge=0)  # weight decay
    layer_decay: float = Field(1.0, gt=0, le=1)  # factor of the learning rate from each layer to the one below it
    head_rate: float = Field(1.0, gt=0)  # the head's learning rate as a multiple of rate
    options: dict[str, Any] = {}  # parameters of the optimizer


class Schedule(Section):
    """The rate over steps, as a multiple of the optimizer's rate."""

    name: str = "cosine"  # shape of the learning rate over steps
    warmup: float = Field(0.1, ge=0)  # epochs if 1 or more, else a share of all steps
    options: dict[str, Any] = {}  # parameters of the schedule


class Stage(Section):
    """A part of training with values of its own; None keeps the recipe's."""

    epochs: int = Field(ge=1)  # length of the stage
    trains: str = "all"  # head, top-N (the last N layers and the head) or all
    size: Pixels | tuple[Pixels, Pixels] | None = None  # image size
    batch: Count | None = None  # batch size
    rate: Rate | None = None  # learning rate
    schedule: Schedule | None = None  # learning-rate schedule
    predict: bool = False  # write test predictions at the end of the stage


class Train(Section):
    """The loop."""

    epochs: int = Field(8, ge=0)  # of fine-tuning; 0: the probe alone
    batch: Count | Literal["auto"] = 32  # images in a batch; auto: measured
    accumulate: int = Field(1, ge=1)  # batches whose gradients are summed before a step
    clip: float = Field(1.0, ge=0)  # largest global norm of the gradients; 0: no clipping
    precision: Literal["auto", "32", "bf16", "fp16"] = "auto"  # of computation; auto: what the device does well
    channels_last: bool = True  # memory layout of the tensors
    threads: Count | None = None  # of computation; none: as the machine has
    workers: int = Field(0, ge=0)  # threads that decode images; 0: none beside training
    start: Literal["probe", "random"] = "probe"  # the head begins as the linear probe or at random
    frozen_norm: bool = False  # keep BatchNorm statistics of the pretrained weights
    monitor: str = "auto"  # the figure for epochs and stopping, as target/metric; auto: the default metric of the targets
    patience: Count | None = None  # epochs without improvement after which training stops; none: never
    patience_on: str = "loss"  # loss, or a figure as for monitor
    checkpoint: Count | str = "best"  # the checkpoint to use: an epoch's number, last, swa, soup; best: cross-fitted
    restart_on_nan: bool = True  # after a NaN start again at half the learning rate


class Probe(Section):
    """The linear baseline on cached features."""

    enabled: bool = True  # fit the probe
    size: Pixels | Literal["auto"] = "auto"  # pixels; auto: 9/7 of input.size where pretrained weights take any size
    views: tuple[str, ...] = Field(("plain", "hflip"), min_length=1)  # views whose features are used in fitting
    strengths: tuple[Positive, ...] = Field(
        (0.1, 1.0, 10.0, 100.0, 1e3, 1e4, 1e5), min_length=1
    )  # inverse regularisation strengths C to choose from by inner folds


class Average(Section):
    """Averages of weights along training."""

    # none, exponential moving average, stochastic weight averaging, or soup: the mean of the best checkpoints
    name: Literal["none", "ema", "swa", "soup"] = "none"
    decay: float = Field(0.999, ge=0, lt=1)  # of the moving average
    start: float = Field(0.75, ge=0, le=1)  # share of the epochs after which SWA begins
    rate: Rate | None = None  # learning rate of SWA; none: as scheduled
    epochs: int = Field(0, ge=0)  # further epochs of SWA after the schedule; full_batch: steps
    full_batch: bool = False  # those steps use the gradient of all rows
    best: int = Field(3, ge=1)  # checkpoints in the soup
    refresh_norm: bool | Literal["auto"] = "auto"  # compute BatchNorm statistics for the average; auto: for swa and soup, ema averages them

    @property
    def refreshes(self) -> bool:
        """Whether the averaged weights get BatchNorm statistics of their own."""
        return self.name in ("swa", "soup") if self.refresh_norm == "auto" else self.refresh_norm


class Memory(Section):
    """What happens when memory runs out."""

    keep_effective: bool = True  # when memory runs out: compute the batch in smaller pieces; false: make the batch smaller
    floor: int = Field(1, ge=1)  # smallest piece or batch to try
    # GiB on disk, in a fold, for activations of layers that do not train, where no augmentation changes the images; 0: none are kept
    activations: float = Field(4.0, ge=0)


Reducer = Literal["plain", "mean", "logits", "max"]  # of the views' probabilities, or of logits before them; plain: the image as it is


class Predict(Section):
    """How answers are taken."""

    batch: int = Field(64, ge=1)  # images in a batch
    views: Spec | tuple[Spec, ...] = "plain"  # test-time views; several are joined
    # of views: mean of probabilities or of logits, maximum, plain; auto: best on held-out rows; or by target
    reduce: Literal["auto", "plain", "mean", "logits", "max"] | dict[str, Reducer] = "mean"
    # what computes features and answers: auto: the fastest whose labels are those of torch, where it saves time; torch: the reference
    engine: Literal["auto", "torch", "onnx", "openvino"] = "auto"
    keep_draws: bool = False  # keep the prediction of each view in the table
    arrays: bool = False  # write each member's probabilities of the test rows as a NumPy array, too
    # maps of the most confident errors and of some correct predictions
    saliency: Literal["none", "gradient", "loss", "integrated", "gradcam"] = "none"
    saliency_rows: int = Field(12, ge=2)  # how many maps

    def reducer(self, target: str) -> str:
        """Return how a target's views are reduced; before anything is chosen ``auto`` is the mean."""
        how = self.reduce.get(target, "mean") if isinstance(self.reduce, dict) else self.reduce
        return "mean" if how == "auto" else how


class Decide(Section):
    """From probabilities to decisions; every step is cross-fitted."""

    # which model answers: the better one on other folds, the probe, or the fine-tuned
    choose: Literal["auto", "probe", "finetune"] = "auto"
    calibrate: Spec = "none"  # calibration of each fold's probabilities
    blend: Spec = "mean"  # combination of members
    steps: tuple[Spec, ...] = ()  # decision steps in order: priors, thresholds, context …
    # label of an ordinal target that no step decides: the median class (least error in ranks), or the most probable (accuracy)
    ordered: Literal["median", "largest"] = "median"
    # ship the mean of the folds, one model trained on all rows, or the best fold
    pipeline: Literal["folds", "refit", "best-fold"] = "folds"


class Track(Section):
    """Where curves and figures go beside the run's own files; results and the run's identity do not depend on it."""

    to: tuple[Literal["tensorboard", "mlflow"], ...] = ()  # trackers that get each epoch's figures, and those of the run
    uri: str | None = None  # of MLflow's store; without it mlflow.db in the run
    experiment: str = "tapetum"  # of MLflow


class Tune(Section):
    """The search space of ``tapetum tune``: recipe key → {low, high, log} or a list of values."""

    space: dict[str, Any] = {}  # recipe key → {low, high, log} or a list of values
    trials: int = Field(20, ge=1)  # number of trials
    budget: str | None = None  # wall time, as 2h
    sampler: Literal["tpe", "random"] = "tpe"  # how values are drawn
    prune: bool = True  # end a trial after a fold in which it is worse than the median of the trials before
