"""The names that a recipe may use for data, and the functions behind them."""

from __future__ import annotations

from tapetum.core.bounds import PART
from tapetum.core.choices import Choice

LAYOUTS = {  # general ones; each module has recognise, read and write. `data.layouts.available` adds those of the systems
    "frame": Choice("tapetum.data.layouts.frame:read"),
    "croissant": Choice("tapetum.data.layouts.croissant:read"),
    "webdataset": Choice("tapetum.data.layouts.webdataset:read"),
    "folder": Choice("tapetum.data.layouts.folder:read"),
    "table": Choice("tapetum.data.layouts.table:read"),
}

AUGMENTS = {  # in the order given; the two that decide the size go first. Parameters: see each function's page
    "hflip": Choice("tapetum.data.images.geometry:hflip", probability=0.5),
    "vflip": Choice("tapetum.data.images.geometry:vflip", probability=0.5),
    "dihedral": Choice("tapetum.data.images.geometry:dihedral", probability=1.0),
    "resized_crop": Choice("tapetum.data.images.geometry:resized_crop", limits={"scale": PART}, scale=(0.6, 1.0), ratio=(3 / 4, 4 / 3)),
    "scaled_crop": Choice("tapetum.data.images.geometry:scaled_crop", scale=(0.8, 1.2)),
    "rotation": Choice("tapetum.data.images.geometry:rotation", degrees=15.0, fill=0.0, probability=1.0),
    "affine": Choice(
        "tapetum.data.images.geometry:affine", degrees=10.0, translate=0.0, scale=(1.0, 1.0), shear=0.0, fill=0.0, probability=1.0
    ),
    "colour_jitter": Choice(
        "tapetum.data.images.photometry:colour_jitter", brightness=0.2, contrast=0.2, saturation=0.2, hue=0.0, probability=1.0
    ),
    "lighting": Choice("tapetum.data.images.photometry:lighting", brightness=0.1, contrast=0.1, channelwise=False, probability=1.0),
    "grayscale": Choice("tapetum.data.images.photometry:grayscale", probability=0.1),
    "erasing": Choice(
        "tapetum.data.images.photometry:erasing", limits={"scale": PART}, scale=(0.02, 0.33), ratio=(0.3, 3.3), fill=0.0, probability=0.25
    ),
    "coarse_dropout": Choice("tapetum.data.images.photometry:coarse_dropout", holes=(1, 8), size=(0.05, 0.15), fill=0.0, probability=0.5),
    "cutout": Choice("tapetum.data.images.photometry:cutout", holes=1, size=0.25, fill=0.0, probability=1.0),
    "randaugment": Choice("tapetum.data.images.randaugment:randaugment", n=2, magnitude=9, fill=0.0, interpolation="nearest"),
}

SIZERS = ("resized_crop", "scaled_crop")  # augmentations that bring the image to its size themselves

VIEWS = {  # test-time views; the first draw is 0 where it is the plain image, else 1
    "plain": Choice("tapetum.data.images.views:plain"),
    "hflip": Choice("tapetum.data.images.views:hflip"),
    "vflip": Choice("tapetum.data.images.views:vflip"),
    "flips": Choice("tapetum.data.images.views:flips", horizontal=True, vertical=False),
    "dihedral": Choice("tapetum.data.images.views:dihedral"),
    "crops": Choice("tapetum.data.images.views:crops", count=5, share=0.875, dihedral=False),
    "random": Choice("tapetum.data.images.views:random", n=10, scale=(1.0, 1.25)),
    "scales": Choice("tapetum.data.images.views:scales", factors=(1.0, 0.875, 1.125), multiple=32),
}

MIXES = {  # numbers = "linear" says that a mixture of two images has the weighted mean of their numbers
    "mixup": Choice("tapetum.data.images.mixing:mixup", alpha=0.4, probability=1.0, until=0.9, numbers="refuse"),
    "cutmix": Choice("tapetum.data.images.mixing:cutmix", alpha=1.0, probability=1.0, until=0.9, numbers="refuse"),
    "fmix": Choice("tapetum.data.images.mixing:fmix", alpha=1.0, decay=3.0, soft=0.0, probability=0.5, until=0.9, numbers="refuse"),
    "half_cutmix": Choice(
        "tapetum.data.images.mixing:half_cutmix", target=None, classes=(), rarest=1, probability=1.0, until=0.9, numbers="refuse"
    ),
    "line_out": Choice("tapetum.data.images.mixing:lines", bands=(), of=0, count=1, fill=0.0, probability=0.5, until=1.0),
    "line_mix": Choice("tapetum.data.images.mixing:lines", bands=(), of=0, count=1, probability=0.5, until=0.9, numbers="refuse"),
}

SAMPLERS = {  # target = None: the only one
    "shuffle": Choice("tapetum.data.images.sampling:shuffle"),
    "balanced": Choice("tapetum.data.images.sampling:balanced", target=None, length=1.0),
    "weights": Choice("tapetum.data.images.sampling:weights", length=1.0),
    "oversample": Choice("tapetum.data.images.sampling:oversample", target=None, factors=None),
    "subset": Choice("tapetum.data.images.sampling:subset", target=None, cut=None, repeat=None, part=0, whole=False),
}
