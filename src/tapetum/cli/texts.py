"""The results of commands in words, for people: each function takes a result and whether the whole of it is wanted, and gives lines."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tapetum.core.columns import wrapped
from tapetum.core.errors import listed
from tapetum.core.words import plural, verb

Result = Mapping[str, Any]


def table(result: Result, verbose: bool) -> list[str]:
    """Return the result's table and where it was written."""
    written = [f"written to {result['out']}"] if result.get("out") else []
    return [result["table"], *written]


def fit(result: Result, verbose: bool) -> list[str]:
    """Return the summary of a run, its report and the next command; with ``verbose`` the table of all figures first."""
    return [*_figures(result, verbose), *_run(result)]


def reproduce(result: Result, verbose: bool) -> list[str]:
    """Return the same of a reference system, and its submission."""
    from tapetum.show.summary import figure_text

    lines = [f"submission  {result['submission'] or 'none: the data hold no sample submission or no test images'}"]
    if (test := result.get("test")) is not None:
        lines.append(f"test part   {test['metric']} {figure_text(test)} on the simulator's test part, best possible {test['ceiling']:.3f}")
    most = 6 - len(lines)
    return [*_figures(result, verbose, most=most), *lines, f"statements  {result['statements']}", f"report      {result['report']}"]


def serve(result: Result, verbose: bool) -> list[str]:
    """Return how long the service ran."""
    return [f"stopped after {result['seconds']:.0f} s"]


def decide(result: Result, verbose: bool) -> list[str]:
    """Return a run that was decided again as ``fit`` does; of files, their leaderboard."""
    return fit(result, verbose) if "run" in result else [result["table"], f"coverage: {result['coverage']}", f"written to {result['out']}"]


def find_rate(result: Result, verbose: bool) -> list[str]:
    """Return the suggested rate, what it rests on, and how to use it."""
    low, high = (edge(each["steepest"] for each in result["repeats"]) for edge in (min, max))
    lines = [result["table"]] if verbose else []
    lines += [
        f"suggested learning rate {result['suggestion']:.2g} (the recipe has {result['recipe']:.2g})",
        f"the loss falls fastest at {low:.2g} to {high:.2g} in {plural(len(result['repeats']), 'test')} of member {result['member']}",
    ]
    return [
        *lines,
        f"plot     {Path(result['run']) / 'rates.png'}",
        f"next     tapetum fit DATA --set optimizer.rate={result['suggestion']:.2g}",
    ]


def tune(result: Result, verbose: bool) -> list[str]:
    """Return the figures of a search, the best values, and how to use them."""
    from tapetum.core.marks import CROSS_VALIDATED, IN_SAMPLE
    from tapetum.show.summary import INDENT, figure_text, warned

    lines = [result["table"]] if verbose else []
    for how in (CROSS_VALIDATED, IN_SAMPLE):
        of_best = ", of the best trial" if how == IN_SAMPLE else ""
        shown = [f"{name} {figure['metric']} {figure_text(figure)}, {how}{of_best}" for name, figure in result[how].items()]
        lines += shown[:1] if len(shown) < 2 else [shown[0], f"{plural(len(shown) - 1, 'more target')}: --verbose"]
    values = ", ".join(f"{key} = {_short(value)}" for key, value in result["values"].items())
    lines += wrapped(f"selected: trial {result['best']} of {result['trials'] + result['pruned']}; {values}", INDENT)
    lines += warned([f"warning: {mark}" for mark in result["marks"]], 1, "with --verbose")
    return [*lines, f"recipe   {result['recipe']}", f"next     tapetum fit DATA --recipe {result['recipe']}"]


def ablate(result: Result, verbose: bool) -> list[str]:
    """Return what each piece is worth."""
    from tapetum.show.summary import INDENT

    warnings = [line for mark in result["marks"] for line in wrapped(f"warning: {mark}", INDENT)]
    return [result["table"], *warnings, f"run      {result['run']}"]


def merge(result: Result, verbose: bool) -> list[str]:
    """Return where the tables went."""
    return [f"{plural(result['rows'], 'row')} of {plural(result['tables'], 'table')}; written to {result['out']}"]


def job(result: Result, verbose: bool) -> list[str]:
    """Return the state of a job."""
    if "epochs" not in result:
        return [f"{result.get('status', 'unknown')}: {plural(result.get('rows', 0), 'row')}"]
    stopped = f", stopped early: {result['stop']}" if result.get("stop") else ""
    return [f"{result.get('status', 'unknown')}: {plural(result.get('epochs', 0), 'epoch')}{stopped}"]


