"""The HTML report: what it must contain, what it must never contain, whatever the verdict holds."""

from __future__ import annotations

import base64
import copy
import hashlib
import math
import random
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from page_verdicts import (
    FIELDS,
    INPUT,
    VERDICTS,
    Verdict,
    extraction,
    labels,
    minimal,
    nothing_works,
)
from steelyard.lifecycle.page import render, words
from steelyard.lifecycle.page.dots import Mark, dots
from steelyard.lifecycle.page.drawing import Scale, log_scale, scale
from steelyard.lifecycle.page.scatter import Point, pareto, place, scatter, text_width

# ---------------------------------------------------------------- reading a page

VOID = {"meta", "br", "wbr"}


class Page(HTMLParser):
    """The elements of a page in order, with the text inside each; fails on a wrong nesting."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str], list[str]]] = []
        self.path: list[tuple[str, dict[str, str], list[str]]] = []
        self.feed(source)
        self.close()
        assert self.path == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = (tag, {key: value or "" for key, value in attrs}, list[str]())
        self.elements.append(element)
        if tag not in VOID:
            self.path.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {key: value or "" for key, value in attrs}, []))

    def handle_endtag(self, tag: str) -> None:
        assert self.path.pop()[0] == tag

    def handle_data(self, data: str) -> None:
        for _, _, text in self.path:
            text.append(data)

    def all(self, tag: str, look: str | None = None) -> list[tuple[dict[str, str], str]]:
        return [
            (attributes, "".join(text))
            for name, attributes, text in self.elements
            if name == tag and (look is None or look in attributes.get("class", "").split())
        ]

    def text(self, tag: str, look: str | None = None) -> list[str]:
        return [text for _, text in self.all(tag, look)]


@pytest.fixture(params=list(VERDICTS), name="verdict")
def _verdict(request: pytest.FixtureRequest) -> Verdict:
    return VERDICTS[request.param]()


def section(page: str, slug: str) -> str:
    return page.split(f'<section id="{slug}"')[1].split("</section>")[0]


# ---------------------------------------------------------------- the page as a document


def test_a_page_loads_nothing_and_runs_nothing(verdict: Verdict) -> None:
    source = render(verdict)
    page = Page(source)
    tags = {tag for tag, _, _ in page.elements}
    assert not tags & {"script", "link", "img", "iframe", "object", "embed", "base", "form"}
    for _, attributes, _ in page.elements:
        assert not set(attributes) & {"src", "srcset", "style", "action", "xlink:href"}
        assert not any(name.startswith("on") for name in attributes)
        assert attributes.get("href", "#").startswith("#")
    assert not re.search(r"https?:|//\w|url\(|@import", source)


def test_the_policy_allows_this_style_sheet_and_nothing_else(verdict: Verdict) -> None:
    page = Page(render(verdict))
    policy = next(a["content"] for a, _ in page.all("meta") if "http-equiv" in a)
    style = page.text("style")[0]
    seal = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policy.split("; ")[:2] == ["default-src 'none'", f"style-src 'sha256-{seal}'"]


def test_links_lead_to_sections_that_are_there(verdict: Verdict) -> None:
    page = Page(render(verdict))
    ids = [attributes["id"] for _, attributes, _ in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {a["href"][1:] for a, _ in page.all("a")} == {a["id"] for a, _ in page.all("section")}


def test_a_screen_reader_gets_names_for_drawings_and_captions_for_tables(verdict: Verdict) -> None:
    source = render(verdict)
    page = Page(source)
    for attributes, _ in page.all("svg"):
        assert attributes.get("role") == "img" or attributes.get("aria-hidden") == "true"
    assert len(page.all("title")) == 1 + source.count('role="img"')
    assert len(page.all("caption")) == len(page.all("table"))
    assert all("scope" in attributes for attributes, _ in page.all("th"))
    assert len(page.all("h1")) == 1


def test_nothing_missing_is_printed_as_a_word_of_python(verdict: Verdict) -> None:
    shown = "".join(Page(render(verdict)).text("body"))
    assert not re.search(r"\b(None|nan|NaN|inf|Infinity|True|False)\b", shown)


def test_the_same_verdict_gives_the_same_page_and_stays_as_it_was(verdict: Verdict) -> None:
    before = copy.deepcopy(verdict)
    assert render(verdict) == render(verdict)
    assert verdict == before


def test_every_recipe_is_named_and_every_reason_told(verdict: Verdict) -> None:
    page = Page(render(verdict))
    names, shown = page.text("span", "recipe"), "".join(page.text("body"))
    for one in verdict["recipes"]:
        assert one["name"] in names
        assert one["why"] is None or one["why"] in shown


HOSTILE = "</script></style></pre><script>alert(1)</script>\"><img src=x onerror='a()'>&lt;\ud800"


def hostile(value: Any, keep: set[str]) -> Any:
    """The same verdict with every free text turned against the page."""
    if isinstance(value, dict):
        return {
            (HOSTILE + key if "email" in value else key): (
                part if key in keep else hostile(part, keep)
            )
            for key, part in value.items()
        }
    if isinstance(value, list):
        return [hostile(part, keep) for part in value]
    return HOSTILE + value if isinstance(value, str) else value


def test_hostile_text_adds_no_element_and_no_attribute() -> None:
    keep = {"outcome", "status", "split"}
    plain, turned = extraction(), hostile(extraction(), keep)
    source = render(turned)
    source.encode()  # the lone surrogate is gone
    was, now = Page(render(plain)), Page(source)
    assert {tag for tag, _, _ in was.elements} == {tag for tag, _, _ in now.elements}
    assert {n for _, a, _ in was.elements for n in a} == {n for _, a, _ in now.elements for n in a}
    assert HOSTILE.replace("\ud800", "?") + "lora" in now.text("span", "recipe")


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Paths to the numbers of a verdict, outside of what is quoted from answers."""
    if isinstance(value, dict | list):
        parts = value.items() if isinstance(value, dict) else enumerate(value)
        for key, part in parts:
            if key not in ("target", "value"):
                yield from leaves(part, (*path, key))
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield path


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from(["extraction", "labels"]))
def test_any_number_may_be_missing_or_not_finite(seed: int, name: str) -> None:
    rng, verdict = random.Random(seed), VERDICTS[name]()
    for path in list(leaves(verdict)):
        if rng.random() < 0.3:
            holder = verdict
            for key in path[:-1]:
                holder = holder[key]
            holder[path[-1]] = rng.choice([None, math.nan, math.inf])
    page = Page(render(verdict))
    assert not re.search(r"\b(None|nan|inf)\b", "".join(page.text("body")))
    for _, attributes, _ in page.elements:
        assert not re.search(r"\b(None|nan|inf)\b", " ".join(attributes.values()))


