"""Numbers of a recipe have bounds, numbers stand for text where text is wanted, and a typo is answered with the nearest key."""

import pytest

from tapetum import api
from tapetum.core.checking import FLAG_NAMES, suggestion
from tapetum.core.errors import UserError
from tapetum.core.options import OPTIONS


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("input.size=0", "'input.size' is 0; needed: a whole number from 1 to 16384"),
        ("input.size=[64, 0]", r"'input.size' is \[64, 0\]; needed"),
        ("probe.size=0", "'probe.size' is 0"),
        ("train.batch=-4", "'train.batch' is -4; needed: a whole number, 1 or more, or 'auto'"),
        ("train.epochs=true", "'train.epochs' is True; needed: a whole number"),
        ("train.checkpoint=0", "'train.checkpoint' is 0"),
        ("train.workers=-1", "'train.workers' is -1"),
        ("input.crop=[0, 0, 0, 0]", r"'input.crop' is \[0, 0, 0, 0\]; needed"),
        ("data.limit=0", "'data.limit' is 0"),
        ("data.limit=1", "'data.limit' is 1; needed: a whole number, 2 or more"),
        ("optimizer.rate=1e30", "'optimizer.rate' is 1e\\+30; needed: a number, above 0 and 100 or less"),
        ("data.pseudo_bound=1.2", "a number from 0 to 1"),
        ("split.folds=1", "split.holdout = 0.2"),
        ("split.holdout=0", "above 0 and below 1"),
        ("split.holdout=1", "above 0 and below 1"),
        ("split.holdout=1.5", "above 0 and below 1"),
        ("optimizer.rate=nan", "'optimizer.rate' is nan; needed: a number, above 0"),
        ("average.decay=1.0", "below 1"),
        ("average.start=2", "from 0 to 1"),
        ("probe.strengths=[]", "'probe.strengths' is"),
        ("probe.strengths=[0.1, -1]", "each a number, above 0"),
        ("loss.weights={a = -1}", "'loss.weights' is"),
        ("stages=[{epochs=1, batch=0}]", "'stages.0.batch' is 0"),
        ("stages=[{epochs=1, schedule={name='cosine', options={floor=-1}}}]", "has floor = -1"),
        ("member=[{name='a', predict={batch=0}}]", "member 'a': recipe key 'predict.batch' is 0"),
        ("member=[{name='a', only_folds=[-1]}]", "only_folds"),
        ("loss.options={focal={gamma=-1}}", "has gamma = -1"),
        ("augment=[{name='hflip', probability=2}]", "augment 'hflip' has probability = 2; needed: a number from 0 to 1"),
        ("decide.steps=[{name='smooth', width=0}]", "has width = 0"),
        ("seed=-1", "'seed' is -1"),
    ],
)
def test_number_out_of_range_is_refused_with_its_key(text, said):
    with pytest.raises(UserError, match=said):
        api.load_recipe(sets=[text])


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("train.precision=32", "32"),
        ("data.group=1e3", "1e3"),
        ("data.id=007", "007"),
        ("data.id=2024-01-01", "2024-01-01"),
        ("data.position=true", "true"),
        ("data.path=7", "7"),
        ("data.targets=[1, 2]", ("1", "2")),
        ("data.side=[3]", ("3",)),
        ("data.derive={ans=3}", {"ans": "3"}),
        ("name=32", "32"),
        ("train.checkpoint=3", 3),
    ],
)
def test_a_number_stands_for_the_text_that_was_typed(text, value):
    found = api.load_recipe(sets=[text]).recipe
    for part in text.partition("=")[0].split("."):
        found = getattr(found, part)
    assert found == value
    assert type(found) is type(value)


def test_a_number_in_a_file_stands_for_text_too(tmp_path):
    (tmp_path / "r.toml").write_text("[train]\nprecision = 32\n[data]\ngroup = 5\n")
    recipe = api.load_recipe(tmp_path / "r.toml").recipe
    assert (recipe.train.precision, recipe.data.group) == ("32", "5")
    (tmp_path / "r.toml").write_text("[train]\nprecision = 33\n")
    with pytest.raises(UserError, match=r"'train.precision' is 33; needed: 'auto', '32', 'bf16' or 'fp16'"):
        api.load_recipe(tmp_path / "r.toml")


@pytest.mark.parametrize(
    ("given", "offered"),
    [
        ({"sets": ["train.epochz=3"]}, "train.epochs"),
        ({"sets": ["member=[{name='a', train={epochz=1}}]"]}, "train.epochs"),
        ({"sets": ["stages=[{epochz=2}]"]}, "stages.0.epochs"),
        ({"sets": ["stages=[{epochs=2, schedule={nam='cosine'}}]"]}, "stages.0.schedule.name"),
        ({"sets": ["trian.epochs=1"]}, "train"),
        ({"sets": ["input.sice=1"]}, "input.size"),
        ({"flags": {"epochz": 3}}, "train.epochs"),
        ({"flags": {"target": "label"}}, "data.targets"),
    ],
)
def test_a_typo_is_answered_with_the_nearest_key(given, offered):
    with pytest.raises(UserError, match=f"Did you mean '{offered}'"):
        api.load_recipe(**given)


def test_a_keyword_of_the_python_api_is_answered_too(tmp_path):
    with pytest.raises(UserError, match=r"no key 'train.epochz'. Did you mean 'train.epochs'"):
        api.fit(tmp_path, tmp_path / "run", train__epochz=3)
    assert not (tmp_path / "run").exists()


def test_nothing_like_it_offers_nothing():
    assert suggestion("train.zzqqxx", ["train.epochs", "seed"]) is None


def test_names_of_flags_lead_to_their_keys():
    assert {name: OPTIONS[name].key for name in FLAG_NAMES} == FLAG_NAMES
