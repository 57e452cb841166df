import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.preprocessing import normalize

from tapetum.core import config
from tapetum.core.errors import DataError, UserError
from tapetum.core.targets import Target
from tapetum.learn import probe
from tapetum.learn.models import network

RNG = np.random.default_rng(0)
THREE = Target("c", "single", ("a", "b", "c"))


def fit_probe(x, y, target, groups, *, side=None, weight=None, **how):
    return probe.fit_probe(x, y, target, groups, side=side, weight=weight, how=probe.Fitting(**how))


def clouds(n, d=6, k=3, spread=0.7):
    """Points around k directions; few enough numbers that classes overlap."""
    labels = np.arange(n) % k
    x = RNG.normal(size=(k, d))[labels] + spread * RNG.normal(size=(n, d))
    return x.astype(np.float32), np.eye(k, dtype=np.float32)[labels], np.array([f"g{i}" for i in range(n)])


@pytest.mark.parametrize(("n", "d"), [(60, 6), (30, 200)])
def test_softmax_probe_is_scikit_learns_on_unit_vectors(n, d):
    """Both ways: more rows than numbers, and fewer, where the problem is solved in the rows' own space."""
    x, y, groups = clouds(n, d)
    weight = RNG.uniform(0.5, 2, n)
    head = fit_probe(x, y, THREE, groups, weight=weight, strengths=(10.0,))
    twin = LogisticRegression(C=10.0, tol=1e-10, max_iter=10_000).fit(normalize(x.astype(float)), y.argmax(1), sample_weight=weight)
    new = RNG.normal(size=(20, d))
    np.testing.assert_allclose(head.predict(new), twin.predict_proba(normalize(new)), atol=2e-4)
    np.testing.assert_allclose(head.weight * head.scale, twin.coef_, atol=2e-2 * np.abs(twin.coef_).max())


def test_multi_label_probe_is_one_logistic_regression_a_class():
    x, _, groups = clouds(80, 5)
    y = (x[:, :2] + 0.5 * RNG.normal(size=(80, 2)) > 0).astype(np.float32)
    y = np.concatenate([y, np.zeros((80, 1), np.float32)], axis=1)  # a class that never occurs
    head = fit_probe(x, y, Target("t", "multi", ("a", "b", "never")), groups, strengths=(3.0,))
    p = head.predict(x)
    for k in range(2):
        twin = LogisticRegression(C=3.0, tol=1e-10, max_iter=10_000).fit(normalize(x.astype(float)), y[:, k])
        np.testing.assert_allclose(p[:, k], twin.predict_proba(normalize(x.astype(float)))[:, 1], atol=2e-4)
    np.testing.assert_allclose(p[:, 2], 0.5 / 81, atol=1e-6)


def labelled(n=160, d=40, k=6, rare=0.05):
    """Many labels on one noise that all directions share: a place shines, whatever else does."""
    y = (RNG.random((n, k)) < np.linspace(rare, 0.5, k)).astype(np.float32)
    mixing = RNG.normal(size=(d, d)) * np.linspace(0.05, 2, d)
    x = y @ RNG.normal(size=(k, d)) + RNG.normal(size=(n, d)) @ mixing
    return x.astype(np.float32), y, np.array([f"g{i}" for i in range(n)]), Target("t", "multi", tuple("abcdef"))


def test_many_labels_take_the_fit_better_on_inner_folds():
    x, y, groups, target = labelled()
    auto = fit_probe(x, y, target, groups)
    ways = {name: fit_probe(x, y, target, groups, fit=name) for name in ("likelihood", "least_squares")}
    lowest = {
        name: min(v for key, v in way.scores.items() if key.startswith("least") == (name == "least_squares")) for name, way in ways.items()
    }
    assert auto.fit == min(lowest, key=lowest.get)
    np.testing.assert_array_equal(auto.weight, ways[auto.fit].weight)
    assert auto.scores == {**ways["likelihood"].scores, **ways["least_squares"].scores}
    assert probe.ProbeHead.from_bytes(auto.to_bytes()).fit == auto.fit


