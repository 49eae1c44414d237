"""A verdict as one HTML page that needs nothing else: no script, no font, no image from outside.

`render` is a pure function of the verdict's JSON. Every text from the data goes through `esc`,
and the page forbids itself to load anything: its policy allows one style sheet, by its hash.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from importlib.resources import files
from typing import Any

from steelyard.lifecycle.amounts import amounts_section
from steelyard.lifecycle.charts import (
    MISSING,
    Curve,
    Mark,
    Point,
    Scale,
    as_count,
    as_interval,
    as_ms,
    as_p,
    as_score,
    as_seconds,
    as_share,
    as_signed,
    as_usd,
    axis,
    bar,
    bullets,
    curve,
    dots,
    esc,
    facts_list,
    heads,
    json_lines,
    marked_lines,
    name_of,
    number,
    plural,
    row,
    scale,
    scatter,
    span_of,
    table,
)
from steelyard.lifecycle.explained import explained_section
from steelyard.lifecycle.guards_section import guards_section

Json = Any
Verdict = Mapping[str, Any]
Item = Mapping[str, Any]  # one entry of the verdict's lists

OPEN_CARDS = 3  # examples shown before the fold
NAMES_THAT_FIT = 10  # on a phone's scatter; more recipes than that are numbered


def render(verdict: Verdict) -> str:
    """The whole report of one verdict, as the text of an HTML file."""
    verdict = {**verdict, "recipes": sorted(verdict["recipes"], key=_rank)}
    built = [(slug, title, build(verdict)) for slug, title, build in _SECTIONS]
    shown = [(slug, title, body) for slug, title, body in built if body]
    links = "".join(f'<a href="#{slug}">{title}</a>' for slug, title, _ in shown)
    body = "".join(
        f'<section id="{slug}" aria-labelledby="{slug}-title">'
        f'<h2 id="{slug}-title">{title}</h2>{body}</section>'
        for slug, title, body in shown
    )
    style = _style()
    seal = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{seal}'; base-uri 'none'; form-action 'none'"
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{esc(verdict['task'])}: {esc(_outcome(verdict))} · Steelyard</title>\n"
        f"<style>{style}</style>\n</head>\n<body>\n<main>\n{_verdict(verdict)}\n"
        f'<nav aria-label="Sections">{links}</nav>\n{body}\n</main>\n</body>\n</html>\n'
    )


@cache
def _style() -> str:
    return files("steelyard.lifecycle").joinpath("page.css").read_text("utf-8")


def _rank(recipe: Item) -> tuple[bool, bool, float, str]:
    """Best on dev first, unmeasured last; diagnostics, which earlier verdicts lack, after all."""
    score = number((recipe["dev"] or {}).get("score"))
    return recipe.get("diagnostic", False), score is None, -(score or 0.0), recipe["name"]


def _sure(verdict: Verdict) -> str:
    confidence = number(verdict["confidence"])
    return "" if confidence is None else f"{confidence * 100:.4g}%"


# ---------------------------------------------------------------- who is who


def _who(recipe: Item, verdict: Verdict, *, status: bool = True) -> str:
    """A recipe's name and the words that say what it is."""
    said = {
        "chosen": recipe["name"] == verdict["chosen"],
        "preferred": recipe["name"] == verdict["prefer"],
        "baseline": recipe["name"] == verdict["baseline"],
        "control": recipe["control"],
        "diagnostic": recipe.get("diagnostic", False),
        recipe["status"]: status and recipe["status"] != "finished",
    }
    tags = " ".join(f'<span class="tag {esc(w)}">{esc(w)}</span>' for w in said if said[w])
    return f'<span class="recipe">{name_of(recipe["name"])}</span> {tags}'


def _look(recipe: Item, verdict: Verdict) -> str:
    """Classes of a recipe's marks and cells."""
    best = recipe["name"] == (verdict["chosen"] or verdict["prefer"])
    return " ".join((["control"] if recipe["control"] else []) + (["chosen"] if best else []))


