"""The door for the shell: one command each, all work behind :mod:`tapetum.api`; nothing heavy is imported until it is needed.

Results go to stdout (``--json`` for machines), progress and errors to stderr.
"""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from tapetum.core import errors

app = typer.Typer(
    name="tapetum",
    help="Labelled pictures in, a classifier that one can trust out, with the evidence.",
    rich_markup_mode=None,
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

Data = Annotated[Path, typer.Argument(help="a folder of class folders, a table (CSV, Parquet) or a layout's folder")]
Out = Annotated[Path, typer.Option("-o", "--out", help="where to write")]
RunFolder = Annotated[Path, typer.Argument(help="a run folder")]
Targets = Annotated[list[str] | None, typer.Option("--target", help="NAME, NAME:multi, NAME:ordinal=low<high, NAME:regression=30,60")]
RecipeName = Annotated[str | None, typer.Option("--recipe", help="a built-in recipe or a TOML file")]
Over = Annotated[list[Path] | None, typer.Option("-c", "--config", help="a TOML file laid over the recipe")]
Profile = Annotated[str | None, typer.Option(help="a profile of the recipe, as cpu; full is the recipe itself")]
Sets = Annotated[list[str] | None, typer.Option("--set", help="key=value, as train.epochs=3")]
Json = Annotated[bool, typer.Option("--json", help="print the result as JSON")]
Layout = Annotated[str | None, typer.Option(help="how the data are laid out; auto looks")]
IdColumn = Annotated[str | None, typer.Option("--id", help="the id column")]
PathColumn = Annotated[
    list[str] | None, typer.Option("--path", help="the path column, a template as 'train/{Id}_{red,green}.png', or several (repeat it)")
]
Derive = Annotated[list[str] | None, typer.Option("--derive", help="a target composed of others, as 'ans=mask*6+gender*3+age'")]
Group = Annotated[str | None, typer.Option(help="the column of groups, which never cross folds")]
SequenceColumn = Annotated[str | None, typer.Option("--sequence", help="the column of sequences (exams, nights)")]
Position = Annotated[str | None, typer.Option(help="the column of the place in the sequence")]
OnBad = Annotated[str | None, typer.Option("--on-bad", help="refuse or skip pictures that cannot be read")]
Folds = Annotated[int | None, typer.Option(help="number of folds (default 5)")]
Holdout = Annotated[float | None, typer.Option(help="one quick split: the share held out, as 0.2")]
Seed = Annotated[int | None, typer.Option(help="where chance starts from")]


def main() -> None:
    """Run the command line; every known error ends with its own exit code and one sentence."""
    # Telemetry of dependencies is off before any of them is imported.
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("HF_HUB_OFFLINE", "0" if "--online" in sys.argv else "1")
    try:
        app()
    except errors.TapetumError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(error.exit_code) from None
    except SystemExit as end:
        if end.code == errors.INTERRUPTED:  # what typer makes of Ctrl-C
            print("interrupted; what was finished is saved, and the same command goes on", file=sys.stderr)
        raise
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT):
            raise
        print(f"error: {error.filename or 'a file'} cannot be written: {error.strerror}. Choose another place with -o", file=sys.stderr)
        raise SystemExit(errors.ENVIRONMENT) from None


def loaded(recipe: str | None, over: list[Path] | None, profile: str | None, sets: list[str] | None, **flags: Any) -> Any:
    """Return the checked recipe of a command's flags; a flag's key stands in :data:`FLAGS`."""
    from tapetum import api

    if flags.get("path"):
        flags["path"] = flags["path"][0] if len(flags["path"]) == 1 else flags["path"]
    if flags.get("derive"):
        flags["derive"] = dict(_named(text) for text in flags["derive"])
    values = {FLAGS[name]: value for name, value in flags.items() if value not in (None, [], ())}
    if values.get("split.folds") == 1:
        raise errors.UserError("one fold holds nothing out", fix="use --holdout 0.2 for one quick split, or --folds 2 or more")
    return api.load_recipe(recipe, over=over or (), profile=profile, flags=values, sets=sets or ())


