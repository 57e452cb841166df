"""Each loss against its formula in numpy, a library twin or a case worked by hand; gradients against differences."""

from __future__ import annotations

import inspect
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from timm.loss import AsymmetricLossMultiLabel
from torchvision.ops import sigmoid_focal_loss

from tapetum.core.errors import UserError
from tapetum.learn.choices import LOSSES
from tapetum.learn.training import losses

B, K = 12, 5


def logits(width=K, seed=0, scale=2.0):
    return scale * torch.randn(B, width, generator=torch.Generator().manual_seed(seed))


def one_hot(seed=1):
    return F.one_hot(torch.randint(K, (B,), generator=torch.Generator().manual_seed(seed)), K).float()


def multi_hot(seed=2):
    return (torch.rand(B, K, generator=torch.Generator().manual_seed(seed)) < 0.4).float()


def soft(seed=3):
    return torch.rand(B, K, generator=torch.Generator().manual_seed(seed)).softmax(1)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


@pytest.mark.parametrize("e", [0.0, 0.1])
def test_cross_entropy_with_smoothing_and_class_weights_is_torchs(e):
    x, weights = logits(), torch.tensor([0.5, 1, 2, 1, 1.5])
    for y in (one_hot(), soft()):
        got = losses.cross_entropy(x, losses.smooth(y, e, "single"), classes=weights)
        torch.testing.assert_close(got, F.cross_entropy(x, y, weight=weights, label_smoothing=e, reduction="none"))


def test_smoothing_over_others_is_the_standard_with_another_e():
    y = one_hot()
    got = losses.smooth(y, 0.1, "single", "K-1")
    torch.testing.assert_close(got, torch.where(y == 1, torch.tensor(0.9), torch.tensor(0.1 / (K - 1))))
    torch.testing.assert_close(got, losses.smooth(y, 0.1 * K / (K - 1), "single"))
    torch.testing.assert_close(got.sum(1), torch.ones(B))


def test_smoothing_of_labels_is_each_labels_own_and_numbers_stay():
    y = multi_hot()
    torch.testing.assert_close(losses.smooth(y, 0.1, "multi"), y * 0.9 + 0.05)
    torch.testing.assert_close(losses.smooth(y, 0.1, "multi", "K-1"), torch.where(y == 1, 0.9, 0.1))
    assert losses.smooth(y[:, :1], 0.1, "regression") is not None
    assert torch.equal(losses.smooth(y[:, :1], 0.1, "regression"), y[:, :1])


def test_bce_is_torchs_and_its_sum_k_times():
    x, y = logits(), soft()
    torch.testing.assert_close(losses.bce(x, y).mean(), F.binary_cross_entropy_with_logits(x, y))
    torch.testing.assert_close(losses.bce(x, y, over="sum"), K * losses.bce(x, y))
    with pytest.raises(UserError, match="'mean' or 'sum'"):
        losses.bce(x, y, over="max")


@pytest.mark.parametrize("alpha", [0.25, None])
def test_focal_by_the_papers_formula(alpha):
    x, y = logits(), multi_hot()
    p = sigmoid(x.double().numpy())
    p_t = np.where(y.numpy() == 1, p, 1 - p)
    a_t = 1.0 if alpha is None else np.where(y.numpy() == 1, alpha, 1 - alpha)
    expected = (-a_t * (1 - p_t) ** 2 * np.log(p_t)).sum(1)
    np.testing.assert_allclose(losses.focal(x, y, alpha=alpha, over="sum"), expected, rtol=1e-4)
    twin = sigmoid_focal_loss(x, y, alpha=-1 if alpha is None else alpha, reduction="mean")
    torch.testing.assert_close(losses.focal(x, y, alpha=alpha).mean(), twin)


def test_focal_without_focus_is_the_plain_loss():
    x = logits()
    torch.testing.assert_close(losses.focal(x, soft(), gamma=0, alpha=None), losses.bce(x, soft()))
    torch.testing.assert_close(losses.focal_softmax(x, soft(), gamma=0), losses.cross_entropy(x, soft()))


def test_focal_softmax_by_the_papers_formula():
    x, y = logits(), one_hot()
    p = x.double().softmax(1).numpy()[y.numpy() == 1]
    np.testing.assert_allclose(losses.focal_softmax(x, y, gamma=2), -((1 - p) ** 2) * np.log(p), rtol=1e-5)


