"""The HTML report: what it must contain, what it must never contain, whatever the verdict holds."""

from __future__ import annotations

import base64
import copy
import hashlib
import json
import math
import random
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steelyard.lifecycle import charts
from steelyard.lifecycle.charts import Mark, Point, Scale, scale
from steelyard.lifecycle.page import render

Verdict = dict[str, Any]

# ---------------------------------------------------------------- realistic verdicts

FIELDS = {"name": 1.0, "email": 1.02, "phone": 0.8, "location": 0.95, "seniority": 0.62,
          "skills": 0.9, "years_of_experience": 0.74, "languages": 0.97}  # fmt: skip


def measured(score: float, half: float, n: int, details: Any = None, errors: int = 0) -> Any:
    interval = [round(max(score - half, 0.0), 4), round(min(score + half, 1.0), 4)]
    return {"score": score, "interval": interval, "num_examples": n, "num_errors": errors,
            "details": details or {"valid": 1.0}}  # fmt: skip


def recipe(name: str, dev: Any = None, test: Any = None, **changes: Any) -> Any:
    return {
        "name": name, "model": "SmolLM2-135M-Instruct", "context": "instruction",
        "weights": "none", "decoding": "free", "control": False, "status": "finished",
        "why": None, "dev": dev, "test": test, "setup_seconds": 0.0, "setup_usd": 0.0,
        "usd_per_1k": None, "prompt_tokens": None, "cached_tokens": None,
        "completion_tokens": None, "latency_ms": None, "learning_curve": None,
    } | changes  # fmt: skip


def field_details(score: float, valid: float) -> Any:
    fields = {}
    for i, (name, ease) in enumerate(FIELDS.items()):
        f1 = round(min(score * ease, 0.996), 4)
        fields[name] = {
            "precision": min(f1 + 0.02, 1.0), "recall": max(f1 - 0.02, 0.0), "f1": f1,
            "support": 80 - 3 * i, "empty": round((1 - f1) / 3, 4),
        }  # fmt: skip
    of_valid = round(min(score / valid, 1.0), 4) if valid else None
    return {"valid": valid, "score_given_valid": of_valid, "exact": round(score**4, 4),
            "valid_but_wrong": round(valid * (1 - score**4), 4),
            "empty": round((1 - score) / 2, 4), "fields": fields}  # fmt: skip


def learning_curve(rng: random.Random) -> Any:
    points = []
    for step in range(5, 65, 5):
        loss = 0.16 + 1.9 * math.exp(-step / 9) + rng.uniform(-0.03, 0.03)
        held = 0.24 + 1.7 * math.exp(-step / 10) + max(step - 45, 0) * 0.004
        points.append({"step": step, "epoch": step / 15, "train_loss": loss,
                       "held_out_loss": held if step % 15 == 0 else None})  # fmt: skip
    why = "Stopped after step 60: the held-out loss had not improved for 1 epoch."
    return {"points": points, "best_step": 45, "stopped": why}


TARGET = {
    "name": "Marisol Vega", "email": "m.vega@example.org", "phone": "+34912345678",
    "location": "Badajoz, Spain", "seniority": "S3",
    "skills": ["Switchgear", "PLC programming", "AutoCAD", "Fault finding", "Wiring regulations"],
    "years_of_experience": 9, "languages": ["Spanish", "English"],
}  # fmt: skip
INPUT = (
    "My name is Marisol Vega and I am an electrician based in Badajoz, Spain. Since 2022 I have "
    "worked as Maintenance Electrician at Grupo Blanco S.L., where I maintained switchgear for 12 "
    "factories. From 2018 to 2021 I worked as Electrician at Grupo Uribe, and from 2015 to 2018 as "
    "an apprentice in the same house. Tools I use: Switchgear, PLC programming, AutoCAD, Fault "
    "finding, Wiring regulations. I speak Spanish and English. I hold a certificate in Industrial "
    "Installations (2015).\nContact: m.vega@example.org, (0034) 912 34 56 78.\n\nPage 1 of 1"
)


def answer(recipe: str, score: float | None, value: Any = None, **changes: Any) -> Any:
    return {"recipe": recipe, "text": json.dumps(value), "value": value, "valid": True,
            "score": score, "error": None} | changes  # fmt: skip


