"""Texts, limits, counts and keys by themselves."""

from __future__ import annotations

import doctest
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from steelyard.errors import InputError, RequestError
from steelyard.lifecycle import open_home
from steelyard.serve import encoding, events, gate, metrics, texts
from steelyard.serve.limits import Limits
from steelyard.serve.metrics import Metrics
from steelyard.serve.openapi import describe
from steelyard.serve.replies import REPLIES
from steelyard.serve.routes import ROUTES
from steelyard.serve.texts import at_most, visible
from steelyard.store.keys import ApiKey, find_key

STOPS = st.lists(st.text("ab\n", min_size=1, max_size=3), max_size=3)


@pytest.mark.parametrize(
    "module", [encoding, events, gate, metrics, texts], ids=lambda m: m.__name__
)
def test_the_examples_in_docstrings_are_true(module: ModuleType):
    found = doctest.testmod(module)
    assert found.attempted
    assert not found.failed


@given(st.text("ab\nc", max_size=30), STOPS)
def test_what_is_shown_while_a_text_grows_is_a_beginning_of_what_it_becomes(text, stops):
    shown, grown = "", text
    for end in range(len(text) + 1):
        now, stopped = visible(text[:end], stops, final=False)
        assert now.startswith(shown)
        shown = now
        if stopped:  # where the model is stopped, too
            grown = text[:end]
            break
    whole, _ = visible(grown, stops, final=True)
    assert whole.startswith(shown)
    assert not any(stop in whole for stop in stops)


@given(st.text("a b", max_size=30), st.integers(0, 10))
def test_a_text_is_cut_to_the_longest_beginning_within_its_tokens(text, limit):
    def count(part: str) -> int:
        return len(part.split())

    found = at_most(text, limit, count)
    assert text.startswith(found)
    assert count(found) <= limit
    assert found == text or count(text[: len(found) + 1]) > limit


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def key(**limits: int) -> ApiKey:
    return ApiKey("key-1", "ann", "h", ("ask",), **limits)


def test_requests_come_back_as_time_passes_and_a_clock_that_goes_back_gives_nothing():
    clock = Clock()
    limits, ann = Limits(clock), key(requests_per_minute=60)
    for _ in range(60):
        limits.take_request(ann)
    with pytest.raises(RequestError) as caught:
        limits.take_request(ann)
    assert caught.value.retry_after_s == pytest.approx(1.0)
    clock.now = -1000.0
    with pytest.raises(RequestError):
        limits.take_request(ann)
    clock.now = -999.0
    limits.take_request(ann)
    with pytest.raises(RequestError):
        limits.take_request(ann)


def test_tokens_may_go_beyond_the_limit_once_and_are_waited_for():
    clock = Clock()
    limits, ann = Limits(clock), key(tokens_per_minute=600)
    limits.take_request(ann)
    limits.take_tokens(ann, 1200)
    with pytest.raises(RequestError) as caught:
        limits.take_request(ann)
    assert caught.value.retry_after_s == pytest.approx(60.0)
    clock.now = 61.0
    limits.take_request(ann)


def test_a_key_without_limits_has_none():
    limits = Limits()
    for _ in range(1000):
        limits.take_request(key())
    limits.take_tokens(key(), 10**9)
    limits.take_request(key())


def test_a_histogram_counts_up_to_each_bound():
    found = Metrics()
    for seconds in (0.005, 0.006, 500.0):
        found.took(seconds, route="a")
    lines = found.text().splitlines()
    assert 'steelyard_request_seconds_bucket{route="a",le="0.005"} 1' in lines
    assert 'steelyard_request_seconds_bucket{route="a",le="0.02"} 2' in lines
    assert 'steelyard_request_seconds_bucket{route="a",le="+Inf"} 3' in lines
    assert 'steelyard_request_seconds_count{route="a"} 3' in lines


def test_a_label_cannot_end_its_line():
    found = Metrics()
    found.count("x_total", "X.", route='a"} 1\nevil')
    assert found.text().splitlines()[2] == 'x_total{route="a\\"} 1\\nevil"} 1'


def test_a_key_is_found_by_its_secret_alone_and_is_revoked_by_id_or_name(tmp_path: Path):
    with open_home(tmp_path / "home") as home:
        ann, secret = home.keys.add("ann", ["ask"], requests_per_minute=5)
        ben, other = home.keys.add("ben", ["admin"])
        assert home.keys.all() == [ann, ben]
        assert (ann.scopes, ann.requests_per_minute, ben.tokens_per_minute) == (("ask",), 5, None)
        assert [find_key(s, [ann, ben]) for s in (secret, other, ann.hash)] == [ann, ben, None]
        assert home.keys.revoke(ann.id) == 1
        assert home.keys.revoke("ben") == 1
        assert all(one.revoked_at for one in home.keys.all())
        with pytest.raises(InputError, match="In use: none"):
            home.keys.revoke("ben")


def test_what_is_said_of_replies_is_said_of_routes_that_are_there():
    assert set(REPLIES) <= {(route.method, route.path) for route in ROUTES}
    described = describe(ROUTES, "1")["paths"]
    for (method, path), schema in REPLIES.items():
        Draft202012Validator.check_schema(schema)
        said = described[path][method.lower()]["responses"]["200"]["content"]
        assert said["application/json"] == {"schema": schema}
    hangs = described["/health"]["get"]["responses"]["503"]["content"]
    assert hangs["application/json"] == {"schema": REPLIES["GET", "/health"]}
