"""What README and docs show runs: Python blocks are executed, commands must parse."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner
from typer.main import get_command

import images
from tapetum.cli import app
from tapetum.workflow.stages import ORDER

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```", re.S | re.M)


def blocks(page: Path, language: str) -> list[str]:
    return [body for name, rest, body in BLOCK.findall(page.read_text(encoding="utf-8")) if name == language and "no-run" not in rest]


def commands(page: Path) -> list[str]:
    text = "\n".join(blocks(page, "console")).replace("\\\n", " ")
    lines = [line.strip().removeprefix("$ ") for line in text.splitlines()]
    return [line.split(" #")[0].strip() for line in lines if line.startswith("tapetum ")]


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    """A folder with images/ and labels.csv, shared by the blocks of all pages."""
    folder = tmp_path_factory.mktemp("desk")
    images.plant(folder, classes=3, each=6, size=32)
    return folder


@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p, "python")], ids=lambda p: p.relative_to(ROOT).as_posix())
def test_python_blocks_run(page, desk, monkeypatch, capsys):
    monkeypatch.chdir(desk)
    names: dict[str, object] = {"__name__": "__document__"}
    for body in blocks(page, "python"):
        exec(compile(body, page.name, "exec"), names)


@pytest.mark.parametrize("page", [p for p in PAGES if commands(p)], ids=lambda p: p.relative_to(ROOT).as_posix())
def test_commands_exist_with_their_options(page):
    root = get_command(app)
    for line in commands(page):
        words = shlex.split(line)[1:]
        command = root
        while words and hasattr(command, "commands") and words[0] in command.commands:
            command = command.commands[words.pop(0)]
        if words and words[0] == "--help":
            continue
        context = command.make_context(words[0] if words else "tapetum", list(words), resilient_parsing=False)
        context.close()


def test_pages_name_no_place_outside_the_project():
    for page in PAGES:
        assert not re.search(r"/(work|tmp|root|home)/", page.read_text(encoding="utf-8")), page


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_links_lead_to_files(page):
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    assert [link for link in links if "://" not in link and not (page.parent / link).exists()] == []


def test_every_page_is_in_the_site():
    menu = (ROOT / "zensical.toml").read_text(encoding="utf-8")
    pages = [p.relative_to(ROOT / "docs").as_posix() for p in (ROOT / "docs").rglob("*.md") if "decisions" not in p.parts]
    assert [name for name in pages if f'"{name}"' not in menu] == []


def test_architecture_lists_packages_and_stages():
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    packages = [p.name for p in (ROOT / "src" / "tapetum").iterdir() if (p / "__init__.py").exists() or p.name == "recipes"]
    assert [name for name in packages if f"`{name}/`" not in page] == []
    rows = re.findall(r"^\| `(\w+)` \|", page[page.index("| stage |") :], re.M)
    assert rows[: len(ORDER)] == list(ORDER)


def test_architecture_names_every_file_of_a_run():
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    code = "\n".join(file.read_text(encoding="utf-8") for file in sorted((ROOT / "src").rglob("*.py")))
    named = set(re.findall(r"""\brun\.file\("([^"{]+)"\)""", code))
    assert len(named) > 15
    assert not {name for name in named if name not in text}


def test_words_that_the_project_does_not_use():
    never = re.compile(r"house|\brooms?\b|\bdoors?\b|taken for what", re.I)
    texts = [*PAGES, *(p for p in (ROOT / "src").rglob("*") if p.suffix in (".py", ".toml", ".jinja", ".css", ".js"))]
    found = [f"{p.relative_to(ROOT)}: {line}" for p in texts for line in p.read_text(encoding="utf-8").splitlines() if never.search(line)]
    assert found == []


def test_help_answers():
    done = CliRunner().invoke(get_command(app), ["--help"])
    assert done.exit_code == 0


def test_the_page_of_the_audit_names_every_finding():
    from tapetum.data.audit.findings import KINDS

    page = (ROOT / "docs" / "audit.md").read_text(encoding="utf-8")
    assert [kind for kind in KINDS if f"`{kind}`" not in page] == []
