"""Examples on which recipes disagree, answers side by side."""

from __future__ import annotations

from collections.abc import Iterable

from steelyard.core import Json
from steelyard.lifecycle.page.who import Item, Verdict, find, look_of
from steelyard.lifecycle.page.words import as_score, esc, json_lines, marked_lines, name_of, plural

OPEN_CARDS = 3  # examples shown before the fold


def examples_section(verdict: Verdict) -> str:
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
    recipe = find(verdict, answer["recipe"])
    look = look_of(recipe, verdict) if recipe else ""
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