def _find(verdict: Verdict, name: str | None) -> Item | None:
    return next((r for r in verdict["recipes"] if r["name"] == name), None)


# ---------------------------------------------------------------- 1 the verdict


def _outcome(verdict: Verdict) -> str:
    if verdict["outcome"] == "chosen":
        return f"Use {verdict['chosen']}"
    return "Cannot tell yet" if verdict["outcome"] == "cannot_tell" else "Nothing works"


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


def _verdict(verdict: Verdict) -> str:
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
        f'<p class="badge {outcome}">{sign}<span>{name_of(_outcome(verdict))}</span></p>'
        f'<div class="reason">{reason}{prefer}</div>{warned}{figures}</header>'
    )


def _figures(verdict: Verdict) -> list[tuple[str, str]]:
    """The key figures of the recipe to use, or of what was measured when there is none."""
    recipe = _find(verdict, verdict["chosen"] or verdict["prefer"])
    if recipe is None:
        return _figures_of_nothing(verdict)
    split = "test" if recipe["test"] else "dev"
    seen = recipe[split] or {}
    said = f"{as_interval(seen.get('interval'))} at {_sure(verdict)}" if seen else ""
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


# ---------------------------------------------------------------- 2 scores


def _scores(verdict: Verdict) -> str:
    seen = [r for r in verdict["recipes"] if _marks(r, verdict)]
    untold = [r for r in verdict["recipes"] if r["status"] != "finished" or r not in seen]
    body = ""
    if seen:
        marks = [mark for r in seen for mark in _marks(r, verdict).values()]
        values = [v for mark in marks for v in (mark.value, *(mark.interval or ()))]
        across = scale(values, within=(0, 1))
        rows = "".join(_score_row(r, verdict, across) for r in seen)
        zoom = "" if across.lo == 0 else f" The axis starts at {across.lo:g}, not at 0."
        body = (
            f'<p class="lead">Mean score with its {_sure(verdict)} interval, best on dev first.'
            f"{zoom}</p>{_KEY}"
            f"<div>{rows}{axis(across, label=lambda v: f'{v:g}')}</div>"
        )
    if untold:
        facts = [(_who(r, verdict), esc(r["why"] or "No reason was recorded.")) for r in untold]
        body += f"<h3>Recipes that did not run to the end</h3>{facts_list(facts, 'reasons')}"
    return body


def _sign(shape: str, words: str, width: int = 14) -> str:
    drawn = f'<svg aria-hidden="true" width="{width}" height="14">{shape}</svg>'
    return f"<span>{drawn}{words}</span>"


_KEY = (
    '<p class="key">'
    + _sign('<circle cx="7" cy="7" r="5" class="dot"/>', "dev")
    + _sign('<circle cx="7" cy="7" r="5" class="dot test"/>', "test, sealed until the end")
    + _sign('<rect x="2.5" y="2.5" width="9" height="9" class="dot control"/>', "control")
    + "</p>"
)


def _marks(recipe: Item, verdict: Verdict) -> dict[str, Mark]:
    """The measured scores of a recipe by split."""
    marks = {}
    for split in ("dev", "test"):
        seen = recipe[split] or {}
        value = number(seen.get("score"))
        if value is not None:
            look = f"{_look(recipe, verdict)} {split}"
            marks[split] = Mark(value, span_of(seen["interval"]), look)
    return marks


def _score_row(recipe: Item, verdict: Verdict, across: Scale) -> str:
    marks = _marks(recipe, verdict)
    figures = told = ""
    for split, mark in marks.items():
        errors = recipe[split]["num_errors"]
        noted = f", {plural(errors, 'error')}" if errors else ""
        figures += (
            f"<span><i>{split}</i> <b>{as_score(mark.value)}</b> "
            f"<small>{as_interval(mark.interval)}{noted}</small></span>"
        )
        told += f" {split} {as_score(mark.value)} {as_interval(mark.interval)}"
    drawn = dots(list(marks.values()), across, title=f"{recipe['name']}:{told}")
    return row(_who(recipe, verdict), drawn, figures, _look(recipe, verdict))