FLAGS = {
    "layout": "data.layout",
    "target": "data.targets",
    "id": "data.id",
    "path": "data.path",
    "group": "data.group",
    "sequence": "data.sequence",
    "position": "data.position",
    "on_bad": "data.on_bad",
    "test": "data.test",
    "extra": "data.extra",
    "join": "data.join",
    "side": "data.side",
    "pseudo": "data.pseudo",
    "derive": "data.derive",
    "folds": "split.folds",
    "holdout": "split.holdout",
    "seed": "seed",
    "backbone": "model.backbone",
    "weights": "model.weights",
    "batch": "train.batch",
    "epochs": "train.epochs",
    "size": "input.size",
    "saliency": "predict.saliency",
}


@app.command()
def fit(
    data: Data,
    out: Out = Path("runs/run"),
    target: Targets = None,
    derive: Derive = None,
    recipe: RecipeName = None,
    config: Over = None,
    profile: Profile = None,
    folds: Folds = None,
    holdout: Holdout = None,
    budget: Annotated[str | None, typer.Option(help="wall time for all of it, as 90s, 10m, 2h")] = None,
    plan: Annotated[Path | None, typer.Option(help="repeat the plan.json of another run")] = None,
    group: Group = None,
    id: IdColumn = None,
    path: PathColumn = None,
    sequence: SequenceColumn = None,
    position: Position = None,
    layout: Layout = None,
    test: Annotated[list[str] | None, typer.Option(help="a table of test rows")] = None,
    extra: Annotated[list[str] | None, typer.Option(help="a table of rows that train and never score")] = None,
    join: Annotated[list[str] | None, typer.Option(help="a table whose columns are joined by id")] = None,
    side: Annotated[list[str] | None, typer.Option(help="a column of side numbers")] = None,
    pseudo: Annotated[str | None, typer.Option(help="a Predictions file whose confident rows train")] = None,
    on_bad: OnBad = None,
    backbone: Annotated[str | None, typer.Option(help="any timm model")] = None,
    weights: Annotated[str | None, typer.Option(help="auto, none, or a folder (local-dir:PATH)")] = None,
    online: Annotated[bool, typer.Option("--online", help="allow weights from the hub")] = False,
    size: Annotated[int | None, typer.Option(help="side of the picture in pixels")] = None,
    epochs: Annotated[int | None, typer.Option(help="epochs of fine-tuning; 0 for the probe alone")] = None,
    batch: Annotated[str | None, typer.Option(help="pictures in a batch, or auto")] = None,
    saliency: Annotated[str | None, typer.Option(help="maps of the worst answers: gradient, loss, integrated or gradcam")] = None,
    seed: Seed = None,
    set: Sets = None,
    json: Json = False,
) -> None:
    """Files in, a run out: check → split → features → probe → training → decisions → pipeline → report."""
    from tapetum import api

    recipe_ = loaded(
        recipe, config, profile, set, target=target, derive=derive, folds=folds, holdout=holdout, group=group, id=id, path=path,
        sequence=sequence, position=position, layout=layout, test=test, extra=extra, join=join, side=side, pseudo=pseudo,
        on_bad=on_bad, backbone=backbone, weights=_weights(weights, online), size=size, epochs=epochs,
        batch=int(batch) if batch and batch.isdigit() else batch, saliency=saliency, seed=seed,
    )  # fmt: skip
    result = api.fit(data, out, recipe=recipe_, budget=budget, plan=plan, say=progress, command=" ".join(["tapetum", *sys.argv[1:]]))
    show(result, json)


