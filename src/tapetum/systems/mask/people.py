"""Who is photographed, what shows their age and gender, and how well both can be told at all.

A person shows age and gender by three signs each: two in the upper face, one in the lower face, which a mask hides. A sign is the true
value plus a deviation that the person has in all photos. So not even who sees the signs themselves can tell every age and gender.
"""

from __future__ import annotations

import dataclasses
import functools

import numpy as np

from tapetum.core import draws
from tapetum.data.simulate import place

PEOPLE = np.array([549, 410, 83, 732, 817, 109])  # training people of the real set: men, then women, each by class of age
PARTS = {"train": 2700, "eval": 1800}  # people of the real set
BOUNDS = (30, 60)  # years at which the second and third class of age begin

_YOUNG = [0.6, 1.2, 1.3, 1.2, 1.1, 1.0, 1.0, 1.0, 0.9, 0.8, 0.6, 0.5]  # 18 to 29
_MIDDLE = [0.4] * 5 + [0.3] * 5 + [0.5] * 5 + [0.9] * 5 + [1.6] * 8 + [1.2, 0.8]  # 30 to 59
OVER = 9  # the table says 60 for 60 to 68, equally frequent

AGE_SIGNS = (7.0, 7.0, 6.0)  # deviation in years of what hair, eyes and mouth show
GENDER_SIGNS = (0.8, 0.9, 0.6)  # deviation of what hair, brows and mouth show; women +1, men −1
LOWER = 2  # the sign that a mask hides

WRONG_GENDER, WRONG_AGE, SWAPPED = 0.005, 0.005, 0.004  # shares of people; swapped are the incorrectly worn mask and none


@dataclasses.dataclass(frozen=True)
class Person:
    """One person to be drawn.

    Args:
        number: of the person, which keys its looks.
        part: ``train`` or ``eval``.
        gender: 0 male, 1 female.
        years: true age, 18 to 68.
        age_signs: (3,) years that hair, eyes and mouth show.
        gender_signs: (3,) what hair, brows and mouth show.
        planted: ``gender``, ``age`` or ``swapped`` where labels are wrong, else empty.
        said_gender: as the table has it.
        said_years: as the table has it, 60 at most.
    """

    number: int
    part: str
    gender: int
    years: int
    age_signs: np.ndarray
    gender_signs: np.ndarray
    planted: str
    said_gender: int
    said_years: int


def age_class(years: np.ndarray | int) -> np.ndarray:
    """Return 0 below 30, 1 below 60, 2 from there on."""
    return np.digitize(years, BOUNDS)


@functools.lru_cache(maxsize=1)
def years_table() -> tuple[np.ndarray, np.ndarray]:
    """Return every age (51,) and its frequency within its class (51,), summing to 1 in each class."""
    years = np.arange(18, 60 + OVER)
    weights = np.array([*_YOUNG, *_MIDDLE, *[1.0] * OVER])
    return years, weights / np.bincount(age_class(years), weights)[age_class(years)]


def plan_people(count: int, seed: int) -> list[Person]:
    """Return ``count`` people, the parts one after the other in the real proportions; every gender and age class is in both."""
    people: list[Person] = []
    rng = draws.generator("simulate", "mask", seed, "people")
    for part, many in zip(PARTS, place.shares(count, list(PARTS.values())), strict=True):
        cells = np.repeat(np.arange(len(PEOPLE)), _at_least_one(many))
        cells = rng.permutation(cells)
        gender, years = cells // 3, draw_years(cells % 3, rng)
        signs = draw_signs(gender, years, rng)
        planted = _plant(many, rng)
        for i in range(many):
            said_gender, said_years = int(gender[i]), min(int(years[i]), BOUNDS[1])
            if planted[i] == "gender":
                said_gender = 1 - said_gender
            elif planted[i] == "age":
                other = (age_class(said_years) + rng.integers(1, 3)) % 3
                said_years = min(int(draw_years(np.array([other]), rng)[0]), BOUNDS[1])
            person = Person(len(people), part, int(gender[i]), int(years[i]), signs[0][i], signs[1][i], planted[i], said_gender, said_years)
            people.append(person)
    return people