def test_asymmetric_is_timms_and_without_its_parts_bce():
    x, y = logits(), multi_hot()
    torch.testing.assert_close(losses.asymmetric(x, y, over="sum").mean(), AsymmetricLossMultiLabel()(x, y))
    plain = losses.asymmetric(x, y, gamma_neg=0, gamma_pos=0, clip=0)
    torch.testing.assert_close(plain, losses.bce(x, y), rtol=1e-4, atol=1e-5)


def jaccard_loss(wrong, truth):
    """1 − |A ∩ B| / |A ∪ B| when the rows in ``wrong`` are answered wrongly."""
    answer = truth ^ wrong
    union = (answer | truth).sum()
    return 0.0 if union == 0 else 1 - (answer & truth).sum() / union


def lovasz_by_definition(error, truth):
    """Σ_i m_π(i) (Δ({π_1..π_i}) − Δ({π_1..π_{i−1}})), m the positive parts of the errors, descending."""
    total, wrong = 0.0, np.zeros(len(error), dtype=bool)
    for i in np.argsort(-error):
        before = jaccard_loss(wrong, truth)
        wrong[i] = True
        total += max(error[i], 0) * (jaccard_loss(wrong, truth) - before)
    return total


def test_lovasz_by_its_definition():
    x, y = logits(scale=1), multi_hot()
    a, t = x.double().numpy(), y.numpy().astype(bool)
    expected = 0.0
    for k in range(K):
        hinge = 1 - a[:, k] * np.where(t[:, k], 1, -1)
        expected += (lovasz_by_definition(hinge, t[:, k]) + lovasz_by_definition(hinge, ~t[:, k])) / 2 / K
    assert losses.lovasz(x, y).item() == pytest.approx(expected, rel=1e-5)


def test_lovasz_is_the_jaccard_loss_and_zero_beyond_margins():
    y = multi_hot()
    assert losses.lovasz(2 * (2 * y - 1), y).item() == 0
    assert losses.lovasz(2 * (2 * y - 1), y, hinge="elu").item() > 0
    x = torch.where(y == 1, 5.0, -5.0)
    x[0, 0] = 0.0  # one row on the border: an error of 1
    positives = int(y[:, 0].sum())
    wrong = 1 / positives if y[0, 0] == 1 else 1 / (positives + 1)
    other = 1 / (B - positives + 1) if y[0, 0] == 1 else 1 / (B - positives)
    assert losses.lovasz(x, y).item() == pytest.approx((wrong + other) / 2 / K, rel=1e-5)
    with pytest.raises(UserError, match="hinge"):
        losses.lovasz(x, y, hinge="square")


def test_soft_f1_of_sure_answers_is_the_f1():
    from sklearn.metrics import f1_score

    y, answer = multi_hot(), multi_hot(seed=9)
    got = 1 - losses.soft_f1(60 * (answer - 0.5), y).item()
    assert got == pytest.approx(f1_score(y, answer, average="macro", zero_division=0), rel=1e-5)
    single, guess = one_hot(), one_hot(seed=8)
    got = 1 - losses.soft_f1(60 * guess, single, kind="single").item()
    assert got == pytest.approx(f1_score(single, guess, average="macro", zero_division=0), rel=1e-5)


def test_hard_bce_takes_the_hardest_of_each_class():
    x, y = logits(), multi_hot()
    part = F.binary_cross_entropy_with_logits(x, y, reduction="none").numpy()
    expected = np.sort(part, axis=0)[-4:].mean()  # ceil(0.3 · 12) = 4
    assert losses.hard_bce(x, y, share=0.3).item() == pytest.approx(expected, rel=1e-5)
    torch.testing.assert_close(losses.hard_bce(x, y, share=1.0), losses.bce(x, y).mean())


@pytest.mark.parametrize("name", ["lovasz", "soft_f1", "hard_bce"])
def test_a_row_of_weight_two_counts_as_two_rows(name):
    function = getattr(losses, name)
    options = {"share": 1.0} if name == "hard_bce" else {}
    x, y = logits(), multi_hot()
    rows = torch.ones(B)
    rows[3] = 2
    twice = function(torch.cat([x, x[3:4]]), torch.cat([y, y[3:4]]), **options)
    torch.testing.assert_close(function(x, y, rows=rows, **options), twice, rtol=1e-5, atol=1e-6)