@app.command("find-rate")
def find_rate(
    data: Data,
    out: Out = Path("runs/find-rate"),
    target: Targets = None,
    recipe: RecipeName = None,
    config: Over = None,
    profile: Profile = None,
    member: Annotated[str | None, typer.Option(help="which member, where there are several")] = None,
    repeats: Annotated[int, typer.Option(help="tests with other batches each")] = 3,
    steps: Annotated[int, typer.Option(help="rates of one test")] = 100,
    low: Annotated[float, typer.Option(help="first rate")] = 1e-7,
    high: Annotated[float, typer.Option(help="last rate")] = 10.0,
    group: Group = None,
    id: IdColumn = None,
    path: PathColumn = None,
    sequence: SequenceColumn = None,
    position: Position = None,
    layout: Layout = None,
    on_bad: OnBad = None,
    seed: Seed = None,
    set: Sets = None,
    json: Json = False,
) -> None:
    """Try growing rates from where training would start, three times over; plot the loss and suggest a rate."""
    from tapetum import api

    recipe_ = loaded(
        recipe, config, profile, set, target=target, group=group, id=id, path=path, sequence=sequence, position=position,
        layout=layout, on_bad=on_bad, seed=seed,
    )  # fmt: skip
    how: dict[str, Any] = {"member": member, "repeats": repeats, "steps": steps, "low": low, "high": high}
    show(api.find_rate(data, out, recipe=recipe_, **how, say=progress, command=" ".join(["tapetum", *sys.argv[1:]])), json)


@app.command()
def tune(
    data: Data,
    out: Out = Path("runs/tune"),
    target: Targets = None,
    recipe: RecipeName = None,
    config: Over = None,
    profile: Profile = None,
    trials: Annotated[int | None, typer.Option(help="how many in all; earlier starts count")] = None,
    budget: Annotated[str | None, typer.Option(help="wall time for this start, as 30m")] = None,
    folds: Folds = None,
    holdout: Holdout = None,
    group: Group = None,
    id: IdColumn = None,
    path: PathColumn = None,
    sequence: SequenceColumn = None,
    position: Position = None,
    layout: Layout = None,
    on_bad: OnBad = None,
    seed: Seed = None,
    set: Sets = None,
    json: Json = False,
) -> None:
    """Search the recipe's tune.space on the same folds; report the nested figure, not the best trial's."""
    from tapetum import api

    recipe_ = loaded(
        recipe, config, profile, set, target=target, folds=folds, holdout=holdout, group=group, id=id, path=path,
        sequence=sequence, position=position, layout=layout, on_bad=on_bad, seed=seed,
    )  # fmt: skip
    command = " ".join(["tapetum", *sys.argv[1:]])
    show(api.tune(data, out, recipe=recipe_, trials=trials, budget=budget, say=progress, command=command), json)


@app.command()
def ablate(
    data: Data,
    out: Out = Path("runs/ablate"),
    target: Targets = None,
    recipe: RecipeName = None,
    config: Over = None,
    profile: Profile = None,
    pieces: Annotated[str | None, typer.Option(help="names with commas between; all that the recipe uses, where none is given")] = None,
    seeds: Annotated[str, typer.Option(help="seeds of training, with commas between")] = "0",
    folds: Folds = None,
    holdout: Holdout = None,
    group: Group = None,
    id: IdColumn = None,
    path: PathColumn = None,
    sequence: SequenceColumn = None,
    position: Position = None,
    layout: Layout = None,
    on_bad: OnBad = None,
    seed: Seed = None,
    set: Sets = None,
    json: Json = False,
) -> None:
    """Switch off one piece of a recipe at a time, on the same folds and seeds, and print what each is worth."""
    from tapetum import api

    recipe_ = loaded(
        recipe, config, profile, set, target=target, folds=folds, holdout=holdout, group=group, id=id, path=path,
        sequence=sequence, position=position, layout=layout, on_bad=on_bad, seed=seed,
    )  # fmt: skip
    named = [name.strip() for name in (pieces or "").split(",") if name.strip()]
    try:
        numbers = [int(number) for number in seeds.split(",")]
    except ValueError:
        raise errors.UserError(f"--seeds is {seeds!r}", need="whole numbers with commas between, as 0,1,2") from None
    command = " ".join(["tapetum", *sys.argv[1:]])
    show(api.ablate(data, out, recipe=recipe_, pieces=named, seeds=numbers, say=progress, command=command), json)


