"""The live table: what it says of each event, and that it is silent where there is no terminal."""

from __future__ import annotations

import io
from typing import Any

from rich.console import Console

from fake_tasks import example, make_task, weighed
from steelyard.cli.live import Board, watch
from steelyard.core import Output, RecipeReport
from steelyard.lifecycle.events import Ended, Measured, Planned, Started, Training
from steelyard.measure.scorers import SCORERS
from steelyard.measure.verdict import Weighed, report
from steelyard.training import Progress

TASK = make_task([example("t", "x")], Output("text"))
PLAN = Planned("tickets", ("majority", "lora"), 60, 20, 20, 0.31, ())


def line(one: Weighed) -> RecipeReport:
    return report(one, SCORERS["exact"], TASK, confidence=0.95, seed=0)


def shown(board: Board) -> str:
    out = io.StringIO()
    Console(file=out, width=110).print(board)
    return out.getvalue()


def after(*events: Any) -> str:
    board = Board()
    for event in (PLAN, *events):
        board.hear(event)
    return shown(board)


def test_the_plan_lists_every_recipe_and_what_can_be_seen():
    table = after()
    assert "tickets: 60 train, 20 dev, 20 test" in table
    assert "above 0.31" in table
    assert table.count("waiting") == 2


def test_before_there_is_a_plan_it_says_that_it_gets_ready():
    board = Board()
    assert "Getting ready" in shown(board)
    board.hear(Started("lora"))
    assert "Getting ready" not in shown(board)
    assert "Getting ready" not in after()


def test_it_says_what_is_running_and_how_far():
    assert "building" in after(Started("lora"))
    step = Training("lora", Progress(5, 40, 0.5, train_loss=1.25, held_out_loss=1.5))
    assert "training step 5/40, loss 1.250, held-out 1.500" in after(Started("lora"), step)
    measured = after(Started("lora"), Measured("lora", "dev", 12, 20, 0.75))
    assert "dev 12/20" in measured
    assert "0.750" in measured


def test_the_score_on_dev_stays_while_the_test_split_is_measured():
    dev, test = Measured("lora", "dev", 20, 20, 0.75), Measured("lora", "test", 1, 20, 0.1)
    table = after(Started("lora"), dev, test)
    assert "0.750" in table
    assert "0.1" not in table.replace("0.31", "")
    assert "test 1/20" in table


def test_a_finished_recipe_shows_its_interval_and_another_one_why_it_has_none():
    done = weighed("lora", [1.0, 0.0] * 20)
    low, high = line(done).dev.interval  # type: ignore[union-attr]
    assert f"0.500 [{low:.2f}, {high:.2f}]" in after(Started("lora"), Ended(line(done)))
    skipped = Weighed(done.recipe, False, "skipped", why="no time [left]")
    assert "skipped: no time [left]" in after(Started("lora"), Ended(line(skipped)))


def test_without_a_terminal_nothing_is_shown(capsys):
    with watch() as listen:
        for event in (PLAN, Started("lora"), Measured("lora", "dev", 1, 20, None)):
            listen(event)
    assert capsys.readouterr() == ("", "")