def disagreement(i: int) -> Any:
    few = TARGET | {"phone": "(0034) 912 34 56 78", "seniority": None, "years_of_experience": 4}
    zero = {"name": "Marisol Vega", "email": "", "phone": "912", "job": "electrician",
            "skills": ["electrician"], "location": "Spain", "seniority": "senior"}  # fmt: skip
    return {
        "id": f"resume-{i:03}", "split": "dev", "input": INPUT, "target": TARGET,
        "answers": [
            answer("lora+constrained", 1.0, TARGET),
            answer("nearest-shot+constrained", 0.81, TARGET | {"seniority": "S2"}),
            answer("few-shot", 0.63, few),
            answer("zero-shot+constrained", 0.21, zero),
            answer("zero-shot", 0.0, valid=False, text="Here is the JSON:\n```\n{name: Marisol"),
            answer("tfidf", None, error="the nearest answer has no target"),
        ],
    }  # fmt: skip


def extraction() -> Verdict:
    """Nine recipes on a JSON task; LoRA with constrained decoding wins on dev and test."""
    rng = random.Random(7)
    shots = "instruction + output description + 4 {} examples"
    lora = {"context": "instruction", "weights": "lora r=16", "setup_seconds": 372.4,
            "setup_usd": 0.0103, "learning_curve": learning_curve(rng)}  # fmt: skip
    told = {"context": "instruction + output description"}
    near = {"context": shots.format("nearest"), "setup_seconds": 2.1, "setup_usd": 0.00006}
    tight = {"decoding": "constrained"}
    table: list[tuple[str, float, float, float, tuple[int, int, int], float, Any]] = [
        ("majority", 0.118, 1.0, 0.0000004, (0, 0, 0), 0.02, {"control": True}),
        ("tfidf", 0.243, 1.0, 0.0000031, (0, 0, 0), 0.4, {"control": True}),
        ("zero-shot", 0.181, 0.34, 0.0316, (412, 96, 118), 1104, {"control": True, **told}),
        ("zero-shot+constrained", 0.334, 1.0, 0.0343, (412, 96, 104), 1251, {**told, **tight}),
        ("few-shot", 0.522, 0.81, 0.0472, (1604, 1290, 97), 1683,
         {"context": shots.format("fixed")}),
        ("nearest-shot", 0.604, 0.86, 0.0688, (1598, 96, 98), 2391, near),
        ("nearest-shot+constrained", 0.641, 1.0, 0.0703, (1598, 96, 99), 2466, {**near, **tight}),
        ("lora", 0.868, 0.98, 0.0238, (286, 22, 96), 812, lora),
        ("lora+constrained", 0.881, 1.0, 0.0251, (286, 22, 96), 874, {**lora, **tight}),
    ]  # fmt: skip
    tested = {"lora+constrained": 0.8742, "zero-shot": 0.1768}
    recipes = []
    for name, score, valid, usd, tokens, p50, changes in table:
        kinds = ("prompt_tokens", "cached_tokens", "completion_tokens")
        more = {"usd_per_1k": usd, "latency_ms": {"p50": p50, "p95": p50 * 1.7}, **changes}
        dev = measured(score, 0.034, 80, field_details(score, valid), int(name == "few-shot"))
        test = None
        if name in tested:
            test = measured(tested[name], 0.021, 160, field_details(tested[name], valid))
        recipes.append(recipe(name, dev, test, **more, **dict(zip(kinds, tokens, strict=True))))
    recipes[4] |= {"status": "eliminated", "why": "After 48 of 80 examples it could no longer "
                   "come within the tolerance of lora+constrained."}  # fmt: skip
    pairs = [
        ("lora+constrained", "zero-shot", "test", 0.6974, 0.031, 0.0002),
        ("lora+constrained", "lora", "dev", 0.013, 0.0151, 0.094),
        ("lora+constrained", "nearest-shot+constrained", "dev", 0.24, 0.046, 0.0004),
        ("lora+constrained", "few-shot", "dev", 0.359, 0.05, 0.0004),
        ("lora+constrained", "zero-shot+constrained", "dev", 0.547, 0.042, 0.0004),
        ("lora+constrained", "zero-shot", "dev", 0.7, 0.043, 0.0004),
        ("nearest-shot", "nearest-shot+constrained", "dev", -0.037, 0.0281, 0.021),
    ]
    return {
        "task": "resumes",
        "task_hash": "9f2c4be1a07d5e3386f1c2aa90b7d64e8f5531c07be2d9a4416c3f08e7a2b5d1",
        "seed": 0,
        "outcome": "chosen",
        "chosen": "lora+constrained",
        "prefer": None,
        "baseline": "zero-shot",
        "reason": "lora+constrained scored 0.874 on the sealed test, 0.697 above zero-shot "
        "(95% interval 0.666 to 0.728). On dev nothing cheaper came within 0.02 of it: the "
        "nearest, nearest-shot+constrained, was 0.240 below at nearly three times the cost. Its "
        "six minutes of training are paid back after 229 answers.",
        "confidence": 0.95,
        "tolerance": 0.02,
        "scorer": "fields",
        "splits": {"train": 240, "dev": 80, "test": 160},
        "minimum_detectable_difference": 0.0462,
        "test_looks": 1,
        "notes": [
            "The schema was inferred from the targets of the train split.",
            "3 exact duplicates were folded before splitting.",
        ],
        "warnings": [],
        "recipes": recipes,
        "comparisons": [
            {"a": a, "b": b, "split": split, "difference": d, "interval": [d - half, d + half],
             "p_adjusted": p, "num_examples": 160 if split == "test" else 80}
            for a, b, split, d, half, p in pairs
        ],
        "break_even": [
            {"a": "lora+constrained", "b": "nearest-shot+constrained", "calls": 229.0,
             "interval": [214.0, 247.0]},
            {"a": "lora+constrained", "b": "zero-shot", "calls": 1585.0,
             "interval": [1210.0, None]},
            {"a": "lora+constrained", "b": "tfidf", "calls": None, "interval": None},
            {"a": "tfidf", "b": "lora", "calls": 0.0, "interval": [0.0, 0.0]},
        ],
        "disagreements": [disagreement(i) for i in (17, 42, 3, 66, 71, 8)],
        "minutes": 11.4,
        "hardware": "2 cores, 8 GB memory, no GPU",
        "versions": {"steelyard": "0.1.0", "python": "3.11.7", "torch": "2.13.0",
                     "transformers": "5.23.0"},
    }  # fmt: skip


