"""cleanvision with all of its checks as they are by default, in one process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import folder_check
from cleanvision import Imagelab

KINDS = {
    "is_dark_issue": "dark",
    "is_light_issue": "bright",
    "is_blurry_issue": "blurred",
    "is_grayscale_issue": "gray",
    "is_odd_size_issue": "odd size",
    "is_odd_aspect_ratio_issue": "odd aspect",
    "is_low_information_issue": "blank",
    "is_exact_duplicates_issue": "exact duplicate",
    "is_near_duplicates_issue": "near duplicate",
}


def check(folder: Path) -> dict[str, Any]:
    lab = Imagelab(data_path=str(folder))
    lab.find_issues(n_jobs=1, verbose=False)
    flagged = {kind: [Path(path).name for path in lab.issues.index[lab.issues[column]]] for column, kind in KINDS.items()}
    sets = [names for kind in ("exact_duplicates", "near_duplicates") for names in lab.info[kind]["sets"]]
    return {"flagged": flagged, "sets": [[Path(path).name for path in names] for names in sets]}


if __name__ == "__main__":
    folder_check.main(check)
