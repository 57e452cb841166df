"""The stages of a run, one file each; a stage imports only those before it in ``ORDER``."""

ORDER = (
    "prepare",
    "budget",
    "networks",
    "probe",
    "by_group",
    "answering",
    "plan",
    "train",
    "views",
    "retrieval",
    "decide",
    "measure",
    "ship",
    "package",
    "test_rows",
    "explain",
)
