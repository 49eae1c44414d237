import doctest
import math
import re
import string
import sys
import textwrap
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rapidfuzz.distance import LCSseq
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu.metrics import CHRF
from sklearn.metrics import f1_score

from steelyard.core import Answer, Output, Score
from steelyard.errors import TaskError, TrialError
from steelyard.measure import contracts, scorers
from steelyard.measure.contracts import check_scorer
from steelyard.measure.scorers import (
    SCORERS,
    chrf,
    common_subsequence,
    contains,
    exact,
    get_scorer,
    rouge_l,
    tokens_f1,
)

TEXT = Output("text")
SENTENCES = [
    ("The cat sat on the mat.", "A cat is sitting on a mat"),
    ("Paris", "paris, France"),
    ("the cat the cat", "the cat"),
    ("", "something"),
    ("something", ""),
    ("Don't re-use $5 notes!", "dont reuse 5 notes"),
    ("b a c d", "a b c d"),
]
ascii_texts = st.text(alphabet="abc the.,-_'$ 1", max_size=25)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=6,
)


@pytest.mark.parametrize("module", [scorers, contracts])
def test_the_examples_in_the_docstrings_hold(module):
    assert doctest.testmod(module).failed == 0


# ---------------------------------------------------------------- finding a scorer


def test_the_known_scorers_are_these():
    names = {"exact", "label", "fields", "tokens_f1", "rouge_l", "chrf", "contains"}
    assert SCORERS.keys() == names
    assert all(scorer.name == name for name, scorer in SCORERS.items())


def test_an_unknown_scorer_is_told_the_known_ones_and_the_nearest():
    with pytest.raises(TaskError) as caught:
        get_scorer("lable", Output("label"))
    assert str(caught.value) == (
        'scorer "lable" is not known. Known: exact, label, fields, tokens_f1, rouge_l, chrf, '
        'contains, python:module:function. Did you mean "label"?'
    )


@pytest.mark.parametrize(("name", "output_type"), [("fields", "text"), ("label", "json")])
def test_a_scorer_that_does_not_fit_the_output_is_refused(name, output_type):
    with pytest.raises(
        TaskError, match=rf'scorer "{name}" needs .* this task\'s is "{output_type}"'
    ):
        get_scorer(name, Output(output_type))


@pytest.mark.parametrize("name", SCORERS)
def test_every_scorer_fits_an_output(name):
    output_type = {"label": "label", "fields": "json"}.get(name, "text")
    assert get_scorer(name, Output(output_type)) is SCORERS[name]


# ---------------------------------------------------------------- exact


@pytest.mark.parametrize(
    ("answer", "target", "value"),
    [
        (" yes\n", "yes", 1),
        ("Yes", "yes", 0),
        ({"a": [1, None]}, {"a": [1.0, None]}, 1),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}, 1),
        ({"a": 1}, {"a": 1, "b": None}, 0),
        ([1, 2], [2, 1], 0),
        (True, 1, 0),
        (0, False, 0),
        ([math.nan], [math.nan], 1),
        (math.nan, 0.0, 0),
        (None, "", 0),
        ("1", 1, 0),
    ],
)
def test_exact_by_hand(answer, target, value):
    assert exact(answer, target) == value


# ---------------------------------------------------------------- label

LABELS = ["card", "cash", "loan", "zzz"]


def label_scores(pairs):
    return [SCORERS["label"].score(Answer(predicted), target) for predicted, target in pairs]


def test_label_keeps_both_labels_and_ignores_only_white_space():
    assert SCORERS["label"].score(Answer(" card "), "card") == Score(
        1.0, {"valid": True, "predicted": "card", "target": "card"}
    )
    assert SCORERS["label"].score(Answer("Card"), "card").value == 0


@pytest.mark.parametrize("answer", [Answer("card", valid=False), Answer(None), Answer(["card"])])
def test_what_is_no_valid_label_is_wrong_and_is_kept_as_none(answer):
    score = SCORERS["label"].score(answer, "card")
    assert score.value == 0
    assert score.parts == {"valid": False, "predicted": None, "target": "card"}


