"""Names that ``[decide]`` may use, the functions that they name, and what may be set of each.

``calibrate`` names one of CALIBRATORS, ``blend`` one of BLENDS, ``steps`` any of STEPS, in order.
"""

from __future__ import annotations

from tapetum.core.choices import Choice

_CLASSES = ("single", "ordinal", "multi")

CALIBRATORS: dict[str, Choice] = {
    "none": Choice("tapetum.decide.calibrate:NoCalibration"),
    "temperature": Choice("tapetum.decide.calibrate:Temperature", kinds=_CLASSES, low=0.05, high=20.0),
    "vector": Choice("tapetum.decide.calibrate:Vector", kinds=_CLASSES, shrink=1.0),
    "platt": Choice("tapetum.decide.calibrate:Platt", kinds=_CLASSES),
    "isotonic": Choice("tapetum.decide.calibrate:Isotonic", kinds=_CLASSES),
}

BLENDS: dict[str, Choice] = {
    "mean": Choice("tapetum.decide.ensemble:mean"),
    "weighted": Choice("tapetum.decide.ensemble:weighted", weights="fit", metric="auto"),
    "power": Choice("tapetum.decide.ensemble:Power", kinds=_CLASSES, r=0.5, weights="equal", metric="auto"),
    "rank": Choice("tapetum.decide.ensemble:RankMean", kinds=_CLASSES, weights="equal", points=201),
    "vote": Choice("tapetum.decide.ensemble:Vote", kinds=_CLASSES, weights="equal"),
    "greedy": Choice("tapetum.decide.ensemble:Greedy", rounds=30, metric="auto"),
    "stack": Choice("tapetum.decide.stack:Stack", kinds=_CLASSES, strength=1.0, rows=50_000),
}

NEIGHBOURS = ("context", "rules", "smooth")  # steps that look at a row's neighbours in its sequence

STEPS: dict[str, Choice] = {
    **CALIBRATORS,
    "thresholds": Choice("tapetum.decide.thresholds:BestF1", kinds=("multi",), rare=20, at_least_one=True),
    "class_rates": Choice("tapetum.decide.thresholds:MatchRates", kinds=("multi",), prior="train", on="fit", at_least_one=True),
    "fixed": Choice("tapetum.decide.thresholds:Fixed", kinds=("multi",), value=0.5, at_least_one=False),
    "prior": Choice("tapetum.decide.priors:PriorShift", kinds=_CLASSES, source="balanced", target="truth", least=100),
    "context": Choice(
        "tapetum.decide.context:Context",
        kinds=("single", "ordinal"),
        method="auto",
        emission=1.0,
        prior_exponent=0.5,
        tune=True,
        transitions=None,
        prior=None,
        longest=0,
        position=0.0,
        reach=8,
        strength=0.01,
        metric="auto",
    ),
    "rules": Choice("tapetum.decide.rules:Rules", kinds=("single", "ordinal"), table="sleep-dragon"),
    "retrieval": Choice("tapetum.decide.retrieval:Retrieval", kinds=_CLASSES, bound="fit", weight="fit", metric="auto"),
    "smooth": Choice("tapetum.decide.smoothing:Smooth", kinds=("single", "ordinal"), how="mode", width=3),
    "median": Choice("tapetum.decide.median:Median", kinds=("ordinal",)),
    "bias": Choice("tapetum.decide.bias:ClassBias", kinds=("single", "ordinal")),
    "logit_adjust": Choice("tapetum.decide.priors:LogitAdjust", kinds=_CLASSES, tau=1.0, metric="auto"),
}