# ---------------------------------------------------------------- 3 league table


def _league(verdict: Verdict) -> str:
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
    look = _look(recipe, verdict)
    return (
        f'<tr class="{look}"><th scope="row">{_who(recipe, verdict, status=False)}</th>{cells}</tr>'
    )


def _scored(seen: Item | None) -> str:
    if not seen:
        return MISSING
    return f"<b>{as_score(seen['score'])}</b> <small>{as_interval(seen['interval'])}</small>"


# ---------------------------------------------------------------- 4 score against cost


def _costs(verdict: Verdict) -> str:
    points, unpriced = [], []
    for recipe in verdict["recipes"]:
        score = number((recipe["dev"] or {}).get("score"))
        cost = number(recipe["usd_per_1k"])
        if score is not None and cost is not None:
            span, look = span_of(recipe["dev"]["interval"]), _look(recipe, verdict)
            points.append(Point(recipe["name"], max(cost, 0.0), score, span, look))
        elif score is not None:
            unpriced.append(name_of(recipe["name"]))
    if not points:
        return ""
    wide = scatter(points, width=1176, label=_plain_usd, look="wide")
    key = ""
    if len(points) > NAMES_THAT_FIT:
        key = "".join(f"<li>{name_of(p.name)}</li>" for p in points)
        key = f'<ol class="narrow">{key}</ol>'
        points = [replace(p, name=str(i)) for i, p in enumerate(points, 1)]
    narrow = scatter(points, width=380, label=_plain_usd, look="narrow")
    missing = f" Not drawn, because no cost is known: {', '.join(unpriced)}." if unpriced else ""
    return (
        '<p class="lead">Up is better, left is cheaper. The line joins what nothing cheaper '
        f"beats.{missing}</p><figure>{wide}{narrow}{key}</figure>"
    )


def _plain_usd(value: float) -> str:
    return f"${value:,.10f}".rstrip("0").rstrip(".")


# ---------------------------------------------------------------- 5 differences


def _differences(verdict: Verdict) -> str:
    pairs = [p for p in verdict["comparisons"] if number(p["difference"]) is not None]
    if not pairs:
        return ""
    values = [v for p in pairs for v in (p["difference"], *(span_of(p["interval"]) or ()))]
    band = number(verdict["tolerance"]) or 0.0
    across = scale([*values, -band, band])
    body = (
        f'<p class="lead">Paired differences with their {_sure(verdict)} interval; p is adjusted '
        "for the number of comparisons. Where the interval crosses the zero line, neither is "
        "shown to be better; right of it the first is. The shaded band is the tolerance, "
        f"±{band:g}.</p>"
    )
    for split in ("test", "dev"):
        rows = "".join(_difference_row(p, across, band) for p in pairs if p["split"] == split)
        if rows:
            foot = axis(across, label=_tick)
            body += f'<h3>On {split}</h3><div class="differences">{rows}{foot}</div>'
    return body


def _tick(value: float) -> str:
    return f"{value:+g}".replace("-", "−") if value else "0"


def _difference_row(pair: Item, across: Scale, band: float) -> str:
    span, difference = span_of(pair["interval"]), as_signed(pair["difference"])
    clear = span is not None and (span[0] > 0 or span[1] < 0)
    mark = Mark(pair["difference"], span, f"{pair['split']} {'clear' if clear else ''}")
    title = f"{pair['a']} minus {pair['b']} on {pair['split']}: {difference}"
    who = (
        f'<span class="recipe">{name_of(pair["a"])}</span> <i>minus</i> '
        f'<span class="recipe">{name_of(pair["b"])}</span>'
    )
    figures = (
        f"<span><b>{difference}</b> <small>{as_interval(span, as_signed)}</small></span>"
        f"<span><small>p {as_p(pair['p_adjusted'])}, "
        f"{plural(pair['num_examples'], 'example')}</small></span>"
    )
    drawn = dots([mark], across, title=title, band=band)
    return row(who, drawn, figures, "" if clear else "unclear")


