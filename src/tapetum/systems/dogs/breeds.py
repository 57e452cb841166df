"""The traits of 25 simulated breeds, and the best accuracy that they allow.

A dog is a point in a space of traits. A breed is a cloud in it: normal with deviation 1 in each trait around its own mean, some with a
second colour. The clouds of near twins overlap, so not even a classifier of the traits themselves separates all of them.
"""

from __future__ import annotations

import dataclasses
import functools

import numpy as np

from tapetum.core import draws

BREEDS = (  # of Stanford Dogs, in alphabetical order
    "Afghan_hound",
    "Airedale",
    "Blenheim_spaniel",
    "Border_collie",
    "Boston_bull",
    "Cardigan",
    "Chihuahua",
    "Doberman",
    "English_setter",
    "Eskimo_dog",
    "German_shepherd",
    "Great_Dane",
    "Irish_setter",
    "Labrador_retriever",
    "Lhasa",
    "Newfoundland",
    "Norfolk_terrier",
    "Norwich_terrier",
    "Pekinese",
    "Pembroke",
    "Pomeranian",
    "Rottweiler",
    "Samoyed",
    "Siberian_husky",
    "Tibetan_terrier",
)
TWINS = (
    ("Cardigan", "Pembroke"),
    ("Doberman", "Rottweiler"),
    ("English_setter", "Irish_setter"),
    ("Eskimo_dog", "Siberian_husky"),
    ("Lhasa", "Tibetan_terrier"),
    ("Norfolk_terrier", "Norwich_terrier"),
)
TRAITS = ("hue", "light", "second", "mask", "blaze", "ear_up", "ear_length", "muzzle", "breadth", "fur", "spots", "eyes")
COLOURS = (0, 1, 2)  # traits that a second colour changes
SHAPES = (5, 6, 7, 8, 11)  # traits in which twins differ

SPREAD = 2.0  # deviation of the breeds' means in each trait
APART = 4.5  # least distance of two breeds that are no twins
TWIN_DISTANCE = 2.6  # of twins: each is taken for the other in Φ(−1.3) = 10 % of its images at best
SECOND_COLOUR = (0.3, 3.0)  # share and distance of the second colour, in every other breed


@dataclasses.dataclass(frozen=True)
class Clouds:
    """Means (25, 2, T) of each breed's two colours, and their weights (25, 2)."""

    means: np.ndarray
    weights: np.ndarray


@functools.lru_cache(maxsize=1)
def clouds() -> Clouds:
    """Return the breeds; they are the same for every seed of a simulation."""
    rng = draws.generator("simulate", "dogs", "breeds")
    second = {b: a for a, b in TWINS}
    means: dict[str, np.ndarray] = {}
    while len(means) < len(BREEDS) - len(TWINS):
        name = next(b for b in BREEDS if b not in second and b not in means)
        mean = rng.normal(0, SPREAD, len(TRAITS))
        if all(np.linalg.norm(mean - other) > APART + TWIN_DISTANCE for other in means.values()):
            means[name] = mean
    for b, a in second.items():
        step = np.zeros(len(TRAITS))
        step[list(SHAPES)] = rng.normal(size=len(SHAPES))
        means[b] = means[a] + TWIN_DISTANCE * step / np.linalg.norm(step)
    shift = np.zeros((len(BREEDS), len(TRAITS)))
    for i, name in enumerate(BREEDS):
        if name not in second:
            shift[i, list(COLOURS)] = (step := rng.normal(size=len(COLOURS))) / np.linalg.norm(step) * SECOND_COLOUR[1]
    for b, a in second.items():
        shift[BREEDS.index(b)] = shift[BREEDS.index(a)]
    share = np.where(np.arange(len(BREEDS)) % 2, SECOND_COLOUR[0], 0.0)
    for b, a in second.items():
        share[BREEDS.index(b)] = share[BREEDS.index(a)]
    first = np.stack([means[name] for name in BREEDS])
    return Clouds(np.stack([first, first + shift], axis=1), np.stack([1 - share, share], axis=1))


def draw_traits(breed: int, rng: np.random.Generator) -> np.ndarray:
    """Return the traits (T,) of one dog of a breed."""
    world = clouds()
    colour = int(rng.random() < world.weights[breed, 1])
    return world.means[breed, colour] + rng.normal(size=len(TRAITS))


def breed_given_traits(traits: np.ndarray) -> np.ndarray:
    """Return the probability (N, 25) of each breed given the traits (N, T), all breeds being equally frequent: Bayes' rule."""
    world = clouds()
    distance = ((traits[:, None, None, :] - world.means) ** 2).sum(axis=-1)
    with np.errstate(divide="ignore"):
        logs = np.log(world.weights) - distance / 2
    logs -= logs.max(axis=(1, 2), keepdims=True)
    p = np.exp(logs).sum(axis=2)
    return p / p.sum(axis=1, keepdims=True)


def label_given_traits(traits: np.ndarray, mislabelled: float) -> np.ndarray:
    """Return the probability (N, 25) of each label, a share of them being some other breed's."""
    p = breed_given_traits(traits)
    return p * (1 - mislabelled) + (1 - p) * mislabelled / (len(BREEDS) - 1)
