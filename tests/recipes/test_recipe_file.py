"""Recipes of the user's own: read, written, and refused with file and line."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fake_tasks import example, make_task
from steelyard.core import (
    Context,
    Decoding,
    Knowledge,
    ModelSpec,
    Output,
    Recipe,
    Weights,
)
from steelyard.errors import InputError, TaskError
from steelyard.recipes import CONTROLS, presets, select
from steelyard.recipes.recipe_file import ANY_MODEL, read_recipe, recipe_toml, stored_recipe

TRAIN = [example(f"e{n}", f"text {n}", ("no", "yes")[n % 2]) for n in range(20)]
LABEL = make_task(TRAIN, Output("label", ("no", "yes")))
JSON = make_task(TRAIN, Output("json", schema={"type": "object"}))
USERS = tuple(replace(row, user="ann") for row in TRAIN)
RICH = replace(
    make_task(TRAIN, Output("text")),
    train=USERS,
    dev=USERS,
    knowledge=Knowledge(documents=(Path("d"),)),
)


def read(folder: Path, text: str, task: Any = LABEL) -> Recipe:
    (folder / "own.toml").write_text(text)
    return read_recipe(folder / "own.toml", presets(task), [m.name for m in task.models])


def test_a_recipe_begins_with_a_preset_and_says_what_differs(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        'name = "mine"\nlike = "lora"\n[weights]\nrank = 64\nrank_stabilised = true\n'
        "dropout = 0.1\nlearning_rate = 2e-4\n",
    )
    like = presets(LABEL)["lora"]
    assert found == replace(
        like,
        name="mine",
        model=ANY_MODEL,
        weights=Weights("lora", 64, rank_stabilised=True, dropout=0.1, learning_rate=2e-4),
    )


def test_a_recipe_like_none_is_a_plain_prompt_with_the_tasks_decoding(tmp_path: Path) -> None:
    assert read(tmp_path, 'name = "mine"') == Recipe("mine", ANY_MODEL, decoding=Decoding("labels"))
    assert read(tmp_path, 'name = "mine"', JSON).decoding == Decoding("free")


contexts = st.builds(
    Context,
    describe_output=st.booleans(),
    examples=st.sampled_from(["fixed", "nearest", "shuffled"]),
    num_examples=st.integers(1, 9),
    passages=st.integers(0, 9),
    search=st.sampled_from(["lexical", "vector", "hybrid"]),
    rerank=st.sampled_from(["none", "maxsim", "llm"]),
    relevance_floor=st.none() | st.floats(-5, 5),
    order=st.sampled_from(["best_last", "best_first"]),
    history=st.sampled_from(["last", "nearest"]),
    num_turns=st.integers(1, 9),
    budget_tokens=st.none() | st.integers(1, 999),
)
trained = st.builds(
    Weights,
    method=st.just("lora"),
    rank=st.integers(1, 99),
    alpha=st.integers(1, 99),
    rank_stabilised=st.booleans(),
    dora=st.booleans(),
    dropout=st.floats(0, 1),
    learning_rate=st.none() | st.floats(1e-9, 1),
    epochs=st.integers(1, 9),
    batch_size=st.integers(1, 99),
    warmup_share=st.floats(0, 1),
    weight_decay=st.floats(0, 1),
    patience=st.integers(1, 9),
    learn=st.lists(
        st.sampled_from(["documents", "examples", "teacher"]), min_size=1, unique=True
    ).map(tuple),
    evidence_share=st.none() | st.floats(0, 1),
    replay_share=st.floats(0, 1),
    teacher=st.none() | contexts,
    teacher_model=st.none() | st.just("fake"),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(context=contexts, weights=trained, name=st.text('ab"\\é -', min_size=1).map("x".__add__))
def test_what_was_written_is_read_as_it_was(
    tmp_path: Path, context: Context, weights: Weights, name: str
) -> None:
    recipe = Recipe(name, "fake", context, weights, Decoding("free"))
    assert read(tmp_path, recipe_toml(recipe), RICH) == recipe
    named = replace(recipe, name=f"{name}[labels=25%]@big")
    assert stored_recipe(recipe_toml(named)) == named


def test_a_preset_is_written_with_what_makes_it_and_nothing_else() -> None:
    assert recipe_toml(presets(JSON)["lora+constrained"]) == (
        'name = "lora+constrained"\nmodel = "default"\n\n[context]\ndescribe_output = false\n\n'
        '[weights]\nmethod = "lora"\n\n[decoding]\nkind = "constrained"\n'
    )


NEEDED = 'name = "mine"\n'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "own.toml: name is missing"),
        ("name = mine", "own.toml:1: not valid TOML"),
        ('name = "lora"', 'own.toml:1: name is "lora", which another has'),
        ('name = "a@b"', "without @, comma and brackets"),
        (NEEDED + 'like = "loar"', 'own.toml:2: like "loar" is not known'),
        (NEEDED + 'like = "tfidf"', 'like "tfidf" is not known'),
        (NEEDED + 'model = "big"', 'own.toml:2: model "big" is not known. Known: fake'),
        (NEEDED + "[wieghts]", 'own.toml:2: key "wieghts" is not known'),
        (NEEDED + "[weights]\nrnak = 4", 'own.toml:3: [weights] key "rnak" is not known'),
        (NEEDED + "[weights]\nrnak = 4", 'Did you mean "rank"?'),
        (NEEDED + "rank = 4", "It belongs in [weights]"),
        (NEEDED + "[context]\nrank = 4", "It belongs in [weights]"),
        (NEEDED + '[weights]\nmethod = "lroa"', 'Did you mean "lora"?'),
        (NEEDED + "[weights]\nrank = 0", "[weights] rank is 0. Expected a whole number of at"),
        (NEEDED + "[weights]\nrank = 1.5", "Expected a whole number"),
        (NEEDED + "[weights]\ndropout = 1.5", "Expected a number from 0 to 1"),
        (NEEDED + "[weights]\nlearning_rate = 0", "Expected a number > 0"),
        (NEEDED + '[weights]\ndora = "yes"', "Expected true or false"),
        (NEEDED + "[weights]\ndora = true", 'dora is true, and method is "none"'),
        (NEEDED + '[weights]\nmethod = "full"\nrank_stabilised = true', 'method is "full"'),
        (NEEDED + '[weights]\nmethod = "qlora"\ndora = true', 'method = "lora" alone'),
        (NEEDED + "[weights]\nlearn = []", "learn is []. Expected a list of texts"),
        (NEEDED + '[weights]\nlearn = ["examples", "examples"]', "Expected each once"),
        (NEEDED + '[weights]\nlearn = ["example"]', 'Did you mean "examples"?'),
        (NEEDED + '[weights]\nteacher_model = "big"', 'model "big" is not known. Known: fake'),
        (NEEDED + "[weights]\nevidence_share = 2", "Expected a number from 0 to 1"),
        (NEEDED + '[decoding]\nkind = "free"', "Expected labels for the output of this task"),
        (NEEDED + "[context]\nnum_examples = 3", 'num_examples is 3, and examples is "none"'),
        (NEEDED + '[context]\nexamples = "fixed"', "Expected a number from 1 on"),
        (NEEDED + "[context]\npassages = 3", "passages needs documents"),
        (NEEDED + '[context]\nhistory = "last"\nnum_turns = 2', "num_turns needs users"),
        (NEEDED + '[context]\nhistory = "last"', 'num_turns is 0, and history is "last"'),
    ],
)
def test_a_wrong_recipe_is_refused_with_its_place(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(TaskError) as caught:
        read(tmp_path, text)
    assert said in str(caught.value)
    assert "own.toml" in str(caught.value)


def test_calibration_is_for_labels(tmp_path: Path) -> None:
    calibrated = NEEDED + "[decoding]\ncalibrated = true"
    assert read(tmp_path, calibrated).decoding == Decoding("labels", calibrated=True)
    with pytest.raises(TaskError, match=r"calibrated is true\. Expected it with labels alone"):
        read(tmp_path, calibrated, JSON)


def test_a_file_that_is_not_there_or_no_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match=r"none\.toml: cannot be read"):
        read_recipe(tmp_path / "none.toml", presets(LABEL), [])
    (tmp_path / "own.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(TaskError, match=r"own\.toml: cannot be read"):
        read_recipe(tmp_path / "own.toml", presets(LABEL), [])
    (tmp_path / "own.toml").write_text("#" * 200_000)
    with pytest.raises(TaskError, match="is larger than"):
        read_recipe(tmp_path / "own.toml", presets(LABEL), [])


def test_files_are_selected_beside_names_and_run_on_every_model_or_the_one_they_name(
    tmp_path: Path,
) -> None:
    models = (ModelSpec("big", "fake"), ModelSpec("small", "fake:1"))
    task = replace(LABEL, models=models)
    free, bound = tmp_path / "free.toml", tmp_path / "bound.toml"
    free.write_text('name = "mine"\nlike = "lora"')
    bound.write_text('name = "bound"\nmodel = "small"')
    names = [recipe.name for recipe in select(task, [str(free), "lora@big", str(bound)])]
    plain = [name for name in CONTROLS if name != "zero-shot"]
    shown = ["zero-shot@big", "zero-shot@small", "lora@big", "mine@big", "mine@small"]
    assert names == [*plain, *shown, "bound@small"]
    found = {recipe.name: recipe for recipe in select(task, [str(bound)])}
    assert found["bound@small"].model == "small"


def test_two_files_with_one_name_are_refused(tmp_path: Path) -> None:
    for file in ("a.toml", "b.toml"):
        (tmp_path / file).write_text(NEEDED)
    with pytest.raises(InputError, match=r'b\.toml:1: name is "mine", which another has'):
        select(LABEL, [str(tmp_path / "a.toml"), str(tmp_path / "b.toml")])