def test_least_squares_of_labels_ranks_as_ridge():
    x, y, groups, target = labelled()
    y[:, 2] = 0  # a label that never occurs
    head = fit_probe(x, y, target, groups, fit="least_squares", strengths=(1.0, 1.0 + 1e-9))
    twin = Ridge(alpha=1.0).fit(normalize(x.astype(float)), y).predict(normalize(x.astype(float)))
    p = head.predict(x)
    for k in (0, 1, 3, 4, 5):
        logit = np.log(p[:, k] / (1 - p[:, k]))
        assert np.corrcoef(logit, twin[:, k])[0, 1] > 0.9999
    np.testing.assert_allclose(p[:, 2], 0.5 / 161, atol=1e-6)
    np.testing.assert_allclose(p.mean(0), y.mean(0), atol=0.03)


def test_least_squares_are_for_many_labels():
    x, y, groups = clouds(30)
    with pytest.raises(UserError, match="a multi target"):
        fit_probe(x, y, THREE, groups, fit="least_squares")
    with pytest.raises(UserError, match="two strengths"):
        fit_probe(x, y, Target("t", "multi", ("a", "b", "c")), groups, fit="least_squares", strengths=(1.0,))


@pytest.mark.parametrize("place", ["lower", "last"])
def test_inner_folds_choose_between_all_levels_and_the_last(place):
    """Where the signal is in the last level alone, the others are noise that the head does not see."""
    x, y, groups = clouds(90, 8, spread=0.6)
    noise = RNG.normal(size=(90, 30)).astype(np.float32)
    parts = (normalize(x), normalize(noise)) if place == "lower" else (normalize(noise), normalize(x))
    vectors = np.concatenate(parts, axis=1)
    head = fit_probe(vectors, y, THREE, groups, last=parts[1].shape[1])
    lower = head.of_images[:, : parts[0].shape[1]]
    assert (lower == 0).all() == (place == "last")
    whole = fit_probe(vectors, y, THREE, groups)
    if place == "lower":
        np.testing.assert_array_equal(head.weight, whole.weight)
    else:
        assert min(v for k, v in head.scores.items() if k.startswith("last level")) < min(whole.scores.values())
    again = probe.ProbeHead.from_bytes(head.to_bytes())
    np.testing.assert_array_equal(again.predict(vectors), head.predict(vectors))


def test_regression_probe_is_ridge():
    x, _, groups = clouds(40, 5)
    y = (x @ RNG.normal(size=(5, 1)) + 3).astype(np.float32)
    head = fit_probe(x, y, Target("age", "regression"), groups, strengths=(4.0,))
    twin = Ridge(alpha=1 / (4.0 * 40)).fit(normalize(x.astype(float)), y[:, 0], sample_weight=np.full(40, 1 / 40))
    np.testing.assert_allclose(head.predict(x)[:, 0], twin.predict(normalize(x.astype(float))), rtol=1e-4, atol=1e-4)


def test_cumulative_probe_minimises_the_corals_loss():
    x, _, groups = clouds(90, 4)
    score = normalize(x.astype(float)) @ RNG.normal(size=4) + 0.3 * RNG.normal(size=90)
    y = np.eye(4, dtype=np.float32)[np.digitize(score, np.quantile(score, [0.25, 0.5, 0.75]))]
    head = fit_probe(x, y, Target("age", "ordinal", ("0", "1", "2", "3")), groups, strengths=(5.0,), head="coral")
    assert head.form == "cumulative"
    assert (np.diff(head.bias) <= 0).all()
    z = normalize(x.astype(float))
    w = (head.weight[0] * head.scale).astype(float)
    above = np.stack([y[:, k + 1 :].sum(1) for k in range(3)], 1)
    slope = 1 / (1 + np.exp(-(z @ w[:, None] + head.bias))) - above
    np.testing.assert_allclose(5.0 * z.T @ slope.sum(1) + w, 0, atol=2e-3)
    np.testing.assert_allclose(slope.sum(0), 0, atol=2e-3)
    np.testing.assert_allclose(head.predict(x).sum(1), 1, atol=1e-6)


