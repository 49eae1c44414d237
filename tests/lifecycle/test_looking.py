"""`weigh` of a task with documents, citations, abstaining, users and their records."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from fake_tasks import stored, task_text, write_rows
from steelyard.core import Task, Verdict
from steelyard.errors import InputError
from steelyard.lifecycle import (
    chosen_system,
    learn,
    open_home,
    unlearn,
    weigh,
    write_report,
)
from steelyard.lifecycle.knowledge import COLLECTION
from steelyard.lifecycle.looking import collection, open_lookup, unseen
from steelyard.measure import diagnostics
from steelyard.recipes import DIAGNOSTICS, presets, select
from steelyard.tasks import load_task

UNKNOWN = "I do not know."
NUM_MILLS, NUM_DOCUMENTED = 120, 100
KNOWLEDGE = f"""
[knowledge]
documents = ["mills"]
evidence = "source"
abstain = "{UNKNOWN}"
cite = true
"""


def mills() -> list[tuple[str, int]]:
    chance = random.Random("mills")
    syllables = ["bar", "kel", "mon", "tir", "sul", "vor", "nax", "pid"]
    names: list[str] = []
    while len(names) < NUM_MILLS:
        name = "".join(chance.choices(syllables, k=4))
        names += [name] if name not in names else []
    return [(name, 1700 + number) for number, name in enumerate(names)]


def write_mills(folder: Path, knowledge: str = KNOWLEDGE) -> Path:
    """Questions about mills; the last ones stand in no document, and nobody knows."""
    (folder / "mills").mkdir(parents=True)
    rows = []
    for number, (name, year) in enumerate(mills()):
        known = number < NUM_DOCUMENTED
        if known:
            text = f"The mill {name} opened in {year}. It is old."
            (folder / "mills" / f"{name}.md").write_text(text, encoding="utf-8")
        source = [f"{name}.md"] if known else []
        target = [str(year), f"in {year}"] if known else []
        row = {"text": f"When did {name} open?", "target": target, "source": source}
        rows.append(row)
    random.Random("rows").shuffle(rows)
    write_rows(folder / "rows.jsonl", rows)
    path = folder / "task.toml"
    more = f'{knowledge}\n[score]\nscorer = "contains"\n'
    path.write_text(task_text("text", more=more), encoding="utf-8")
    return path


@dataclass(frozen=True)
class Weighed:
    task: Task
    home: Path
    verdict: Verdict

    @property
    def details(self) -> Mapping[str, Any]:
        return {r.name: r.dev.details for r in self.verdict.recipes if r.dev is not None}


@pytest.fixture(scope="module")
def weighed(tmp_path_factory: pytest.TempPathFactory) -> Weighed:
    folder = tmp_path_factory.mktemp("mills")
    task = load_task(write_mills(folder))
    return Weighed(task, folder / "home", weigh(task, home=folder / "home"))


def test_documents_bring_their_recipes_and_diagnostics_and_passages_win(weighed):
    assert [r.name for r in select(weighed.task)] == [
        *("majority", "tfidf", "zero-shot", "few-shot", "nearest-shot", "lora"),
        *("rag", "rag+shots", "lora+rag"),
        *("oracle-passages", "random-passages", "shuffled-shot"),
    ]
    assert {r.status for r in weighed.verdict.recipes} == {"finished"}
    assert weighed.verdict.chosen in ("rag", "rag+shots")
    scores = {r.name: r.dev.score for r in weighed.verdict.recipes if r.dev}
    assert scores["rag"] > 0.9
    assert scores["oracle-passages"] > 0.8  # the fake does not abstain where it sees nothing
    assert scores["random-passages"] < 0.5
    assert scores["zero-shot"] < 0.5


def test_weights_that_learn_documents_are_given_the_text_of_all_that_holds(weighed):
    task = weighed.task
    with open_home(weighed.home) as home:
        [cpt] = [r for r in select(task, ["cpt+lora"]) if r.name == "cpt+lora"]
        lookup = open_lookup(task, home, [cpt])
        assert len(lookup.texts) == NUM_DOCUMENTED
        name, year = mills()[0]
        assert (f"{name}.md", f"The mill {name} opened in {year}. It is old.") in lookup.texts
        [rag] = [r for r in select(task, ["rag"]) if r.name == "rag"]
        assert open_lookup(task, home, [rag]).texts == ()


def test_diagnostics_are_in_the_table_and_nowhere_in_the_decision(weighed):
    verdict = weighed.verdict
    apart = [r.name for r in verdict.recipes if r.diagnostic]
    assert apart == [name for name in DIAGNOSTICS if name != "undated-passages"]
    assert [r.name for r in verdict.recipes][-3:] == apart
    compared = {name for c in verdict.comparisons for name in (c.a, c.b)}
    costed = {name for b in verdict.break_even for name in (b.a, b.b)}
    shown = {a["recipe"] for d in verdict.disagreements for a in d["answers"]}
    chosen = {verdict.chosen, verdict.prefer, verdict.baseline}
    assert not (compared | costed | shown | chosen) & set(apart)
    assert all(name not in verdict.reason for name in apart)
    assert all(r.test is None for r in verdict.recipes if r.diagnostic)


def test_what_diagnostics_show_is_said_beside_the_verdict_with_intervals(weighed):
    found = {(d["a"], d["b"]): d for d in weighed.verdict.diagnostics}
    assert set(found) == {
        ("oracle-passages", "zero-shot"),
        ("oracle-passages", "rag"),
        ("rag", "random-passages"),
        ("few-shot", "shuffled-shot"),
    }
    missing = found["oracle-passages", "zero-shot"]
    assert missing["interval"][0] > 0
    assert missing["sentence"].endswith("the documents hold what the model alone does not know.")
    assert found["rag", "random-passages"]["sentence"].endswith(
        "it matters which passages are shown."
    )


def test_the_place_of_the_right_passage_is_told_beside_its_recall(weighed):
    places = weighed.details["rag"]["position"]
    answered = [row for row in weighed.task.dev if row.evidence]
    assert sum(place["num_examples"] for place in places.values()) == len(answered)
    assert (
        places["last"]["num_examples"] > len(answered) / 2
    )  # the best one is next to the question
    assert places["last"]["score"] > 0.9
    assert set(weighed.details["oracle-passages"]["position"]) == {"only"}


def test_a_diagnostic_is_measured_on_a_part_of_dev_and_the_number_is_shown(tmp_path, monkeypatch):
    monkeypatch.setattr(diagnostics, "DIAGNOSED", 7)
    task = load_task(write_mills(tmp_path / "task"))
    verdict = weigh(task, home=tmp_path / "home")
    counts = {r.name: r.dev.num_examples for r in verdict.recipes if r.dev}
    assert (counts["rag"], counts["random-passages"]) == (len(task.dev), 7)
    assert {found["num_examples"] for found in verdict.diagnostics} == {7}
    assert all("on 7 dev examples" in found["sentence"] for found in verdict.diagnostics)
    named = weigh(task, home=tmp_path / "home", recipes=["rag", "random-passages"])
    [found] = named.diagnostics
    assert found["num_examples"] == len(task.dev)


def test_a_diagnostic_that_is_best_is_not_chosen(tmp_path):
    folder = tmp_path / "task"
    task = load_task(write_mills(folder))
    verdict = weigh(task, home=tmp_path / "home", recipes=["oracle-passages"])
    scores = {r.name: r.dev.score for r in verdict.recipes if r.dev}
    assert max(scores, key=lambda name: scores[name]) == "oracle-passages"
    assert verdict.chosen != "oracle-passages"
    assert verdict.prefer != "oracle-passages"


def test_recall_is_told_of_recipes_with_passages_and_of_no_others(weighed):
    recall = {name: found.get("recall") for name, found in weighed.details.items()}
    assert recall["oracle-passages"] == 1.0
    assert recall["rag"] > 0.9
    assert recall["random-passages"] < 0.5
    assert recall["zero-shot"] is recall["majority"] is recall["few-shot"] is None


def test_abstaining_is_counted_four_ways_and_sums_to_the_rows(weighed):
    unanswerable = sum(row.target == UNKNOWN for row in weighed.task.dev)
    assert 0 < unanswerable < len(weighed.task.dev)
    for name, found in weighed.details.items():
        ways = found["abstaining"]
        assert sum(ways.values()) == len(weighed.task.dev), name
        assert ways["rightly_abstained"] <= unanswerable
    assert weighed.details["rag"]["abstaining"]["rightly_abstained"] == unanswerable
    assert weighed.details["zero-shot"]["abstaining"]["rightly_abstained"] == 0


def test_citations_point_at_passages_that_support_them(weighed):
    found = weighed.details["rag"]["citations"]
    assert found["cited"] == found["pointing"] == 1.0
    assert 0.4 < found["supported"] <= 1.0  # the fake marks the second of its sentences alone
    assert "citations" not in weighed.details["zero-shot"]


def test_every_row_keeps_what_it_was_shown_and_what_was_left_out(weighed):
    rows = {key: json.loads(body) for key, body in stored(weighed.home).items()}
    of_rag = [row for (_, recipe, _, _), row in rows.items() if recipe == "rag"]
    assert all(1 <= len(row["answer"]["sources"]) <= 3 for row in of_rag)
    source = of_rag[0]["answer"]["sources"][0]
    assert source["document"].endswith(".md")
    assert source["passage"].startswith(source["document"])
    assert source["text"].startswith("The mill ")
    of_plain = [row for (_, recipe, _, _), row in rows.items() if recipe == "zero-shot"]
    assert all(row["answer"]["sources"] is None for row in of_plain)


def test_the_report_of_it_is_written(weighed):
    with open_home(weighed.home) as home:
        files = write_report(home, weighed.verdict.to_json())
    assert "oracle-passages" in files.html.read_text(encoding="utf-8")


def test_a_second_run_reads_and_asks_nothing_again(weighed, monkeypatch):
    before = stored(weighed.home)
    again = weigh(weighed.task, home=weighed.home)
    assert stored(weighed.home) == before
    assert {**again.to_json(), "minutes": 0} == {**weighed.verdict.to_json(), "minutes": 0}


def test_the_chosen_system_answers_with_its_sources(weighed):
    name, year = mills()[0]
    with open_home(weighed.home) as home:
        system = chosen_system(weighed.task, home).system
        answer = system.answer(f"When did {name} open?")
    assert str(year) in answer.value
    assert "[" not in answer.value
    assert answer.text.endswith("]")
    cited = int(answer.text[-2])
    assert answer.sources is not None
    assert answer.sources[cited - 1].document == f"{name}.md"


def test_a_changed_document_is_another_task_and_its_new_text_is_what_is_found(tmp_path):
    folder = tmp_path / "task"
    path = write_mills(folder)
    first = load_task(path)
    name, year = mills()[0]
    (folder / "mills" / f"{name}.md").write_text(f"The mill {name} opened in 2001.")
    second = load_task(path)
    assert first.hash != second.hash
    recipes = [r for r in select(second) if r.name == "rag"]
    for task, expected in ((second, "2001"),):
        with open_home(tmp_path / "home") as home:
            index = open_lookup(task, home, recipes).documents
            assert index is not None
            [[found, *_]] = index.search([f"When did {name} open?"], 1)
        assert expected in found.text
        assert str(year) not in found.text


def test_what_cannot_be_read_is_noted_and_nothing_at_all_is_an_error(tmp_path):
    folder = tmp_path / "task"
    path = write_mills(folder)
    (folder / "mills" / "broken.pdf").write_bytes(b"%PDF-1.4 nothing more")
    task = load_task(path)
    recipes = [r for r in select(task) if r.name == "rag"]
    with open_home(tmp_path / "home") as home:
        [note] = open_lookup(task, home, recipes).notes
    assert "broken.pdf was not read: " in note
    for file in (folder / "mills").glob("*.md"):
        file.write_text(" ")
    with (
        open_home(tmp_path / "home") as home,
        pytest.raises(InputError, match=r"nothing can be read in .*mills"),
    ):
        open_lookup(task, home, recipes)


def test_the_collection_has_the_tasks_name_where_a_collection_can_have_it(weighed):
    assert collection(weighed.task) == "small"
    assert (weighed.home / "knowledge" / "small.db").is_file()
    names = {
        collection(replace(weighed.task, name=name)) for name in ("a b", "a/b", "../x", "é", "?")
    }
    assert len(names) == 5
    assert all(COLLECTION.fullmatch(name) for name in names)


def test_recipes_without_passages_read_no_documents(tmp_path):
    task = load_task(write_mills(tmp_path / "task"))
    plain = [r for r in select(task) if r.name in ("zero-shot", "nearest-shot")]
    with open_home(tmp_path / "home") as home:
        lookup = open_lookup(task, home, plain)
    assert (lookup.documents, lookup.records, lookup.seconds) == (None, None, 0.0)
    assert not (tmp_path / "home" / "knowledge").exists()


# ---------------------------------------------------------------- time


def write_owners(folder: Path, *, dated: bool = True) -> Path:
    """Who owned each mill, asked for two times in the same words: the documents' dates tell."""
    folder.mkdir(parents=True)
    documents, rows = [], []
    for number, (name, _) in enumerate(mills()[:60]):
        for owner, first, last in (("Ott", 1800, 1849), ("Ute", 1850, 1899)):
            text = f"The mill {name} belonged to {owner}{number}"
            dates = {"valid_from": f"{first}-01-01", "valid_to": f"{last}-12-31"} if dated else {}
            documents.append({"id": f"{name}-{first}", "text": text, **dates})
            row = {"text": f"Who owned {name}?", "target": f"{owner}{number}", "mill": name}
            rows.append({**row, "when": f"{first + 20}-06-01", "source": f"{name}-{first}"})
    write_rows(folder / "mills.jsonl", documents)
    write_rows(folder / "rows.jsonl", rows)
    knowledge = '[knowledge]\ndocuments = ["mills.jsonl"]\nevidence = "source"\n'
    text = task_text("text", more=f'{knowledge}\n[score]\nscorer = "contains"\n')
    text = text.replace("[output]", 'time = "when"\ngroup = "mill"\n\n[output]')
    path = folder / "task.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_answers_as_of_the_right_time_beat_those_that_ignore_time_in_one_weigh(tmp_path):
    task = load_task(write_owners(tmp_path / "task"))
    verdict = weigh(task, home=tmp_path / "home", recipes=["rag", "undated-passages"])
    scores = {r.name: r.dev.score for r in verdict.recipes if r.dev}
    assert scores["rag"] > 0.9
    assert scores["undated-passages"] < 0.7
    [found] = verdict.diagnostics
    assert (found["a"], found["b"]) == ("rag", "undated-passages")
    assert found["interval"][0] > 0
    assert found["sentence"].endswith("beats ignoring time.")
    assert verdict.chosen == "rag"


