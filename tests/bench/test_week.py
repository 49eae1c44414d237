"""The simulated week goes as the docs say, and its picture has a mark for each refresh."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from bench_scripts import load_script

week = load_script("week")


@pytest.mark.slow
def test_each_day_gets_the_refresh_that_it_needs(tmp_path) -> None:
    events = list(week.week(tmp_path))
    happened = {
        (week.DAYS[e.day], e.name): week.kind(e) for e in reversed(events) if e.way != "nothing"
    }
    assert happened == {
        ("Tue", "inns"): "index",
        ("Wed", "desk"): "examples",
        ("Sat", "desk"): "examples",
        ("Sun", "desk"): "rolled back",
    }
    refused = [week.DAYS[e.day] for e in events if week.kind(e) == "refused"]
    assert refused == ["Fri"]
    assert [e.champion for e in events if e.name == "desk"] == [1, 1, 2, 2, 2, 3, 2, 2]
    assert len(events) == 15


def test_the_picture_names_every_day_release_and_refresh() -> None:
    events = [
        week.Event(0, "desk", "nothing changes", "nothing", 1, "Nothing changed."),
        week.Event(4, "desk", "poison", "nothing", 1, "It is worse <here>."),
    ]
    drawn = ElementTree.fromstring(week.draw(events))
    said = [element.text for element in drawn.iter("{http://www.w3.org/2000/svg}text")]
    assert {*week.DAYS, "desk", "nothing", "refused", "poison", "v1"} <= set(said)
    assert len(list(drawn.iter("{http://www.w3.org/2000/svg}circle"))) == 2