def test_several_views_count_by_the_mean_of_their_unit_vectors():
    x, y, groups = clouds(30)
    views = np.stack([x, RNG.uniform(2, 9) * x[:, ::-1]], axis=1)
    want = (normalize(views[:, 0]) + normalize(views[:, 1])) / 2
    np.testing.assert_allclose(probe.unit(views), want, atol=1e-6)
    head = fit_probe(views, y, THREE, groups, strengths=(1.0,))
    np.testing.assert_allclose(head.logits(views), (head.logits(views[:, 0]) + head.logits(views[:, 1])) / 2, atol=1e-5)


def test_rows_without_vector_or_truth_neither_train_nor_answer():
    x, y, groups = clouds(40)
    clean = fit_probe(x[2:], y[2:], THREE, groups[2:], strengths=(1.0,))
    x[0], y[1] = np.nan, np.nan
    head = fit_probe(x, y, THREE, groups, strengths=(1.0,))
    np.testing.assert_allclose(head.weight, clean.weight, atol=1e-5)
    p = head.predict(x)
    assert np.isnan(p[0]).all()
    assert not np.isnan(p[1:]).any()
    with pytest.raises(DataError, match="no image has both"):
        fit_probe(np.full_like(x, np.nan), y, THREE, groups)


def test_class_absent_in_training_keeps_a_small_share():
    x, y, groups = clouds(40)
    four = np.concatenate([y, np.zeros((40, 1), np.float32)], 1)
    head = fit_probe(x, four, Target("c", "single", ("a", "b", "c", "d")), groups, strengths=(10.0,))
    p = head.predict(x)
    assert (p[:, 3] > 0).all()
    assert p[:, 3].max() < 0.1
    alone = fit_probe(x, y, THREE, groups, strengths=(10.0,)).predict(x)
    np.testing.assert_allclose(p[:, :3] / p[:, :3].sum(1, keepdims=True), alone, atol=1e-4)


def test_inner_folds_choose_strength_by_signal():
    x, y, groups = clouds(120, spread=0.05)
    shuffled = y[RNG.permutation(120)]
    strengths = (0.01, 1.0, 1000.0)
    assert fit_probe(x, y, THREE, groups, strengths=strengths).strength == 1000.0
    assert fit_probe(x, shuffled, THREE, groups, strengths=strengths).strength < 1000.0


def test_inner_folds_cut_no_group():
    """DuplicateSets with the same label: if groups were cut, the strongest head would win by memory."""
    x = np.repeat(RNG.normal(size=(40, 60)).astype(np.float32), 4, axis=0)
    y = np.repeat(np.eye(2, dtype=np.float32)[RNG.integers(0, 2, 40)], 4, axis=0)
    two = Target("c", "single", ("a", "b"))
    by_group = fit_probe(x, y, two, np.repeat(np.arange(40).astype(str), 4), strengths=(0.01, 1000.0))
    by_row = fit_probe(x, y, two, np.arange(160).astype(str), strengths=(0.01, 1000.0))
    assert (by_group.strength, by_row.strength) == (0.01, 1000.0)


@pytest.mark.parametrize("kind", ["single", "multi", "ordinal", "coral", "regression"])
def test_a_network_started_from_the_probe_answers_as_the_probe(kind):
    classes = () if kind == "regression" else ("a", "b", "c")
    target = Target("t", {"coral": "ordinal"}.get(kind, kind), classes)
    model = config.Model(backbone="test_resnet", weights="none", heads={"t": "coral" if kind == "coral" else "linear"})
    net = network.build(model, (target,), 3, side=2).eval()
    images = torch.randint(0, 256, (24, 3, 32, 32), dtype=torch.uint8)
    with torch.inference_mode():
        vectors = net.features(images).numpy()
    y = np.eye(3, dtype=np.float32)[np.arange(24) % 3] if classes else RNG.normal(size=(24, 1)).astype(np.float32)
    head = fit_probe(vectors, y, target, np.arange(24).astype(str), strengths=(100.0,), head="coral" if kind == "coral" else "linear")
    head.start(net.head("t"))
    with torch.inference_mode():
        p = net.probabilities(net(images, torch.randn(24, 2)))["t"].numpy()
    np.testing.assert_allclose(p, head.predict(vectors), atol=2e-4)


