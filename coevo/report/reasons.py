"""Why designs were infeasible: reasons that differ in their numbers alone are one."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from coevo.design import Evaluation

_NUMBER = re.compile(r"(?<!mm)\d+(?:[.,]\d+)*(?:[eE][-+]?\d+)?")


@dataclass(frozen=True)
class Reason:
    """A kind of infeasibility.

    Attributes:
        pattern: The reason with ``#`` for its numbers.
        count: Designs that failed so.
        example: The first one's reason, in full.
        id: Of the first one.
    """

    pattern: str
    count: int
    example: str
    id: str


def count_reasons(evaluations: Iterable[Evaluation]) -> list[Reason]:
    """Returns the kinds of infeasibility, the most frequent first."""
    kinds: dict[str, list[Evaluation]] = {}
    for evaluation in evaluations:
        if evaluation.violation > 0:
            kinds.setdefault(_NUMBER.sub("#", evaluation.reason) or "no reason given", []).append(evaluation)
    reasons = [Reason(pattern, len(found), found[0].reason, found[0].id) for pattern, found in kinds.items()]
    return sorted(reasons, key=lambda reason: (-reason.count, reason.pattern))