# ---------------------------------------------------------------- what the sections say


def test_the_verdict_comes_first_with_its_key_figures() -> None:
    source = render(extraction())
    page = Page(source)
    assert page.text("h1") == ["resumes"]
    assert page.text("p", "badge") == ["Use lora+constrained"]
    assert page.text("span", "big") == ["0.874", "+0.697", "$0.025", "874 ms", "6 min 12 s"]
    assert page.text("span", "told")[:2] == [
        "[0.853, 0.895] at 95%",
        "[+0.666, +0.728]against zero-shot",
    ]
    assert source.index("badge") < source.index("<section")
    assert [attributes["id"] for attributes, _ in page.all("section")] == [
        "scores", "league", "cost", "volume", "differences", "inside", "learning", "examples",
        "method",
    ]  # fmt: skip


def test_a_comparison_told_the_other_way_round_is_turned() -> None:
    verdict = extraction()
    first = verdict["comparisons"][0]
    low, high = first["interval"]
    first |= {"a": first["b"], "b": first["a"], "difference": -first["difference"],
              "interval": [-high, -low]}  # fmt: skip
    page = Page(render(verdict))
    assert page.text("span", "big")[1] == "+0.697"
    assert page.text("span", "told")[1] == "[+0.666, +0.728]against zero-shot"


@pytest.mark.parametrize(
    ("name", "badge"), [("labels", "Cannot tell yet"), ("nothing_works", "Nothing works")]
)
def test_an_outcome_without_a_choice_is_said_in_words(name: str, badge: str) -> None:
    assert Page(render(VERDICTS[name]())).text("p", "badge") == [badge]


