"""publish, rollback, keys and feedback as they are typed; serve up to where it would answer."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from fake_tasks import write_task
from steelyard.store.traffic import Feedback, Request, Traffic, add_feedback, add_requests


@pytest.fixture
def weighed(folder, steelyard):
    write_task(folder, "text")
    assert steelyard("weigh", "task.toml", "--recipes", "nearest-shot,few-shot").code == 0
    return folder


def test_publish_says_what_it_published_and_rollback_goes_back(weighed, steelyard):
    first = steelyard("publish", "task.toml", "--recipe", "few-shot", "--json", "out.json")
    assert (first.code, first.err) == (0, "")
    assert "small@1 is the champion of small: few-shot" in first.out
    assert "0 answers differ" in first.out
    body = json.loads((weighed / "out.json").read_text(encoding="utf-8"))
    assert (body["id"], body["recipe"], body["parity"]["differing"]) == ("small@1", "few-shot", [])
    steelyard("publish", "task.toml", "--recipe", "nearest-shot", "--why", "better")
    back = steelyard("rollback", "small", "--why", "worse", "--json", "-")
    assert json.loads(back.out)["id"] == "small@1"
    assert "small@1 is the champion of small again: few-shot" in back.err


def test_what_cannot_be_published_is_said_with_the_exit_code_of_input(weighed, steelyard):
    for arguments in (["--as", "a b"], ["--recipe", "nothing"]):
        ran = steelyard("publish", "task.toml", *arguments)
        assert ran.code == 2
        assert ran.err.startswith("error: ")
    assert steelyard("rollback", "small").code == 2
    ran = steelyard("publish", "task.toml", "--format", "gguf")
    assert (ran.code, "--format gguf: name what reads it with --engine" in ran.err) == (2, True)


def test_a_key_is_shown_once_and_listed_without_its_secret(weighed, steelyard):
    made = steelyard("keys", "add", "ann", "--requests-per-minute", "5", "--json", "-")
    secret = json.loads(made.out)["key"]
    assert secret.startswith("sk-steelyard-")
    listed = steelyard("keys", "list", "--json", "-")
    [key] = json.loads(listed.out)["keys"]
    assert (key["name"], key["scopes"], key["requests_per_minute"]) == (
        *("ann", ["ask", "feedback"]),
        5,
    )
    assert secret not in listed.out + listed.err
    assert json.loads(steelyard("keys", "revoke", "ann", "--json", "-").out) == {"revoked": 1}
    wrong = steelyard("keys", "add", "ben", "--scopes", "ask,root")
    assert (wrong.code, "Known: ask, feedback, admin" in wrong.err) == (2, True)


def test_feedback_is_listed_accepted_exported_and_forgotten(weighed, steelyard):
    steelyard("publish", "task.toml")
    traffic = Traffic(weighed / ".steelyard" / "traffic.db")
    said = [Feedback(f"r{n}", correction="the baker from Rome", user=f"u{n}") for n in range(3)]
    with traffic.writing() as connection:
        for one in said:
            request = Request(one.response, "small@1", "/v1/x", one.user, "", "hi", "2026-05-01")
            add_requests(connection, [request])
            add_feedback(connection, one)
    traffic.close()
    listed = json.loads(steelyard("feedback", "list", "--json", "-").out)["feedback"]
    assert [row["id"] for row in listed] == [one.id for one in said]
    assert steelyard("feedback", "reject", said[2].id).code == 0
    accepted = steelyard("feedback", "accept", "--agreed", "2", "--json", "-")
    assert json.loads(accepted.out) == {"accepted": [said[0].id, said[1].id]}
    assert steelyard("feedback", "accept").code == 2
    rows = steelyard("feedback", "export").out.splitlines()
    assert [json.loads(row)["status"] for row in rows] == ["accepted", "accepted", "rejected"]
    gone = json.loads(steelyard("feedback", "forget", "u0", "--json", "-").out)
    assert (gone["requests"], gone["feedback"], gone["accepted"]) == (1, 1, 1)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--home", "nowhere"], "no home folder there"),
        ([], "nothing is published here yet"),
        (["nobody"], "nothing is published here yet"),
        (["--host", "0.0.0.0"], "there is no key"),
        (["--key-env", "NO_SUCH_KEY"], "expected an environment variable"),
    ],
)
def test_a_server_that_cannot_serve_says_why(weighed, steelyard, arguments, said):
    ran = steelyard("serve", *arguments)
    assert (ran.code, said in ran.err) == (2, True)


def test_a_port_that_is_taken_is_said_to_be_so(weighed, steelyard):
    import socket

    steelyard("publish", "task.toml")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ran = steelyard("serve", "--port", str(taken.getsockname()[1]))
    assert (ran.code, "cannot be listened at" in ran.err) == (2, True)


@pytest.mark.parametrize(("is_ready", "code", "said"), [(True, 0, "Ended."), (False, 130, "inter")])
def test_ctrl_c_ends_a_server_well_once_it_serves(
    weighed, steelyard, monkeypatch, is_ready, code, said
):
    def serve(_settings, *, home, ready):
        assert home == Path(".steelyard")
        if is_ready:
            catalogue = SimpleNamespace(
                listed=lambda: [("small", 0, None)], problems={}, stale=dict
            )
            ready(SimpleNamespace(catalogue=catalogue, needs_key=False), "http://127.0.0.1:1")
        raise KeyboardInterrupt

    monkeypatch.setattr("steelyard.serve.running.serve", serve)
    ran = steelyard("serve")
    assert (ran.code, ran.err.splitlines()[-1].startswith(said)) == (code, True)
    assert ("Models: small" in ran.err) == is_ready


def test_refresh_and_status_say_what_there_is(weighed, steelyard):
    assert "Nothing is published" in steelyard("status").out
    steelyard("publish", "task.toml", "--recipe", "nearest-shot")
    ran = steelyard("refresh", "task.toml", "--json", "out.json")
    assert (ran.code, ran.err) == (0, "")
    assert "Nothing changed for small@1 since it was published." in ran.out
    body = json.loads((weighed / "out.json").read_text(encoding="utf-8"))
    assert (body["name"], body["way"], body["champion"]) == ("small", "nothing", "small@1")
    due = steelyard("refresh", "--due", "--json", "-")
    assert json.loads(due.out) == {"refreshed": []}
    told = steelyard("status", "--json", "-")
    [one] = json.loads(told.out)["releases"]
    assert (one["release"], one["num_requests"]) == ("small@1", 0)
    assert one["last_refresh"]["status"] == "done"
    assert {sign["name"] for sign in one["signs"]} >= {"inputs", "words", "errors", "scores"}
    assert "too little seen: inputs, " in steelyard("status").out
    for wrong in ([], ["task.toml", "--due"]):
        assert steelyard("refresh", *wrong).code == 2
