"""Rules of evidence: which hold, what they add up to, and whether they were right."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from fake_tasks import example, make_task, recipe
from steelyard.advice import (
    QUESTIONS,
    RULES,
    advise_on,
    compared,
    facts_of,
    parse_fact,
    track_record,
    with_derived,
)
from steelyard.advice.given import WAYS
from steelyard.advice.hindsight import kind_of
from steelyard.advice.rules import STRENGTHS, meets
from steelyard.core import Context, Limits, ModelSpec, Output, Weights
from steelyard.errors import InputError
from steelyard.recipes import presets

DERIVED = {"knowledge_gap", "oracle", "learns_in_context", "pays_back", "trainable"}
DERIVED |= {"shots_over_limit"}
TICKETS = make_task(
    [example(f"t{n}", "a", "yes" if n % 2 else "no") for n in range(200)],
    Output("label", ("yes", "no")),
    dev=tuple(example(f"e{n}", "b") for n in range(60)),
    limits=Limits(p95_ms=500.0),
)


# ---------------------------------------------------------------- the table


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_every_rule_names_known_facts_and_recipes_and_its_source(rule: Any) -> None:
    assert set(rule.when) <= set(QUESTIONS) | DERIVED
    assert {name.removesuffix("+constrained") for name in (*rule.first, *rule.skip)} <= set(WAYS)
    assert rule.first or rule.skip
    assert not set(rule.first) & set(rule.skip)
    assert rule.strength in STRENGTHS
    assert rule.source
    assert rule.say.endswith(".")
    if rule.strength in ("read", "abstract", "second-hand"):
        assert re.search(r"arXiv:\d{4}\.\d{5}", rule.source)
    for name, wanted in rule.when.items():
        question = QUESTIONS.get(name)
        if question is None:
            continue
        words = wanted if isinstance(wanted, list) else [wanted]
        if question.kind == "choice":
            assert set(words) <= set(question.choices)
        elif question.kind == "yes":
            assert isinstance(wanted, bool)
        else:
            assert isinstance(meets(1.0, wanted), bool)


def test_the_rules_speak_to_every_question_that_a_decision_turns_on() -> None:
    topics = {rule.about for rule in RULES}
    assert topics >= {"labels", "model", "knowledge", "freshness", "format", "vocabulary", "cost"}
    assert topics >= {"speed", "prototype", "flexibility", "privacy", "hardware", "expertise"}
    assert len({rule.name for rule in RULES}) == len(RULES)


def test_every_question_is_on_the_page() -> None:
    page = (Path(__file__).parents[2] / "docs" / "advise.md").read_text("utf-8")
    for question in QUESTIONS.values():
        assert f"| `{question.name}` | {question.expected} | {question.question} |" in page


@pytest.mark.parametrize(
    ("fact", "wanted", "holds"),
    [
        (19.0, "< 20", True), (20.0, "< 20", False), (20.0, "20..100", True),
        (100.0, "20..100", False), (100.0, ">= 100", True), (1.0, "<= 1", True),
        (30.0, "> 30", False), (True, True, True), (False, True, False), ("json", "json", True),
        ("text", "json", False), ("daily", ["weekly", "daily"], True), ("never", ["daily"], False),
    ],
)  # fmt: skip
def test_a_condition_holds_at_its_bounds(fact: Any, wanted: Any, holds: bool) -> None:
    assert meets(fact, wanted) is holds


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("labels", "many", "labels=many: expected a number from 0 on."),
        ("labels", "-3", "labels=-3: expected a number from 0 on."),
        ("labels", "nan", "labels=nan: expected a number from 0 on."),
        ("documents", "perhaps", "documents=perhaps: expected yes or no."),
        ("changes", "hourly", "changes=hourly: expected never, yearly, monthly, weekly, daily."),
        ("label", "3", 'Did you mean "labels"?'),
    ],
)
def test_a_wrong_fact_says_what_was_expected(name: str, value: str, said: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_fact(name, value)
    assert said in str(caught.value)


# ---------------------------------------------------------------- what they add up to


def names(**facts: Any) -> list[str]:
    return [rule.name for rule in advise_on(facts).rules]


def test_few_labels_go_to_prompts_and_many_to_weights() -> None:
    few, many = advise_on({"labels": 12.0}), advise_on({"labels": 500.0})
    assert few.bet == "zero-shot"
    assert "lora" in few.skip
    assert many.bet == "lora"
    assert "lora" not in many.skip
    assert [rule.strength for rule in few.rules] == ["second-hand"]


def test_facts_that_change_weekly_are_looked_up_whatever_the_labels() -> None:
    advice = advise_on({"labels": 500.0, "documents": True, "changes": "weekly"})
    assert advice.first[0] in ("rag", "rag+shots", "lora+rag")
    assert "cpt+lora" in advice.skip
    assert "lora" not in advice.first[:2]


def test_without_documents_nothing_with_passages_is_advised() -> None:
    advice = advise_on({"changes": "daily", "documents": False})
    assert not [way for way in (*advice.first, *advice.skip) if "rag" in way or "cpt" in way]


def test_a_rule_whose_facts_are_not_known_becomes_a_question() -> None:
    advice = advise_on({"output": "json"})
    assert "labels" in advice.unknown
    assert "output" not in advice.unknown
    # A rule that a known fact already rules out asks nothing.
    assert "classes" not in advice.unknown


def test_training_pays_after_two_epochs_of_labels_over_shots() -> None:
    # 2 · 3 epochs · 400 labels / 8 shots = 300 answers
    facts = {"labels": 400.0, "output": "label"}
    assert with_derived({**facts, "volume": 300.0})["pays_back"] == pytest.approx(1.0)
    assert "pays-back" in names(**facts, volume=3000.0)
    assert "never-pays-back" in names(**facts, volume=299.0)
    assert "pays_back" not in with_derived({**facts, "labels": 0.0, "volume": 5.0})


def test_what_was_measured_speaks_louder_than_what_was_assumed() -> None:
    assert "measured-no-gap" in names(knowledge_gap=0.0, oracle=0.3)
    assert "low-oracle" in names(knowledge_gap=0.2, oracle=0.3)
    assert "no-learning-in-context" in names(learns_in_context=-0.05)


def test_nothing_known_is_said_to_be_so() -> None:
    advice = advise_on({})
    assert (advice.bet, advice.first, advice.rules) == (None, (), ())
    assert advice.sentence == (
        "Nothing that is known speaks for one recipe over another: weigh them all."
    )


def test_few_rows_to_measure_on_are_told_before_measuring() -> None:
    [note] = advise_on({"dev": 60.0}).notes
    assert "With 60 examples to measure on, differences under 0.19 are" in note
    assert "cannot tell" in note
    assert advise_on({"dev": 0.0}).notes == ()


def test_a_task_says_what_its_file_holds() -> None:
    facts = facts_of(TICKETS)
    assert facts["labels"] == 200.0
    assert (facts["output"], facts["classes"], facts["p95_ms"]) == ("label", 2.0, 500.0)
    assert (facts["documents"], facts["users"], facts["hosted"]) == (False, False, False)
    assert "model_b" not in facts  # the fake has no size
    url = make_task(TICKETS.train, TICKETS.output, models=(ModelSpec("m", "m", url="http://m"),))
    assert facts_of(url)["hosted"] is True
    advice = advise_on(facts, fitting=set(presets(TICKETS)))
    assert set(advice.first) <= set(presets(TICKETS))
    assert advice.bet == "lora"


# ---------------------------------------------------------------- who was right

KNOWN = {
    "head": recipe("head", weights=Weights("head")),
    "lora": recipe("lora", weights=Weights("lora")),
    "zero-shot": recipe("zero-shot"),
    "rag": recipe("rag", context=Context(passages=3)),
    "lora+rag": recipe("lora+rag", context=Context(passages=3), weights=Weights("lora")),
    "tfidf": recipe("tfidf", model="tfidf"),
}


def test_a_recipe_has_one_kind() -> None:
    kinds = {name: kind_of(one) for name, one in KNOWN.items()}
    assert kinds == {
        "head": "a head", "lora": "weights", "zero-shot": "a prompt", "rag": "retrieval",
        "lora+rag": "weights and retrieval", "tfidf": "a control",
    }  # fmt: skip


def test_a_choice_of_the_same_kind_is_a_hit_and_another_one_a_miss() -> None:
    advice = advise_on({"labels": 500.0}, fitting=set(KNOWN))
    assert advice.bet == "lora"
    hit, miss = (compared(advice, name, KNOWN) for name in ("lora@small", "zero-shot"))
    assert (hit["hit"], hit["listed"]) == (True, True)
    assert (miss["hit"], miss["listed"]) == (False, False)
    assert miss["sentence"] == (
        "Before measuring, the bet was weights (lora), and it came to a prompt (zero-shot)."
    )
    assert compared(advice, None, KNOWN)["hit"] is None
    assert compared(advise_on({}), "lora", KNOWN)["hit"] is None


def test_the_record_counts_the_newest_verdict_of_each_task() -> None:
    advice = advise_on({"labels": 500.0}, fitting=set(KNOWN))
    hit, miss = (compared(advice, name, KNOWN) for name in ("lora", "zero-shot"))
    verdicts = [
        {"task": "a", "task_hash": "1", "prior": hit},
        {"task": "a", "task_hash": "1", "prior": miss},  # an older run
        {"task": "b", "task_hash": "2", "prior": miss},
        {"task": "c", "task_hash": "3"},  # of an earlier version
    ]
    record = track_record(verdicts)
    assert (record["hits"], record["misses"]) == (1, 1)
    assert record["rules"] == {"many-labels": {"hits": 1, "of": 2}}
    assert record["sentence"] == "The bet was right on 1 of 2 tasks."
    assert track_record([])["tasks"] == []
