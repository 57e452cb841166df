"""The Python API: one function for each command. Heavy modules are imported inside the function that needs them.

What the functions return is a :class:`~tapetum.api.results.Result`: a mapping with ``path``, ``to_polars()`` and ``to_pandas()``.
"""

from tapetum.api.answers import evaluate, merge, predict, submit
from tapetum.api.exporting import export
from tapetum.api.images import audit, folds, show, simulate, split
from tapetum.api.judging import compare, compare_views, conformal, decide, diff, doctor, leaderboard, ledger, list_runs, report
from tapetum.api.recipe import explain, load_recipe, recipes
from tapetum.api.results import Result
from tapetum.api.reviewing import review
from tapetum.api.runs import ablate, find_rate, fit, job, reproduce, trace, tune
from tapetum.api.serving import serve
from tapetum.api.sleep import sleep_check, sleep_compare, sleep_export, sleep_plot, sleep_stats
from tapetum.api.sleep_nights import sleep_adapt, sleep_render, sleep_review, sleep_stage

__all__ = [
    "Result",
    "ablate",
    "audit",
    "compare",
    "compare_views",
    "conformal",
    "decide",
    "diff",
    "doctor",
    "evaluate",
    "explain",
    "export",
    "find_rate",
    "fit",
    "folds",
    "job",
    "leaderboard",
    "ledger",
    "list_runs",
    "load_recipe",
    "merge",
    "predict",
    "recipes",
    "report",
    "reproduce",
    "review",
    "serve",
    "show",
    "simulate",
    "sleep_adapt",
    "sleep_check",
    "sleep_compare",
    "sleep_export",
    "sleep_plot",
    "sleep_render",
    "sleep_review",
    "sleep_stage",
    "sleep_stats",
    "split",
    "submit",
    "trace",
    "tune",
]
