"""A second look at the images: a manifest goes in, one row an image comes out with what was found and what is to become of it."""

from tapetum.data.audit.edited import read_decisions
from tapetum.data.audit.files import FILES_SCHEMA, check_files, scan, summary
from tapetum.data.audit.table import AUDIT_SCHEMA, DECISIONS, Decision, add_suspects, apply, decisions, duplicates, examine
from tapetum.data.audit.twins import find_duplicates

__all__ = [
    "AUDIT_SCHEMA",
    "DECISIONS",
    "FILES_SCHEMA",
    "Decision",
    "add_suspects",
    "apply",
    "check_files",
    "decisions",
    "duplicates",
    "examine",
    "find_duplicates",
    "read_decisions",
    "scan",
    "summary",
]
