"""Fields of a space's settings that are a value or a list of choices, and the genes that the lists become."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import AfterValidator, BeforeValidator

from coevo.space import Gene


def _as_choices(value: object) -> object:
    if isinstance(value, dict) or value is None:
        raise ValueError(f"must be a value or a list of choices, got {value!r}")
    if isinstance(value, list | tuple) and not value:
        raise ValueError("the list is empty; give a value or at least one choice")
    return value if isinstance(value, list | tuple) else (value,)


def _different(choices: tuple[Any, ...]) -> tuple[Any, ...]:
    """Refuses repeats and puts numbers in order, so that neighbouring choices are alike."""
    for choice, count in Counter(choices).items():
        if count > 1:
            raise ValueError(f"the choice {choice} stands {count} times; keep one")
    return choices if isinstance(choices[0], str) else tuple(sorted(choices))


CHOICES = (BeforeValidator(_as_choices), AfterValidator(_different))
"""Makes a field of type ``tuple[X, ...]`` also take a single X."""


class Picker:
    """Reads a field: its only value, or the one chosen by its gene.

    Args:
        choices: The value of every active gene by name.
    """

    def __init__(self, choices: Mapping[str, Any]) -> None:
        self._choices = choices

    def __call__(self, gene: str, values: tuple[Any, ...]) -> Any:
        """Returns the value of a field; raises ValueError if its gene has none."""
        if len(values) == 1:
            return values[0]
        if gene not in self._choices:
            raise ValueError(f"no value for {gene}")
        return self._choices[gene]


def gene_of(
    name: str, values: tuple[Any, ...], parent: str | None = None, when: tuple[int, ...] = ()
) -> Iterator[Gene]:
    """Yields the gene of a field with several choices; numbers are ordered."""
    if len(values) > 1:
        yield Gene(name, values, ordered=not isinstance(values[0], str), parent=parent, when=when)
