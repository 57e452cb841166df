from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tapetum.core.errors import DataError
from tapetum.decide import hmm
from tapetum.decide.hmm import Chain


def random_chain(rng: np.random.Generator, k: int, ages: int = 0) -> Chain:
    move = rng.dirichlet(np.ones(k), k)
    if not ages:
        return Chain(rng.dirichlet(np.ones(k)), move)
    np.fill_diagonal(move, 0)
    return Chain(rng.dirichlet(np.ones(k)), move / move.sum(axis=1, keepdims=True), rng.uniform(0.1, 0.9, (k, ages)))


def by_enumeration(log_e: np.ndarray, chain: Chain) -> tuple[np.ndarray, np.ndarray]:
    """Posteriors (T, K) and the best path (T,) from every path there is."""
    slots, k = log_e.shape
    paths = np.array(list(itertools.product(range(k), repeat=slots)))
    logs = np.log(chain.start)[paths[:, 0]] + log_e[np.arange(slots), paths].sum(axis=1)
    logs = logs + np.log(chain.move)[paths[:, :-1], paths[:, 1:]].sum(axis=1)
    weight = np.exp(logs - logs.max())
    marginal = np.stack([(weight[:, None] * (paths == c)).sum(axis=0) for c in range(k)], axis=1)
    return marginal / weight.sum(), paths[logs.argmax()]


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), k=st.integers(2, 4), slots=st.integers(1, 5))
def test_recursions_equal_the_sum_over_all_paths(seed: int, k: int, slots: int) -> None:
    rng = np.random.default_rng(seed)
    chain, log_e = random_chain(rng, k), rng.normal(0, 2, (1, slots, k))
    marginal, path = by_enumeration(log_e[0], chain)
    lengths = np.array([slots])
    np.testing.assert_allclose(hmm.posteriors(log_e, lengths, chain)[0], marginal, atol=1e-12)
    assert hmm.best_path(log_e, lengths, chain)[0].tolist() == path.tolist()


def spread_over_ages(chain: Chain) -> Chain:
    """The semi-Markov chain as an ordinary one with a state for each (class, age)."""
    assert chain.ending is not None
    k, ages = chain.ending.shape
    move = np.zeros((k * ages, k * ages))
    for c, age in itertools.product(range(k), range(ages)):
        move[c * ages + age, c * ages + min(age + 1, ages - 1)] += 1 - chain.ending[c, age]
        for other in range(k):
            move[c * ages + age, other * ages] += chain.ending[c, age] * chain.move[c, other]
    return Chain(hmm._first_ages(chain).reshape(-1), move)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), k=st.integers(2, 4), ages=st.integers(1, 5), slots=st.integers(1, 12))
