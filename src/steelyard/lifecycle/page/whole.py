"""A verdict as one HTML page that needs nothing else: no script, no font, no image from outside.

`render` is a pure function of the verdict's JSON. Every text from the data goes through `esc`,
and the page forbids itself to load anything: its policy allows one style sheet, by its hash.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from functools import cache
from importlib.resources import files

from steelyard.lifecycle.page.amounts import amounts_section
from steelyard.lifecycle.page.audit import audit_section
from steelyard.lifecycle.page.costs import costs_section
from steelyard.lifecycle.page.differences import differences_section
from steelyard.lifecycle.page.examples import examples_section
from steelyard.lifecycle.page.expected import expected_section
from steelyard.lifecycle.page.explained import explained_section
from steelyard.lifecycle.page.freshness import freshness_section
from steelyard.lifecycle.page.guards import guards_section
from steelyard.lifecycle.page.header import header
from steelyard.lifecycle.page.injections import injections_section
from steelyard.lifecycle.page.inside import inside_section
from steelyard.lifecycle.page.labels import labels_section
from steelyard.lifecycle.page.league import league_section
from steelyard.lifecycle.page.learning import learning_section
from steelyard.lifecycle.page.method import method_section
from steelyard.lifecycle.page.scores import scores_section
from steelyard.lifecycle.page.slices import slices_section
from steelyard.lifecycle.page.turning import turning_section
from steelyard.lifecycle.page.volume import volume_section
from steelyard.lifecycle.page.who import Item, Verdict, outcome_of
from steelyard.lifecycle.page.words import esc, number


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
        f"<title>{esc(verdict['task'])}: {esc(outcome_of(verdict))} · Steelyard</title>\n"
        f"<style>{style}</style>\n</head>\n<body>\n<main>\n{header(verdict)}\n"
        f'<nav aria-label="Sections">{links}</nav>\n{body}\n</main>\n</body>\n</html>\n'
    )


@cache
def _style() -> str:
    return files("steelyard.lifecycle.page").joinpath("page.css").read_text("utf-8")


def _rank(recipe: Item) -> tuple[bool, bool, float, str]:
    """Best on dev first, unmeasured last; diagnostics, which earlier verdicts lack, after all."""
    score = number((recipe["dev"] or {}).get("score"))
    return recipe.get("diagnostic", False), score is None, -(score or 0.0), recipe["name"]


_SECTIONS: tuple[tuple[str, str, Callable[[Verdict], str]], ...] = (
    ("scores", "Scores", scores_section),
    ("league", "League table", league_section),
    ("cost", "Score against cost", costs_section),
    ("volume", "Break-even", volume_section),
    ("turning", "What would change the answer", turning_section),
    ("differences", "Differences", differences_section),
    ("inside", "Inside the score", inside_section),
    ("slices", "Scores by slice", slices_section),
    ("amounts", "How much is enough", amounts_section),
    ("labels", "How many labels", labels_section),
    ("explained", "What explains it", explained_section),
    ("freshness", "What time does to it", freshness_section),
    ("learning", "Learning curves", learning_section),
    ("guards", "What training may have spoilt", guards_section),
    ("injections", "Planted instructions", injections_section),
    ("audit", "What is wrong with the data", audit_section),
    ("expected", "What was expected", expected_section),
    ("examples", "Where recipes disagree", examples_section),
    ("method", "How it was measured", method_section),
)