def test_coral_by_hand():
    x = torch.tensor([[2.0, 0.0, -1.0]])
    got = losses.coral(x, torch.tensor([[0.0, 0, 1, 0]])).item()  # class 2 of 4: above borders 0 and 1, not 2
    expected = -(math.log(sigmoid(2.0)) + math.log(0.5) + math.log(1 - sigmoid(-1.0)))
    assert got == pytest.approx(expected, rel=1e-5)


def test_coral_is_linear_in_the_truth():
    x, a, b = logits(K - 1), one_hot(), one_hot(seed=7)
    mixed = losses.coral(x, 0.3 * a + 0.7 * b)
    torch.testing.assert_close(mixed, 0.3 * losses.coral(x, a) + 0.7 * losses.coral(x, b))


def test_mse_and_huber_in_a_unit():
    x, y = torch.tensor([[45.0], [30.0]]), torch.tensor([[60.0], [24.0]])
    assert losses.mse(x, y, unit=60).tolist() == pytest.approx([(15 / 60) ** 2, 0.01])
    assert losses.huber(x, y, delta=10).tolist() == pytest.approx([10 * (15 - 5), 18])


def test_arcface_by_the_papers_formula_and_without_margin_cross_entropy():
    cosine = torch.rand(B, K, generator=torch.Generator().manual_seed(5)) * 1.6 - 0.7
    y = one_hot()
    c, t = cosine.double().numpy(), y.numpy().argmax(1)
    expected = []
    for row, true in zip(c, t, strict=True):
        moved = 30 * row
        moved[true] = 30 * math.cos(math.acos(row[true]) + 0.5)
        expected.append(math.log(np.exp(moved - moved.max()).sum()) + moved.max() - moved[true])
    np.testing.assert_allclose(losses.arcface(cosine, y), expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(losses.arcface(cosine, y, margin=0.0), losses.cross_entropy(30 * cosine, y), rtol=1e-4, atol=1e-4)


def test_arcface_still_falls_with_the_cosine_past_the_last_angle():
    cosine = torch.full((200, 2), 0.0)
    cosine[:, 0] = torch.linspace(-0.999, 0.999, 200)
    y = torch.tensor([[1.0, 0.0]]).expand(200, 2)
    assert (losses.arcface(cosine, y).diff() <= 0).all()


CASES = {
    "cross_entropy": (K, soft),
    "focal_softmax": (K, soft),
    "arcface": (K, one_hot),
    "bce": (K, soft),
    "focal": (K, soft),
    "asymmetric": (K, multi_hot),
    "lovasz": (K, soft),
    "soft_f1": (K, multi_hot),
    "hard_bce": (K, soft),
    "coral": (K - 1, soft),
    "mse": (1, lambda: soft()[:, :1]),
    "huber": (1, lambda: soft()[:, :1]),
}


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_agree_with_differences(name, monkeypatch):
    monkeypatch.setattr(torch.Tensor, "float", lambda self: self)  # losses go up to float32 for half precision; here all is double
    width, truth = CASES[name]
    x = logits(width, scale=0.3).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: LOSSES[name].load()(x, truth().double()), (x,), eps=1e-6, atol=1e-5)


@pytest.mark.parametrize("name", LOSSES)
def test_half_precision_and_far_logits_stay_finite(name):
    width, truth = CASES[name]
    for far in (0.5, 25.0):
        x = (logits(width) * far).half().requires_grad_()
        value = LOSSES[name].load()(x, truth()).sum()
        value.backward()
        assert torch.isfinite(value)
        assert torch.isfinite(x.grad).all()


@pytest.mark.parametrize("name", LOSSES)
def test_the_tables_defaults_are_the_functions(name):
    parameters = inspect.signature(LOSSES[name].load()).parameters
    own = {key for key in parameters if key not in ("logits", "y", "classes", "rows", "kind")}
    assert own == set(LOSSES[name].parameters)
    for key, value in LOSSES[name].parameters.items():
        assert parameters[key].default == value


@given(seed=st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_class_weights_of_one_change_nothing(seed):
    for name in ("cross_entropy", "focal_softmax", "bce", "focal", "asymmetric", "lovasz", "soft_f1", "hard_bce"):
        x, y = logits(seed=seed), multi_hot(seed=seed + 1)
        torch.testing.assert_close(LOSSES[name].load()(x, y, classes=torch.ones(K)), LOSSES[name].load()(x, y))