def labels() -> Verdict:
    """A label task that cannot be decided: two recipes too close, with few examples."""
    verdict = extraction()
    table = [("majority", 0.21, 0.058), ("tfidf", 0.823, 0.804), ("zero-shot", 0.584, 0.551),
             ("nearest-shot", 0.871, 0.866), ("lora", 0.879, 0.87)]  # fmt: skip
    recipes = []
    for i, (name, accuracy, f1) in enumerate(table):
        dev = measured(accuracy, 0.062, 90, {"accuracy": accuracy, "macro_f1": f1, "valid": 1.0})
        usd = None if name == "zero-shot" else 0.002 + 0.006 * i
        waited = {"p50": 21.0 + 40 * i, "p95": 44.0 + 51 * i}
        more = {"usd_per_1k": usd, "latency_ms": waited, "control": i < 3, "decoding": "labels"}
        recipes.append(recipe(name, dev, **more))
    pairs = [("lora", "nearest-shot", 0.008, 0.055, 0.81), ("lora", "tfidf", 0.056, 0.061, 0.16)]
    cases = [
        {"id": f"t-{i}", "split": "dev", "input": "The card I ordered has still not come.",
         "target": "card_arrival",
         "answers": [answer("lora", 1.0, "card_arrival"),
                     answer("nearest-shot", 0.0, "card_delivery_estimate")]}
        for i in range(2)
    ]  # fmt: skip
    return verdict | {
        "task": "support-intents", "outcome": "cannot_tell", "chosen": None,
        "prefer": "nearest-shot", "scorer": "label", "recipes": recipes,
        "reason": "lora and nearest-shot differ by 0.008 on dev (95% interval -0.047 to 0.063), "
        "less than the 0.079 that 90 examples could show. About 1,400 more would decide it.",
        "warnings": ["The rarest label has 2 examples in dev; its score says little."],
        "minimum_detectable_difference": 0.079, "test_looks": 0, "disagreements": cases,
        "comparisons": [{"a": a, "b": b, "split": "dev", "difference": d,
                         "interval": [d - h, d + h], "p_adjusted": p, "num_examples": 90}
                        for a, b, d, h, p in pairs],
        "break_even": [],
    }  # fmt: skip