def test_without_a_choice_the_preferred_recipe_is_named_with_its_dev_score() -> None:
    page = Page(render(labels()))
    assert "Cheapest recipe not shown to be worse: nearest-shot." in page.text("p")
    assert page.text("span", "big")[0] == "0.871"
    assert page.text("dt")[0] == "Score on dev"


def test_an_empty_verdict_still_says_how_it_was_measured() -> None:
    assert [a["id"] for a, _ in Page(render(minimal())).all("section")] == ["method"]


def test_scores_are_drawn_where_their_numbers_say() -> None:
    row = dots(
        [Mark(0.25, (0.2, 0.3)), Mark(0.5, None, "test")],
        Scale(0.0, 1.0, (0.0, 0.5, 1.0)),
        title="r",
    )
    marks = [(a["cx"], a["cy"], a["class"]) for a, _ in Page(row).all("circle")]
    assert marks == [("25.000%", "33.3%", "dot "), ("50.000%", "66.7%", "dot test")]
    whisker = Page(row).all("line", "whisker")
    assert [(a["x1"], a["x2"]) for a, _ in whisker] == [("20.000%", "30.000%")]


def test_an_axis_that_does_not_start_at_zero_says_so() -> None:
    assert "The axis starts at 0.15, not at 0." in render(nothing_works())
    assert "not at 0" not in render(extraction())


def test_a_failed_recipe_is_listed_and_not_drawn() -> None:
    scores = section(render(nothing_works()), "scores")
    assert scores.count('<svg class="dots"') == 2
    assert "Training ended after step 12: the loss was not finite." in scores
    assert 'class="tag failed"' in scores


def test_the_league_table_has_a_cell_for_every_column() -> None:
    page = Page(section(render(extraction()), "league"))
    row = page.text("tr", "chosen")[0]
    assert row == (
        "lora+constrained choseninstructionlora r=16constrainedfinished"
        "0.881 [0.847, 0.915]0.874 [0.853, 0.895]6 min 12 s$0.02528622968741,4860"
    )
    several = extraction()
    several["recipes"][8]["model"] = "another"
    assert "Model" in Page(section(render(several), "league")).text("th")


def test_a_recipe_without_a_cost_is_named_beside_the_scatter() -> None:
    cost, _, wait = section(render(labels()), "cost").partition("<h3>Score against the wait")
    assert ">zero-shot</text>" in wait
    assert "no cost is known: zero-<wbr>shot." in cost
    assert '<text x="' in cost
    assert ">zero-shot</text>" not in cost


def test_many_recipes_are_numbered_on_a_phone() -> None:
    verdict = extraction()
    verdict["recipes"] += [r | {"name": r["name"] + "-2"} for r in verdict["recipes"]]
    page = Page(section(render(verdict), "cost"))
    assert len(page.all("li")) == 2 * 18  # under the cost, and under the wait
    assert {str(i) for i in range(1, 19)} <= set(page.text("text", "name"))


def test_a_difference_that_is_not_shown_is_drawn_apart() -> None:
    page = Page(section(render(extraction()), "differences"))
    unclear = page.text("div", "unclear")
    assert [text.split("[")[0].split(": ")[1] for text in unclear] == ["+0.013+0.013 "]
    assert page.text("h3") == ["On test", "On dev"]
    assert "p < 0.001, 160 examples" in "".join(page.text("small"))


def test_fields_and_whole_answers_have_a_column_per_recipe() -> None:
    page = Page(section(render(extraction()), "inside"))
    rows = page.text("tr")
    assert rows[2].startswith("name800.8810.868")
    assert rows[-5].startswith("Valid answers100.0%98.0%")
    assert rows[-4].startswith("Score of the valid0.8810.886")
    assert len(page.all("svg", "bar")) == 9 * len(FIELDS)
    wanted = ["Accuracy0.8790.871", "Macro-F10.8700.866", "Valid answers100.0%100.0%"]
    seen = Page(section(render(labels()), "inside")).text("tr")[1:]
    assert all(row.startswith(start) for row, start in zip(seen, wanted, strict=True))


