"""Imports run one way, and torch stays out of the packages that need none."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import tapetum
from tapetum.workflow.commands import SHARED
from tapetum.workflow.stages import ORDER

SOURCE = Path(tapetum.__file__).parent
STAGES, COMMANDS = "tapetum.workflow.stages", "tapetum.workflow.commands"
EVERYTHING = {"cli", "api", "estimator", "workflow", "__main__", "__init__"}
MAY_IMPORT = {
    "core": {"core"},
    "data": {"core", "data"},
    "learn": {"core", "data", "learn"},
    "decide": {"core", "decide"},
    "show": {"core", "decide", "show", "data.images.decode"},
    "sleep": {"core", "data", "decide", "sleep"},
    "pipeline": {"core", "data", "learn", "decide", "pipeline"},
    "recipes": set(),
    "systems": {"core", "data", "sleep", "systems"},
}
RUNS_SYSTEMS = SOURCE / "systems" / "reproduce.py"  # the one module of systems that sees the workflow
SEE_SYSTEMS = {"cli", "api", "systems"}
TORCH_FREE = (
    "api",
    "cli",
    "core",
    "decide",
    "show",
    "sleep",
    "data/layouts",
    "data/audit",
    "data/split.py",
    "data/simulate",
    "systems/choices.py",
    "systems/statements.py",
    "systems/dogs",
    "systems/hpa",
    "systems/mask",
    "systems/sleep_images",
    "data/images/decode.py",
    "pipeline/exported.py",
    "pipeline/framed.py",
    "pipeline/requests.py",
    "workflow/session.py",
    "workflow/launch",
    "workflow/commands/job.py",
    "workflow/commands/merge.py",
    "workflow/commands/predict_apart.py",
    "workflow/stages/decide.py",
    "workflow/stages/measure.py",
    "workflow/commands/predict.py",
    "workflow/commands/submit.py",
    "workflow/commands/compare.py",
    "workflow/commands/decide.py",
    "workflow/commands/leaderboard.py",
    "workflow/commands/conformal.py",
    "workflow/commands/ledger.py",
    "workflow/commands/finish.py",
)
HEAVY = ("torch", "torchvision", "timm", "lightning_fabric", "sklearn", "faiss", "cleanlab", "matplotlib")


def modules() -> list[Path]:
    return sorted(p for p in SOURCE.rglob("*.py"))


def name_of(path: Path) -> str:
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(("tapetum", *(parts[:-1] if parts[-1] == "__init__" else parts)))


def imported(path: Path, *, top_only: bool = False) -> set[str]:
    found: set[str] = set()
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = _top_level(tree) if top_only else ast.walk(tree)
    for node in nodes:
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found.add(node.module)
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return found


def _top_level(tree: ast.Module):
    for node in tree.body:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            continue
        yield node


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_imports_run_one_way(path):
    package = path.relative_to(SOURCE).parts[0].removesuffix(".py")
    if package in EVERYTHING:
        return
    allowed = MAY_IMPORT[package] | ({"workflow"} if path == RUNS_SYSTEMS else set())
    for name in imported(path):
        if not name.startswith("tapetum."):
            continue
        target = name.removeprefix("tapetum.")
        assert any(target == a or target.startswith(a + ".") for a in allowed), f"{name_of(path)} imports {name}"


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_only_entry_points_import_systems(path):
    place = path.relative_to(SOURCE).parts
    if place[0].removesuffix(".py") not in SEE_SYSTEMS:
        assert not [name for name in imported(path) if name.startswith("tapetum.systems")]
    if place[0] == "systems" and len(place) == 3:
        others = [name for name in imported(path) if name.startswith("tapetum.systems.")]
        assert all(name.split(".")[2] == place[1] for name in others), f"{name_of(path)} imports another system: {others}"


def _torch_free(path: Path) -> bool:
    place = path.relative_to(SOURCE).as_posix()
    return path.name in ("__init__.py", "choices.py") or any(place == t or place.startswith(t + "/") for t in TORCH_FREE)


def test_torch_free_rooms_import_no_torch_in_a_fresh_process():
    names = [name_of(p) for p in modules() if _torch_free(p) and p.name != "__main__.py"]
    code = (
        "import importlib, sys\n"
        f"for name in {names!r}:\n"
        "    importlib.import_module(name)\n"
        "    heavy = [m for m in ('torch', 'torchvision', 'timm', 'lightning_fabric') if m in sys.modules]\n"
        "    assert not heavy, f'{name} imports {heavy}'\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


def test_answering_an_export_imports_no_scipy():
    code = (
        "import sys, tapetum.cli.answers, tapetum.api.answers, tapetum.pipeline.exported, tapetum.decide.calibrate\n"
        "late = [m for m in ('torch', 'timm', 'scipy', 'sklearn', 'pandas') if m in sys.modules]\n"
        "assert not late, f'it imports {late}'\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.parametrize("path", [p for p in modules() if p.name in ("__init__.py", "choices.py")], ids=name_of)
def test_no_init_or_choices_imports_anything_heavy(path):
    heavy = {name for name in imported(path, top_only=True) if name.split(".")[0] in HEAVY}
    assert not heavy


def test_only_files_writes():
    writers = {"write_text", "write_bytes", "write_parquet", "write_csv", "write_json", "savefig", "savez", "save_file"}
    for path in modules():
        if path == SOURCE / "core" / "files.py":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            owner = node.func.value
            through_files = isinstance(owner, ast.Name) and owner.id in ("files", "external")  # external writes through files
            if node.func.attr in writers - {"savefig"} and not through_files:
                raise AssertionError(f"{name_of(path)}:{node.lineno} writes by {ast.unparse(node.func)}, not through core.files")


def test_only_runtime_and_ranks_import_fabric_or_distributed():
    for path in modules():
        if path in (SOURCE / "learn" / "runtime.py", SOURCE / "learn" / "ranks.py"):
            continue
        names = imported(path)
        assert not any(n.startswith(("lightning_fabric", "lightning", "torch.distributed")) for n in names), name_of(path)


def needs(*, types: bool = False) -> dict[str, set[str]]:
    """Return module → the package's modules that it imports, also inside functions; ``types``: also for types alone."""
    known = {name_of(path): path for path in modules()}
    found: dict[str, set[str]] = {}
    for name, path in known.items():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        nodes = [node for top in (tree.body if types else _top_level(tree)) for node in ast.walk(top)]
        there = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
        for node in nodes:
            if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                wanted = [f"{node.module}.{alias.name}" for alias in node.names]
                there += [other if other in known else node.module for other in wanted]
        found[name] = {other for other in there if other in known and other != name}
    return found


