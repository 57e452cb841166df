"""A report on what Tapetum is built on: known weaknesses (pip-audit), licences, and a bill of materials (CycloneDX); it fails nothing.

``python bench/supply.py`` (``make supply``) writes ``licences.csv``, ``sbom.json`` and ``weaknesses.json`` into ``.bench/supply`` and
prints a summary. pip-audit is installed into a virtual environment of its own and asks the PyPI advisory service;
``--offline`` leaves it out.
"""

from __future__ import annotations

import argparse
import collections
import csv
import importlib.metadata
import json
import re
import subprocess
import sys
import uuid
import venv
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PLACE = ROOT / ".bench" / "supply"


def installed() -> dict[str, importlib.metadata.Distribution]:
    """Return Tapetum and all that it needs, with or without extras, as far as it is installed: name → distribution."""
    found: dict[str, importlib.metadata.Distribution] = {}
    waiting = ["tapetum"]
    while waiting:
        name = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        try:
            one = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        if name not in found:
            found[name] = one
            waiting += [re.split(r"[\s\[;<>=!~(]", need, maxsplit=1)[0] for need in one.requires or ()]
    return found


def licence(one: importlib.metadata.Distribution) -> str:
    """Return the licence that a distribution states."""
    about = one.metadata
    if stated := about.get("License-Expression"):
        return str(stated)
    classes = [c.rpartition(" :: ")[2] for c in about.get_all("Classifier") or () if c.startswith("License :: ") and c.count("::") > 1]
    first = (about.get("License") or "").strip().splitlines()
    return " or ".join(classes) or (first[0][:80] if first else "not stated")


def bill(found: dict[str, importlib.metadata.Distribution]) -> dict[str, Any]:
    """Return a bill of materials in CycloneDX 1.5."""
    parts = [
        {
            "type": "library",
            "name": name,
            "version": one.version,
            "purl": f"pkg:pypi/{name}@{one.version}",
            "licenses": [{"license": {"name": licence(one)}}],
        }
        for name, one in sorted(found.items())
        if name != "tapetum"
    ]
    about = {"component": {"type": "application", "name": "tapetum", "version": found["tapetum"].version}}
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "serialNumber": f"urn:uuid:{uuid.uuid4()}",
        "metadata": about,
        "components": parts,
    }


def audited(found: dict[str, importlib.metadata.Distribution]) -> list[dict[str, Any]] | None:
    """Return what pip-audit says of each package; None where it does not run."""
    place, wanted = ROOT / ".bench" / "pip-audit", PLACE / "installed.txt"
    wanted.write_text(
        "".join(f"{n}=={d.version.partition('+')[0]}\n" for n, d in sorted(found.items()) if n != "tapetum"), encoding="utf-8"
    )
    program, out = place / "bin" / "pip-audit", PLACE / "weaknesses.json"
    out.unlink(missing_ok=True)
    try:
        if not program.exists():
            venv.create(place, with_pip=True)
            subprocess.run([place / "bin" / "python", "-m", "pip", "install", "--quiet", "pip-audit>=2.7"], check=True)
        words = ["--requirement", wanted, "--no-deps", "--disable-pip", "--format", "json", "--output", out, "--progress-spinner", "off"]
        subprocess.run([program, *words], check=False, capture_output=True, timeout=600)
        answer: list[dict[str, Any]] = json.loads(out.read_text(encoding="utf-8"))["dependencies"]
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    return answer


def weaknesses(answer: list[dict[str, Any]] | None) -> list[str]:
    """Return lines on the known weaknesses; the first says of how many packages they are: the service may know none of them."""
    if not answer:
        return ["known weaknesses: pip-audit was not asked, or gave no answer"]
    passed = [one["name"] for one in answer if "skip_reason" in one]
    known = [f"  {one['name']} {one['version']}: {bug['id']}" for one in answer for bug in one.get("vulns", ())]
    left = f"; not looked up, as the service does not answer for them: {', '.join(passed)}" if passed else ""
    return [f"{len(known)} known weaknesses in {len(answer) - len(passed)} of {len(answer)} packages{left}", *known]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--offline", action="store_true", help="do not ask for known weaknesses")
    asked = parser.parse_args()
    PLACE.mkdir(parents=True, exist_ok=True)
    found = installed()
    with (PLACE / "licences.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("package", "version", "licence"), *((n, d.version, licence(d)) for n, d in sorted(found.items()))])
    (PLACE / "sbom.json").write_text(json.dumps(bill(found), indent=1) + "\n", encoding="utf-8")
    counts = collections.Counter(licence(one) for one in found.values())
    print(f"{len(found)} packages: " + ", ".join(f"{name} {count}" for name, count in counts.most_common()))
    print(*weaknesses(None if asked.offline else audited(found)), sep="\n")
    print(f"written to {PLACE}")


if __name__ == "__main__":
    sys.exit(main())