def test_ignoring_time_is_left_out_with_a_note_where_no_document_has_dates(tmp_path):
    task = load_task(write_owners(tmp_path / "task", dated=False))
    assert "undated-passages" in presets(task)
    verdict = weigh(task, home=tmp_path / "home", recipes=["rag", "undated-passages"])
    assert "undated-passages" not in {r.name for r in verdict.recipes}
    assert verdict.notes[-1] == "undated-passages was left out: no document has dates"


# ---------------------------------------------------------------- users


USERS = ("ann", "bob", "carl")


def write_orders(folder: Path) -> Path:
    """Questions about the own orders of three users: the same words, other answers."""
    things = [name for name, _ in mills()[:20]]
    folder.mkdir(parents=True)
    orders, rows = [], []
    for user in USERS:
        for number, thing in enumerate(things):
            code = f"{user}{number}"
            orders.append(
                {"user": user, "time": f"2026-01-{number + 1:02}", "text": f"{thing} has {code}"}
            )
            row = {"text": f"Where is the {thing}?", "target": code, "when": "2026-02-01"}
            rows.append({**row, "who": user, "group": code})
    random.Random("orders").shuffle(rows)
    write_rows(folder / "orders.jsonl", orders)
    write_rows(folder / "rows.jsonl", rows)
    text = task_text("text", more='\n[score]\nscorer = "contains"\n')
    text = text.replace("[output]", 'user = "who"\ntime = "when"\ngroup = "group"\n\n[output]')
    path = folder / "task.toml"
    path.write_text(f'{text}\n[knowledge]\nhistory = "orders.jsonl"\n', encoding="utf-8")
    return path