@settings(max_examples=100)
@given(
    st.lists(
        st.tuples(st.sampled_from(LABELS), st.sampled_from(LABELS[:3])), min_size=1, max_size=12
    )
)
def test_macro_f1_and_accuracy_are_those_of_scikit_learn(pairs):
    predicted, targets = zip(*pairs, strict=True)
    summary = SCORERS["label"].summarise(label_scores(pairs))
    expected = f1_score(
        targets, predicted, labels=sorted(set(targets)), average="macro", zero_division=0
    )
    assert summary["macro_f1"] == pytest.approx(expected)
    assert summary["accuracy"] == pytest.approx(sum(p == t for p, t in pairs) / len(pairs))


def test_macro_f1_counts_an_invalid_answer_against_its_target_only():
    pairs = [("card", "card"), (None, "card"), ("cash", "cash"), ("cash", "loan")]
    summary = SCORERS["label"].summarise(label_scores(pairs))
    assert summary["valid"] == 3 / 4
    assert summary["accuracy"] == 2 / 4
    assert summary["macro_f1"] == pytest.approx((2 / 3 + 2 / 3 + 0) / 3)


def test_a_label_summary_of_nothing_has_no_numbers():
    assert SCORERS["label"].summarise([]) == {"valid": None, "accuracy": None, "macro_f1": None}


# ---------------------------------------------------------------- tokens_f1


def squad_tokens(value):
    """The normalisation as the paper words it, for ASCII, written apart from ours."""
    bare = "".join(c for c in value.lower() if c not in string.punctuation)
    return re.sub(r"\b(a|an|the)\b", " ", bare).split()


def squad_f1(answer, target):
    ours, theirs = squad_tokens(answer), squad_tokens(target)
    if not ours or not theirs:
        return float(ours == theirs)
    common = sum((Counter(ours) & Counter(theirs)).values())
    if common == 0:
        return 0.0
    precision, recall = common / len(ours), common / len(theirs)
    return 2 * precision * recall / (precision + recall)


@pytest.mark.parametrize(("answer", "target"), SENTENCES)
def test_tokens_f1_is_squads_on_sentences(answer, target):
    assert tokens_f1(answer, target) == pytest.approx(squad_f1(answer, target))


@settings(max_examples=150)
@given(ascii_texts.filter(squad_tokens), ascii_texts.filter(squad_tokens))
def test_tokens_f1_is_squads_on_ascii(answer, target):
    assert tokens_f1(answer, target) == pytest.approx(squad_f1(answer, target))


def test_tokens_f1_gives_an_empty_answer_nothing_where_an_article_is_the_target():
    assert tokens_f1("", "The") == 0
    assert tokens_f1("the", "The") == 1


def test_tokens_f1_reads_other_scripts():
    assert tokens_f1("«ПАРИЖ»", "Париж") == 1
    assert tokens_f1("東京都", "東京") == pytest.approx(4 / 5)
    assert tokens_f1("cafe\u0301", "CAFÉ") == 1


# ---------------------------------------------------------------- rouge_l


@pytest.mark.parametrize(("answer", "target"), SENTENCES)
def test_rouge_l_is_that_of_rouge_score_on_sentences(answer, target):
    expected = RougeScorer(["rougeL"]).score(target, answer)["rougeL"].fmeasure
    assert rouge_l(answer, target) == pytest.approx(expected)


@settings(max_examples=150)
@given(ascii_texts, ascii_texts)
def test_rouge_l_is_that_of_rouge_score_on_ascii(answer, target):
    if not re.search("[a-z1]", answer) or not re.search("[a-z1]", target):
        return  # no word at all: ours still says whether they are the same
    expected = RougeScorer(["rougeL"]).score(target, answer)["rougeL"].fmeasure
    assert rouge_l(answer, target) == pytest.approx(expected)


@settings(max_examples=150)
@given(
    st.lists(st.sampled_from("abcd"), max_size=90), st.lists(st.sampled_from("abcd"), max_size=90)
)
def test_the_common_subsequence_is_that_of_rapidfuzz(a, b):
    assert common_subsequence(a, b) == LCSseq.similarity(a, b)


