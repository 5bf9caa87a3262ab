"""Coverings: blocks of k ports out of n such that every pair of ports lies in a block.

Exact for two cables, for n a multiple of k/2 small enough, and wherever an affine plane fits (16 ports with 4
cables: 20 blocks); elsewhere the best of these constructions and a greedy search with restarts.
"""

from __future__ import annotations

from itertools import combinations
from typing import Final

import numpy as np

#: Restarts of the greedy search: below a second for 32 ports and 4 cables on a 2020s core.
_RESTARTS: Final = 12


def schoenheim_bound(n: int, k: int) -> int:
    """Return a number of blocks that no covering of all pairs can go below.

    Schönheim, Pacific J Math 14:1405 (1964): ⌈n/k ⌈(n-1)/(k-1)⌉⌉.
    """
    inner = -(-(n - 1) // (k - 1))
    return -(-n * inner // k)


def cover_pairs(n: int, k: int) -> list[tuple[int, ...]]:
    """Return blocks of at most ``k`` of the numbers 0 to n-1 that cover every pair.

    Raises
    ------
    ValueError
        Fewer than two of either.
    """
    if n < 2 or k < 2:
        raise ValueError(f"a covering needs two or more points and places; got {n} and {k}")
    if n <= k:
        return [tuple(range(n))]
    if k == 2:
        return list(combinations(range(n), 2))
    candidates = [_of_halves(n, k), *_of_planes(n, k)]
    bound = schoenheim_bound(n, k)
    if min(map(len, candidates)) > bound:
        rng = np.random.default_rng(0)
        candidates += [_greedy(n, k, rng) for _ in range(_RESTARTS)]
    return min(candidates, key=len)


def _of_halves(n: int, k: int) -> list[tuple[int, ...]]:
    """Join every two of groups of k/2."""
    half = k // 2
    groups = [tuple(range(first, min(first + half, n))) for first in range(0, n, half)]
    return [one + other for one, other in combinations(groups, 2)]


def _of_planes(n: int, k: int) -> list[list[tuple[int, ...]]]:
    """Return the lines of the affine plane of order k, restricted to n points; none if it is too small."""
    field = _field(k)
    if field is None or n > k * k:
        return []
    add, multiply = field
    lines = [
        [(x, add[multiply[slope][x]][shift]) for x in range(k)] for slope in range(k) for shift in range(k)
    ]
    lines += [[(x, y) for y in range(k)] for x in range(k)]
    blocks = {tuple(sorted(x * k + y for x, y in line if x * k + y < n)) for line in lines}
    return [[block for block in sorted(blocks) if len(block) > 1]]


def _field(order: int) -> tuple[list[list[int]], list[list[int]]] | None:
    """Return addition and multiplication tables of the field of ``order`` elements; None if we have none."""
    if order == 4:  # polynomials over two elements modulo x² + x + 1
        multiply = [[0, 0, 0, 0], [0, 1, 2, 3], [0, 2, 3, 1], [0, 3, 1, 2]]
        return [[a ^ b for b in range(4)] for a in range(4)], multiply
    if order < 2 or any(order % divisor == 0 for divisor in range(2, order)):
        return None
    numbers = range(order)
    return (
        [[(a + b) % order for b in numbers] for a in numbers],
        [[a * b % order for b in numbers] for a in numbers],
    )


def _greedy(n: int, k: int, rng: np.random.Generator) -> list[tuple[int, ...]]:
    """Add the block that covers most new pairs, port by port, ties broken at random."""
    left = ~np.eye(n, dtype=bool)
    blocks: list[tuple[int, ...]] = []
    while left.any():
        degree = left.sum(axis=1)
        block = [int(rng.choice(np.flatnonzero(degree == degree.max())))]
        while len(block) < k:
            gain = left[block].sum(axis=0) + degree * 1e-6
            gain[block] = -1.0
            block.append(int(rng.choice(np.flatnonzero(gain == gain.max()))))
        left[np.ix_(block, block)] = False
        blocks.append(tuple(sorted(block)))
    return blocks