# ---------------------------------------------------------------- 6 inside the score

_MEASURES: dict[str, tuple[str, Callable[[Json], str]]] = {
    "accuracy": ("Accuracy", as_score),
    "macro_f1": ("Macro-F1", as_score),
    "valid": ("Valid answers", as_share),
    "score_given_valid": ("Score of the valid", as_score),
    "valid_but_wrong": ("Valid but wrong", as_share),
    "exact": ("Right in every field", as_share),
    "empty": ("Expected fields left empty", as_share),
}


def _inside(verdict: Verdict) -> str:
    recipes = [r for r in verdict["recipes"] if (r["dev"] or {}).get("details")]
    if not recipes:
        return ""
    details = [r["dev"]["details"] for r in recipes]
    looks = [_look(r, verdict) for r in recipes]
    names = list(dict.fromkeys(name for d in details for name in d.get("fields") or {}))
    known = [(key, *_MEASURES[key]) for key in _MEASURES if any(key in d for d in details)]
    columns = "".join(
        f'<th scope="col" class="n {look}"><div class="stack">'
        f"{_who(r, verdict, status=False)}</div></th>"
        for r, look in zip(recipes, looks, strict=True)
    )
    group = f'<tr class="group"><th scope="rowgroup" colspan="{len(recipes) + 2}">'
    rows = [f"{group}F1 by field</th></tr>"] if names else []
    for name in names:
        rows.append(_field_row(name, [(d.get("fields") or {}).get(name) for d in details], looks))
    if names and known:
        rows.append(f"{group}Whole answers</th></tr>")
    for key, title, form in known:
        cells = "".join(
            f'<td class="n {look}">{form(d.get(key))}</td>'
            for d, look in zip(details, looks, strict=True)
        )
        rows.append(f'<tr><th scope="row">{title}</th><td></td>{cells}</tr>')
    caption = f"What the scorer “{esc(verdict['scorer'])}” saw on dev."
    caption += " n counts the expected values." if names else ""
    corner = f'<tr><td></td><th scope="col" class="n">{"n" if names else ""}</th>{columns}</tr>'
    return table(caption, corner, rows, "inside" if names else "inside few")


def _field_row(name: str, seen: Sequence[Item | None], looks: Sequence[str]) -> str:
    support = next((s["support"] for s in seen if s), None)
    values = [number(s["f1"]) if s else None for s in seen]
    best = max((v for v in values if v is not None), default=None)
    cells = ""
    for field, value, look in zip(seen, values, looks, strict=True):
        if field is None or value is None:
            cells += f'<td class="n {look}">{MISSING}</td>'
            continue
        more = f"precision {as_score(field['precision'])}, recall {as_score(field['recall'])}"
        shown = f"<b>{value:.3f}</b>" if value == best else f"{value:.3f}"
        cells += f'<td class="n {look}" title="{more}">{shown}{bar(value, look)}</td>'
    head = f'<th scope="row">{name_of(name)}</th><td class="n">{as_count(support)}</td>'
    return f"<tr>{head}{cells}</tr>"


# ---------------------------------------------------------------- 7 learning curves