def nothing_works() -> Verdict:
    failed = {"status": "failed", "why": "Training ended after step 12: the loss was not finite."}
    skipped = {"status": "skipped", "why": "4 examples do not fit into the model's context of "
               "2,048 tokens beside the longest input."}  # fmt: skip
    return extraction() | {
        "outcome": "nothing_works", "chosen": None, "comparisons": [], "disagreements": [],
        "reason": "No recipe scored above the control majority on dev.",
        "recipes": [
            recipe("majority", measured(0.31, 0.08, 40), control=True, usd_per_1k=0.0),
            recipe("zero-shot", measured(0.24, 0.07, 40), usd_per_1k=0.03, control=True),
            recipe("lora", setup_seconds=None, setup_usd=None, **failed),
            recipe("nearest-shot", setup_seconds=None, setup_usd=None, **skipped),
        ],
    }  # fmt: skip


def minimal() -> Verdict:
    return {
        "task": "t", "task_hash": "0", "seed": 0, "outcome": "cannot_tell", "chosen": None,
        "prefer": None, "baseline": None, "reason": "", "confidence": 0.95, "tolerance": 0.0,
        "scorer": "exact", "splits": {}, "minimum_detectable_difference": None, "test_looks": 0,
        "notes": [], "warnings": [], "recipes": [], "comparisons": [], "break_even": [],
        "disagreements": [], "minutes": None, "hardware": "", "versions": {},
    }  # fmt: skip


VERDICTS = {f.__name__: f for f in (extraction, labels, nothing_works, minimal)}


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
        "scores", "league", "cost", "differences", "inside", "learning", "examples", "method",
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
    row = charts.dots(
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
    cost = section(render(labels()), "cost")
    assert "no cost is known: zero-<wbr>shot." in cost
    assert '<text x="' in cost
    assert ">zero-shot</text>" not in cost


def test_many_recipes_are_numbered_on_a_phone() -> None:
    verdict = extraction()
    verdict["recipes"] += [r | {"name": r["name"] + "-2"} for r in verdict["recipes"]]
    page = Page(section(render(verdict), "cost"))
    assert len(page.all("li")) == 18
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
    rows = Page(section(render(extraction()), "method")).text("tr")
    assert rows[1:] == [
        "lora+constrainednearest-shot+constrained229 answers214 to 247",
        "lora+constrainedzero-shot1,585 answers1,210 or more",
        "lora+constrainedtfidfnever–",
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
    assert getattr(charts, f"as_{form}")(value) == wanted


def test_an_answer_is_marked_key_by_key_against_its_target() -> None:
    assert charts.marked_lines({"name": "Ada", "age": 3}, {"name": "Bob", "city": "Rome"}) == [
        ("≠", 'name: "Ada"'), ("−", 'city: "Rome"'), ("+", "age: 3"),
    ]  # fmt: skip
    assert charts.marked_lines("refund", "refund") == [(" ", "refund")]
    assert charts.marked_lines([1], {"a": 1}) == [("≠", "[1]")]
    assert charts.json_lines({"jobs": [{"title": "Nurse", "years": [2, 3]}], "x": {}}) == [
        "jobs: [", "  {", '    title: "Nurse"', "    years: [2, 3]", "  }", "]", "x: {}",
    ]  # fmt: skip
    assert charts.json_lines("") == ["(empty)"]
    assert charts.json_lines(None) == ["null"]


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
    assert charts.log_scale([0.01, 0.5]).ticks == (0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
    assert charts.log_scale([1e-6, 10.0]).ticks == (1e-06, 1e-04, 0.01, 1.0)
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
    assert [(p.cost, p.score) for p in charts.pareto(points)] == wanted


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 9))
def test_names_cover_neither_each_other_nor_a_point(seed: int, count: int) -> None:
    rng = random.Random(seed)
    spots = [(rng.uniform(60, 1000), rng.uniform(40, 380)) for _ in range(count)]
    names = ["nearest-shot+constrained"[: rng.randint(4, 24)] for _ in spots]
    boxes = [box for box, _ in charts.place(spots, names, lines=[], bounds=(40, 20, 1100, 400))]
    for i, (left, top, right, bottom) in enumerate(boxes):
        assert left >= 40
        assert right <= 1100 + 1e-6
        assert right - left == pytest.approx(charts.text_width(names[i]))
        for x, y in spots:
            assert not (left < x < right and top < y < bottom)
        for a, b, c, d in boxes[:i]:
            assert min(right, c) <= max(left, a) or min(bottom, d) <= max(top, b)


def ticks_of(costs: list[float]) -> str:
    points = [Point(f"p{i}", cost, 0.5 + i / 100, None) for i, cost in enumerate(costs)]
    page = Page(charts.scatter(points, width=1000, label=lambda v: f"${v:g}", look=""))
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