def test_durations_equal_an_ordinary_chain_over_ages(seed: int, k: int, ages: int, slots: int) -> None:
    rng = np.random.default_rng(seed)
    chain = random_chain(rng, k, ages)
    log_e = rng.normal(0, 2, (3, slots, k))
    lengths = np.array([slots, max(1, slots - 1), max(1, slots // 2)])
    twin, spread = spread_over_ages(chain), np.repeat(log_e, ages, axis=2)
    expected = hmm.posteriors(spread, lengths, twin).reshape(3, slots, k, ages).sum(axis=3)
    np.testing.assert_allclose(hmm.posteriors(log_e, lengths, chain), expected, atol=1e-10)
    path = hmm.best_path(spread, lengths, twin)
    np.testing.assert_array_equal(hmm.best_path(log_e, lengths, chain), np.where(path < 0, -1, path // ages))


@pytest.mark.parametrize("ages", [0, 4])
def test_a_sequence_is_decoded_as_if_it_were_alone(ages: int) -> None:
    rng = np.random.default_rng(3)
    chain, lengths = random_chain(rng, 3, ages), np.array([20, 13, 13, 1])
    log_e = rng.normal(0, 2, (4, 20, 3))
    log_e[np.arange(20) >= lengths[:, None]] = 7.0  # what stands past an end must not matter
    together, paths = hmm.posteriors(log_e, lengths, chain), hmm.best_path(log_e, lengths, chain)
    for s, n in enumerate(lengths.tolist()):
        alone = hmm.posteriors(log_e[s : s + 1, :n], lengths[s : s + 1], chain)[0]
        np.testing.assert_allclose(together[s, :n], alone, atol=1e-12)
        assert paths[s, :n].tolist() == hmm.best_path(log_e[s : s + 1, :n], lengths[s : s + 1], chain)[0].tolist()
        assert (together[s, n:] == 0).all()
        assert (paths[s, n:] == -1).all()


def test_parts_of_many_sequences_join_seamlessly(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(4)
    chain, log_e, lengths = random_chain(rng, 3, 3), rng.normal(0, 2, (9, 8, 3)), np.full(9, 8)
    whole = hmm.posteriors(log_e, lengths, chain), hmm.best_path(log_e, lengths, chain)
    monkeypatch.setattr(hmm, "_FLOATS", 150)
    np.testing.assert_array_equal(hmm.posteriors(log_e, lengths, chain), whole[0])
    np.testing.assert_array_equal(hmm.best_path(log_e, lengths, chain), whole[1])


def sample(chain: Chain, sequences: int, slots: int, rng: np.random.Generator) -> np.ndarray:
    labels = np.zeros((sequences, slots), dtype=np.int64)
    labels[:, 0] = rng.choice(len(chain.start), sequences, p=chain.start)
    cumulative = chain.move.cumsum(axis=1)
    for t in range(1, slots):
        labels[:, t] = (rng.random(sequences)[:, None] > cumulative[labels[:, t - 1]]).sum(axis=1)
    return labels


def test_counting_finds_the_chain_again() -> None:
    rng = np.random.default_rng(0)
    truth = Chain(np.array([0.7, 0.2, 0.1]), np.array([[0.8, 0.15, 0.05], [0.1, 0.6, 0.3], [0.3, 0.3, 0.4]]))
    found = hmm.estimate([sample(truth, 400, 100, rng)], 3)
    np.testing.assert_allclose(found.move, truth.move, atol=0.02)
    np.testing.assert_allclose(found.start, truth.start, atol=0.06)


def test_unknown_labels_join_no_pair() -> None:
    labels = np.array([[0, -1, 1, 1, -1]])
    counted = hmm.estimate([labels], 2, smoothing=1e-9).move
    assert counted[1, 1] == pytest.approx(1.0)  # the only pair is 1 → 1; 0 → 1 over the gap is none
    np.testing.assert_allclose(counted[0], [0.0, 1.0], atol=1e-6)  # never seen leaving: the shares of what follows


def test_durations_are_found_where_runs_are_of_one_length() -> None:
    labels = np.tile(np.repeat([0, 1], [3, 5]), 40)[None]
    ending = hmm.estimate([labels], 2, longest=8).ending
    assert ending is not None
    assert ending[0, 2] > 0.8
    assert ending[1, 4] > 0.8
    assert ending[0, :2].max() < 0.15
    assert ending[1, :4].max() < 0.15


def test_a_chain_survives_json() -> None:
    chain = random_chain(np.random.default_rng(1), 3, 4)
    again = Chain.from_dict(chain.to_dict())
    np.testing.assert_array_equal(again.move, chain.move)
    np.testing.assert_array_equal(again.ending, chain.ending)


def test_bare_transitions_start_at_their_stationary_shares() -> None:
    move = np.array([[0.9, 0.1], [0.3, 0.7]])
    np.testing.assert_allclose(Chain.from_dict({"move": move.tolist()}).start, [0.75, 0.25], atol=1e-9)


@pytest.mark.parametrize(
    ("move", "shares"),
    [
        ([[0, 1, 0], [0.5, 0, 0.5], [0, 1, 0]], [0.25, 0.5, 0.25]),  # goes round: steps from equal shares never settle
        ([[1 - 1e-9, 1e-9], [3e-9, 1 - 3e-9]], [0.75, 0.25]),  # hardly moves
    ],
)
def test_stationary_shares_of_slow_and_circular_chains(move: list[list[float]], shares: list[float]) -> None:
    np.testing.assert_allclose(Chain.from_dict({"move": move}).start, shares, atol=1e-6)


def test_with_durations_long_classes_begin_sequences_more_often() -> None:
    chain = Chain.from_dict({"move": [[0, 1], [1, 0]], "ending": [[0.5, 0.5], [0.125, 0.125]]})
    np.testing.assert_allclose(chain.start, [0.2, 0.8], atol=1e-9)  # runs take turns, of 2 and of 8 slots in the mean


def test_endings_that_lead_nowhere_are_refused() -> None:
    for ending in ([[0.5, 0.0], [0.5, 0.5]], [[1.5, 0.5], [0.5, 0.5]], [0.5, 0.5]):
        with pytest.raises(DataError, match="ending"):
            Chain.from_dict({"move": [[0, 1], [1, 0]], "ending": ending})


@pytest.mark.parametrize("move", [[[0.9, 0.3], [0.5, 0.5]], [[1.2, -0.2], [0.5, 0.5]], [[1.0]]])
def test_what_is_no_table_of_shares_is_refused(move: list[list[float]]) -> None:
    with pytest.raises(DataError, match="transitions"):
        Chain(np.array([0.5, 0.5]), np.array(move))
