"""Which epochs a scorer sees first and why, and what decisions make of a hypnogram."""

from __future__ import annotations

import numpy as np

from tapetum.sleep.hypnogram import Hypnogram
from tapetum.sleep.review import Decision, corrected, in_order, reasons, review_list

W, N1, N2, N3, R = range(5)


def night(stages, sure=None, scorer="a"):
    """Return a hypnogram; ``sure`` gives the probability of each epoch's stage."""
    p = None
    if sure is not None:
        p = np.full((len(stages), 5), np.nan)
        for i, (stage, one) in enumerate(zip(stages, sure, strict=True)):
            if not np.isnan(one):
                p[i] = (1 - one) / 4
                p[i, max(stage, 0)] = one
    return Hypnogram(np.array(stages), p=p, scorer=scorer)


def test_each_kind_of_doubt_is_found_where_it_is():
    one = night([W, W, N3, N2, N2, N1, N2, -1], [0.9, 0.5, 0.9, 0.9, 0.9, 0.7, 0.9, np.nan])
    other = night([W, W, N3, N1, -1, N1, N2, N2], scorer="colleague")
    bad = np.zeros(8, dtype=bool)
    bad[4] = True
    assert reasons(one, bad, others=[other]) == [
        [],
        [("uncertain", "")],
        [("improbable transition", "N3 after Wake")],
        [("scorers disagree", "colleague: N1")],
        [("bad signal", "")],
        [("alone among its neighbours", "")],
        [],
        [("no stage", "")],
    ]


def test_doubted_epochs_come_first_then_the_least_certain():
    one = night([W, N2, N2, N3, R, R], [0.9, 0.55, 0.7, 0.95, 0.8, 0.99])
    other = night([W, N2, N2, N3, R, N2])
    found = reasons(one, others=[other])
    # 5 is disputed (0.99 − 1), 4 is improbable (0.8 − 0.5), 1 is uncertain; then the rest by their certainty
    assert in_order(one, found, [other]).tolist() == [5, 4, 1, 2, 0, 3]


def test_hypnogram_without_probabilities_is_listed_by_its_transitions():
    found = review_list(night([W, R, R, N3, N3]))
    assert found["epoch"].to_list() == [2]  # at most a quarter of the epochs
    assert found["reason"].to_list() == ["improbable transition: REM after Wake"]
    assert found["p"].to_list() == [None]


def test_log_has_each_decision_and_the_last_one_holds():
    decisions = [
        Decision(1, N2, 0.0, "ada"),
        Decision(0, None, 60.0, ""),
        Decision(1, -1, 120.0, "bob"),
        Decision(2, -1, 130.0, ""),
        Decision(2, None, 140.0, ""),  # taken back by confirming what was there
    ]
    before = night([W, N1, R], [0.9, 0.4, 0.9], scorer="YASA")
    after, log = corrected(before, decisions)
    assert after.stages.tolist() == [W, -1, R]
    assert (after.scorer, before.stages.tolist()) == ("YASA, reviewed", [W, N1, R])
    assert log.columns == ["epoch", "onset", "from", "to", "at", "reviewer"]
    assert log.rows()[:3] == [
        (2, 30.0, "N1", "N2", "1970-01-01T00:00:00+00:00", "ada"),
        (1, 0.0, "Wake", "Wake", "1970-01-01T00:01:00+00:00", ""),
        (2, 30.0, "N2", "?", "1970-01-01T00:02:00+00:00", "bob"),
    ]
    assert [row[2:4] for row in log.rows()[3:]] == [("REM", "?"), ("?", "REM")]