def test_no_import_circle_inside_the_package():
    left = needs()
    while ends := {name for name, some in left.items() if not some} | (left.keys() - set().union(*left.values())):
        left = {name: some - ends for name, some in left.items() if name not in ends}
    assert not left, f"modules in or between circles: {left}"


def test_a_stage_imports_only_the_stages_before_it():
    there = {path.stem for path in (SOURCE / "workflow" / "stages").glob("*.py")} - {"__init__"}
    assert (len(ORDER), set(ORDER)) == (len(there), there)
    every = needs(types=True)
    for number, stage in enumerate(ORDER):
        inside = {name for name in every[f"{STAGES}.{stage}"] if name.startswith("tapetum.workflow.")}
        shared = {name for name in every if name.startswith(("tapetum.workflow.session", "tapetum.workflow.launch"))}
        allowed = {*shared, *(f"{STAGES}.{earlier}" for earlier in ORDER[:number])}
        assert not inside - allowed, f"{stage} imports {sorted(inside - allowed)}"


def test_a_command_imports_stages_and_shared_helpers_only():
    every = needs(types=True)
    for path in (SOURCE / "workflow" / "commands").glob("*.py"):
        for name in every[name_of(path)]:
            assert name.startswith("tapetum."), name
            if name.startswith(f"{COMMANDS}."):
                assert name.rpartition(".")[2] in SHARED, f"{name_of(path)} imports {name}"
            assert name.split(".")[1] not in ("api", "cli"), f"{name_of(path)} imports {name}"


def test_nothing_below_commands_imports_one():
    below = ("tapetum.core", "tapetum.data", "tapetum.learn", "tapetum.decide", "tapetum.show", "tapetum.pipeline", STAGES)
    for module, some in needs(types=True).items():
        if module.startswith(below):
            assert not [name for name in some if name.startswith(COMMANDS)], module