def _learning(verdict: Verdict) -> str:
    trained = [r for r in verdict["recipes"] if (r["learning_curve"] or {}).get("points")]
    if not trained:
        return ""
    curves = [_curve_of(r) for r in trained]
    up = scale([0.0, *(loss for c in curves for _, loss in (*c.train, *c.held_out))])
    panels = "".join(
        f'<figure class="panel"><figcaption>{_who(r, verdict)}</figcaption>{curve(c, up)}'
        f"<p>{esc(r['learning_curve']['stopped'])}</p></figure>"
        for r, c in zip(trained, curves, strict=True)
    )
    held_out = (
        '<path d="M1 7h24" class="loss held-out"/>'
        '<circle cx="13" cy="7" r="3.5" class="loss-dot held-out"/>'
    )
    trained_on = '<path d="M1 7h24" class="loss train"/>'
    return (
        '<p class="lead">Loss on the rows trained on and on a slice of train held out from them. '
        "The area between them is the gap: where it widens while the held-out loss rises, the "
        f'rows are learned by heart.</p><p class="key">{_sign(held_out, "held out", 26)}'
        f"{_sign(trained_on, 'trained on', 26)}</p>"
        f'<div class="panels">{panels}</div>'
    )


def _curve_of(recipe: Item) -> Curve:
    learned = recipe["learning_curve"]

    def losses(kind: str) -> list[tuple[float, float]]:
        found = ((number(p["step"]), number(p[kind])) for p in learned["points"])
        return [(x, y) for x, y in found if x is not None and y is not None]

    kept = number(learned["best_step"])
    return Curve(recipe["name"], losses("train_loss"), losses("held_out_loss"), kept)


# ---------------------------------------------------------------- 8 disagreements


def _examples(verdict: Verdict) -> str:
    cards = [_card(case, verdict) for case in verdict["disagreements"]]
    if not cards:
        return ""
    rest = cards[OPEN_CARDS:]
    folded = (
        f'<details class="more"><summary>Show {plural(len(rest), "more example")}</summary>'
        f"{''.join(rest)}</details>"
        if rest
        else ""
    )
    return (
        '<p class="lead">In a marked answer, <b class="sign">≠</b> stands before a value that '
        'differs from the target, <b class="sign">+</b> before one the target does not have and '
        '<b class="sign">−</b> before one that is missing.</p>'
        f"{''.join(cards[:OPEN_CARDS])}{folded}"
    )


def _card(case: Item, verdict: Verdict) -> str:
    answers = "".join(_answer(answer, case["target"], verdict) for answer in case["answers"])
    target = _lines([(" ", line) for line in json_lines(case["target"])])
    return (
        f'<article class="card"><h3>{name_of(case["id"])} <span class="tag">{esc(case["split"])}'
        f'</span></h3><div class="asked"><div><h4>Input</h4>{_folded(case["input"])}</div>'
        f'<div class="target"><h4>Target</h4>{target}</div></div>'
        f'<div class="answers">{answers}</div></article>'
    )


def _folded(text: str, limit: int = 420) -> str:
    """A text, with what goes past the limit behind a fold."""
    if len(text) <= limit * 1.15:
        return f'<pre dir="auto">{esc(text)}</pre>'
    cut = text[:limit].rsplit(" ", 1)[0]
    return (
        f'<details class="long"><summary><pre dir="auto">{esc(cut)} …</pre>'
        f'<span class="unfold">Show all {len(text):,} characters</span></summary>'
        f'<pre dir="auto">{esc(text)}</pre></details>'
    )


def _answer(answer: Item, target: Json, verdict: Verdict) -> str:
    recipe = _find(verdict, answer["recipe"])
    look = _look(recipe, verdict) if recipe else ""
    if answer["error"]:
        body = f'<p class="error">No answer: {esc(answer["error"])}</p>'
    elif not answer["valid"]:
        body = f'<p class="error">Not valid</p>{_folded(answer["text"] or "(empty)")}'
    else:
        body = _lines(marked_lines(answer["value"], target))
    score = "no score" if answer["score"] is None else as_score(answer["score"])
    return (
        f'<div class="answer {look}"><h4>{name_of(answer["recipe"])}'
        f'<span class="score">{score}</span></h4>{body}</div>'
    )


