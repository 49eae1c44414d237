"""Each check on a small sheet with the fault planted, and on one without."""

from __future__ import annotations

import dataclasses
import doctest
import random

import numpy as np
import pytest

from audit_sheets import codes, sheet_of
from fake_tasks import example, rows_of, write_task
from steelyard.audit import balance, duplicates, enough, findings, languages, leakage
from steelyard.audit.findings import Finding, in_order
from steelyard.audit.labels import confident_errors, suspects, wrong_labels
from steelyard.audit.sheet import read_sheet
from steelyard.core import Output
from steelyard.measure.statistics import examples_needed, minimum_detectable_difference
from steelyard.tasks import load_task

TEXTS = [
    "my parcel came late and the courier left it in the rain",
    "please refund the second charge on last month's invoice",
    "I cannot sign in because the password mail never arrives",
    "which documents do I need to open a savings account",
    "the window of flat seven was broken by the storm on Monday",
    "could you move my appointment with the dentist to Friday",
]


def tickets(count: int, *, noise: float = 0.0, seed: int = 1) -> list[tuple[str, str]]:
    rows = rows_of("label", count, seed=seed, noise=noise)
    return [(row["text"], row["target"]) for row in rows]


@pytest.mark.parametrize("module", [findings, languages])
def test_the_examples_of_the_docstrings_are_true(module):
    assert doctest.testmod(module).failed == 0


def test_findings_come_the_severest_first_and_in_their_order():
    rows = [Finding(s, c, "m", "r") for s, c in (("note", "a"), ("severe", "b"), ("note", "c"))]
    assert codes(in_order(rows)) == [("severe", "b"), ("note", "a"), ("note", "c")]


# ---------------------------------------------------------------- duplicates and leakage


def test_a_near_copy_in_dev_is_a_leak_and_one_within_train_is_not():
    train = [(text, "a") for text in TEXTS]
    dev = [("My parcel came late; the courier left it in the rain!", "a")]
    found = duplicates.near(sheet_of([*train, (TEXTS[2] + " .", "a")], dev))
    assert codes(found) == [("severe", "near-copies-in-dev"), ("note", "near-copies")]
    assert found[0].evidence == ("dev-0",)
    assert found[0].figures["pairs"][0][:2] == ["train-0", "dev-0"]
    assert found[1].evidence == ("train-2", "train-6")


def test_a_test_row_leaks_from_dev_too_and_different_rows_leak_nowhere():
    found = duplicates.near(sheet_of([(TEXTS[0], "a")], [(TEXTS[1], "a")], [(TEXTS[1] + "!", "a")]))
    assert codes(found) == [("severe", "near-copies-in-test")]
    different = [(text, "a") for text in TEXTS]
    assert duplicates.near(sheet_of(different[:3], different[3:])) == []


def test_one_input_with_two_targets_is_a_conflict_unless_one_answer_is_right_for_both():
    rows = [(text, "a") for text in TEXTS]
    found = duplicates.conflicts(sheet_of([*rows, (TEXTS[1].upper(), "b")]))
    assert codes(found) == [("severe", "conflicting-targets")]
    assert found[0].evidence == ("train-1", "train-6")
    assert duplicates.conflicts(sheet_of(rows)) == []
    both = [
        dataclasses.replace(example("x", TEXTS[0], "Rome"), also=("Roma",)),
        example("y", TEXTS[0] + "?", "Roma"),
    ]
    assert duplicates.conflicts(sheet_of(both, output=Output("text"))) == []


def test_copies_are_told_with_the_line_where_they_stand(tmp_path):
    rows = rows_of("label", 60)
    task = load_task(write_task(tmp_path, rows=[*rows, rows[3], rows[3]]))
    sheet = read_sheet(task)
    found = duplicates.copies(sheet)
    assert codes(found) == [("note", "copies")]
    assert [where.rpartition(":")[2] for where in found[0].evidence] == ["61", "62"]
    assert len(sheet.wheres) == 60
    assert sheet.wheres["row-4"].endswith("rows.jsonl:4")