def test_side_numbers_stand_beside_the_unit_vector():
    x, y, groups = clouds(60, 5, spread=2.0)
    side = RNG.normal(size=(60, 2)).astype(np.float32)
    head = fit_probe(x, y, THREE, groups, strengths=(10.0,), side=side)
    z = np.concatenate([normalize(x.astype(float)), side], axis=1)
    twin = LogisticRegression(C=10.0, tol=1e-10, max_iter=10_000).fit(z, y.argmax(1))
    np.testing.assert_allclose(head.predict(x, side), twin.predict_proba(z), atol=2e-3)
    assert (head.of_images.shape, head.weight.shape, head.side) == ((3, 5), (3, 7), 2)
    again = probe.ProbeHead.from_bytes(head.to_bytes())
    assert np.array_equal(again.predict(x, side), head.predict(x, side))
    with pytest.raises(UserError, match="was given 0 side numbers"):
        head.predict(x)


@pytest.mark.parametrize("kind", ["single", "coral", "regression"])
def test_network_with_plain_side_numbers_answers_as_the_probe(kind):
    classes = () if kind == "regression" else ("a", "b", "c")
    target = Target("t", {"coral": "ordinal"}.get(kind, kind), classes)
    form = "coral" if kind == "coral" else "linear"
    net = network.build(config.Model(backbone="test_resnet", weights="none", heads={"t": form}, side_width=0), (target,), 3, side=2).eval()
    images, side = torch.randint(0, 256, (24, 3, 32, 32), dtype=torch.uint8), torch.randn(24, 2)
    with torch.inference_mode():
        vectors = net.features(images).numpy()
    y = np.eye(3, dtype=np.float32)[np.arange(24) % 3] if classes else RNG.normal(size=(24, 1)).astype(np.float32)
    head = fit_probe(vectors, y, target, np.arange(24).astype(str), strengths=(100.0,), head=form, side=side.numpy())
    head.start(net.head("t"))
    with torch.inference_mode():
        p = net.probabilities(net(images, side))["t"].numpy()
    np.testing.assert_allclose(p, head.predict(vectors, side.numpy()), atol=2e-4)


def test_bytes_bring_the_same_probe_back():
    x, y, groups = clouds(40)
    head = fit_probe(x, y, THREE, groups)
    again = probe.ProbeHead.from_bytes(head.to_bytes())
    assert again.to_bytes() == head.to_bytes()
    assert (again.target, again.strength, again.scores) == (head.target, head.strength, head.scores)
    np.testing.assert_array_equal(again.predict(x), head.predict(x))


def test_the_same_rows_give_the_same_bits():
    x, y, groups = clouds(60)
    assert fit_probe(x, y, THREE, groups).to_bytes() == fit_probe(x, y, THREE, groups).to_bytes()


def test_rows_of_weight_zero_take_part_in_nothing():
    x, y, groups = clouds(60)
    weight = np.ones(60)
    weight[20:] = 0
    x[20:], y[20:] = 7.0, [1, 0, 0]
    head = fit_probe(x, y, THREE, groups, weight=weight, strengths=(1.0, 100.0))
    alone = fit_probe(x[:20], y[:20], THREE, groups[:20], strengths=(1.0, 100.0))
    assert (head.strength, head.scores) == (alone.strength, alone.scores)
    np.testing.assert_array_equal(head.weight, alone.weight)
    with pytest.raises(DataError, match="no image has both"):
        fit_probe(x, y, THREE, groups, weight=np.zeros(60))
