"""A challenger with a share of the requests answers them under the champion's name."""

from __future__ import annotations

import pytest

from steelyard.lifecycle import find_release, open_home
from steelyard.lifecycle.publishing import promotions


@pytest.mark.parametrize(("share", "drawn", "expected"), [(0.4, 0.39, 3), (0.4, 0.41, 2)])
def test_a_share_of_the_requests_goes_to_the_challenger(
    home, serve, monkeypatch, share, drawn, expected
):
    with open_home(home) as opened:
        champion = find_release(opened, "label")
        lines = promotions(opened, "label", 0, "challenger", "refreshed", {"share": share})
        assert opened.releases.add(champion, lines).version == 3
    monkeypatch.setattr("steelyard.serve.catalogue.random.random", lambda: drawn)
    asked = [{"role": "user", "content": "invoice card refund"}]
    with serve().client() as client:
        reply = client.chat.completions.create(model="label", messages=asked)
        by_name = client.chat.completions.create(model="label@2", messages=asked)
    assert reply.model_extra["steelyard"]["release"] == f"label@{expected}"
    assert by_name.model_extra["steelyard"]["release"] == "label@2"


def test_a_challenger_without_a_share_is_asked_by_its_name_alone(home, serve, monkeypatch):
    with open_home(home) as opened:
        champion = find_release(opened, "label")
        lines = promotions(opened, "label", 0, "challenger", "cheaper", {"score": 1.0})
        opened.releases.add(champion, lines)
    monkeypatch.setattr("steelyard.serve.catalogue.random.random", lambda: 0.0)
    asked = [{"role": "user", "content": "invoice card refund"}]
    with serve().client() as client:
        reply = client.chat.completions.create(model="label", messages=asked)
    assert reply.model_extra["steelyard"]["release"] == "label@2"
