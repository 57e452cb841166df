"""What is written once: each of these stands in the files named here and in no other."""

from __future__ import annotations

from pathlib import Path

import pytest

import tapetum

SOURCE = Path(tapetum.__file__).parent
ONCE = {
    "Callable[[str], None]": {"core/progress.py"},  # the type of a log
    "L-BFGS-B": {"core/logistic.py", "decide/weights.py"},  # the solver; a power mean's weights on the simplex are no logistic regression
    "figures[best] - figure": {"decide/simplest.py"},  # the one-standard-error rule
    "len(np.unique(groups": {"core/folds.py"},  # how many groups
    "isinstance(spec, str) else": {"core/choices.py"},  # the name of a choice
    '"JPEG", "PNG"': set(),  # the formats that are decoded, which data/images/formats.py has by their endings
    "'s' if": set(),  # the words that go with a count, which core/words.py has
    "splitlines()[0]": {"workflow/launch/slurm.py"},  # of an error, core/errors.py has it; this is what a command printed
    " PCA(": {"show/embedding.py"},  # principal components
    "linalg.svd(": set(),
    "1.0 if self.greater_is_better": {"core/metrics.py"},  # a score's sign
}


@pytest.mark.parametrize("text", ONCE)
def test_written_in_one_place(text: str):
    found = {p.relative_to(SOURCE).as_posix() for p in SOURCE.rglob("*.py") if text in p.read_text(encoding="utf-8")}
    assert found == ONCE[text]