def test_rouge_l_of_empty_texts_says_whether_both_are():
    assert rouge_l("", "") == 1
    assert rouge_l("", "a") == rouge_l("a", "") == 0


# ---------------------------------------------------------------- chrf


@pytest.mark.parametrize(("answer", "target"), SENTENCES)
def test_chrf_is_sacrebleus_corpus_score_of_one_sentence(answer, target):
    expected = CHRF().corpus_score([answer], [[target]]).score / 100
    assert chrf(answer, target) == pytest.approx(expected)


def test_chrf_of_two_empty_texts_is_one():
    assert chrf("", " ") == 1
    assert chrf("", "a") == 0


# ---------------------------------------------------------------- contains


@pytest.mark.parametrize(
    ("answer", "target", "value"),
    [
        ("The capital is PARIS.", "Paris", 1),
        ("I know", "no", 0),
        ("no, thanks", "no", 1),
        ("It was in 2012", "12", 0),
        ("C is nice", "C++", 0),
        ("I like C++ most", "C++", 1),
        ("東京都に住む", "東京", 1),
        ("line one\nline two", "one line", 1),
        ("Paris and Rome", ["rome", "paris"], 1),
        ("Paris", ["rome", "paris"], 0),
        ("anything", "", 0),
        ("", "", 1),
        ("anything", [], 0),
        ("", ["", ""], 1),
        ("room 5", 5, 1),
        (["Rome", 'say "hi"'], ['say "hi"', "Rome"], 1),
    ],
)
def test_contains_by_hand(answer, target, value):
    assert contains(answer, target) == value


# ---------------------------------------------------------------- the user's own function


@pytest.fixture
def user_module(tmp_path, monkeypatch):
    (tmp_path / "user_scores.py").write_text(
        textwrap.dedent(
            """
            import math
            not_callable = 3
            def same(answer, target): return answer == target
            def half(answer, target): return 0.5
            def one_argument(answer): return 1.0
            def fails(answer, target): return answer["missing"]
            def too_big(answer, target): return 1.5
            def below(answer, target): return -0.1
            def nan(answer, target): return math.nan
            def infinite(answer, target): return math.inf
            def huge(answer, target): return 10 ** 400
            def nothing(answer, target): return None
            def word(answer, target): return "0.5"
            """
        ),
        encoding="utf-8",
    )
    (tmp_path / "broken_scores.py").write_text("def f(:\n", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    for name in ("user_scores", "broken_scores"):
        sys.modules.pop(name, None)


@pytest.mark.usefixtures("user_module")
def test_a_users_function_scores_and_passes_the_contract():
    scorer = get_scorer("python:user_scores:same", TEXT)
    assert scorer.name == "python:user_scores:same"
    assert scorer.score(Answer("a"), "a") == Score(1.0, {"valid": True})
    assert scorer.score(Answer("b"), "a").value == 0
    assert get_scorer("python:user_scores:half", TEXT).score(Answer("b"), "a").value == 0.5
    check_scorer(scorer, [(Answer("a"), "a"), (Answer("b"), "a"), (Answer(None), "a")])


@pytest.mark.usefixtures("user_module")
def test_a_users_function_is_not_asked_about_an_invalid_answer():
    scorer = get_scorer("python:user_scores:fails", TEXT)
    assert scorer.score(Answer(None, valid=False), "a") == Score(0.0, {"valid": False})


@pytest.mark.usefixtures("user_module")
@pytest.mark.parametrize(
    ("function", "said"),
    [
        ("fails", "failed with TypeError"),
        ("too_big", "returned 1.5"),
        ("below", "returned -0.1"),
        ("nan", "returned nan"),
        ("infinite", "returned inf"),
        ("huge", "returned 1000"),
        ("nothing", "returned None"),
        ("word", "returned '0.5'"),
    ],
)
def test_a_users_function_that_fails_never_becomes_a_zero(function, said):
    scorer = get_scorer(f"python:user_scores:{function}", TEXT)
    with pytest.raises(TrialError) as caught:
        scorer.score(Answer("the answer"), "the target")
    message = str(caught.value)
    assert message.startswith(f"python:user_scores:{function} {said}")
    assert "on answer 'the answer' and target 'the target'" in message


@pytest.mark.usefixtures("user_module")
@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("python:", "is not of the form python:module:function"),
        ("python:user_scores", "is not of the form"),
        ("python:a:b:c", "is not of the form"),
        ("python:no_such_module_here:f", "cannot be imported (ModuleNotFoundError"),
        ("python:broken_scores:f", "cannot be imported (SyntaxError"),
        ("python:user_scores:missing", "has no function missing"),
        ("python:user_scores:not_callable", "has no function not_callable"),
        ("python:user_scores:one_argument", "must take an answer and a target"),
    ],
)
def test_a_function_that_cannot_be_called_is_an_error_of_the_task(name, said):
    with pytest.raises(TaskError) as caught:
        get_scorer(name, TEXT)
    assert f'scorer "{name}"' in str(caught.value)
    assert said in str(caught.value)