def predict(result: Result, verbose: bool) -> list[str]:
    """Return the predictions, or where they are."""
    missing = f", {result['missing']:,} of them missing" if result["missing"] else ""
    count = f"{plural(result['rows'], 'image')} predicted{missing}"
    return [f"{count}; written to {result['out']}"] if "out" in result else [result["table"], count]


def export(result: Result, verbose: bool) -> list[str]:
    """Return how far the answers agree, and where the files are."""
    gate = result["gate"]
    lines = [
        f"{name}: {one['agreement']:.1%} of {plural(gate['images'], 'image')} answered alike, "
        f"largest difference {one['largest_difference']:.2g}"
        + (f"; {one['differ']:,} with another label, {one['close_calls']:,} of them close calls" if one["differ"] else "")
        for name, one in gate["targets"].items()
    ]
    if "int8" in result:
        lines.append(result["int8"]["summary"])
    if result["simple"]:
        lines.append(f"a short script cannot follow the decisions: {result['simple']}")
    return [*lines, f"written  {result['out']}", f"next     tapetum predict {result['out']} NEW-IMAGES"]


def evaluate(result: Result, verbose: bool) -> list[str]:
    """Return the figures, and with ``verbose`` the table by class and the confusion matrix."""
    lines = [result["table"], *(["", result["details"], ""] if verbose else [])]
    return lines + [f"{name:8} {result[key]}" for name, key in (("written", "out"), ("report", "report")) if result.get(key)]


def submit(result: Result, verbose: bool) -> list[str]:
    """Return what was written."""
    return [f"{plural(result['rows'], 'prediction')}; submission written to {result['out']}", f"sha256   {result['sha256']}"]


def diff(result: Result, verbose: bool) -> list[str]:
    """Return the differences, the figures of both runs, and what can explain them."""
    return [result["table"]]


def conformal(result: Result, verbose: bool) -> list[str]:
    """Return how often the sets hold the label, how large they are, and when to abstain."""
    from tapetum.show.summary import figure_text

    abstain, classes = result["abstain"], result["classes"]
    lines = [
        f"coverage {figure_text(result['coverage'])}: the share of images whose set holds their label",
        f"set size {result['size']:.2f} classes on average; {result['single']:.1%} hold one class, {result['empty']:.1%} none",
    ]
    if abstain["risk"] is None:
        wanted = f"below {abstain['wanted']:.1%} with 95 % confidence ({plural(abstain['n'], 'image')})"
        lines += [f"abstain  always: no threshold keeps the error {wanted}", "         more images may help"]
    else:
        answered = f"answers {abstain['coverage']:.1%} of the images with an error of {abstain['risk']:.1%}"
        answered += f" (at most {abstain['bound']:.1%} with 95 % confidence)"
        lines.append(f"abstain  below probability {abstain['threshold']:.3f}: it {answered}")
    if verbose:
        width = max(map(len, classes), default=5)
        lines += [f"{'class':{width}}  {'n':>6}  coverage  set size"]
        lines += [f"{name:{width}}  {one['n']:>6,}  {one['coverage']:8.3f}  {one['size']:8.2f}" for name, one in classes.items()]
    return [*lines, f"sets     {result['conformal']}", f"review   {result['review']}"]


def ledger(result: Result, verbose: bool) -> list[str]:
    """Return the submissions, and how the figures of the run and the outside scores relate."""
    lines = [result["table"]]
    for board, one in result["relations"].items():
        if one["n"]:
            lines.append(f"{board}: {one['n']} of {plural(one['submissions'], 'submission')} {verb(one['n'], 'has', 'have')} a score")
        if one["offset"] is not None:
            interval = "" if one["offset_low"] is None else f" [{one['offset_low']:+.4f}, {one['offset_high']:+.4f}]"
            lines.append(f"{board}: outside minus own {one['offset']:+.4f}{interval} on average")
        if one["rank_correlation"] is not None:
            lines.append(f"{board}: rank correlation {one['rank_correlation']:.3f}")
        if one["with_interval"]:
            lines.append(f"{board}: {one['inside']} of {one['with_interval']} outside scores lie in the interval of the run")
    return lines


def report(result: Result, verbose: bool) -> list[str]:
    """Return where the report is."""
    return [result["report"]]


def audit(result: Result, verbose: bool) -> list[str]:
    """Return what was found and where it is."""
    return [result["table"], f"{plural(result['rows'], 'image')}; written to {result['out']}"]