def test_a_users_own_orders_are_what_answers_and_never_anothers(tmp_path):
    task = load_task(write_orders(tmp_path / "task"))
    names = ["history", "nearest-shot"]
    verdict = weigh(task, home=tmp_path / "home", recipes=names)
    scores = {r.name: r.dev.score for r in verdict.recipes if r.dev}
    assert verdict.chosen == "history"
    assert scores["history"] > 0.9 > scores["nearest-shot"]
    thing = mills()[6][0]
    with open_home(tmp_path / "home") as home:
        system = chosen_system(task, home).system
        for user in USERS:
            answer = system.answer(f"Where is the {thing}?", user=user, time="2026-02-01")
            assert answer.text == f"{thing} has {user}6"
        for stranger in (None, "dora"):
            assert " has " not in system.answer(f"Where is the {thing}?", user=stranger).text
        early = system.answer(f"Where is the {thing}?", user="ann", time="2026-01-03")
        assert "ann6" not in early.text


def test_what_was_learned_is_shown_at_once_to_its_user_alone_until_it_is_forgotten(tmp_path):
    task = load_task(write_orders(tmp_path / "task"))
    weigh(task, home=tmp_path / "home", recipes=["nearest-shot"])
    asked = "Who sells zithers?"
    with open_home(tmp_path / "home") as home:
        body = home.database.verdicts()[0]["body"] | {"chosen": "nearest-shot"}
        home.database.add_verdict("told", body)
        before = chosen_system(task, home).system.answer(asked, user="ann").value
        learn(task, home, asked, "Zoe", user="ann")
        learn(task, home, "Who sells xylophones?", "Xaver")
        system = chosen_system(task, home).system
        assert system.answer(asked, user="ann").value == "Zoe"
        assert system.answer(asked, user="bob").value == "Xaver"
        assert unlearn(home, "ann") == 1
        assert unlearn(home, "ann") == 0
        assert unlearn(home, "") == 0
        system = chosen_system(task, home).system
        assert system.answer(asked, user="ann").value == "Xaver" != before