def test_the_kept_checkpoint_is_marked_on_its_curve() -> None:
    page = Page(section(render(extraction()), "learning"))
    assert page.text("text", "name") == ["kept: step 45"] * 2
    assert len(page.all("circle", "kept-dot")) == 2
    assert all("Checkpoint kept: step 45." in text for text in page.text("desc"))


def test_differing_keys_carry_a_sign_and_the_whole_input_is_there() -> None:
    page = Page(section(render(extraction()), "examples"))
    card = page.all("article")[0][1]
    assert '≠seniority: "S2"' in card
    assert '−languages: ["Spanish", "English"]' in card
    assert '+job: "electrician"' in card
    assert "No answer: the nearest answer has no target" in card
    assert "Not valid" in card
    assert INPUT in card
    assert len(page.all("details", "more")) == 1
    assert "Show 3 more examples" in page.text("summary")


def test_break_even_and_what_was_not_measured_are_told() -> None:
    rows = Page(section(render(extraction()), "volume")).text("tr")
    assert rows[1:] == [
        "lora+constrainednearest-shot+constrained229 answers214 to 247",
        "lora+constrainedzero-shot1,585 answers1,210 or more",
        "lora+constrainedtfidfnever–",
        "RecipeAgainstCheaper for good after95% interval",  # behind a fold, without the answer
        "tfidflorathe first answer0 to 0",
    ]
    said = Page(section(render(nothing_works()), "method")).text("li")
    assert "lora has no score: Training ended after step 12: the loss was not finite." in said
    assert "No latency, because no example was answered alone: majority, zero-shot." in said


# ---------------------------------------------------------------- words and numbers


@pytest.mark.parametrize(
    ("form", "value", "wanted"),
    [
        ("usd", 0, "$0"), ("usd", 0.000031, "&lt; $0.0001"), ("usd", 0.0214, "$0.021"),
        ("usd", 3.456, "$3.46"), ("usd", 1250, "$1,250"), ("usd", None, "–"),
        ("seconds", 0, "0 s"), ("seconds", 9.97, "10 s"), ("seconds", 59.6, "1 min 0 s"),
        ("seconds", 4320, "1 h 12 min"), ("ms", 0.42, "0.4"), ("ms", 1486.1, "1,486"),
        ("signed", -0.0001, "+0.000"), ("signed", -0.037, "−0.037"), ("p", 0.0004, "&lt; 0.001"),
        ("interval", [0.1, 0.25], "[0.100, 0.250]"), ("interval", [0.1, math.nan], ""),
    ],
)  # fmt: skip
def test_a_number_is_said_in_its_unit(form: str, value: Any, wanted: str) -> None:
    assert getattr(words, f"as_{form}")(value) == wanted


def test_an_answer_is_marked_key_by_key_against_its_target() -> None:
    assert words.marked_lines({"name": "Ada", "age": 3}, {"name": "Bob", "city": "Rome"}) == [
        ("≠", 'name: "Ada"'), ("−", 'city: "Rome"'), ("+", "age: 3"),
    ]  # fmt: skip
    assert words.marked_lines("refund", "refund") == [(" ", "refund")]
    assert words.marked_lines([1], {"a": 1}) == [("≠", "[1]")]
    assert words.json_lines({"jobs": [{"title": "Nurse", "years": [2, 3]}], "x": {}}) == [
        "jobs: [", "  {", '    title: "Nurse"', "    years: [2, 3]", "  }", "]", "x: {}",
    ]  # fmt: skip
    assert words.json_lines("") == ["(empty)"]
    assert words.json_lines(None) == ["null"]


# ---------------------------------------------------------------- drawings

finite = st.floats(-1e4, 1e4, allow_nan=False, allow_subnormal=False)


@settings(max_examples=60, deadline=None)
@given(st.lists(finite, min_size=1, max_size=8))
def test_an_axis_holds_its_values_on_even_ticks(values: list[float]) -> None:
    axis = scale(values)
    slack = 1e-6 * (axis.hi - axis.lo)
    assert axis.lo - slack <= min(values)
    assert max(values) <= axis.hi + slack
    assert 3 <= len(axis.ticks) <= 8
    steps = [b - a for a, b in zip(axis.ticks, axis.ticks[1:], strict=False)]
    assert max(steps) == pytest.approx(min(steps), rel=1e-4)
    assert all(0 <= axis.at(value) <= 1 for value in values)