@app.command()
def split(
    data: Data,
    target: Targets = None,
    group: Group = None,
    folds: Folds = None,
    holdout: Holdout = None,
    id: IdColumn = None,
    path: PathColumn = None,
    sequence: SequenceColumn = None,
    layout: Layout = None,
    seed: Seed = None,
    set: Sets = None,
    out: Annotated[Path | None, typer.Option("-o", "--out", help="write the manifest with its folds here (Parquet)")] = None,
) -> None:
    """Draw folds and print, for each fold and class, how many rows and groups it holds."""
    from tapetum import api

    recipe = loaded(
        None, None, None, set, target=target, group=group, folds=folds, holdout=holdout, id=id, path=path, sequence=sequence,
        layout=layout, seed=seed,
    )  # fmt: skip
    print(api.split(data, recipe=recipe, out=out, say=progress))


@app.command("show")
def show_batches(
    data: Data,
    out: Annotated[Path, typer.Option("-o", "--out", help="a .png file")],
    target: Targets = None,
    derive: Derive = None,
    recipe: RecipeName = None,
    config: Over = None,
    profile: Profile = None,
    rows: Annotated[int, typer.Option(help="pictures shown")] = 8,
    draws: Annotated[int, typer.Option(help="times that each is augmented")] = 4,
    member: Annotated[str | None, typer.Option(help="of a recipe of several members")] = None,
    id: IdColumn = None,
    path: PathColumn = None,
    layout: Layout = None,
    on_bad: OnBad = None,
    size: Annotated[int | None, typer.Option(help="side of the picture in pixels")] = None,
    seed: Seed = None,
    set: Sets = None,
    json: Json = False,
) -> None:
    """Draw batches as training would see them: originals, augmented and mixed pictures, channels, labels."""
    from tapetum import api

    recipe_ = loaded(
        recipe, config, profile, set, target=target, derive=derive, id=id, path=path, layout=layout, on_bad=on_bad, size=size, seed=seed
    )
    show(api.show(data, out, recipe=recipe_, rows=rows, draws=draws, member=member, say=progress), json)


@app.command()
def predict(
    pipeline: Annotated[Path, typer.Argument(help="a pipeline folder, or a run that holds one")],
    pictures: Annotated[list[Path], typer.Argument(help="pictures, folders of pictures, or one table")],
    out: Annotated[Path, typer.Option("-o", "--out", help="a .parquet or .csv file")],
    json: Json = False,
) -> None:
    """Predict pictures with a frozen pipeline; one that cannot be read is named and keeps its row (exit code 4)."""
    from tapetum import api

    result = api.predict(pipeline, pictures, out, say=progress)
    show(result, json)
    if result["missing"]:
        raise SystemExit(errors.PARTLY)


@app.command()
def submit(
    source: Annotated[Path, typer.Argument(help="a run or a Predictions file")],
    template: Annotated[Path, typer.Option("--template", help="the sample submission: ids, order and columns are taken from it")],
    out: Out,
    target: Annotated[str | None, typer.Option(help="the target to write, where there are several")] = None,
    fill: Annotated[str, typer.Option(help="none, prior or a class, for ids without a prediction")] = "none",
) -> None:
    """Write a submission with exactly the template's ids, order and columns; any difference is refused."""
    from tapetum import api

    show(api.submit(source, template, out, target=target, fill=fill, say=progress), False)


@app.command()
def decide(
    sources: Annotated[list[Path], typer.Argument(help="a run, or predictions: .parquet, .csv, or .npy with .ids.txt beside it")],
    manifest: Annotated[Path | None, typer.Option(help="for files: truth, folds and groups (Parquet, from: tapetum split -o)")] = None,
    target: Annotated[str | None, typer.Option(help="for files: which target")] = None,
    out: Annotated[Path | None, typer.Option("-o", "--out", help="for files: the folder to write")] = None,
    classes: Annotated[str | None, typer.Option(help="for arrays: the order of their columns, as wake,light,deep")] = None,
    set: Sets = None,
    strict: Annotated[bool, typer.Option("--strict", help="refuse where a member lacks rows that another holds")] = False,
    json: Json = False,
) -> None:
    """Run what [decide] names, cross-fitted: on a run again, or on anybody's predictions."""
    from tapetum import api

    source = sources[0] if len(sources) == 1 else sources
    more: dict[str, Any] = {"classes": classes.split(",") if classes else None, "strict": strict}
    show(api.decide(source, manifest=manifest, target=target, out=out, sets=set or (), **more, say=progress), json)