def test_an_accepted_answer_to_what_dev_or_test_asks_is_not_told_to_what_is_weighed(tmp_path):
    task = load_task(write_orders(tmp_path / "task"))
    with open_home(tmp_path / "home") as home:
        for split in ("train", "dev", "test"):
            learn(task, home, task.split(split)[0].input, "x")
        learn(task, home, "Something new", "x")
        lookup = open_lookup(task, home, [])
        asked = {row.input for row in (*task.dev, *task.test)}
        assert {a.input for a in lookup.accepted} & asked
        kept = unseen(lookup, task).accepted
        assert not {a.input for a in kept} & asked
        assert "Something new" in {a.input for a in kept}


def test_a_later_correction_takes_the_place_of_the_earlier_and_tasks_are_apart(tmp_path):
    task = load_task(write_orders(tmp_path / "task"))
    other = replace(task, name="other")
    with open_home(tmp_path / "home") as home:
        learn(task, home, "a", "first", user="ann")
        learn(task, home, "a", "second", user="ann", time="2026-03-01")
        learn(task, home, "a", "everyones")
        found = home.database.accepted(task.name)
        assert [(a.target, a.user) for a in found] == [("second", "ann"), ("everyones", None)]
        assert found[0].time == "2026-03-01"
        assert home.database.accepted(other.name) == ()


@pytest.mark.parametrize("target", ["", "  ", None, 5, ["x"]])
def test_an_accepted_answer_that_is_none_is_refused(tmp_path, target):
    task = load_task(write_orders(tmp_path / "task"))
    with open_home(tmp_path / "home") as home:
        with pytest.raises(InputError, match=r"the accepted answer .* is no text"):
            learn(task, home, "a", target)
        assert home.database.accepted(task.name) == ()


def test_documents_and_a_teacher_are_learned_from_when_they_are_named(weighed):
    names = ["cpt+lora", "distil", "lora+rag"]
    verdict = weigh(weighed.task, home=weighed.home, recipes=names)
    found = {r.name: r for r in verdict.recipes if r.name in names}
    assert {r.status for r in found.values()} == {"finished"}
    assert found["cpt+lora"].weights == "lora r=16, documents then examples"
    assert found["distil"].learning_curve["stage"] == "teacher"
    assert found["lora+rag"].dev.details["recall"] == 1.0
