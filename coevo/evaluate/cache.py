"""A cache that forgets what was used longest ago."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

KeyT = TypeVar("KeyT", bound=Hashable)
ValueT = TypeVar("ValueT")


class Cache(Generic[KeyT, ValueT]):
    """Values by key, at most ``capacity`` of them; `functools.lru_cache` cannot be filled in batches.

    Args:
        capacity: Most entries to keep.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._entries: OrderedDict[KeyT, ValueT] = OrderedDict()

    def __contains__(self, key: KeyT) -> bool:
        return key in self._entries

    def __getitem__(self, key: KeyT) -> ValueT:
        self._entries.move_to_end(key)
        return self._entries[key]

    def __setitem__(self, key: KeyT, value: ValueT) -> None:
        self._entries[key] = value
        self._entries.move_to_end(key)
        if len(self._entries) > self._capacity:
            self._entries.popitem(last=False)

    def get(self, key: KeyT, make: Callable[[], ValueT]) -> ValueT:
        """Returns the value of ``key``, made and kept if it is not there."""
        if key not in self._entries:
            self[key] = make()
        return self[key]
