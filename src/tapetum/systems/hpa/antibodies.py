"""Which labels a simulated antibody has, how brightly each shows, and how well a perfect classifier can predict them.

An antibody stains the same places in all its images, mostly. In an image each label of it shows with a brightness of its own; some
places shine that are no labels. The two kinds of brightness overlap, so not even who sees them apart can always tell which is which.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from tapetum.core import draws

LABELS = (
    "Nucleoplasm",
    "Nuclear membrane",
    "Nucleoli",
    "Nucleoli fibrillar center",
    "Nuclear speckles",
    "Nuclear bodies",
    "Endoplasmic reticulum",
    "Golgi apparatus",
    "Peroxisomes",
    "Endosomes",
    "Lysosomes",
    "Intermediate filaments",
    "Actin filaments",
    "Focal adhesion sites",
    "Microtubules",
    "Microtubule ends",
    "Cytokinetic bridge",
    "Mitotic spindle",
    "Microtubule organizing center",
    "Centrosome",
    "Lipid droplets",
    "Plasma membrane",
    "Cell junctions",
    "Mitochondria",
    "Aggresome",
    "Cytosol",
    "Cytoplasmic bodies",
    "Rods & rings",
)
COUNTS = np.array([12885, 1254, 3621, 1561, 1858, 2513, 1008, 2822, 53, 45, 28, 1093, 688, 537, 1066, 21, 530, 210, 902, 1482, 172])
COUNTS = np.concatenate([COUNTS, [3777, 802, 2965, 322, 8228, 328, 11]])  # images with each label
ROWS = 31072  # training images of the real collection
SET_SIZES = (0.487, 0.402, 0.102, 0.009)  # share of images with 1, 2, 3, 4 labels

LEAST = 6  # images of each label in a part, so that it can be learnt and scored; the real counts at full size
IMAGES = 6  # of an antibody, on average
DEVIANT = 0.08  # share of images that lack one label of their antibody
STRAY = 0.6  # images where a place shines without being a label, for each one where it is
BRIGHT, FAINT = (0.0, 0.45), (-0.75, 0.45)  # logarithm of the brightness of a label and of a stray place: mean, deviation


@dataclasses.dataclass(frozen=True)
class Stained:
    """Images of one part, an antibody's side by side.

    Args:
        labels: (N, 28) bool, the truth.
        antibody: (N,) number of the antibody.
    """

    labels: np.ndarray
    antibody: np.ndarray


def draw_antibodies(rows: int, seed: int, part: str) -> Stained:
    """Return the labels of ``rows`` images, antibody by antibody, in the proportions of the real collection.

    Rare labels are given out first, each to several antibodies; partners are drawn from what the other labels still lack.
    """
    rng = draws.generator("simulate", "hpa", seed, "antibodies", part)
    lack = np.maximum(COUNTS * rows / ROWS, min(LEAST, max(2, rows // 50))).astype(float)
    sizes = np.array(SET_SIZES) * rows
    labels: list[np.ndarray] = []
    antibody: list[int] = []
    for first in np.argsort(lack, kind="stable"):
        limit = max(1, round(lack[first] / 3))
        while lack[first] > 0.5:
            count = int(min(limit, 1 + rng.poisson(IMAGES - 1), np.ceil(lack[first])))
            open_sizes = np.maximum(sizes, 1e-9) * (1, 1.8, 2.5, 3)  # the last labels find no partners any more
            size = int(rng.choice(len(sizes), p=open_sizes / open_sizes.sum()))
            chosen = [first, *_partners(first, size, lack, rng)]
            number = antibody[-1] + 1 if antibody else 0
            for _ in range(count):
                image_labels = np.zeros(len(LABELS), dtype=bool)
                image_labels[chosen] = True
                if len(chosen) > 1 and rng.random() < DEVIANT:
                    image_labels[chosen[1 + rng.integers(len(chosen) - 1)]] = False
                lack -= image_labels
                sizes[image_labels.sum() - 1] -= 1
                labels.append(image_labels)
                antibody.append(number)
    return _exactly(Stained(np.stack(labels), np.array(antibody)), rows, rng)


def stray_rates(labels: np.ndarray) -> np.ndarray:
    """Return the probability (28,) that a place shines in an image without its label; it goes with the label's frequency in (N, 28)."""
    return STRAY * labels.mean(axis=0)


