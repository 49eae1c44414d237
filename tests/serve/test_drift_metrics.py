"""The last look at drift is shown among the metrics of a server."""

from __future__ import annotations

from steelyard.lifecycle import open_home

SIGN = {"name": "inputs", "p_value": 0.001, "alarm": True}
UNSEEN = {"name": "words", "p_value": None, "alarm": False}


def test_the_last_look_at_drift_is_among_the_metrics(home, serve):
    server = serve()
    assert b"steelyard_drift_p_value{" not in server.get("/metrics")[1]
    with open_home(home, lock=None) as opened:
        opened.refreshes.keep_drift("label@2", [SIGN, UNSEEN])
    status, text = server.get("/metrics")
    assert status == 200
    lines = text.decode().splitlines()
    assert 'steelyard_drift_p_value{release="label@2",sign="inputs"} 0.001' in lines
    assert 'steelyard_drift_alarm{release="label@2",sign="inputs"} 1' in lines
    assert 'steelyard_drift_alarm{release="label@2",sign="words"} 0' in lines
    assert not any("p_value" in line and "words" in line for line in lines)