def test_copies_across_given_splits_are_a_warning(tmp_path):
    rows = rows_of("label", 60)
    path = write_task(tmp_path, rows=rows[:40])
    write_task(tmp_path / "dev", rows=[*rows[40:], rows[0]])
    text = path.read_text(encoding="utf-8")
    path.write_text(
        text.replace('files = ["rows.jsonl"]', 'train = "rows.jsonl"\ndev = "dev/rows.jsonl"'),
        encoding="utf-8",
    )
    found = duplicates.copies(read_sheet(load_task(path)))
    assert codes(found) == [("warning", "copies-across-splits")]
    assert "1 of train in dev" in found[0].message
    assert found[0].evidence[0].endswith("rows.jsonl:1")


def test_a_group_that_is_cut_by_given_splits_is_severe(tmp_path):
    rows = [row | {"who": f"u{n % 9}"} for n, row in enumerate(rows_of("label", 60))]
    for more in ("", 'group = "who"\n'):
        path = write_task(tmp_path / f"x{len(more)}", rows=rows[:30])
        write_task(path.parent / "dev", rows=rows[30:50])
        write_task(path.parent / "test", rows=rows[50:])
        text = path.read_text(encoding="utf-8").replace(
            'files = ["rows.jsonl"]',
            f'{more}train = "rows.jsonl"\ndev = "dev/rows.jsonl"\ntest = "test/rows.jsonl"',
        )
        path.write_text(text, encoding="utf-8")
        found = leakage.by_group(read_sheet(load_task(path)))
        assert codes(found) == ([("severe", "groups-across-splits")] if more else [])
    assert len(found[0].evidence) == 30


def test_training_rows_later_than_what_is_measured_are_a_warning():
    days = [
        dataclasses.replace(example(f"e{n}", text, "a"), time=f"2026-05-0{n + 1}")
        for n, text in enumerate(TEXTS)
    ]
    assert leakage.by_time(sheet_of(days[:4], days[4:])) == []
    found = leakage.by_time(sheet_of(days[2:], days[:2]))
    assert codes(found) == [("warning", "trained-on-later-rows")]
    assert found[0].evidence == ("e2", "e3", "e4", "e5")


def test_a_test_input_that_stands_in_a_longer_training_text_is_found_and_a_template_is_not():
    rng = random.Random(0)
    words = [f"word{n}" for n in range(300)]
    train = [" ".join(rng.choices(words, k=60)) for _ in range(30)]
    piece = " ".join(train[4].split()[10:40])
    other = " ".join(rng.choices(words, k=30))
    found = leakage.by_text(sheet_of([(t, "a") for t in train], [(other, "a")], [(piece, "a")]))
    assert codes(found) == [("severe", "text-in-train")]
    assert found[0].figures["pairs"] == [["test-0", "train-4"]]
    frame = "we are sorry to hear that and will look into it as soon as we can"
    framed = [(f"{frame} {text}", "a") for text in train]
    assert leakage.by_text(sheet_of(framed, [(f"{frame} {other}", "a")])) == []


def test_a_label_that_stands_in_its_own_input_is_told():
    rows = tickets(60)
    given_away = [(f"[{target}] {text}", target) for text, target in rows]
    assert codes(leakage.by_answer(sheet_of(given_away))) == [("warning", "answer-in-input")]
    assert leakage.by_answer(sheet_of(rows)) == []
    listed = [(f"billing login shipping: {text}", target) for text, target in rows]
    assert leakage.by_answer(sheet_of(listed)) == []


# ---------------------------------------------------------------- labels


def test_confident_learning_by_hand():
    """Thresholds 0.7 and 0.6: row 2 is the only one that the other label claims."""
    probabilities = np.array([[0.9, 0.1], [0.95, 0.05], [0.25, 0.75], [0.4, 0.6], [0.55, 0.45]])
    own = np.array([0, 0, 0, 1, 1])
    known = np.ones(5, dtype=bool)
    assert confident_errors(probabilities, own, known) == [(2, 1, pytest.approx(0.5))]
    known[2] = False
    assert confident_errors(probabilities, own, known) == []


def test_planted_wrong_labels_are_found_and_a_clean_set_has_few():
    rows = tickets(180)
    wrong = set(random.Random(3).sample(range(180), 14))
    other = {"billing": "login", "login": "shipping", "shipping": "billing"}
    planted = [(t, other[y]) if n in wrong else (t, y) for n, (t, y) in enumerate(rows)]
    found = {int(s.row.id.split("-")[1]) for s in suspects(sheet_of(planted))}
    assert len(found & wrong) >= 12
    assert len(found - wrong) <= 4
    told = wrong_labels(sheet_of(planted))
    assert codes(told) == [("warning", "likely-wrong-labels")]
    first = told[0].figures["suspects"][0]
    assert first["suggested"] != first["target"]
    assert len(suspects(sheet_of(rows))) <= 5


