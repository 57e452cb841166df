"""Find code that nothing uses, with vulture; ``make lint`` runs it as ``python tests/unused.py``.

Tests do not count as use: what only they call is dead, too. The benchmarks and the demo count. A function that a table of choices names
(``"tapetum.package.module:function"``) is used; all else that is used by name alone stands in ``ALLOWED`` with who uses it.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from vulture import Vulture

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "tapetum"
USERS = ("bench", "demo", "docs/generate.py")

ALLOWED = {
    "format_commands": "click, for the help of the whole command",
    "__getattr__": "Python, for lazy imports",
    "model_config": "pydantic",
    "_no_truth_for_a_number": "pydantic, a validator",
    "_tables_of_targets": "pydantic, a validator",
    "to_pandas": "users, of what the API returns",
    "_repr_html_": "notebooks",
    "online": "core.options, which reads the arguments of api.fit",
    "two_d_array": "scikit-learn, a tag of an estimator",
    "three_d_array": "scikit-learn, a tag of an estimator",
    "run_": "users, of TapetumClassifier",
    "finished_time": "rich, of a task",
    "capture_signals": "uvicorn, of a server",
    "external_attr": "zipfile, the mode of a file in an archive",
    "health": "FastAPI, a path of the service",
    "on_end": "starlette, a parser of forms at the last boundary",
    "send_400_response": "uvicorn, of what is no HTTP",
    "spool_max_size": "starlette, of a parser of forms",
    "intra_op_num_threads": "ONNX Runtime, an option of a session",
    "log_severity_level": "ONNX Runtime, an option of a session",
    "get_next": "ONNX Runtime, which reads images for calibration by it",
    "ORDER": "the test of imports: which stages come before one",
}


def main() -> int:
    """Print what nothing uses; return 1 where there is any, or where ``ALLOWED`` names what is gone or used."""
    chosen = {name for path in SOURCE.rglob("*.py") for name in re.findall(r'"tapetum(?:\.\w+)+:(\w+)"', path.read_text(encoding="utf-8"))}
    search = Vulture()
    search.scavenge([SOURCE, *(ROOT / name for name in USERS)])
    found = [item for item in search.get_unused_code(min_confidence=60) if SOURCE in Path(item.filename).parents]
    dead = [item for item in found if item.name not in chosen and item.name not in ALLOWED]
    stale = sorted(ALLOWED.keys() - {item.name for item in found})
    for item in dead:
        print(f"{Path(item.filename).relative_to(ROOT)}:{item.first_lineno}: nothing uses {item.typ} {item.name!r}")
    for name in stale:
        print(f"tests/unused.py allows {name!r}, which is gone or used")
    print(f"unused: {len(dead)} names; {len(ALLOWED)} are allowed, {len(chosen)} are named by tables of choices")
    return int(bool(dead or stale))


if __name__ == "__main__":
    sys.exit(main())
