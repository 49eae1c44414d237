"""Money over the number of answers: when a set-up is paid back."""

from __future__ import annotations

from steelyard.lifecycle.page.who import Verdict, sure
from steelyard.lifecycle.page.words import MISSING, as_count, heads, name_of, number, plural, table


def volume_section(verdict: Verdict) -> str:
    rows = []
    for pair in verdict["break_even"]:
        calls, (low, high) = number(pair["calls"]), pair["interval"] or (None, None)
        when = "never" if calls is None else "the first answer"
        if calls:
            when = plural(calls, "answer")
        span = MISSING
        if number(low) is not None:
            upper = "or more" if number(high) is None else f"to {as_count(high)}"
            span = f"{as_count(low)} {upper}"
        rows.append(
            f'<tr><th scope="row">{name_of(pair["a"])}</th><td>{name_of(pair["b"])}</td>'
            f'<td class="n">{when}</td><td class="n">{span}</td></tr>'
        )
    over = ("Cheaper for good after", f"{sure(verdict)} interval")
    head = f"<tr>{heads(('Recipe', 'Against'))}{heads(over, 'n')}</tr>"
    caption = "After how many answers the first recipe, its set-up included, has cost less."
    return table(caption, head, rows, "even") if rows else ""