def draw_brightness(labels: np.ndarray, rates: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return how brightly each place shines (N, 28), 0 where it does not, given the labels (N, 28) and ``stray_rates`` (28,)."""
    stray = rng.random(labels.shape) < rates
    bright, faint = (np.exp(rng.normal(mean, deviation, labels.shape)) for mean, deviation in (BRIGHT, FAINT))
    return np.where(labels, bright, np.where(stray, faint, 0.0))


def label_given_brightness(brightness: np.ndarray, rates: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the probability (N, 28) of each label, each image seen alone: Bayes' rule over whole sets of labels.

    Args:
        brightness: (N, 28) of the places.
        rates: (28,) of ``stray_rates``.
        labels: (M, 28) the truth of all images, whose sets and their frequencies are taken as known.
    """
    sets, count = np.unique(labels, axis=0, return_counts=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.log(brightness)
        odds = _normal(logs, BRIGHT) - _normal(logs, FAINT) - np.log(rates)
    odds = np.where(brightness > 0, odds, -1e3)  # a label always shines
    out = np.empty(brightness.shape)
    for start in range(0, len(odds), 4096):
        score = odds[start : start + 4096] @ sets.T.astype(float) + np.log(count)
        p = np.exp(score - score.max(axis=1, keepdims=True))
        out[start : start + 4096] = (p @ sets.astype(float)) / p.sum(axis=1, keepdims=True)
    return out


def best_score(test: np.ndarray, every: np.ndarray, seed: int, repeats: int = 30) -> float:
    """Return the expected macro-F1 on a part of a classifier that knows the generator and the brightness of each place.

    The bound of each label is the best one over many images; the score is the mean over fresh brightnesses of the part's labels.

    Args:
        test: (N, 28) labels of the part.
        every: (M, 28) labels of all images.
        seed: of the fresh brightnesses.
        repeats: how many times they are drawn; fewer for a large part.
    """
    rng, rates = draws.generator("simulate", "hpa", seed, "ceiling"), stray_rates(every)
    many = every[rng.integers(len(every), size=20000)]
    bounds = _best_bounds(label_given_brightness(draw_brightness(many, rates, rng), rates, every), many)
    found = []
    for _ in range(max(3, min(repeats, 30000 // len(test)))):
        p = label_given_brightness(draw_brightness(test, rates, rng), rates, every)
        answer = (p >= bounds) | (p == p.max(axis=1, keepdims=True)) & ~(p >= bounds).any(axis=1, keepdims=True)
        found.append(np.mean(2 * (answer & test).sum(axis=0) / np.maximum(answer.sum(axis=0) + test.sum(axis=0), 1)))
    return float(np.mean(found))


def _best_bounds(p: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the probability (28,) from which each label is best answered for its F1."""
    order = np.argsort(-p, axis=0, kind="stable")
    hits = np.cumsum(np.take_along_axis(labels, order, axis=0), axis=0)
    f1 = 2 * hits / (np.arange(1, len(p) + 1)[:, None] + labels.sum(axis=0))
    return np.take_along_axis(np.take_along_axis(p, order, axis=0), f1.argmax(axis=0)[None], axis=0)[0]


def _partners(first: int, count: int, lack: np.ndarray, rng: np.random.Generator) -> list[int]:
    """Draw up to ``count`` other labels in proportion to what they lack."""
    open_ = np.maximum(lack, 0)
    open_[first] = 0
    count = min(count, int((open_ > 0).sum()))
    return rng.choice(len(lack), count, replace=False, p=open_ / open_.sum()).tolist() if count else []


def _exactly(stained: Stained, rows: int, rng: np.random.Generator) -> Stained:
    """Return exactly ``rows`` images: those whose rarest label is commonest are taken out or photographed again."""
    frequency = stained.labels.sum(axis=0)
    rarest = np.where(stained.labels, frequency, len(stained.labels) + 1).min(axis=1)
    common = np.argsort(-rarest, kind="stable")
    keep = np.sort(common[max(0, len(common) - rows) :])
    if len(keep) < rows:
        keep = np.sort(np.concatenate([keep, rng.choice(common[: len(common) // 2], rows - len(keep))]))
    return Stained(stained.labels[keep], stained.antibody[keep])


def _normal(x: np.ndarray, of: tuple[float, float]) -> np.ndarray:
    """Return the logarithm of a normal density, but for a constant."""
    return -0.5 * ((x - of[0]) / of[1]) ** 2 - np.log(of[1])