def _lines(lines: Iterable[tuple[str, str]]) -> str:
    looks = {"≠": "differs", "+": "added", "−": "absent"}
    said = "".join(
        f'<span class="line {looks.get(sign, "")}"><b class="sign">{sign}</b>{esc(text)}</span>'
        for sign, text in lines
    )
    return f'<pre class="json" dir="auto">{said}</pre>'


# ---------------------------------------------------------------- 9 how it was measured


def _method(verdict: Verdict) -> str:
    versions = ", ".join(f"{esc(k)} {esc(v)}" for k, v in verdict["versions"].items())
    looks, minutes = verdict["test_looks"], number(verdict["minutes"])
    tolerance, seed = number(verdict["tolerance"]), verdict["seed"]
    facts = [
        ("Examples", ", ".join(f"{as_count(n)} {esc(k)}" for k, n in verdict["splits"].items())),
        ("Scorer", esc(verdict["scorer"])),
        ("Smallest detectable difference", as_score(verdict["minimum_detectable_difference"])),
        ("Confidence", _sure(verdict)),
        ("Tolerance", "" if tolerance is None else f"{tolerance:g}"),
        ("Sealed test looked at", {0: "never", 1: "once"}.get(looks) or plural(looks, "time")),
        ("Seed", "" if number(seed) is None else str(seed)),
        ("Time taken", as_seconds(minutes and minutes * 60)),
        ("Hardware", esc(verdict["hardware"])),
        ("Versions", versions),
        ("Task hash", f"<code>{esc(verdict['task_hash'])}</code>"),
    ]
    body = _break_even(verdict) + f"<h3>Set-up of the measurement</h3>{facts_list(facts)}"
    if verdict["notes"]:
        body += f"<h3>Notes</h3>{bullets(esc(note) for note in verdict['notes'])}"
    missing = _not_measured(verdict)
    return body + (f"<h3>Not measured</h3>{bullets(missing)}" if missing else "")


def _break_even(verdict: Verdict) -> str:
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
    over = ("Cheaper for good after", f"{_sure(verdict)} interval")
    head = f"<tr>{heads(('Recipe', 'Against'))}{heads(over, 'n')}</tr>"
    caption = "After how many answers the first recipe, its set-up included, has cost less."
    return f"<h3>Break-even</h3>{table(caption, head, rows, 'even')}" if rows else ""


def _not_measured(verdict: Verdict) -> list[str]:
    """What the reader may look for and not find, each with its reason."""

    def names(wanted: Callable[[Item], bool]) -> str:
        return ", ".join(name_of(r["name"]) for r in verdict["recipes"] if wanted(r))

    said = [
        f"{name_of(r['name'])} has no score: {esc(r['why'] or 'no reason was recorded.')}"
        for r in verdict["recipes"]
        if not r["dev"] and not r["test"]
    ]
    reasons = (
        (
            lambda r: bool(r["dev"] and not r["test"]),
            "Not measured on test, which stays sealed for the choice and what it is compared with",
        ),
        (
            lambda r: bool(r["dev"]) and number(r["usd_per_1k"]) is None,
            "No cost, because no price or no machine-hour is known",
        ),
        (
            lambda r: bool(r["dev"]) and number((r["latency_ms"] or {}).get("p50")) is None,
            "No latency, because no example was answered alone",
        ),
    )
    return said + [f"{why}: {found}." for wanted, why in reasons if (found := names(wanted))]


_SECTIONS: tuple[tuple[str, str, Callable[[Verdict], str]], ...] = (
    ("scores", "Scores", _scores),
    ("league", "League table", _league),
    ("cost", "Score against cost", _costs),
    ("differences", "Differences", _differences),
    ("inside", "Inside the score", _inside),
    ("amounts", "How much is enough", amounts_section),
    ("explained", "What explains it", explained_section),
    ("learning", "Learning curves", _learning),
    ("guards", "What training may have spoilt", guards_section),
    ("examples", "Where recipes disagree", _examples),
    ("method", "How it was measured", _method),
)