# ---------------------------------------------------------------- the contract, over all of ours

CASES = [
    *((Answer(answer), target) for answer, target in SENTENCES),
    (Answer("same", valid=False), "same"),
    (Answer(None), "target"),
    (Answer(3), "3"),
    (Answer(["a", "b"]), "a"),
    (Answer("\ud800"), "x"),
    (Answer("x" * 5000), "x"),
]
JSON_CASES = [
    (Answer(answer), {"a": 1, "b": ["x", "y"], "c": None})
    for answer in [{}, {"a": 1}, {"b": ["y", "x"], "a": "1"}, [], None, "a", {"z": {"z": {}}}]
]


@pytest.mark.parametrize("name", SCORERS)
def test_ours_keep_the_contract(name):
    check_scorer(SCORERS[name], JSON_CASES if name == "fields" else CASES)


@pytest.mark.parametrize("name", ["exact", "tokens_f1", "rouge_l", "chrf", "contains"])
def test_ours_for_any_output_keep_the_contract_on_json(name):
    check_scorer(SCORERS[name], JSON_CASES)


@pytest.mark.parametrize("name", SCORERS)
@settings(max_examples=60)
@given(answer=json_values, target=st.text(max_size=8))
def test_no_answer_makes_a_scorer_fail(name, answer, target):
    wanted = {"a": target} if name == "fields" else target
    check_scorer(SCORERS[name], [(Answer(answer), wanted)])


@pytest.mark.parametrize("name", SCORERS)
def test_an_answer_nested_too_deep_is_a_wrong_answer(name):
    deep = []
    for _ in range(200):
        deep = [deep]
    score = SCORERS[name].score(Answer(deep), {"a": 1} if name == "fields" else "a")
    assert score.value == 0
    assert score.parts["valid"] is False


@pytest.mark.parametrize("name", SCORERS)
def test_a_summary_says_the_share_of_valid_answers(name):
    target = {"a": "x"} if name == "fields" else "x"
    answers = [Answer(target), Answer(target), Answer(target), Answer(None, valid=False)]
    scores = [SCORERS[name].score(answer, target) for answer in answers]
    assert SCORERS[name].summarise(scores)["valid"] == 3 / 4
    assert SCORERS[name].summarise([])["valid"] is None


class Broken:
    """A scorer with one thing wrong with it."""

    name = "broken"

    def __init__(self, value, summary=None):
        self.value = value
        self.summary = {"valid": None} if summary is None else summary

    def score(self, answer, target):
        return Score(self.value(answer, target), {})

    def summarise(self, scores):
        return self.summary


def different_every_time():
    values = iter([0.1, 0.2])
    return lambda answer, target: next(values)


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (Broken(lambda answer, target: 1.2), "is not in"),
        (Broken(lambda answer, target: math.nan), "is not in"),
        (Broken(different_every_time()), "two scores differ"),
        (Broken(lambda answer, target: float(answer.value != target)), "target itself"),
        (Broken(lambda answer, target: float(not answer.valid)), "invalid scores more"),
        (Broken(lambda answer, target: 0.5, {"mean": 1}), "without the share"),
    ],
)
def test_the_contract_finds_what_is_broken(broken, said):
    with pytest.raises(AssertionError, match=said):
        check_scorer(broken, [(Answer("a"), "b")])
