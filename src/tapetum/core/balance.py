"""Splits things that carry several counts into parts, so that every part gets its share of every count."""

from __future__ import annotations

import numpy as np

from tapetum.core.counts import alike

MOVES, SWAPS, SAMPLE = 2000, 400, 160
SIZES_FIRST = 16
POINTS = 0.02  # of a column's share in a part: nearer than this needs no more work
ROUNDS, PATIENCE = 12, 3


def split(table: np.ndarray, shares: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the part of each thing (G,) int64; no part stays empty where there are things enough.

    What is made small is the chi-square distance between the parts' counts and their shares, so that rare columns weigh as much as
    common ones. Where a column's share in a part is still off by more than two points and by more than the largest thing's share of
    all, such columns are given more weight, as long as that helps.

    Args:
        table: counts (G, C), the first column of which is positive everywhere (the thing's size).
        shares: of the parts (F,), sum 1.
        rng: decides among equals.
    """
    first, place, times = alike(table)
    found = _Parts(table[first].astype(np.float64), times, shares)
    found.give_whole_shares()
    found.place_rarest_first(rng)
    found.fill_empty()
    found.compare_shares()
    found.improve(rng)
    found.even_out(rng)
    return _of_things(found.assigned, place, rng)


class _Parts:
    """Types of things, and how many of each type every part holds.

    Args:
        counts: of one thing of each type (T, C).
        times: how many things of each type there are (T,).
        shares: of the parts (F,).
    """

    def __init__(self, counts: np.ndarray, times: np.ndarray, shares: np.ndarray) -> None:
        self.counts, self.times, self.shares = counts, times, shares
        self.total = times @ counts
        weight = 1 / np.maximum(self.total, 1)
        weight[0] *= max(1.0, np.sqrt(counts.shape[1]))  # sizes count for more than one label among many
        self.inverse = 1 / shares
        self.assigned = np.zeros((len(counts), len(shares)), dtype=np.int64)
        self.excess = -np.outer(shares, self.total)  # of each part over its share (F, C)
        self.weigh(weight)

    def weigh(self, weight: np.ndarray) -> None:
        """Set what a column's distance counts (C,)."""
        self.weight, self.weighted = weight, self.counts * weight
        self.square = (self.weighted * self.counts).sum(axis=1)
        self.pull = self.inverse * (self.weighted @ self.excess.T)

    def add(self, kind: int, part: int, many: int = 1) -> None:
        """Put things of a type into a part (or take them out)."""
        self.assigned[kind, part] += many
        self.excess[part] += many * self.counts[kind]

    def shift(self, kind: int, source: int, goal: int) -> None:
        """Move one thing from part to part, keeping up what :meth:`weigh` prepared."""
        self.add(kind, source, -1)
        self.add(kind, goal)
        toll = self.weighted @ self.counts[kind]
        self.pull[:, source] -= self.inverse[source] * toll
        self.pull[:, goal] += self.inverse[goal] * toll

    def give_whole_shares(self) -> None:
        """Give every part its whole share of each type; what is left is fewer things than parts."""
        whole = np.floor(self.times[:, None] * self.shares + 1e-9).astype(np.int64)
        self.assigned += whole
        self.excess += whole.T @ self.counts

    def place_rarest_first(self, rng: np.random.Generator) -> None:
        """Place the things left: those with the rarest column first, large ones first, each where it is lacked most."""
        left = self.times - self.assigned.sum(axis=1)
        remaining = left @ self.counts
        tie = rng.random(len(left))
        while left.any():
            rarest = int(np.where(remaining > 0, remaining, np.inf).argmin())
            having = np.flatnonzero((left > 0) & (self.counts[:, rarest] > 0))
            order = having[np.lexsort((tie[having], -self.counts[having, 0], -self.counts[having, rarest]))]
            for kind in order:
                for _ in range(left[kind]):
                    lacking = self.inverse * (2 * self.excess @ self.weighted[kind] + self.square[kind])
                    best = np.flatnonzero(lacking <= lacking.min() + 1e-12)
                    self.add(kind, int(best[rng.integers(len(best))] if len(best) > 1 else best[0]))
            remaining = remaining - left[having] @ self.counts[having]
            remaining[rarest] = 0
            left[having] = 0

    def fill_empty(self) -> None:
        """Give a part that got nothing the smallest thing of the part that holds most things."""
        for part in np.flatnonzero(self.assigned.sum(axis=0) == 0):
            giver = int(self.assigned.sum(axis=0).argmax())
            kind = int(np.where(self.assigned[:, giver] > 0, self.counts[:, 0], np.inf).argmin())
            self.add(kind, giver, -1)
            self.add(kind, int(part))

    def compare_shares(self) -> None:
        """From now on measure how far a column is from its share of the part's own size, not of the size the part should have."""
        share = self.total / self.total[0]
        share[0] = 0
        self.weight[0] *= SIZES_FIRST  # a small part is near every share
        self.counts = self.counts - np.outer(self.counts[:, 0], share)
        self.excess = self.excess - np.outer(self.excess[:, 0], share)
        self.weigh(self.weight)

    def improve(self, rng: np.random.Generator) -> None:
        """Move and swap single things while that brings the parts nearer to their shares."""
        for _ in range(3):
            moved = self._move()
            swapped = self._swap(rng)
            if not moved and not swapped:
                return

    def even_out(self, rng: np.random.Generator) -> None:
        """Give more weight to columns whose share is off somewhere; keep the best parts seen."""
        bound = max(POINTS, self.counts[:, 0].max() / self.total[0])
        off = self._off()
        best, worst, left = self.assigned.copy(), off.max(), PATIENCE
        for _ in range(ROUNDS):
            if worst <= bound or not left:
                break
            self.weigh(self.weight * np.where(off > max(bound, 0.9 * off.max()), 2.0, 1.0))
            self.improve(rng)
            off, left = self._off(), left - 1
            if off.max() < worst - 1e-9:
                best, worst, left = self.assigned.copy(), off.max(), PATIENCE
        self.assigned = best

    def _off(self) -> np.ndarray:
        """Return by how much each column's share in a part differs from its share in all, where it does most (C,).

        The first is the part's size: how far it is off by more than the largest thing, against the size that it should have; it counts
        a hundredfold, since shares are bought too dearly with parts of very different sizes.
        """
        due = self.shares * self.total[0]
        off = np.abs(self.excess / (self.excess[:, :1] + due[:, None])).max(axis=0)
        off[0] = 100 * ((np.abs(self.excess[:, 0]) - self.counts[:, 0].max()) / due).max()
        return off

    def _move(self) -> int:
        for step in range(MOVES):
            pull, cost = 2 * self.pull, np.outer(self.square, self.inverse)
            single = self.assigned.sum(axis=0) <= 1
            into = pull + cost
            out = np.where((self.assigned > 0) & ~single, pull - cost, -np.inf)
            gain = out.max(axis=1) - into.min(axis=1)
            kind = int(gain.argmax())
            if gain[kind] <= 1e-9:
                return step
            self.shift(kind, int(out[kind].argmax()), int(into[kind].argmin()))
        return MOVES

    def _swap(self, rng: np.random.Generator) -> int:
        done = 0
        pairs = [(a, b) for a in range(len(self.shares)) for b in range(a)]
        for _ in range(max(1, SWAPS // len(pairs))):
            before = done
            for a, b in pairs:
                done += self._swap_between(a, b, rng)
            if done == before:
                break
        return done

    def _swap_between(self, a: int, b: int, rng: np.random.Generator) -> int:
        """Swap the best pair among some things of two parts, if that helps."""
        of_a, of_b = (_some(np.flatnonzero(self.assigned[:, part]), rng) for part in (a, b))
        lean = self.pull[:, a] - self.pull[:, b]
        cross = self.weighted[of_a] @ self.counts[of_b].T
        apart = self.square[of_a][:, None] + self.square[of_b][None, :] - 2 * cross
        change = 2 * (lean[of_b][None, :] - lean[of_a][:, None]) + (self.inverse[a] + self.inverse[b]) * apart
        i, j = np.unravel_index(int(change.argmin()), change.shape)
        if change[i, j] >= -1e-9:
            return 0
        self.shift(int(of_a[i]), a, b)
        self.shift(int(of_b[j]), b, a)
        return 1


def _some(kinds: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return kinds if len(kinds) <= SAMPLE else np.sort(rng.choice(kinds, SAMPLE, replace=False))


def _of_things(counts: np.ndarray, place: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the part of each thing, those of one type at random."""
    shuffled = rng.permutation(len(place))
    order = shuffled[np.argsort(place[shuffled], kind="stable")]
    parts = np.tile(np.arange(counts.shape[1]), len(counts))
    out = np.empty(len(place), dtype=np.int64)
    out[order] = np.repeat(parts, counts.reshape(-1))
    return out
