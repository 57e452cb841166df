from __future__ import annotations

import itertools
import threading

from tapetum.core import threads


def test_results_come_in_order_and_few_items_are_taken_ahead(monkeypatch):
    monkeypatch.setattr(threads, "AHEAD", 4)
    taken: list[int] = []
    found = threads.mapped(lambda n: n * n, (taken.append(n) or n for n in itertools.count()), workers=3)
    assert list(itertools.islice(found, 6)) == [0, 1, 4, 9, 16, 25]
    assert len(taken) == 8  # two parts of four, of an endless row
    assert list(threads.mapped(str, [], workers=2)) == []


def test_one_worker_is_this_thread():
    here = threading.get_ident()
    assert set(threads.mapped(lambda _: threading.get_ident(), range(3), workers=1)) == {here}
