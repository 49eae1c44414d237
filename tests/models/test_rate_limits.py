from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steelyard.models.rate_limits import Gate, advised_seconds, duration

NOON = datetime(2026, 11, 27, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, 0.0),
        ({"retry-after": "3"}, 3.0),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after": "Fri, 27 Nov 2026 12:01:30 GMT"}, 90.0),
        ({"retry-after": "Fri, 27 Nov 2026 11:00:00 GMT"}, 0.0),
        ({"retry-after": "later"}, 0.0),
        ({"retry-after": "-5"}, 0.0),
        ({"retry-after": "nan"}, 0.0),
        ({"retry-after-ms": "250"}, 0.25),
        ({"retry-after": "2", "retry-after-ms": "250"}, 2.0),
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "6m0s"}, 360.0),
        ({"x-ratelimit-remaining-requests": "1", "x-ratelimit-reset-requests": "6m0s"}, 0.0),
        ({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "20ms"}, 0.02),
        ({"ratelimit-remaining": "0", "ratelimit-reset": "12"}, 12.0),
        ({"ratelimit-remaining": "0"}, 0.0),
    ],
)
def test_what_headers_ask_for(headers, seconds):
    assert advised_seconds(headers, NOON) == pytest.approx(seconds)


@given(st.integers(0, 23), st.integers(0, 59), st.integers(0, 59))
def test_a_duration_is_the_sum_of_its_parts(hours, minutes, seconds):
    whole = hours * 3600 + minutes * 60 + seconds
    assert duration(f"{hours}h{minutes}m{seconds}s") == whole
    assert duration(str(whole)) == whole


@given(st.text())
def test_no_text_breaks_a_duration(text):
    assert duration(text) >= 0.0


def test_a_gate_is_shut_until_the_latest_of_what_it_heard():
    now = [100.0]
    gate = Gate(lambda: now[0])
    assert gate.seconds_left == 0.0
    assert gate.hear({"retry-after": "10"}) == 10.0
    gate.hear({"retry-after": "2"})
    now[0] = 104.0
    assert gate.seconds_left == 6.0
    now[0] = 111.0
    assert gate.seconds_left == 0.0
