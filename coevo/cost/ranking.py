"""Sorting and a heap of indices by their keys, compiled."""

from __future__ import annotations

from coevo.cost.compiled import inner
from coevo.cost.exact import Floats, Ints


@inner
def sort(keys: Floats, order: Ints, count: int) -> None:
    """Heap sort: puts the first ``count`` indices of ``order`` in the order of their keys."""
    for start in range(count // 2 - 1, -1, -1):
        _sift(keys, order, start, count)
    for end in range(count - 1, 0, -1):
        order[0], order[end] = order[end], order[0]
        _sift(keys, order, 0, end)


@inner
def _sift(keys: Floats, order: Ints, root: int, end: int) -> None:
    while 2 * root + 1 < end:
        child = 2 * root + 1
        if child + 1 < end and keys[order[child]] < keys[order[child + 1]]:
            child += 1
        if keys[order[root]] >= keys[order[child]]:
            return
        order[root], order[child] = order[child], order[root]
        root = child


@inner
def push(keys: Floats, heap: Ints, count: int, item: int) -> int:
    """Adds an index to a heap with the least key first; returns how many it holds then."""
    at = count
    heap[at] = item
    while at > 0 and keys[heap[at]] < keys[heap[(at - 1) // 2]]:
        parent = (at - 1) // 2
        heap[at], heap[parent] = heap[parent], heap[at]
        at = parent
    return count + 1


@inner
def pop(keys: Floats, heap: Ints, count: int) -> int:
    """Takes the first index of a heap away: it stands behind the rest then; returns how many the heap holds."""
    last = count - 1
    heap[0], heap[last] = heap[last], heap[0]
    at = 0
    while 2 * at + 1 < last:
        child = 2 * at + 1
        if child + 1 < last and keys[heap[child + 1]] < keys[heap[child]]:
            child += 1
        if keys[heap[at]] <= keys[heap[child]]:
            return last
        heap[at], heap[child] = heap[child], heap[at]
        at = child
    return last