def review(result: Result, verbose: bool) -> list[str]:
    """Return what was decided and how training reads it."""
    given = "labelled" if "labelled" in result else "relabelled"
    counts = f"{result['kept']:,} kept, {result['excluded']:,} excluded, {result['relabelled']:,} {given}"
    lines = [f"{result['decided']:,} of {plural(result['rows'], 'image')} decided: {counts}"]
    if result["contested"]:
        lines.append(f"decided differently by two reviewers: {listed(result['contested'], 5)}; the later decision holds")
    if result["twice"]:
        kappa = "undefined" if result["kappa"] is None else f"{result['kappa']:.3f}"
        lines.append(f"second pass: {plural(result['twice'], 'image')}, Cohen's kappa {kappa}")
    lines.append(f"written to {result['out']}")
    if "labelled" in result:  # a table without a row is none to train on
        return [*lines, *([f"next     tapetum fit DATA --extra {result['out']}"] if result["relabelled"] else [])]
    return [*lines, f"next     tapetum fit DATA --set data.audit={result['out']}"]


def show(result: Result, verbose: bool) -> list[str]:
    """Return what was drawn."""
    return [f"{plural(result['rows'], 'image')} of {plural(result['channels'], 'channel')}, drawn to {result['out']}"]


def simulate(result: Result, verbose: bool) -> list[str]:
    """Return what was written, and the best score that is possible on it."""
    counts = ", ".join(f"{name} {count:,}" for name, count in result["counts"].items() if isinstance(count, int))
    best = f"best possible {result['metric']} on the test part {result['ceiling']:.3f}"
    where = [f"{name:12} {path}" for name, path in result["paths"].items()]
    return [*wrapped(f"synthetic {result['name']}: {counts}"), best, *where]


def recipes(result: Result, verbose: bool) -> list[str]:
    """Return a line for each recipe."""
    wide = max(map(len, result["recipes"]), default=0)
    return [part for name, line in result["recipes"].items() for part in wrapped(f"{name:{wide}}  {line}", wide + 2)]


def explain(result: Result, verbose: bool) -> list[str]:
    """Return a line for each value; tables of a list, such as members, begin a line each."""
    lines = []
    for row in result["values"]:
        value = row["value"]
        items = value if isinstance(value, list) and len(value) > 1 and all(isinstance(one, dict) for one in value) else [value]
        first, *more = [part for one in items for part in wrapped(_toml(one), width=44)] or [""]
        lines += [f"{row['key']:32} {first:44} {row['origin']}", *(f"{'':32} {part}" for part in more)]
    return lines


def doctor(result: Result, verbose: bool) -> list[str]:
    """Return what this machine can do."""
    bf16 = {True: "in hardware", False: "emulated"}.get(result["bf16_in_hardware"], "unknown")
    lines = [
        f"device      {result['device']} (there are: {', '.join(result['devices'])}), {plural(result['threads'], 'thread')}",
        f"precisions  {', '.join(result['precisions'])}; bf16 {bf16}",
    ]
    if measured := result["measured"]:
        for what in ("training", "answering"):
            one = measured[what]
            times = ", ".join(f"{name} {1000 * seconds:.1f} ms" for name, seconds in one["seconds_per_image"].items())
            fastest = f"{what:11} fastest in precision {one['engine']['precision']}"
            lines += wrapped(fastest + (f" (an image: {times})" if times else ""), 12)
    for number, one in enumerate(result["weights"] or [{}]):
        text = (
            f"{one['backbone']} from {one['source']}, {one['size']} pixels, {plural(one['channels'], 'channel')}" if one else "none at hand"
        )
        lines += wrapped(f"{'weights' if not number else '':11} {text}", 12)
    lines += wrapped("versions    " + ", ".join(f"{name} {version or 'missing'}" for name, version in result["versions"].items()), 12)
    return [*lines, f"system      Python {result['python']}, {result['system']}"]


def _figures(result: Result, verbose: bool, most: int = 6) -> list[str]:
    from tapetum.core.files import read_json
    from tapetum.show.summary import lines

    summary = lines(read_json(Path(result["run"]) / "metrics.json"), most)
    return [result["table"], "", *summary] if verbose else summary


def _run(result: Result) -> list[str]:
    return [f"report   {result['report']}", f"next     tapetum predict {result['run']} NEW-IMAGES"]


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else _toml(value)


def _toml(value: Any) -> str:
    """Return a value as a recipe has it."""
    from tapetum.core.toml import toml_value

    return "none" if value is None else value if isinstance(value, str) else toml_value(value)
