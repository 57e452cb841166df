"""Print how much of core, decide and data/split the tests run, lines and branches; ``make test`` runs it after pytest.

It fails below ``BOUND``, and names the files that lack most. Commands that tests start as processes of their own do not count.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

from coverage import Coverage
from coverage.exceptions import NoDataError

SOURCE = Path(__file__).parent.parent / "src" / "tapetum"
PARTS = {"core": "core/*", "decide": "decide/*", "data/split": "data/split.py"}
BOUND = 95.0


def main() -> int:
    """Print the share of each part; return 1 where one is below the bound."""
    found = Coverage()
    found.load()
    shares = {name: share(found, str(SOURCE / files)) for name, files in PARTS.items()}
    print("covered, with branches:", ", ".join(f"{name} {value:.1f} %" for name, value in shares.items()), f"(at least {BOUND:g} %)")
    low = [name for name, value in shares.items() if value < BOUND]
    for name in [name for name in low if shares[name]]:
        found.report(include=[str(SOURCE / PARTS[name])], show_missing=True, skip_covered=True, sort="cover")
    return int(bool(low))


def share(found: Coverage, files: str) -> float:
    """Return the share in per cent; 0 where no test imported any of the files."""
    try:
        return found.report(include=[files], file=io.StringIO())
    except NoDataError:
        return 0.0


if __name__ == "__main__":
    sys.exit(main())
