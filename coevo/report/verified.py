"""What ``coevo verify`` left in a run folder, as a section of the page."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from html import escape
from pathlib import Path
from typing import Any

from coevo.errors import RunError

FILE = "verified.json"

_HEADS = (
    "Design", "Our cycles", "Timeloop’s", "Off [%]", "Our energy [µJ]", "Timeloop’s", "Off [%]", "Furthest layer",
    "Its mapper’s EDP over ours",
)  # fmt: skip


def read_verified(folder: Path) -> Mapping[str, Any] | None:
    """Returns what a run folder's ``verified.json`` holds, None if there is none.

    Raises:
        RunError: It is damaged.
    """
    path = folder / FILE
    if not path.is_file():
        return None
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if data["schema"] != 1 or not all(
            {"id", "target", "failure", "furthest"} <= row.keys() for row in data["designs"]
        ):
            raise ValueError
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise RunError(f"{path}: is damaged; remove it, or run `coevo verify` again") from None
    return dict(data)


def verified_section(verified: Mapping[str, Any] | None, ids: Collection[str]) -> str:
    """Returns the section as HTML, of the designs that are still on the front; empty if there are none."""
    rows = [row for row in (verified or {"designs": ()})["designs"] if row["id"] in ids]
    if not rows:
        return ""
    searched = any(row.get("mapper_cycles") is not None for row in rows)
    heads = _HEADS if searched else _HEADS[:-1]
    head = "".join(f"<th>{escape(title)}</th>" for title in heads)
    body = "".join(_row(row, len(heads)) for row in rows)
    tables = (
        " Timeloop’s energies are Accelergy’s, by its own tables." if (verified or {}).get("format") == "v4" else ""
    )
    return (
        "<section id='section-verified'><h2>Verified by Timeloop</h2>"
        "<p class='caption'>Every layer that multiplies under its mapping, by our cost model and by Timeloop, both "
        "under Timeloop’s conventions: no filling and draining of the array, nothing kept on chip between layers, no "
        f"data movers. So these figures may be below the run’s.{tables} By layer: <code>verified.csv</code>.</p>"
        f"<div class='scroll'><table class='ends'><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
        "</section>"
    )


def row_label(design: str, target: str, part: str) -> str:
    """Returns what a row is of: the design, and the target and the part of the machine, if there are several."""
    return design + (f"@{target}" if target else "") + (f", {part}" if part else "")


def _row(row: Mapping[str, Any], width: int) -> str:
    name = escape(row_label(row["id"], row["target"], row.get("part", "")))
    if "timeloop_cycles" not in row:
        why = escape(row["failure"] or "no layer that multiplies")
        return f"<tr><th class='id'>{name}</th><td colspan='{width - 1}'>{why}</td></tr>"
    cells = [
        f"{row['cycles']:,.0f}", f"{row['timeloop_cycles']:,.0f}", f"{row['cycles_deviation_pct']:.2g}",
        f"{row['energy_pj'] / 1e6:,.5g}", f"{row['timeloop_energy_pj'] / 1e6:,.5g}",
        f"{row['energy_deviation_pct']:.2g}", escape(row["furthest"]),
    ]  # fmt: skip
    if width > len(cells) + 1:
        edp = row.get("mapper_edp_over_ours")
        cells.append("" if edp is None else f"{edp:.3f}")
    return f"<tr><th class='id'>{name}</th>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"
