"""imagededup's perceptual hash with its default distance, in one process; its network needs weights from the web."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import folder_check
from imagededup.methods import PHash


def check(folder: Path) -> dict[str, Any]:
    found = PHash(verbose=False).find_duplicates(image_dir=folder, num_enc_workers=0, num_dist_workers=0)
    return {"flagged": {}, "sets": [[name, other] for name, others in found.items() for other in others]}


if __name__ == "__main__":
    folder_check.main(check)