def test_an_axis_of_scores_is_zoomed_and_never_leaves_zero_to_one() -> None:
    assert scale([0.41, 0.88], within=(0, 1)).ticks == (0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
    assert scale([1.0, 1.0], within=(0, 1)).hi == 1.0
    assert scale([0.0], within=(0, 1)).lo == 0.0
    assert log_scale([0.01, 0.5]).ticks == (0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
    assert log_scale([1e-6, 10.0]).ticks == (1e-06, 1e-04, 0.01, 1.0)
    assert Scale(1.0, 100.0, (), log=True).at(10.0) == pytest.approx(0.5)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=8))
def test_the_front_is_what_no_other_point_beats(pairs: list[tuple[int, int]]) -> None:
    points = [Point("p", float(cost), score / 10, None) for cost, score in pairs]
    beaten = {
        (p.cost, p.score) for p in points for q in points
        if q.cost <= p.cost and q.score >= p.score and (q.cost, q.score) != (p.cost, p.score)
    }  # fmt: skip
    wanted = sorted({(p.cost, p.score) for p in points} - beaten)
    assert [(p.cost, p.score) for p in pareto(points)] == wanted


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 9))
def test_names_cover_neither_each_other_nor_a_point(seed: int, count: int) -> None:
    rng = random.Random(seed)
    spots = [(rng.uniform(60, 1000), rng.uniform(40, 380)) for _ in range(count)]
    names = ["nearest-shot+constrained"[: rng.randint(4, 24)] for _ in spots]
    boxes = [box for box, _ in place(spots, names, lines=[], bounds=(40, 20, 1100, 400))]
    for i, (left, top, right, bottom) in enumerate(boxes):
        assert left >= 40
        assert right <= 1100 + 1e-6
        assert right - left == pytest.approx(text_width(names[i]))
        for x, y in spots:
            assert not (left < x < right and top < y < bottom)
        for a, b, c, d in boxes[:i]:
            assert min(right, c) <= max(left, a) or min(bottom, d) <= max(top, b)


def ticks_of(costs: list[float]) -> str:
    points = [Point(f"p{i}", cost, 0.5 + i / 100, None) for i, cost in enumerate(costs)]
    page = Page(scatter(points, width=1000, label=lambda v: f"${v:g}", look=""))
    return " ".join(text for text in page.text("text") if "$" in text or "USD" in text)


def test_cost_is_logarithmic_when_it_spans_more_than_twenty_times() -> None:
    assert ticks_of([1, 20]) == "$0 $5 $10 $15 $20 USD per 1,000 answers"
    assert ticks_of([1, 21]) == "$1 $2 $5 $10 $20 USD per 1,000 answers, log scale"


def test_what_costs_nothing_has_a_place_on_both_kinds_of_axis() -> None:
    assert ticks_of([0, 1, 21]) == "< $0.01 $1 $2 $5 $10 $20 USD per 1,000 answers, log scale"
    assert ticks_of([0, 1, 20]).startswith("$0 $5")
    assert ticks_of([0.0]) == "$0 $0.2 $0.4 $0.6 $0.8 $1 USD per 1,000 answers"


def luminance(colour: str) -> float:
    """Source: https://www.w3.org/TR/WCAG21/#dfn-relative-luminance"""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_text_has_enough_contrast_in_light_and_in_dark() -> None:
    style = Page(render(minimal())).text("style")[0]
    themes = [dict(re.findall(r"--([\w-]+): (#\w{6})", part)) for part in style.split("@media")[:3]]
    for theme in (themes[0], next(theme for theme in themes[1:] if theme)):
        for ink, paper in [
            *((ink, "page") for ink in ("ink", "soft", "faint", "accent", "warm", "mark")),
            *((ink, "tint") for ink in ("ink", "soft", "accent", "faint")),
            ("ink", "card"), ("soft", "card"), ("warm", "warm-tint"), ("accent-ink", "accent"),
        ]:  # fmt: skip
            dark, light = sorted((luminance(theme[ink]), luminance(theme[paper])))
            assert (light + 0.05) / (dark + 0.05) >= 4.5, (ink, paper)
