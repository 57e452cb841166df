"""Connections to other machines are seen by an audit hook of the interpreter, and refused."""

from __future__ import annotations

import ipaddress
import sys
from typing import Any

SEEN: list[str] = []  # the hosts that something wanted to reach
_NAMES = ("localhost", "", "0.0.0.0", "::")
_watching: list[bool] = []


def is_here(host: Any) -> bool:
    """Tell whether a host is this machine."""
    text = host.decode(errors="replace") if isinstance(host, bytes) else str(host or "")
    try:
        return text in _NAMES or ipaddress.ip_address(text.partition("%")[0]).is_loopback
    except ValueError:
        return False


def _hook(event: str, given: tuple[Any, ...]) -> None:
    if event in ("socket.connect", "socket.sendto"):
        address = given[1]
        host = address[0] if isinstance(address, tuple) and address else None  # a path: a socket of this machine
        if host is None or is_here(host):
            return
        SEEN.append(str(host))
        raise OSError(f"a test wants to reach {host} over the network")


def watch() -> None:
    """Watch this process from now on; it cannot be undone."""
    if not _watching:
        _watching.append(True)
        sys.addaudithook(_hook)