def test_wrong_labels_are_not_looked_for_where_labels_are_too_few():
    assert suspects(sheet_of(tickets(4))) == []
    assert suspects(sheet_of([("a b", "x")] * 3, output=Output("text"))) == []


def test_labels_that_are_missing_few_or_everything_are_told():
    rows = [(text, "a") for text in TEXTS * 4] + [("storm", "b")]
    found = balance.labels(sheet_of(rows, [("rain", "c")]))
    assert codes(found) == [
        ("severe", "labels-not-in-train"),
        ("warning", "labels-with-few-rows"),
        ("warning", "one-label-dominates"),
        ("note", "label-balance"),
    ]
    assert found[0].evidence == ("dev-0",)
    assert found[1].evidence == ("train-24",)


def test_labels_that_shift_between_splits_are_told_and_chance_is_not():
    def rows(a: int, b: int) -> list[tuple[str, str]]:
        return [(f"x{n}", "a" if n < a else "b") for n in range(a + b)]

    shifted = balance.labels(sheet_of(rows(80, 20), rows(20, 80), rows(20, 80)))
    assert ("warning", "labels-shift-between-splits") in codes(shifted)
    even = balance.labels(sheet_of(rows(80, 20), rows(75, 25), rows(85, 15)))
    assert codes(even) == [("note", "label-balance")]


def test_fields_that_are_rare_constant_or_new_are_told():
    def row(n: int, **more: object) -> tuple[str, dict[str, object]]:
        return f"text {n}", {"city": f"c{n}", "country": "IT", "fax": None, **more}

    train = [row(n) for n in range(40)]
    dev = [row(40, skills=[{"name": "SQL"}])]
    found = balance.fields(sheet_of([*train, row(41, fax="1")], dev, output=Output("json")))
    assert codes(found) == [
        ("warning", "fields-rarely-filled"),
        ("warning", "fields-always-the-same"),
        ("warning", "fields-not-in-train"),
        ("note", "field-balance"),
    ]
    assert "fax, skills.name" in found[0].message
    assert "country" in found[1].message
    assert found[2].evidence == ("dev-0",)


# ---------------------------------------------------------------- languages and sizes


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("How do I change the address of my account?", "en"),
        ("Wie kann ich meine Adresse in der App ändern?", "de"),
        ("Comment est-ce que je peux changer mon adresse dans le compte ?", "fr"),
        ("¿Cómo puedo cambiar la dirección de mi cuenta?", "es"),
        ("Come posso cambiare il mio indirizzo nella app?", "it"),
        ("Hoe kan ik het adres van mijn rekening wijzigen?", "nl"),
        ("Как изменить адрес?", "cyrillic"),
        ("如何更改地址", "zh"),
        ("주소를 어떻게 바꾸나요", "ko"),
        ("", "unknown"),
        ("ACME 4711", "unknown"),
    ],
)
def test_languages_are_told_by_script_and_common_words(text, expected):
    assert languages.language(text) == expected


def test_a_language_that_train_lacks_is_a_warning():
    english = [("Where is the card that I ordered?", "a")] * 5
    german = [("Wo ist die Karte, die ich bestellt habe?", "a")] * 5
    found = languages.languages(sheet_of(english, german))
    assert codes(found) == [("warning", "languages-not-in-train"), ("note", "languages")]
    assert len(found[0].evidence) == 5
    assert codes(languages.languages(sheet_of(english, english))) == [("note", "languages")]


def test_what_can_be_told_counts_groups_and_says_how_many_rows_the_tolerance_needs():
    rows = [example(f"d{n}", f"x{n}", "a", group=f"g{n // 4}") for n in range(80)]
    [found] = enough.enough(sheet_of(tickets(9), rows, tickets(300), tolerance=0.05))
    assert found.severity == "warning"
    assert found.figures["dev"] == minimum_detectable_difference(20)
    assert found.figures["test"] == minimum_detectable_difference(300)
    assert found.figures["examples_for_tolerance"] == examples_needed(0.05)
    assert "dev (80 rows in 20 groups)" in found.message
    assert f"{examples_needed(0.05):,} independent rows" in found.message
