"""Stages, cues, and what can be known from them."""

from __future__ import annotations

import numpy as np
import pytest

from tapetum.core import draws
from tapetum.systems.sleep_images import ceiling, cues, hypnograms
from tapetum.systems.sleep_images.hypnograms import FULL, N1, N2, N3, REM, WAKE, K


def asleep(stages: np.ndarray) -> np.ndarray:
    sleep = np.flatnonzero(stages != WAKE)
    return stages[sleep[0] : sleep[-1] + 1]


@pytest.fixture(scope="module")
def drawn():
    rng = np.random.default_rng(0)
    return [hypnograms.nights(FULL).draw(rng) for _ in range(60)]


def test_drawn_nights_have_the_shares_of_the_real_ones(drawn):
    every = np.concatenate([asleep(night) for night in drawn])
    shares = np.bincount(every, minlength=K) / len(every)
    assert np.abs(shares - np.array(hypnograms.fitted()["shares"])).max() < 0.05


def test_nights_begin_awake_with_deep_sleep_before_rem(drawn):
    assert all(night[0] == WAKE and len(night) == FULL for night in drawn)
    thirds = [np.array_split(asleep(night), 3) for night in drawn]
    early, late = (np.bincount(np.concatenate([t[i] for t in thirds]), minlength=K) for i in (0, 2))
    assert early[N3] > 1.5 * late[N3]
    assert late[REM] > 1.5 * early[REM]
    latency = np.median([np.argmax(asleep(night) == REM) for night in drawn]) / 2
    assert 45 < latency < 120  # minutes


def test_fitted_rows_are_shares_and_stages_never_go_to_themselves():
    for length in (40, 147, FULL):
        nights = hypnograms.nights(length)
        assert np.allclose(nights.move.sum(axis=-1), 1)
        assert nights.move[:, :K, range(K), range(K)].max() == 0
        assert nights.move[:, hypnograms.NONE, WAKE, WAKE].max() == 0
        assert nights.ending.min() > 0
        assert nights.ending.max() <= 1


def test_shorter_recordings_go_through_all_phases_with_shorter_bouts(drawn):
    rng = np.random.default_rng(1)
    short = [hypnograms.nights(147).draw(rng) for _ in range(60)]
    changes = [np.mean([np.count_nonzero(np.diff(n)) / len(n) for n in some]) for some in (short, drawn)]
    assert changes[0] > 1.5 * changes[1]
    assert np.mean([len(set(night.tolist())) for night in short]) > 3.8


def test_spindles_belong_to_n2_and_n3_rem_has_no_tone():
    rng = np.random.default_rng(2)
    stages = np.repeat(np.arange(K), 2000)
    found = cues.draw_cues(stages, rng)
    for name in ("spindles", "complexes"):
        count = np.array([found.count(name)[stages == k].mean() for k in range(K)])
        assert (count[[WAKE, N1, REM]] == 0).all()
        assert count[N2] > count[N3] > 0
    tone = np.array([np.median(found.level("tone")[stages == k]) for k in range(K)])
    assert (tone.argmin(), tone.argmax()) == (REM, WAKE)
    assert tone[REM] < 0.5 * tone[N2]


def test_neighbouring_epochs_are_alike_as_stated():
    found = cues.draw_cues(np.full(20_000, N2), np.random.default_rng(3))
    off = (found.levels - cues.MEANS[N2]) / cues.DEVIATIONS
    assert np.abs((off[1:] * off[:-1]).mean(axis=0) - cues.ALIKE).max() < 0.05
    assert np.abs(off.std(axis=0) - 1).max() < 0.05


def test_a_scorer_slips_as_stated_most_often_in_n1():
    stages = np.repeat(np.arange(K), 20_000)
    labels = cues.draw_scores(stages, np.random.default_rng(4))
    table = np.zeros((K, K))
    np.add.at(table, (stages, labels), 1 / 20_000)
    assert np.abs(table - cues.SCORED).max() < 0.02
    assert np.allclose(cues.SCORED.sum(axis=1), 1)
    assert cues.SCORED.diagonal().argmin() == N1


def by_enumeration(found: cues.Cues, nights: hypnograms.Nights) -> np.ndarray:
    """P(stage | all cues) by adding up every possible night."""
    length = len(found.levels)
    logs, out = cues.log_after(found), np.zeros((length, K))

    def go(path: list[int], before: int, age: int, p: float) -> None:
        t = len(path)
        if t == length:
            out[np.arange(length), path] += p
            return
        here = path[-1]
        ending = nights.ending[before, here, min(age, hypnograms.AGES) - 1]
        go([*path, here], before, age + 1, p * (1 - ending) * np.exp(logs[t, here, here]))
        for k, chance in enumerate(nights.move[nights.phase(t - 1), before, here]):
            if chance > 0:
                go([*path, k], here, 1, p * ending * chance * np.exp(logs[t, here, k]))

    go([WAKE], hypnograms.NONE, 1, 1.0)
    return out / out.sum(axis=1, keepdims=True)


def test_knowing_the_whole_night_equals_adding_up_every_night():
    nights = hypnograms.nights(6)
    rng = draws.generator("enumerated")
    found = cues.draw_cues(nights.draw(rng), rng)
    assert np.allclose(ceiling.stages_given_night(found, nights), by_enumeration(found, nights), atol=1e-9)


def test_what_is_expected_is_what_fresh_nights_reach():
    """The mean probability of the best answer is its accuracy; position tells little and order much, as in real nights."""
    rng = np.random.default_rng(5)
    nights = hypnograms.nights(147)
    recordings, labels, answers = [], [], []
    for _ in range(50):
        stages = nights.draw(rng)
        found = cues.draw_cues(stages, rng)
        recordings.append((found, np.ones(147, dtype=bool)))
        labels.append(cues.draw_scores(stages, rng))
        answers.append(ceiling.labels_given_night(found).argmax(axis=1))
    told = ceiling.ceilings(recordings)
    reached = np.mean(np.concatenate(labels) == np.concatenate(answers))
    assert abs(reached - told["order"]["accuracy"]) < 4 * np.sqrt(0.1 * 0.9 / (50 * 147))
    f1 = [told[name]["macro_f1"] for name in ("frame_wise", "position", "order")]
    assert f1[0] < f1[1] < f1[2] - 0.03
    assert 0.75 < f1[0] < 0.83
