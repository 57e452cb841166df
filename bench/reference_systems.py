"""Write docs/reference-systems.md: each statement of the write-ups, the recipe key where it stands, the test that holds it, and figures.

``python -m bench.reference_systems``; the acceptance table comes from docs/benchmarks/acceptance.json, which ``make acceptance`` writes.
"""

from __future__ import annotations

import re
from pathlib import Path

from tapetum import api
from tapetum.core import files
from tapetum.core.registry import find_recipes
from tapetum.systems import statements

PAGE, RESULTS, TESTS = Path("docs/reference-systems.md"), Path("docs/benchmarks/acceptance.json"), Path("tests")
NAMED = re.compile(r"^def (test_([A-Z]\d\d)_\w+)", re.MULTILINE)  # test_G05_… holds statement G05


def write() -> Path:
    """Write the page and return its path."""
    return files.write_text(PAGE, page())


def page() -> str:
    """Return the page."""
    tests = held_by(TESTS)
    lines = [
        "# The reference systems",
        "",
        "What it is: write-ups of whole systems, each run from its own data layout to its own submission by one recipe, as written; the",
        "`-plus` recipe beside it lifts the limits that the team named. Each is a folder of `src/tapetum/systems` with its layout,",
        "simulator, recipes and README; nothing else knows one system from another. [Your own system](your-own-system.md) adds another.",
        "",
        "```console",
        "tapetum simulate dogs look-alikes --size small",
        "tapetum reproduce dogs --profile cpu --simulate -o runs/dogs",
        "tapetum reproduce hpa-plus --data DIR -o runs/hpa-plus",
        "tapetum audit runs/dogs",
        "```",
        "",
        "`--profile cpu` scales backbones (some without pretrained weights), sizes, epochs and folds by a table inside the recipe; the",
        "report names each value that it changed. Without it the write-up's own sizes run.",
        "",
        "This page is written by `python -m bench.reference_systems`.",
        "",
        "## As written against plus",
        "",
        *figures(),
    ]
    for system in dict.fromkeys(s.system for s in statements.statements()):
        recipes = [name for name in (system, f"{system}-plus") if name in find_recipes()]
        if not recipes:
            continue
        lines += ["", f"## {system}", "", "| id | statement | stands at | test |", "|---|---|---|---|"]
        standing: dict[str, list[str]] = {}
        for name in recipes:
            for key, found in statements.places(api.load_recipe(name).recipe).items():
                standing.setdefault(key, []).append(f"{name}: " + ", ".join(f"`{place.name}`" for place in found))
        for one in statements.statements(system):
            held = ", ".join(f"`{name}`" for name in tests.get(one.id, []))
            lines.append(f"| {one.id} | {one.text.replace('|', '/')} | {'; '.join(standing.get(one.id, []))} | {held} |")
    return "\n".join(lines) + "\n"


def held_by(folder: Path) -> dict[str, list[str]]:
    """Return statement id → names of the tests that hold it."""
    found: dict[str, list[str]] = {}
    for file in sorted(folder.rglob("test_*.py")):
        for name, key in NAMED.findall(file.read_text(encoding="utf-8")):
            found.setdefault(key, []).append(name)
    return found


def figures() -> list[str]:
    """Return the acceptance table and how it was measured; one sentence where it was not run yet."""
    from bench.acceptance import table

    if not RESULTS.exists():
        return ["Not measured yet: `make acceptance`."]
    rows = files.read_json(RESULTS)["rows"]
    starts = dict.fromkeys("`{command}` on {cores} cores, {date}".format(**row["measured"]) for row in rows)
    note = (
        "Simulated data, cpu profile, from layout to a valid submission; both judged on the simulator's test part, which neither saw. "
        f"{'; '.join(starts)}. "
        "In brackets 95 % intervals, clustered by group where the test part has groups (antibodies, exams); the difference is paired. "
        "The ceiling "
        "is the best score to be expected of who knows the generator; the last share is the gain as a part of (ceiling − as written). "
        "Minutes are those of both runs, one core each, over all starts. "
        "Training takes the arithmetic that it measures as the faster one (`plan.json`), so a repeat elsewhere need not give the same "
        "digits."
    )
    return [note, "", *table(rows)]


if __name__ == "__main__":
    print(write())
