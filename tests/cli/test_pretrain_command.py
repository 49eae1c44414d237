"""`steelyard pretrain` as it is typed."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from steelyard.cli import pretrain as command
from steelyard.lifecycle.pretraining import Corpus, Point, Pretrained, Xz
from steelyard.training import Progress
from steelyard.training.scratch import Course
from steelyard.training.scratch.choices import Shape, course_of

COURSE = course_of(
    Shape(2, 512),
    given=False,
    seconds=60.0,
    tokens_per_second=500.0,
    corpus_tokens=9000,
    num_blocks=40,
)


def made(out: Path, **changes: Any) -> Pretrained:
    known: dict[str, Any] = {
        "folder": out,
        "course": COURSE,
        "corpus": Corpus(("learned",), ("held out",), ("photo.jpg: no text",)),
        "points": (Point(5, 0.5, 5.0, 2.5), Point(10, 1.0, 4.0, 1.9)),
        "bits_per_byte": 1.875,
        "best_step": 10,
        "trouble": None,
        "xz": Xz(2.138, 1.714),
        "seconds": 300.0,
    }
    return Pretrained(**known | changes)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What the command asked for; it is given `made` and changes nothing."""
    calls: list[dict[str, Any]] = []

    def pretrain(corpus: list[Path], _home: object, **more: Any) -> Pretrained:
        calls.append({"corpus": corpus, **more})
        return made(more["out"])

    monkeypatch.setattr(command, "pretrain", pretrain)
    return calls


def test_the_figure_stands_first_and_xz_and_every_number_after_it(asked, folder, steelyard):
    ran = steelyard("pretrain", "docs", "notes.txt", "--minutes", "2", "--size", "3", "--seed", "7")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.split("\n")[1] == "pretrained: 1.875 bits per byte"
    assert (
        "on 8 bytes of 1 documents that it never saw; xz -9: 2.138 of that text alone, " in ran.out
    )
    assert "1.714 of what it adds to the text that was learned from." in ran.out
    for choice in COURSE.choices:
        assert re.search(rf"^{re.escape(choice.name)} +{re.escape(choice.value)} ", ran.out, re.M)
    assert "· photo.jpg: no text" in ran.out
    [call] = asked
    assert call["corpus"] == [Path("docs"), Path("notes.txt")]
    assert (call["minutes"], call["layers"], call["seed"]) == (2.0, 3, 7)


def test_the_json_holds_the_curve_and_the_sources(asked, folder, steelyard):
    ran = steelyard("pretrain", "docs", "--json", "-")
    body = json.loads(ran.out)
    assert (body["bits_per_byte"], body["xz"]) == (1.875, {"alone": 2.138, "after_training": 1.714})
    assert body["curve"][1] == {"step": 10, "epoch": 1.0, "train_loss": 4.0, "bits_per_byte": 1.9}
    assert body["held_out"] == {"documents": 1, "bytes": 8}
    assert {"name", "value", "source"} == set(body["choices"][0])
    assert Course.from_json(body["course"]) == COURSE
    assert asked[0]["layers"] is None


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"best_step": 5}, "the weights of step 5 were kept"),
        ({"trouble": "the loss was nan at step 7"}, "ended early: the loss was nan at step 7"),
        ({"xz": Xz(2.0, None)}, "longer than what xz -9 looks back on"),
    ],
)
def test_what_was_out_of_the_ordinary_is_said(tmp_path, changes, said):
    console = Console(file=io.StringIO(), width=120)
    command.print_pretrained(console, made(tmp_path, **changes))
    assert said in console.file.getvalue()


def test_progress_is_said_on_a_terminal_alone():
    for is_terminal in (True, False):
        console = Console(file=io.StringIO(), force_terminal=is_terminal, width=120)
        teller = command.Teller(console)
        teller.chosen(COURSE)
        teller.stepped(Progress(1, 10, 0.1, 5.0))
        teller.stepped(Progress(2, 10, 0.2, 4.5))  # too soon after the last
        teller.stepped(Progress(3, 10, 0.3, 4.0, 3.5))  # a look is always told
        said = re.sub(r"\x1b\[[0-9;]*m", "", console.file.getvalue())
        assert ("Muon" in said) is is_terminal
        lines = [line for line in said.splitlines() if line.startswith("step ")]
        steps = ["step 1/10: loss 5.000", "step 3/10: loss 4.000, held-out 3.500 nats a token"]
        assert lines == (steps if is_terminal else [])


def test_a_corpus_that_is_not_there_is_an_error_of_usage(folder, steelyard):
    ran = steelyard("pretrain", "nowhere")
    assert ran.code == 2
    assert "there is no such file" in ran.err
