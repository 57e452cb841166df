"""Checks of images and labels: a manifest goes in, one row an image comes out with what was found and what is to become of it."""

from tapetum.data.audit.edited import as_now, read_decisions, with_kept
from tapetum.data.audit.exact_duplicates import exact_duplicates, hashes_of
from tapetum.data.audit.file_checks import FILES_SCHEMA, check_files, scan, summary
from tapetum.data.audit.near_duplicates import find_duplicates
from tapetum.data.audit.table import AUDIT_SCHEMA, DECISIONS, Decision, add_suspects, apply, decisions, duplicates, examine

__all__ = [
    "AUDIT_SCHEMA",
    "DECISIONS",
    "FILES_SCHEMA",
    "Decision",
    "add_suspects",
    "apply",
    "as_now",
    "check_files",
    "decisions",
    "duplicates",
    "exact_duplicates",
    "examine",
    "find_duplicates",
    "hashes_of",
    "read_decisions",
    "scan",
    "summary",
    "with_kept",
]