@app.command()
def compare(
    sources: Annotated[list[Path], typer.Argument(help="runs or Predictions files, two or more")],
    metric: Annotated[str, typer.Option(help="auto: the target's default")] = "auto",
    target: Annotated[str | None, typer.Option(help="which one, where there are several")] = None,
    manifest: Annotated[Path | None, typer.Option(help="for the groups, where the sources are files")] = None,
    json: Json = False,
) -> None:
    """Compare pair by pair: difference with its interval clustered by group, exact McNemar, Holm over all."""
    from tapetum import api

    named = {place.as_posix(): place for place in sources}
    show(api.compare(named, metric=metric, target=target, manifest=manifest), json)


@app.command()
def leaderboard(
    run: RunFolder,
    metric: Annotated[str, typer.Option(help="auto: the target's default")] = "auto",
    target: Annotated[str | None, typer.Option(help="which one, where there are several")] = None,
    json: Json = False,
) -> None:
    """Rank members, their blend and the decisions on the rows that all of them hold."""
    from tapetum import api

    show(api.leaderboard(run, metric=metric, target=target), json)


@app.command()
def conformal(
    run: RunFolder,
    coverage: Annotated[float, typer.Option(help="wanted share of truths inside their sets")] = 0.9,
    method: Annotated[str, typer.Option(help="lac (small sets) or aps (sets that grow with difficulty)")] = "lac",
    by_class: Annotated[bool, typer.Option("--by-class", help="a bound for each class")] = False,
    target: Annotated[str | None, typer.Option(help="which one, where there are several")] = None,
    review: Annotated[int, typer.Option(help="rows of the review list")] = 100,
    json: Json = False,
) -> None:
    """Write sets that hold the truth with a stated probability, when to abstain, and the rows most worth a human look."""
    from tapetum import api

    show(api.conformal(run, coverage=coverage, method=method, by_class=by_class, target=target, review=review), json)


@app.command()
def ledger(
    run: RunFolder,
    score: Annotated[tuple[str, float] | None, typer.Option(help="a submission's file or hash, and its outside score")] = None,
    board: Annotated[str, typer.Option(help="where the score comes from")] = "outside",
    json: Json = False,
) -> None:
    """List submissions with own estimates and outside scores, and show how the two relate."""
    from tapetum import api

    show(api.ledger(run, score=score, board=board), json)


@app.command()
def report(run: RunFolder, out: Annotated[Path | None, typer.Option("-o", "--out", help="where to write it")] = None) -> None:
    """Write the run's report again, as one HTML file."""
    from tapetum import api

    print(api.report(run, out))


@app.command()
def recipes() -> None:
    """List the built-in recipes with their first line."""
    from tapetum import api

    for name, line in api.recipes().items():
        print(f"{name:20} {line}")


@app.command()
def explain(
    recipe: Annotated[str | None, typer.Argument(help="a recipe's name, a TOML file or a run folder")] = None,
    config: Over = None,
    profile: Profile = None,
    set: Sets = None,
) -> None:
    """Print every value of a recipe and where it comes from."""
    from tapetum import api

    for key, value, origin in api.explain(recipe, over=config or (), profile=profile, sets=set or ()):
        print(f"{key:32} {value!s:44} {origin}")


@app.command()
def doctor(json: Json = False) -> None:
    """List devices, precisions, versions and which weights are at hand."""
    from tapetum import api

    show(api.doctor(), json)


@app.command()
def job(spec: Annotated[Path, typer.Argument(help="a spec.json that fit wrote")]) -> None:
    """Run one job (a member's fold) from its spec alone; the exit code says whether a retry makes sense."""
    from tapetum import api

    show(api.job(spec, say=progress), False)


