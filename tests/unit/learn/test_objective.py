"""What training minimises: known rows only, weighted means, sums over targets, and refusals with their reasons."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from tapetum.core import config
from tapetum.core.choices import Choice
from tapetum.core.errors import DataError, UserError
from tapetum.core.targets import Target
from tapetum.learn.training import checks, losses
from tapetum.learn.training.objective import Objective, balanced, counts_of, spreads_of

STAGE = Target("stage", "single", ("a", "b", "c"))
LABELS = Target("labels.x", "multi", ("p", "q", "r", "s"))
AGE = Target("age", "ordinal", ("young", "middle", "old"))
YEARS = Target("years", "regression", borders=(30, 60))
WIDTHS = {"stage": 3, "labels.x": 4, "age": 2, "years": 1}
MIXES = {"fmix": Choice("x:y", alpha=1.0, numbers="refuse"), "line_out": Choice("x:y")}


def batch(rows=8, seed=0):
    g = torch.Generator().manual_seed(seed)
    logits = {name: torch.randn(rows, width, generator=g, requires_grad=True) for name, width in WIDTHS.items()}
    y = {
        "stage": F.one_hot(torch.randint(3, (rows,), generator=g), 3).float(),
        "labels.x": (torch.rand(rows, 4, generator=g) < 0.5).float(),
        "age": F.one_hot(torch.randint(3, (rows,), generator=g), 3).float(),
        "years": 80 * torch.rand(rows, 1, generator=g),
    }
    return logits, y


def test_each_kind_has_its_own_loss_and_they_are_summed():
    logits, y = batch()
    got = Objective(config.Loss(), [STAGE, LABELS, AGE, YEARS])(logits, y)
    expected = (
        F.cross_entropy(logits["stage"], y["stage"])
        + F.binary_cross_entropy_with_logits(logits["labels.x"], y["labels.x"])
        + losses.coral(logits["age"], y["age"]).mean()
        + F.mse_loss(logits["years"], y["years"])
    )
    torch.testing.assert_close(got, expected)


def test_unknown_truths_neither_count_nor_move_anything():
    logits, y = batch()
    y["stage"][2] = torch.nan
    y["stage"][5, 1] = torch.nan
    objective = Objective(config.Loss(), [STAGE])
    got = objective(logits, y)
    got.backward()
    known = [0, 1, 3, 4, 6, 7]
    torch.testing.assert_close(got, F.cross_entropy(logits["stage"][known], y["stage"][known]))
    assert (logits["stage"].grad[[2, 5]] == 0).all()
    assert torch.isfinite(logits["stage"].grad).all()


def test_a_target_without_known_rows_gives_zero_with_a_graph():
    logits, y = batch()
    y["stage"][:] = torch.nan
    got = Objective(config.Loss(), [STAGE, AGE])(logits, y)
    torch.testing.assert_close(got, losses.coral(logits["age"], y["age"]).mean())
    got.backward()
    assert (logits["stage"].grad == 0).all()


@given(seed=st.integers(0, 50), name=st.sampled_from([None, "lovasz", "soft_f1", "focal", "asymmetric"]))
@settings(max_examples=25, deadline=None)
def test_weights_are_like_repeated_rows(seed, name):
    logits, y = batch(seed=seed)
    weight = torch.tensor([1.0, 2, 0, 1, 3, 1, 0, 1])
    objective = Objective(config.Loss(name=name), [LABELS])
    index = torch.repeat_interleave(torch.arange(8), weight.long())
    repeated = objective({"labels.x": logits["labels.x"][index]}, {"labels.x": y["labels.x"][index]})
    torch.testing.assert_close(objective(logits, y, weight), repeated, rtol=1e-4, atol=1e-5)


def test_an_expression_is_the_weighted_sum_of_its_terms():
    logits, y = batch()
    loss = config.Loss(name="0.5*focal + lovasz*0.25 + bce", options={"focal": {"gamma": 3.0}})
    x, t = logits["labels.x"], y["labels.x"]
    expected = 0.5 * losses.focal(x, t, gamma=3.0).mean() + 0.25 * losses.lovasz(x, t) + losses.bce(x, t).mean()
    torch.testing.assert_close(Objective(loss, [LABELS])(logits, y), expected)


@pytest.mark.parametrize("text", ["", "focal-bce", "focal*bce", "2*3*focal", "focal(1)", "__import__('os')", "0.5*", "2", "True*focal"])
def test_expressions_are_parsed_never_run(text):
    with pytest.raises(UserError, match="cannot be read"):
        checks.parse_loss(text)


@pytest.mark.parametrize("over", ["K", "K-1"])
def test_smoothing_reaches_the_loss(over):
    logits, y = batch()
    objective = Objective(config.Loss(smoothing=0.1, smoothing_over=over), [STAGE])
    torch.testing.assert_close(
        objective(logits, y), F.cross_entropy(logits["stage"], y["stage"], label_smoothing=0.1 if over == "K" else 0.15)
    )


def test_balanced_weights_are_sklearns_and_an_absent_class_has_none():
    from sklearn.utils.class_weight import compute_class_weight

    labels = np.repeat([0, 1, 2], [10, 3, 1])
    np.testing.assert_allclose(balanced(np.array([10, 3, 1])), compute_class_weight("balanced", classes=np.arange(3), y=labels))
    assert balanced(np.array([4, 0, 4])).tolist() == [1, 0, 1]


def test_class_weights_reach_the_loss():
    logits, y = batch()
    objective = Objective(config.Loss(class_weights=(1.0, 2.0, 4.0)), [STAGE, YEARS])
    parts = objective.by_target(logits, y)
    torch.testing.assert_close(parts["stage"], F.cross_entropy(logits["stage"], y["stage"], weight=torch.tensor([1.0, 2, 4])))
    w = torch.tensor([1.0, 2, 4])[torch.bucketize(y["years"][:, 0], torch.tensor([30.0, 60.0]), right=True)]
    expected = (w * (logits["years"] - y["years"])[:, 0] ** 2).sum() / w.sum()
    torch.testing.assert_close(parts["years"], expected)


def test_sixty_years_are_in_the_class_that_begins_at_sixty():
    objective = Objective(config.Loss(class_weights=(1.0, 1.0, 9.0)), [YEARS])
    got = objective({"years": torch.tensor([[0.0], [0.0]])}, {"years": torch.tensor([[60.0], [59.9]])})
    assert got.item() == pytest.approx((9 * 60**2 + 59.9**2) / 10)
    assert counts_of([YEARS], {"years": np.array([[60.0], [59.9], [np.nan], [3.0]])})["years"].tolist() == [1, 1, 1]


def test_logit_adjustment_by_the_papers_formula():
    logits, y = batch()
    counts = np.array([70.0, 20.0, 10.0])
    got = Objective(config.Loss(logit_adjust=1.5), [STAGE], {"stage": counts})(logits, y)
    x = logits["stage"].detach().double().numpy() + 1.5 * np.log(counts / 100)
    expected = -(y["stage"].numpy() * (x - np.log(np.exp(x).sum(1, keepdims=True)))).sum(1).mean()
    assert got.item() == pytest.approx(expected, rel=1e-5)


def test_learned_weights_settle_at_the_losses_own_variances():
    logits, y = batch()
    objective = Objective(config.Loss(weights="learned"), [STAGE, YEARS])
    parts = {k: v.detach() for k, v in objective.by_target(logits, y).items()}
    first = objective(logits, y)
    torch.testing.assert_close(first, parts["stage"] + 0.5 * parts["years"])  # s = 0
    with torch.no_grad():  # d/ds [c e^−s L + s/2] = 0 at s = log(2 c L)
        objective.log_variance[0].fill_(float(torch.log(2 * parts["stage"])))
        objective.log_variance[1].fill_(float(torch.log(parts["years"])))
    objective(logits, y).backward()
    for s in objective.parameters():
        assert s.grad.item() == pytest.approx(0, abs=1e-5)


def test_an_ordinal_target_takes_the_loss_that_fits_its_head():
    logits, y = batch()
    softmax = {"age": torch.randn(8, 3)}
    torch.testing.assert_close(Objective(config.Loss(), [AGE])(softmax, y), F.cross_entropy(softmax["age"], y["age"]))
    torch.testing.assert_close(Objective(config.Loss(), [AGE])(logits, y), losses.coral(logits["age"], y["age"]).mean())


@pytest.mark.parametrize(
    ("loss", "targets", "words"),
    [
        (config.Loss(name="focal"), [STAGE], "'focal' is for multi targets, and 'stage' is single"),
        (config.Loss(name="mse"), [AGE], "one of cross_entropy"),
        (config.Loss(name="focl"), [LABELS], "Did you mean 'focal'"),
        (config.Loss(options={"focal": {"gamma": 1}}), [LABELS], "which no target uses"),
        (config.Loss(name="focal", options={"focal": {"gama": 1}}), [LABELS], "Did you mean 'gamma'"),
        (config.Loss(targets={"stag": "focal"}), [STAGE], "Did you mean 'stage'"),
        (config.Loss(weights={"ages": 1.0}), [AGE], "Did you mean 'age'"),
        (config.Loss(class_weights=(1.0, 2.0)), [STAGE], "2 numbers and target 'stage' has 3"),
        (config.Loss(class_weights="balanced"), [Target("kg", "regression")], "have no classes"),
        (config.Loss(logit_adjust=1.0), [LABELS], "softmax"),
        (config.Loss(name="arcface", class_weights=(1.0, 1.0, 1.0)), [STAGE], "cannot take class weights"),
    ],
)
def test_what_cannot_serve_is_refused_with_the_reason(loss, targets, words):
    with pytest.raises(UserError, match=words):
        Objective(loss, targets)


def test_missing_counts_are_refused():
    with pytest.raises(DataError, match="class counts of 'stage'"):
        Objective(config.Loss(class_weights="balanced"), [STAGE])


def test_what_does_not_touch_a_target_is_remarked():
    said = Objective(config.Loss(smoothing=0.1, logit_adjust=1.0), [STAGE, YEARS], {"stage": np.ones(3)}).remarks
    assert any("smoothing" in s and "years" in s for s in said)
    assert any("logit adjustment" in s and "years" in s for s in said)


def test_class_numbers_and_wrong_widths_are_refused():
    logits, y = batch()
    with pytest.raises(UserError, match="class numbers"):
        Objective(config.Loss(), [STAGE])(logits, {"stage": torch.zeros(8, dtype=torch.long)})
    with pytest.raises(UserError, match="the head gives 4 values"):
        Objective(config.Loss(), [STAGE])({"stage": torch.zeros(8, 4)}, y)


def test_mixing_with_numbers_or_margins_is_refused_until_defined():
    for mix in ("fmix", {"name": "fmix", "alpha": 0.5}):
        with pytest.raises(UserError, match="'years': what a mixture"):
            checks.check_mixing([mix], MIXES, config.Loss(), [STAGE, YEARS])
    checks.check_mixing([{"name": "fmix", "numbers": "linear"}, "line_out"], MIXES, config.Loss(), [STAGE, YEARS])
    with pytest.raises(UserError, match="margin"):
        checks.check_mixing(["fmix"], MIXES, config.Loss(name="arcface"), [STAGE])
    checks.check_mixing(["line_out"], MIXES, config.Loss(name="arcface"), [STAGE])


def test_margins_and_borders_need_their_heads():
    def check(head, loss, target=STAGE):
        checks.check_heads(config.Model(heads={target.name: head}), config.Loss(name=loss), [target])

    with pytest.raises(UserError, match="head 'cosine'"):
        check("linear", "arcface")
    with pytest.raises(UserError, match="needed: loss 'arcface'"):
        check({"name": "cosine", "width": 8}, "cross_entropy")
    with pytest.raises(UserError, match="needed: loss 'coral'"):
        check("coral", "cross_entropy", AGE)
    with pytest.raises(UserError, match="head 'coral'"):
        check("linear", "coral", AGE)
    for head, loss, target in [("cosine", "arcface", STAGE), ("coral", "coral", AGE), ("coral", None, AGE), ("linear", None, AGE)]:
        check(head, loss, target)


def test_a_recipe_is_checked_part_by_part():
    stages = (config.Stage(epochs=2), config.Stage(epochs=3, schedule=config.Schedule(name="cosine_restarts", options={"t0": 4})))
    with pytest.raises(UserError, match="T0"):
        checks.check_training(config.Recipe(stages=stages), [STAGE], MIXES)
    assert checks.check_training(config.Recipe(), [STAGE], MIXES) == []


def test_the_learned_weights_and_tables_survive_target_names_with_dots():
    objective = Objective(config.Loss(weights="learned", class_weights=(1.0, 2.0, 3.0, 4.0)), [LABELS])
    assert [p.shape for p in objective.parameters()] == [torch.Size([])]
    logits, y = batch()
    assert torch.isfinite(objective(logits, y))


def test_number_counts_in_training_units_unless_named():
    age = Target("age", "regression")
    y, x = torch.tensor([[20.0], [60.0]]), torch.tensor([[30.0], [50.0]])
    spread = spreads_of([age], {"age": np.array([[20.0], [np.nan], [60.0]])})
    assert spread == {"age": 20.0}
    assert float(Objective(config.Loss(), [age], None, spread)({"age": x}, {"age": y})) == pytest.approx((10 / 20) ** 2)
    named = config.Loss(options={"mse": {"unit": 60.0}})
    assert float(Objective(named, [age], None, spread)({"age": x}, {"age": y})) == pytest.approx((10 / 60) ** 2)


def test_refreshing_statistics_of_no_average_is_refused():
    with pytest.raises(UserError, match="no weights are averaged"):
        checks.check_training(config.Recipe(average={"refresh_norm": True}), [STAGE], MIXES)
    for name in ("ema", "swa", "soup"):
        checks.check_training(config.Recipe(average={"name": name, "refresh_norm": True}), [STAGE], MIXES)
    kept = [config.Average(name=name).refreshes for name in ("none", "ema", "swa", "soup")]
    assert kept == [False, False, True, True]