def draw_years(classes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return an age (N,) of each class of age (N,)."""
    years, weights = years_table()
    out = np.empty(len(classes), dtype=np.int64)
    for k in range(3):
        own = age_class(years) == k
        out[classes == k] = rng.choice(years[own], int((classes == k).sum()), p=weights[own])
    return out


def draw_signs(gender: np.ndarray, years: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return what hair, eyes or brows, and mouth show of age (N, 3) and of gender (N, 3)."""
    age = years[:, None] + rng.normal(size=(len(years), 3)) * AGE_SIGNS
    return age, 2 * gender[:, None] - 1 + rng.normal(size=(len(years), 3)) * GENDER_SIGNS


def label_given_signs(age_signs: np.ndarray, gender_signs: np.ndarray, mask: np.ndarray, lower: np.ndarray) -> np.ndarray:
    """Return the probability (N, 18) of each label of a photo given what it shows: Bayes' rule, each photo alone.

    Args:
        age_signs: (N, 3) of :func:`draw_signs`.
        gender_signs: (N, 3) likewise.
        mask: (N,) 0 worn, 1 incorrect, 2 none; seen without error.
        lower: (N,) whether the lower face is seen.
    """
    years, within = years_table()
    seen = np.ones((len(mask), 3), dtype=bool)
    seen[:, LOWER] = lower
    logs = np.log(within) - _distance(age_signs, years.astype(float), AGE_SIGNS, seen)
    weights = np.exp(logs - logs.max(axis=1, keepdims=True)) @ np.eye(3)[age_class(years)]
    far = _distance(gender_signs, np.array([-1.0, 1.0]), GENDER_SIGNS, seen)
    likely = np.exp(far.min(axis=1, keepdims=True) - far)
    p = likely[:, :, None] * weights[:, None, :] * PEOPLE.reshape(2, 3)
    p /= p.sum(axis=(1, 2), keepdims=True)
    p = (1 - WRONG_GENDER) * p + WRONG_GENDER * p[:, ::-1]
    p = (1 - WRONG_AGE) * p + WRONG_AGE * (p.sum(axis=2, keepdims=True) - p) / 2
    labelled = np.array([[1, 0, 0], [0, 1 - SWAPPED, SWAPPED], [0, SWAPPED, 1 - SWAPPED]])[mask]
    return (labelled[:, :, None, None] * p[:, None]).reshape(len(mask), 18)


def best_score(labels: np.ndarray, gender: np.ndarray, years: np.ndarray, mask: np.ndarray, lower: np.ndarray, seed: int) -> float:
    """Return the macro-F1 over 18 classes to be expected on a part of who knows the generator and sees each sign of a photo.

    The answer is the class with the largest weighted probability; the weights of gender and age are the best ones over many photos. The
    score is the mean over fresh signs of the part's people.

    Args:
        labels: (N,) the part's labels, 0 to 17, wrong ones as they are.
        gender: (N,) true gender.
        years: (N,) true age.
        mask: (N,) true state of the mask.
        lower: (N,) whether the lower face is seen.
        seed: of the fresh signs.
    """
    rng = draws.generator("simulate", "mask", seed, "ceiling")

    def shown(rows: np.ndarray) -> np.ndarray:
        signs = draw_signs(gender[rows], years[rows], rng)
        return label_given_signs(*signs, mask[rows], lower[rows])

    many = rng.integers(len(labels), size=10_000)
    weights = _best_weights(shown(many), labels[many])
    repeats = max(3, min(30, 60_000 // len(labels)))
    found = [_macro_f1((shown(np.arange(len(labels))) * weights).argmax(axis=1), labels) for _ in range(repeats)]
    return float(np.mean(found))


def _best_weights(p: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the factor (18,) of each class, by gender and age, under which the largest probability scores best."""
    weights = np.ones((2, 3))

    def score(trial: np.ndarray) -> float:
        return _macro_f1((p * np.tile(trial.ravel(), 3)).argmax(axis=1), labels)

    for _ in range(2):
        for cell in np.ndindex(*weights.shape):
            trials = []
            for factor in np.geomspace(0.35, 3.5, 14):
                trial = weights.copy()
                trial[cell] = factor
                trials.append(trial)
            weights = max([weights, *trials], key=score)
    return np.tile(weights.ravel(), 3)


def _macro_f1(answer: np.ndarray, labels: np.ndarray) -> float:
    table = np.bincount(labels * 18 + answer, minlength=324).reshape(18, 18)
    return float(np.mean(2 * np.diag(table) / np.maximum(table.sum(axis=0) + table.sum(axis=1), 1)))


def _distance(signs: np.ndarray, values: np.ndarray, deviations: tuple[float, ...], seen: np.ndarray) -> np.ndarray:
    """Return half the squared distance (N, K) of signs (N, 3) from K true values, over the signs that are seen."""
    z = (signs[:, None, :] - values[None, :, None]) / np.array(deviations)
    return 0.5 * (np.square(z) * seen[:, None, :]).sum(axis=2)


def _at_least_one(many: int) -> list[int]:
    """Return how many people of each gender and age class a part of ``many`` has: the real proportions, none empty."""
    counts = [1 + n for n in place.shares(many - len(PEOPLE), (PEOPLE * many / PEOPLE.sum() - 1).clip(0.01).tolist())]
    return counts


def _plant(many: int, rng: np.random.Generator) -> list[str]:
    """Return what is wrong with the labels of each of ``many`` people: mostly nothing."""
    out = [""] * many
    order = iter(rng.permutation(many).tolist())
    for what, share in (("gender", WRONG_GENDER), ("age", WRONG_AGE), ("swapped", SWAPPED)):
        for _ in range(max(1, round(share * many))):
            out[next(order)] = what
    return out