@app.command()
def simulate(
    name: Annotated[str, typer.Argument(help="dogs or hpa")],
    out: Annotated[Path, typer.Argument(help="a new folder")],
    size: Annotated[str, typer.Option(help="small, full, or how many pictures")] = "small",
    px: Annotated[int, typer.Option(help="typical side of a picture")] = 128,
    seed: Annotated[int, typer.Option(help="the same seed gives the same bytes")] = 0,
    zip: Annotated[bool, typer.Option("--zip", help="archives instead of folders")] = False,
    json: Json = False,
) -> None:
    """Write look-alikes of a reference system's data in their exact layout; truth and what was planted stand outside of it."""
    from tapetum import api

    show(api.simulate(name, out, size=size, px=px, seed=seed, zip=zip, say=progress), json)


@app.command()
def audit(
    source: Annotated[Path, typer.Argument(help="data as for fit, or a run, whose answers then judge the labels")],
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="the Parquet file (default: audit.parquet, of a run in its folder)")
    ] = None,
    target: Annotated[list[str] | None, typer.Option("--target", help="of data: as for fit; of a run: whose labels are judged")] = None,
    recipe: RecipeName = None,
    id: IdColumn = None,
    path: PathColumn = None,
    group: Group = None,
    layout: Layout = None,
    set: Sets = None,
    json: Json = False,
) -> None:
    """Find damaged, misnamed, gray, doubled and wrongly labelled pictures; training obeys the column 'decision' (data.audit)."""
    from tapetum import api

    is_run = (source / "recipe.toml").exists()
    flags = {} if is_run else {"target": target}
    recipe_ = loaded(recipe, None, None, set, id=id, path=path, group=group, layout=layout, **flags)
    show(api.audit(source, out, recipe=recipe_, target=target[0] if is_run and target else None, say=progress), json)


@app.command()
def reproduce(
    name: Annotated[str, typer.Argument(help="dogs, dogs-plus, hpa, hpa-plus")],
    out: Out = Path("runs/reproduced"),
    data: Annotated[Path | None, typer.Option(help="the data in their layout")] = None,
    simulate: Annotated[bool, typer.Option("--simulate", help="look-alikes instead, written beside the run")] = False,
    size: Annotated[str, typer.Option(help="of the look-alikes: small, full, or how many pictures")] = "small",
    profile: Profile = None,
    set: Sets = None,
    json: Json = False,
) -> None:
    """Run a reference system from its layout to a submission checked against the sample; the report lists every statement."""
    from tapetum import api
    from tapetum.core.config import assignments

    if (data is None) == (not simulate):
        raise errors.UserError("reproduce needs data", need="either --data DIR or --simulate")
    command = " ".join(["tapetum", *sys.argv[1:]])
    result = api.reproduce(name, out, data=data, size=size, profile=profile, sets=assignments(set or ()), say=progress, command=command)
    show({key: value for key, value in result.items() if key != "cycles"}, json)


def show(result: dict[str, Any], as_json: bool) -> None:
    """Print a result: JSON for machines, the text under ``table`` and one ``key  value`` a line for people."""
    from tapetum.core.files import to_json

    if as_json:
        print(to_json(result, indent=1))
        return
    if result.get("table"):
        print(result["table"])
    for key, value in result.items():
        if key not in ("table", "figures", "differences", "pairs", "leaderboard", "submissions"):
            print(f"{key:12} {value if not isinstance(value, (dict, list)) else to_json(value)}")


def progress(message: str) -> None:
    """Say something on stderr at once; what begins with a carriage return is a bar that the next line replaces on a terminal."""
    passing, text = message.startswith("\r"), message.removeprefix("\r")
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="" if passing else "\n", file=sys.stderr, flush=True)
    else:
        print(text, file=sys.stderr, flush=True)


def _named(text: str) -> tuple[str, str]:
    name, sign, expression = text.partition("=")
    if not sign or not name.strip():
        raise errors.UserError(f"--derive {text!r} cannot be read", need="NAME=EXPRESSION, as ans=mask*6+gender*3+age")
    return name.strip(), expression.strip()


def _weights(weights: str | None, online: bool) -> str | None:
    if online and weights is None:
        return "hub"
    if weights is not None and weights not in ("auto", "none", "hub") and ":" not in weights:
        return f"local-dir:{weights}"
    return weights


if __name__ == "__main__":
    main()
