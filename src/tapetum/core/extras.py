"""Packages that only some commands need: an extra of Tapetum that is not installed is named."""

from __future__ import annotations

import importlib.util

from tapetum.core.errors import EnvironmentFault


def need(extra: str, what: str, *packages: str) -> None:
    """Refuse to go on without the packages of an extra.

    Args:
        extra: its name in ``pip install 'tapetum[…]'``.
        what: needs it, as ``the service``.
        packages: as they are imported.

    Raises:
        EnvironmentFault: names the first one that is not installed.
    """
    absent = next((name for name in packages if importlib.util.find_spec(name) is None), None)
    if absent is not None:
        raise EnvironmentFault(f"{what} needs {absent}, which is not installed", fix=f"pip install 'tapetum[{extra}]'")
