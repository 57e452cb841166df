"""What every benchmark records beside its figures: versions, the machine, and a section of docs/benchmarks.md."""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import os
import platform
import re
import resource
import sys
from pathlib import Path
from typing import Any

from tapetum.core import files

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT.parent / "shared" / "data"
PAGE = ROOT / "docs" / "benchmarks.md"


def seeds_of(doc: str | None, seeds: int, what: str) -> argparse.Namespace:
    """Return ``--seeds`` and ``--dry`` of a benchmark that is repeated.

    Args:
        doc: of the script.
        seeds: how many, where none are named.
        what: they draw.
    """
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=seeds, help=f"draws of {what}")
    parser.add_argument("--dry", action="store_true", help="print, record nothing")
    return parser.parse_args()


def machine() -> dict[str, Any]:
    """Return processor, cores, memory and system."""
    names = (
        re.findall(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text(encoding="utf-8")) if Path("/proc/cpuinfo").exists() else []
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 0
    return {
        "processor": names[0].strip() if names else platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads": os.environ.get("OMP_NUM_THREADS", "default"),
        "memory_gb": round(memory / 2**30, 1),
        "system": platform.system(),
        "python": platform.python_version(),
    }


def versions(*packages: str) -> dict[str, str]:
    """Return the installed versions of tapetum and of what the benchmark used."""
    return {name: importlib.metadata.version(name) for name in ("tapetum", *packages)}


def peak_gb() -> float:
    """Return the most memory that this process has held, in GB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(peak) / (2**30 if sys.platform == "darwin" else 2**20)


def table(head: list[str], rows: list[list[str]]) -> str:
    """Return a Markdown table."""
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def span(found: dict[str, Any]) -> str:
    """Return a figure with its interval."""
    return f"{found['value']:.3f} [{found['low']:.3f}, {found['high']:.3f}]"


def difference(found: dict[str, Any], digits: int = 3) -> str:
    """Return a paired difference with its interval, signs and all."""
    value, low, high = ("–" if found[key] is None else f"{found[key]:+.{digits}f}" for key in ("value", "low", "high"))
    return f"{value} [{low}, {high}]" if found["low"] is not None else f"{value} ({found.get('method') or 'no interval'})"


def log(message: str) -> None:
    """Show a line of progress; those that would overwrite themselves are left out."""
    if not message.startswith("\r"):
        print(message[:400], file=sys.stderr, flush=True)


def record(name: str, title: str, text: str, values: dict[str, Any], *packages: str, again: str = "") -> None:
    """Write ``docs/benchmarks/<name>.json`` and this benchmark's section of the page; other sections stay.

    ``again`` is the script with its options that measures it again, where it is not ``<name>.py``.
    """
    about = {"machine": machine(), "versions": versions(*packages), "date": datetime.datetime.now(datetime.UTC).date().isoformat()}
    files.write_json(ROOT / "docs" / "benchmarks" / f"{name}.json", {"benchmark": name, **about, **values})
    held = machine()
    foot = (
        f"{held['processor']}, {held['cores']} cores, {held['memory_gb']} GB, {held['system']}, Python {held['python']}; "
        + ", ".join(f"{k} {v}" for k, v in versions(*packages).items())
        + f". All values: [benchmarks/{name}.json](benchmarks/{name}.json). Again: `python bench/{again or f'{name}.py'}`."
    )
    section = f"<!-- bench:{name} -->\n## {title}\n\n{text}\n\n{foot}\n<!-- end:{name} -->"
    page = (
        PAGE.read_text()
        if PAGE.exists()
        else "# Benchmarks\n\nMeasured by the scripts in `bench/`, each of which writes its own section here.\n"
    )
    pattern = re.compile(rf"<!-- bench:{name} -->.*?<!-- end:{name} -->", re.S)
    page = pattern.sub(lambda _: section, page) if pattern.search(page) else f"{page.rstrip()}\n\n{section}\n"
    files.write_text(PAGE, page)
