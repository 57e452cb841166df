import pytest
import timm
import torch
from hypothesis import given
from hypothesis import strategies as st
from timm.models._manipulate import adapt_input_conv

from tapetum.core.errors import UserError
from tapetum.learn.models import backbone, channels, weights

MODELS = ["test_resnet", "test_efficientnet", "test_vit", "test_convnext", "test_mambaout"]


@given(count=st.integers(1, 9))
def test_repeat_is_timms(count):
    weight = torch.randn(4, 3, 2, 2)
    torch.testing.assert_close(channels.adapt(weight, count, "repeat"), adapt_input_conv(count, weight))


@pytest.mark.parametrize("policy", channels.POLICIES)
def test_a_gray_image_in_equal_channels_gives_the_rgb_answer(policy):
    """Policies that scale keep the sum of the weights (mean, repeat); copies keep their own colour's sum."""
    weight = torch.randn(4, 3, 2, 2)
    one = channels.adapt(weight, 1, policy)
    if policy in ("repeat", "mean"):
        torch.testing.assert_close(one.sum(1), weight.sum(1))
    assert one.shape == (4, 1, 2, 2)


@pytest.mark.parametrize("model", MODELS)
def test_zero_answers_at_first_as_the_rgb_network(model, tmp_path):
    rgb = backbone.create(weights.find(model, "none")).eval()
    backbone.save(rgb, tmp_path / "bb")
    five = backbone.create(weights.from_folder(tmp_path / "bb"), channels=5, policy="zero", size=(96, 96)).eval()
    x = torch.randn(2, 5, 96, 96)
    with torch.inference_mode():
        torch.testing.assert_close(five(x), backbone.create(weights.from_folder(tmp_path / "bb"), size=(96, 96)).eval()(x[:, :3]))


def test_copied_channels_hold_the_colour_that_was_named():
    weight = torch.randn(4, 3, 2, 2)
    out = channels.adapt(weight, 5, "copy:G")
    assert torch.equal(out[:, :3], weight)
    assert torch.equal(out[:, 3], weight[:, 1])
    assert torch.equal(out[:, 4], weight[:, 1])
    assert channels.statistics((0.1, 0.2, 0.3), 5, "copy:G") == (0.1, 0.2, 0.3, 0.2, 0.2)


@given(count=st.integers(1, 9), policy=st.sampled_from(channels.POLICIES))
def test_statistics_have_a_number_a_channel_within_the_colours_range(count, policy):
    out = channels.statistics((0.1, 0.2, 0.6), count, policy)
    assert len(out) == count
    assert all(0.1 <= value <= 0.6 for value in out)
    assert channels.summary(policy, count)


def test_first_layer_is_found_in_every_small_model():
    for name in timm.list_models("test_*"):
        model = timm.create_model(name, in_chans=4, num_classes=0)
        found = [dict(model.named_modules())[stem] for stem in channels.stems(model, 4)]
        assert found
        assert all(layer.in_channels == 4 for layer in found)


def test_an_unknown_policy_is_answered_with_the_nearest():
    with pytest.raises(UserError, match="Did you mean 'repeat'"):
        channels.adapt(torch.zeros(1, 3, 1, 1), 4, "repaet")
