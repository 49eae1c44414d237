"""Which recipes fit a task, and how they are named and picked."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fake_tasks import example, make_task
from steelyard.core import (
    Context,
    Decoding,
    Knowledge,
    ModelSpec,
    Output,
    Preference,
    Recipe,
    Search,
    Weights,
)
from steelyard.errors import InputError
from steelyard.recipes import CONTROLS, DIAGNOSTICS, is_one_of, model_of, presets, select
from steelyard.recipes.presets import LONG, NEEDS, ON_REQUEST, PASSAGES, SHOTS

TRAIN = [example(f"e{n}", f"text {n}", ("no", "yes")[n % 2]) for n in range(20)]
LABEL = make_task(TRAIN, Output("label", ("no", "yes")))
JSON = make_task(TRAIN, Output("json", schema={"type": "object"}))
TEXT = make_task(TRAIN, Output("text"))
DOCUMENTS = Knowledge(documents=(Path("d"),))
TWO = replace(TEXT, models=(ModelSpec("big", "fake"), ModelSpec("small", "fake:1")))


@pytest.mark.parametrize(
    ("task", "names"),
    [
        (
            LABEL,
            "majority tfidf head zero-shot zero-shot+calibrated few-shot few-shot+calibrated "
            "nearest-shot searched-shot searched-shot+calibrated lora full tapt+lora distil "
            "shuffled-shot",
        ),
        (
            JSON,
            "majority tfidf zero-shot zero-shot+constrained few-shot few-shot+constrained "
            "nearest-shot nearest-shot+constrained searched-shot searched-shot+constrained "
            "lora lora+constrained full full+constrained "
            "tapt+lora tapt+lora+constrained distil distil+constrained shuffled-shot",
        ),
        (
            TEXT,
            "majority tfidf zero-shot few-shot nearest-shot searched-shot lora full tapt+lora "
            "distil shuffled-shot",
        ),
    ],
)
def test_each_output_type_has_its_recipes_in_the_order_in_which_they_run(task, names):
    assert list(presets(task)) == names.split()


def test_a_recipe_is_a_value_on_the_axes():
    table = presets(LABEL)
    assert table["zero-shot"] == Recipe("zero-shot", decoding=Decoding("labels"))
    assert table["few-shot+calibrated"] == Recipe(
        "few-shot+calibrated",
        context=Context(examples="fixed", num_examples=SHOTS["label"]),
        decoding=Decoding("labels", calibrated=True),
    )
    assert table["nearest-shot"].context == Context(examples="nearest", num_examples=SHOTS["label"])
    assert table["lora"].weights == Weights("lora")
    assert table["full"].weights == Weights("full")
    assert table["lora"].context == table["full"].context == Context(describe_output=False)
    assert presets(JSON)["few-shot"].context.num_examples == SHOTS["json"]
    assert presets(JSON)["lora+constrained"].decoding == Decoding("constrained")
    assert presets(TEXT)["few-shot"].decoding == Decoding("free")
    assert table["majority"].model == "majority"


def asked_by(user: str | None) -> Any:
    return tuple(replace(row, user=user, evidence=("d",)) for row in TRAIN)


def test_documents_and_users_bring_recipes_where_there_are_any():
    documents = Knowledge(documents=(Path("d"),))
    plain = set(presets(TEXT))
    assert {"rag", "history", "oracle-passages", "random-passages"} & plain == set()
    found = presets(replace(TEXT, knowledge=documents))
    more = {"rag", "rag+shots", "rag+sections", "lora+rag", "cpt+lora", "random-passages"}
    assert set(found) - plain == more
    assert found["rag"].context == Context(passages=PASSAGES)
    assert found["lora+rag"].context == Context(describe_output=False, passages=PASSAGES)
    assert found["lora+rag"].weights == Weights("lora")
    assert found["cpt+lora"].context == Context(describe_output=False)
    assert found["cpt+lora"].weights.learn == ("documents", "examples")
    with_evidence = replace(TEXT, knowledge=documents, dev=asked_by(None))
    assert set(presets(with_evidence)) - set(found) == {"oracle-passages"}
    assert presets(with_evidence)["oracle-passages"].context.search == "evidence"
    strangers = replace(TEXT, train=asked_by("ann"), dev=asked_by("bob"))
    assert "history" not in presets(strangers)
    assert "history" in presets(replace(strangers, knowledge=Knowledge(history=Path("h"))))
    assert "history" in presets(replace(strangers, dev=asked_by("ann")))
    assert "history" not in presets(replace(TEXT, knowledge=Knowledge(history=Path("h"))))


def test_what_is_looked_up_per_question_cannot_be_calibrated_and_can_be_constrained():
    documents = Knowledge(documents=(Path("d"),))
    assert "rag+calibrated" not in presets(replace(LABEL, knowledge=documents))
    assert "rag+constrained" in presets(replace(JSON, knowledge=documents))


def test_diagnostics_run_last_with_the_plain_decoding_and_only_when_they_can_say_something():
    assert list(presets(JSON))[-1] == "shuffled-shot"
    assert presets(JSON)["shuffled-shot"].decoding == Decoding("free")
    same = replace(TEXT, train=tuple(replace(row, target="yes") for row in TRAIN))
    assert "shuffled-shot" not in presets(same)
    assert [r.name for r in select(TEXT, ["shuffled-shot"])] == [*CONTROLS, "shuffled-shot"]
    assert set(DIAGNOSTICS) >= {"shuffled-shot"}
    assert all(is_one_of(r, DIAGNOSTICS) for r in select(TWO) if r.name.startswith("shuffled"))


def test_ignoring_time_is_a_diagnostic_where_rows_have_times_and_there_are_documents():
    timed = replace(TEXT, dev=(replace(TRAIN[0], time="2026-01-01"),))
    assert "undated-passages" not in presets(timed)
    assert "undated-passages" not in presets(replace(TEXT, knowledge=DOCUMENTS))
    table = presets(replace(timed, knowledge=DOCUMENTS))
    rag, undated = table["rag"].context, table["undated-passages"].context
    assert undated == replace(rag, as_of="any")
    assert (rag.as_of, str(undated)[-30:]) == ("asked", "3 passages (hybrid, of any date)"[-30:])


def test_other_instructions_are_recipes_beside_the_plain_one():
    table = presets(replace(LABEL, instructions=("B", "C")))
    names = [name for name in table if name.startswith("zero-shot")]
    assert names == [
        *("zero-shot", "zero-shot+calibrated"),
        *("zero-shot[instruction=2]", "zero-shot[instruction=2]+calibrated"),
        *("zero-shot[instruction=3]", "zero-shot[instruction=3]+calibrated"),
    ]
    assert table["zero-shot[instruction=3]"].context == Context(instruction="C")
    assert not is_one_of(table["zero-shot[instruction=2]"], CONTROLS)
    two = replace(TWO, instructions=("B",))
    chosen = [r.name for r in select(two, ["zero-shot[instruction=2]"])]
    assert chosen[-2:] == ["zero-shot[instruction=2]@big", "zero-shot[instruction=2]@small"]


def test_a_search_for_examples_is_weighed_when_it_is_asked_for():
    assert "searched-shot" not in {r.name for r in select(LABEL)}
    asked = {r.name: r for r in select(replace(LABEL, search=Search(examples=True)))}
    searched = Context(examples="searched", num_examples=SHOTS["label"])
    assert asked["searched-shot"].context == searched
    assert "searched-shot+calibrated" in asked
    assert [r.name for r in select(LABEL, ["searched-shot"])] == [*CONTROLS, "searched-shot"]


def test_a_reflection_model_brings_gepa():
    big = ModelSpec("big", "big-1", url="http://127.0.0.1:9/v1")
    found = presets(replace(JSON, search=Search(reflection=big)))
    assert found["gepa"].context == Context(reflection="big")
    assert "gepa+constrained" in found
    assert "gepa" not in presets(JSON)


def test_sections_are_for_long_texts_with_documents_or_by_name():
    known = replace(TEXT, knowledge=Knowledge(documents=(Path("d"),)))
    long = replace(known, train=(replace(TRAIN[0], target="x" * (LONG + 1)), *TRAIN[1:]))
    assert "rag+sections" not in {r.name for r in select(known)}
    [sections] = [r for r in select(long) if r.name == "rag+sections"]
    assert sections == Recipe(
        "rag+sections",
        model="fake",
        context=Context(passages=PASSAGES),
        decoding=Decoding("sections"),
    )
    assert [r.name for r in select(known, ["rag+sections"])] == [*CONTROLS, "rag+sections"]
    without = replace(long, knowledge=Knowledge())
    assert "rag+sections" not in presets(without)


@pytest.mark.parametrize(
    ("context", "words"),
    [
        (Context(), "instruction + output description"),
        (
            Context(passages=3, rerank="maxsim", relevance_floor=0.5, budget_tokens=512),
            "instruction + output description + 3 passages (hybrid, maxsim, from 0.5), 512 tokens",
        ),
        (
            Context(False, "nearest", 2, history="last", num_turns=4),
            "instruction + 2 nearest examples + 4 last turns of the user",
        ),
        (Context(instruction="Sort\n it."), '"Sort it." + output description'),
        (Context(False, reflection="big"), "instruction rewritten by big"),
        (
            Context(False, "searched", 2, instruction="w" * 99),
            f'"{"w" * 59}…" + 2 searched examples',
        ),
    ],
)
def test_a_context_says_what_it_is(context, words):
    assert str(context) == words


def test_all_keys_differ_so_that_no_two_recipes_are_one_system():
    for task in (LABEL, JSON, TEXT):
        keys = [recipe.key for recipe in presets(task).values()]
        assert len(set(keys)) == len(keys)


def test_fewer_rows_than_shots_are_shown_all():
    few = replace(LABEL, train=LABEL.train[:3])
    assert presets(few)["few-shot"].context.num_examples == 3


def test_none_named_means_all_that_fit_but_the_dear_ones():
    dear = [name for name in presets(TEXT) if name in ON_REQUEST]
    assert dear == ["searched-shot", "full", "tapt+lora", "distil"]
    assert [r.name for r in select(TEXT)] == [n for n in presets(TEXT) if n not in dear]
    assert [r.name for r in select(TEXT, dear)] == [*CONTROLS, *dear]
    with_documents = replace(TEXT, knowledge=Knowledge(documents=(Path("d"),)))
    names = {r.name for r in select(with_documents)}
    assert "lora+rag" in names
    assert "cpt+lora" not in names
    assert not {"distil", "distil+constrained", "tapt+lora+constrained"} & {
        r.name for r in select(JSON)
    }
    assert not {"full@big", "full@small"} & {r.name for r in select(TWO)}
    assert not {"full", "full+constrained"} & {r.name for r in select(JSON)}
    assert {r.model for r in select(TEXT)} == {"majority", "tfidf", "fake"}


def test_inputs_without_targets_and_preferences_bring_their_recipes_unasked():
    inputs = replace(LABEL, unlabelled=("more",))
    assert {r.name for r in select(inputs)} - {r.name for r in select(LABEL)} == {"distil"}
    pairs = replace(LABEL, preferences=(Preference("x", "yes", "no", "g"),))
    assert {r.name for r in select(pairs)} - {r.name for r in select(LABEL)} == {"lora+dpo"}
    assert presets(pairs)["lora+dpo"].weights.learn == ("examples", "preferences")
    assert "distil@big" in {r.name for r in select(replace(TWO, unlabelled=("more",)))}


def test_a_student_is_shown_the_instruction_alone_and_its_teacher_examples():
    distil = presets(LABEL)["distil"]
    assert distil.weights.learn == ("teacher",)
    assert distil.context == Context(describe_output=False)
    assert distil.weights.teacher == presets(LABEL)["nearest-shot"].context
    assert distil.contexts == (distil.context, distil.weights.teacher)
    assert presets(LABEL)["lora"].contexts == (distil.context,)


def test_the_controls_run_beside_those_named_and_in_the_tables_order():
    assert [r.name for r in select(LABEL, ["lora", "few-shot"])] == [*CONTROLS, "few-shot", "lora"]
    assert [r.name for r in select(LABEL, [])] == list(CONTROLS)
    assert [r.name for r in select(LABEL, ["tfidf", "tfidf"])] == list(CONTROLS)


def test_several_models_weigh_each_recipe_on_each():
    names = [r.name for r in select(TWO)]
    assert names[:4] == ["majority", "tfidf", "zero-shot@big", "zero-shot@small"]
    assert len(names) == 2 + 2 * 5
    assert {r.model for r in select(TWO)} == {"majority", "tfidf", "big", "small"}


def test_a_name_with_a_model_means_that_one_and_without_all_of_them():
    controls = ["majority", "tfidf", "zero-shot@big", "zero-shot@small"]
    assert [r.name for r in select(TWO, ["lora@small"])] == [*controls, "lora@small"]
    assert [r.name for r in select(TWO, ["lora"])] == [*controls, "lora@big", "lora@small"]


@pytest.mark.parametrize(
    ("task", "name", "hint"),
    [
        (TEXT, "few-shots", 'Did you mean "few-shot"?'),
        (JSON, "lora+constraint", 'Did you mean "lora+constrained"?'),
        (
            TEXT,
            "lora@fake",
            "Known: majority, tfidf, zero-shot, few-shot, nearest-shot, searched-shot, lora, full, "
            "tapt+lora, distil, shuffled-shot.",
        ),
        (TWO, "lora@tiny", "lora@big, lora@small"),
    ],
)
def test_an_unknown_name_is_refused_with_those_that_are_known(task, name, hint):
    with pytest.raises(InputError) as caught:
        select(task, ["tfidf", name])
    assert f'recipe "{name}" is not known' in str(caught.value)
    assert hint in str(caught.value)


@pytest.mark.parametrize(
    ("task", "name", "needs"),
    [
        (TEXT, "rag", "[knowledge] documents. Known: majority"),
        (JSON, "lora+rag+constrained", "[knowledge] documents. "),
        (JSON, "rag+sections", '[knowledge] documents and [output] type = "text". '),
        (TEXT, "head", '[output] type = "label". '),
        (TEXT, "lora+dpo", "[data] preferences. "),
    ],
)
def test_a_preset_that_does_not_fit_the_task_is_refused_with_what_it_needs(task, name, needs):
    with pytest.raises(InputError) as caught:
        select(task, [name])
    assert f'recipe "{name}" does not fit this task: it needs {needs}' in str(caught.value)


def test_what_presets_need_is_said_of_presets_alone():
    rows = tuple(replace(row, evidence=("a",), time="2026-01-01", user="u") for row in TEXT.train)
    rich = replace(
        replace(TEXT, train=rows, dev=rows, knowledge=DOCUMENTS),
        search=Search(reflection=ModelSpec("big", "fake")),
        preferences=(Preference("x", "yes", "no", "g"),),
    )
    assert set(NEEDS) - {"head"} <= set(presets(rich))
    assert not set(NEEDS) & set(presets(TEXT))


def test_the_model_of_a_recipe_is_the_tasks():
    lora = next(r for r in select(TWO) if r.name == "lora@small")
    assert model_of(TWO, lora) == ModelSpec("small", "fake:1")


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        (Weights(), "none"),
        (Weights("lora"), "lora r=16"),
        (
            Weights("full", learn=("documents", "examples")),
            "full, documents then examples",
        ),
        (Weights("lora", rank=64, rank_stabilised=True), "lora rank-stabilised r=64"),
        (Weights("qlora", dora=False), "qlora r=16"),
        (Weights("lora", rank_stabilised=True, dora=True), "lora rank-stabilised DoRA r=16"),
        (Weights("full"), "full"),
    ],
)
def test_weights_say_what_they_are(weights, words):
    assert str(weights) == words


def test_the_learning_rate_is_that_of_the_method_unless_one_is_given():
    assert Weights("full").peak_learning_rate == Weights("lora").peak_learning_rate / 10 == 1e-4
    assert Weights("full", learning_rate=3e-5).peak_learning_rate == 3e-5
    assert Weights("lora", learning_rate=0.0).peak_learning_rate == 0
