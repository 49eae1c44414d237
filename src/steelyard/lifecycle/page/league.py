"""The league table: every recipe, what it is, how well it did, what it costs."""

from __future__ import annotations

from steelyard.lifecycle.page.who import Item, Verdict, look_of, who
from steelyard.lifecycle.page.words import (
    MISSING,
    as_count,
    as_interval,
    as_ms,
    as_score,
    as_seconds,
    as_usd,
    esc,
    heads,
    table,
)


def league_section(verdict: Verdict) -> str:
    recipes = verdict["recipes"]
    models = sorted({r["model"] for r in recipes if not r["control"]})
    several = len(models) > 1
    words = ["Recipe", "Model", "Context", "Weights", "Decoding", "Status"]
    words = words if several else [word for word in words if word != "Model"]
    two = ' rowspan="2"'
    head = (
        f"<tr>{heads(words, more=two)}"
        f"{heads(('Dev score', 'Test score', 'Set-up', 'USD per 1,000'), 'n', two)}"
        '<th scope="colgroup" colspan="3" class="n over">Tokens per answer</th>'
        '<th scope="colgroup" colspan="2" class="n over">Latency, ms</th>'
        f"{heads(['Errors'], 'n', two)}</tr>"
        f"<tr>{heads(('prompt', 'cached', 'output', 'p50', 'p95'), 'n')}</tr>"
    )
    caption = "Every recipe: what it is, how well it did, what it costs."
    if len(models) == 1:
        caption += f" The model is {esc(models[0])}."
    rows = [_league_row(r, verdict, several) for r in recipes]
    return table(caption, head, rows, "league") if recipes else ""


def _league_row(recipe: Item, verdict: Verdict, several: bool) -> str:
    words = [recipe["context"], recipe["weights"], recipe["decoding"], recipe["status"]]
    words = [recipe["model"], *words] if several else words
    cells = "".join(f"<td>{esc(word) if word else MISSING}</td>" for word in words)
    latency = recipe["latency_ms"] or {}
    errors = [seen["num_errors"] or 0 for seen in (recipe["dev"], recipe["test"]) if seen]
    numbers = [
        *(_scored(recipe[split]) for split in ("dev", "test")),
        as_seconds(recipe["setup_seconds"]),
        as_usd(recipe["usd_per_1k"]),
        *(as_count(recipe[f"{kind}_tokens"]) for kind in ("prompt", "cached", "completion")),
        as_ms(latency.get("p50")),
        as_ms(latency.get("p95")),
        as_count(sum(errors)) if errors else MISSING,
    ]
    cells += "".join(f'<td class="n">{cell}</td>' for cell in numbers)
    look = look_of(recipe, verdict)
    return (
        f'<tr class="{look}"><th scope="row">{who(recipe, verdict, status=False)}</th>{cells}</tr>'
    )


def _scored(seen: Item | None) -> str:
    if not seen:
        return MISSING
    return f"<b>{as_score(seen['score'])}</b> <small>{as_interval(seen['interval'])}</small>"
