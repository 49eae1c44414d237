"""The head of the page: the outcome, its reason and the key figures."""

from __future__ import annotations

from steelyard.lifecycle.page.who import Item, Verdict, find, outcome_of, sure
from steelyard.lifecycle.page.words import (
    as_count,
    as_interval,
    as_ms,
    as_score,
    as_seconds,
    as_signed,
    as_usd,
    bullets,
    esc,
    facts_list,
    name_of,
    number,
    span_of,
)

_SIGNS = {  # drawn, so that they look alike in every font
    "chosen": '<path d="M4 10.5l4.2 4.2L16 6"/>',
    "cannot_tell": '<path d="M6.5 7.5a3.5 3.5 0 1 1 5 3.2c-1.2.6-1.5 1.1-1.5 2.3M10 16v.1"/>',
    "nothing_works": '<path d="M5 5l10 10M15 5L5 15"/>',
}
_LOGO = (
    '<svg class="logo" aria-hidden="true" viewBox="0 0 32 32" width="26" height="26">'
    '<path d="M11 3v8M2 14.2L30 8.4M5 13.6v6M1.5 19.6h7a3.5 3.5 0 0 1-7 0z"/>'
    '<path class="poise" d="M22 10.2v3.4M19.2 20.5l1-6.9h3.6l1 6.9z"/></svg>'
)


def header(verdict: Verdict) -> str:
    outcome = verdict["outcome"]
    sign = f'<svg aria-hidden="true" viewBox="0 0 20 20">{_SIGNS[outcome]}</svg>'
    reason = "".join(f"<p>{esc(part)}</p>" for part in verdict["reason"].splitlines() if part)
    prefer = ""
    if verdict["prefer"] and not verdict["chosen"]:
        prefer = (
            f"<p>Cheapest recipe not shown to be worse: <strong>{name_of(verdict['prefer'])}"
            "</strong>.</p>"
        )
    warned = ""
    if verdict["warnings"]:
        said = bullets(esc(warning) for warning in verdict["warnings"])
        warned = f'<aside class="warnings"><h2>Read this with care</h2>{said}</aside>'
    figures = facts_list(_figures(verdict), "figures") if verdict["recipes"] else ""
    return (
        f'<header><p class="brand">{_LOGO}<span>Steelyard</span></p>'
        f'<p class="eyebrow">Verdict on the task</p><h1>{name_of(verdict["task"])}</h1>'
        f'<p class="badge {outcome}">{sign}<span>{name_of(outcome_of(verdict))}</span></p>'
        f'<div class="reason">{reason}{prefer}</div>{warned}{figures}</header>'
    )


def _figures(verdict: Verdict) -> list[tuple[str, str]]:
    """The key figures of the recipe to use, or of what was measured when there is none."""
    recipe = find(verdict, verdict["chosen"] or verdict["prefer"])
    if recipe is None:
        return _figures_of_nothing(verdict)
    split = "test" if recipe["test"] else "dev"
    seen = recipe[split] or {}
    said = f"{as_interval(seen.get('interval'))} at {sure(verdict)}" if seen else ""
    figures = [(f"Score on {split}", _figure(as_score(seen.get("score")), said))]
    pair = _against_baseline(verdict, recipe["name"])
    if pair:
        told = (
            f"{as_interval(pair['interval'], as_signed)}<br>against {name_of(verdict['baseline'])}"
        )
        figure = _figure(as_signed(pair["difference"]), told)
        figures.append((f"Difference on {pair['split']}", figure))
    latency, used = recipe["latency_ms"] or {}, recipe["completion_tokens"]
    p50, p95 = (number(latency.get(key)) for key in ("p50", "p95"))
    tokens = f"{as_count(used)} tokens per answer" if number(used) else ""
    slow = "" if p95 is None else f"p95 {as_ms(p95)} ms"
    set_up = f"{as_usd(recipe['setup_usd'])} once" if number(recipe["setup_usd"]) else ""
    return [
        *figures,
        ("Cost per 1,000 answers", _figure(as_usd(recipe["usd_per_1k"]), tokens)),
        ("Latency, p50", _figure(as_ms(p50) + ("" if p50 is None else " ms"), slow)),
        ("Set-up time", _figure(as_seconds(recipe["setup_seconds"]), set_up)),
    ]


def _figures_of_nothing(verdict: Verdict) -> list[tuple[str, str]]:
    best, dev = verdict["recipes"][0], verdict["recipes"][0]["dev"]
    done = sum(r["status"] == "finished" for r in verdict["recipes"])
    figures = []
    if dev:
        said = f"{as_interval(dev['interval'])} by {name_of(best['name'])}"
        figures.append(("Best score on dev", _figure(as_score(dev["score"]), said)))
    total = f"of {len(verdict['recipes'])} tried"
    return [*figures, ("Recipes that finished", _figure(str(done), total))]


def _figure(value: str, told: str) -> str:
    return f'<span class="big">{value}</span><span class="told">{told}</span>'


def _against_baseline(verdict: Verdict, name: str) -> Item | None:
    """The comparison of a recipe with the baseline, that way round, on test before dev."""
    found = {}
    for pair in verdict["comparisons"]:
        difference, span = number(pair["difference"]), span_of(pair["interval"])
        if {pair["a"], pair["b"]} == {name, verdict["baseline"]} and difference is not None:
            if pair["b"] == name:
                difference, span = -difference, span and (-span[1], -span[0])
            found[pair["split"]] = {**pair, "difference": difference, "interval": span}
    return found.get("test") or found.get("dev")
