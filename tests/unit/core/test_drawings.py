from __future__ import annotations

import pytest
from matplotlib.figure import Figure

from tapetum.core.drawings import save_figure


@pytest.mark.parametrize("ending", ["png", "svg", "pdf"])
def test_the_same_figure_gives_the_same_bytes(tmp_path, ending):
    saved = []
    for name in ("a", "b"):
        figure = Figure(figsize=(1, 1))
        figure.subplots().plot([0, 1], [1, 0], "o")
        saved.append(save_figure(figure, tmp_path / f"{name}.{ending}").read_bytes())
    assert saved[0] == saved[1]
