"""Sparse contingency tables of label pairs, accumulated block by block."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

#: Rows that a tally collects before it adds them up, at least.
_WAITING = 2**16


@dataclass(frozen=True)
class Pairs:
    """Distinct pairs of labels that share voxels, in increasing order.

    Parameters
    ----------
    first, second : (n,) uint64
        Labels of the first and the second volume.
    count : (n,) int64
        Number of voxels with both.
    """

    first: Array
    second: Array
    count: Array

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self.count)

    def where(self, keep: Array) -> Pairs:
        """Return the pairs selected by `keep`, (n,) bool."""
        return Pairs(self.first[keep], self.second[keep], self.count[keep])


def count_pairs(first: Array, second: Array) -> Pairs:
    """Return the pairs of labels at the same voxels of two arrays.

    Parameters
    ----------
    first, second : ndarray of non-negative integers
        Arrays of equal shape.
    """
    one, other = first.reshape(-1), second.reshape(-1)
    if one.size == 0:
        return united([])
    # Labels form runs along x, so that few entries remain to be sorted.
    begins = np.flatnonzero((one[1:] != one[:-1]) | (other[1:] != other[:-1])) + 1
    begins = np.concatenate([[0], begins])
    lengths = np.diff(begins, append=one.size)
    return united([Pairs(one[begins].astype(np.uint64), other[begins].astype(np.uint64), lengths)])


def united(parts: Sequence[Pairs]) -> Pairs:
    """Return the sum of several tables."""
    empty = np.zeros(0, np.uint64)
    first = np.concatenate([empty, *(p.first for p in parts)])
    second = np.concatenate([empty, *(p.second for p in parts)])
    count = np.concatenate([np.zeros(0, np.int64), *(p.count for p in parts)])
    if not len(count):
        return Pairs(first, second, count)
    order = np.lexsort((second, first))
    first, second, count = first[order], second[order], count[order]
    new = np.concatenate([[True], (first[1:] != first[:-1]) | (second[1:] != second[:-1])])
    return Pairs(first[new], second[new], np.add.reduceat(count, np.flatnonzero(new)))


class PairTally:
    """Sum of many small tables, in a few times the memory of the result."""

    def __init__(self) -> None:
        self._parts = [united([])]
        self._waiting = 0

    def add(self, pairs: Pairs) -> None:
        """Add a table."""
        self._parts.append(pairs)
        self._waiting += len(pairs)
        if self._waiting > max(_WAITING, len(self._parts[0])):
            self.total()

    def total(self) -> Pairs:
        """Return the sum of the tables so far."""
        self._parts, self._waiting = [united(self._parts)], 0
        return self._parts[0]


def totals(labels: Array, count: Array) -> tuple[Array, Array, Array]:
    """Return the number of voxels of each label in one column of a table.

    Parameters
    ----------
    labels : (n,) integer
        One column of a table of pairs.
    count : (n,) int64
        Counts of the table.

    Returns
    -------
    names : (m,) integer
        The labels, in increasing order.
    sizes : (m,) int64
        Number of voxels of each.
    position : (n,) int64
        Index in `names` of each entry of `labels`.
    """
    names, position = np.unique(labels, return_inverse=True)
    sizes = np.zeros(len(names), np.int64)
    np.add.at(sizes, position, count)
    return names, sizes, position


def main_partner(pairs: Pairs) -> tuple[Array, Array]:
    """Return for each first label the second label, other than 0, with the largest overlap.

    Returns
    -------
    names : (m,) uint64
        The first labels other than 0, in increasing order.
    partners : (m,) int64
        The partner of each, the smallest of equally frequent ones; 0 for none.
    """
    names = np.unique(pairs.first[pairs.first > 0])
    met = pairs.where((pairs.first > 0) & (pairs.second > 0))
    order = np.lexsort((met.second, -met.count, met.first))
    owners, begins = np.unique(met.first[order], return_index=True)
    partners = np.zeros(len(names), np.int64)
    partners[np.searchsorted(names, owners)] = met.second[order][begins].astype(np.int64)
    return names, partners
