"""Fine-tuning as scripts for the hosted API do it: files, a job, its events, and the new model."""

from __future__ import annotations

import json
import runpy
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from sqlalchemy.exc import OperationalError

import fake_child
from servers import Running, running
from steelyard.errors import DoesNotFitError
from steelyard.lifecycle import background, tuning
from steelyard.serve.service import Settings
from steelyard.store.tuning import ACTIVE, Tuning

Serve = Callable[..., Running]
SCRIPT = Path(__file__).parents[2] / "examples" / "tickets" / "fine_tune.py"
SECONDS = 240.0  # for what takes a few on an idle machine
PAIRS = [("card", "lost"), ("cash", "fee"), ("top", "up"), ("rate", "balance")]


def user(text: str) -> list[Any]:
    return [{"role": "user", "content": text}]


def chats(pairs: list[tuple[str, str]]) -> bytes:
    """A file of chats of one question and one answer."""
    lines = [{"messages": [*user(q), {"role": "assistant", "content": a}]} for q, a in pairs]
    return "\n".join(map(json.dumps, lines)).encode()


def preferences(rows: list[tuple[str, str, str]]) -> bytes:
    """A file of questions with a better and a worse answer."""
    lines = [
        {
            "input": {"messages": user(question)},
            "preferred_output": [{"role": "assistant", "content": better}],
            "non_preferred_output": [{"role": "assistant", "content": worse}],
        }
        for question, better, worse in rows
    ]
    return "\n".join(map(json.dumps, lines)).encode()


def file_of(client: openai.OpenAI, content: bytes) -> str:
    return client.files.create(file=("rows.jsonl", content), purpose="fine-tune").id


def supervised(**numbers: Any) -> Any:
    return {"type": "supervised", "supervised": {"hyperparameters": numbers}}


def created(client: openai.OpenAI, model: str = "fake", **more: Any) -> Any:
    """A job over four pairs, unless another file is named."""
    more.setdefault("training_file", file_of(client, chats(PAIRS)))
    return client.fine_tuning.jobs.create(model=model, **more)


def until(done: Callable[[], Any]) -> Any:
    """What comes back once it is there."""
    deadline = time.monotonic() + SECONDS
    while not (found := done()):
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.05)
    return found


def ended(client: openai.OpenAI, id: str) -> Any:
    """The job once it has ended."""

    def look() -> Any:
        job = client.fine_tuning.jobs.retrieve(id)
        return None if job.status in ACTIVE else job

    return until(look)


def told(client: openai.OpenAI, id: str) -> list[str]:
    """The events of a job, the first one first."""
    return [event.message for event in client.fine_tuning.jobs.list_events(id)][::-1]


def said(client: openai.OpenAI, model: str, text: str) -> str:
    found = client.chat.completions.create(
        model=model, messages=user(text), temperature=0, max_tokens=12
    )
    return found.choices[0].message.content or ""


@pytest.fixture
def client(serve: Serve) -> Iterator[openai.OpenAI]:
    with serve(bases=("slow=fake:3000",)).client() as made:
        yield made


@pytest.fixture
def asking(shared: Running) -> Iterator[openai.OpenAI]:
    """A client of a server that no test has a job of."""
    with shared.client() as made:
        yield made


# ---------------------------------------------------------------- the whole way


def test_a_script_for_the_hosted_api_runs_unchanged(serve, home, monkeypatch, capsys):
    """On the fake, which answers with the queue of the ticket that shares most words."""
    server = serve(bases=("gpt-4o-mini=fake",))
    monkeypatch.setenv("OPENAI_BASE_URL", f"{server.url}/v1")
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), "--rows", "120", "--poll", "0.1"])
    runpy.run_path(str(SCRIPT), run_name="__main__")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("Created fine-tuning job: ftjob-")
    assert "Fine-tuning job started" in lines
    assert any("Step 3/3" in line and "validation loss=0.33" in line for line in lines)
    assert lines[-2] == "The job has successfully completed"
    name, _, rest = lines[-1].partition(" names the queue of ")
    assert name.startswith("ft:gpt-4o-mini:steelyard:tickets:")
    assert int(rest.split()[0]) > 12  # of 40; the commonest queue has 15 % of them

    with server.client() as client:
        assert name in {model.id for model in client.models.list()}
        assert client.models.retrieve(name).model_extra["steelyard"] == {"kind": "tuned"}


def test_a_model_answers_at_once_after_a_restart_and_until_it_is_deleted(home):
    with running(home) as server, server.client() as client:
        job = created(client, suffix="my cards!")
        assert (job.status, job.fine_tuned_model) == ("queued", None)
        model = ended(client, job.id).fine_tuned_model
        assert model.startswith("ft:fake:steelyard:my-cards:")
        assert said(client, model, "card") == "lost"
        assert said(client, "fake", "card") == "card"
    with running(home) as server, server.client() as client:
        assert said(client, model, "cash") == "fee"
        assert client.fine_tuning.jobs.retrieve(job.id).fine_tuned_model == model
        with pytest.raises(openai.BadRequestError, match="was fine-tuned already"):
            created(client, model)
        assert client.models.delete(model).deleted
        with pytest.raises(openai.NotFoundError):
            said(client, model, "cash")
        with pytest.raises(openai.BadRequestError, match="was not fine-tuned here"):
            client.models.delete("fake")
    with running(home) as server, server.client() as client:
        assert model not in {one.id for one in client.models.list()}


def test_a_job_says_what_it_was_made_with_and_what_came_of_it(client):
    training, validation = file_of(client, chats(PAIRS)), file_of(client, chats(PAIRS[:1]))
    job = created(
        client,
        training_file=training,
        validation_file=validation,
        seed=7,
        method=supervised(n_epochs=2, batch_size=3, learning_rate_multiplier=0.5),
        metadata={"run": "a"},
    )
    done = ended(client, job.id)
    assert (done.status, done.model, done.seed) == ("succeeded", "fake", 7)
    assert (done.training_file, done.validation_file) == (training, validation)
    numbers = done.hyperparameters
    assert (numbers.n_epochs, numbers.batch_size, numbers.learning_rate_multiplier) == (2, 3, 0.5)
    assert done.method.supervised.hyperparameters.n_epochs == 2
    assert (done.metadata, done.error, done.integrations) == ({"run": "a"}, None, [])
    # A word is a token of the fake, and an answer has its end: 4 rows of 1 + 2, twice.
    assert done.trained_tokens == 24
    assert done.finished_at >= done.created_at
    [result] = done.result_files
    assert client.files.retrieve(result).purpose == "fine-tune-results"
    lines = client.files.content(result).text.splitlines()
    assert lines == ["step,train_loss,valid_loss", "1,1.00000,1.00000", "2,0.50000,0.50000"]
    [checkpoint] = client.fine_tuning.jobs.checkpoints.list(job.id)
    assert checkpoint.fine_tuned_model_checkpoint == done.fine_tuned_model
    assert (checkpoint.step_number, checkpoint.metrics.full_valid_loss) == (2, 0.5)
    assert "1 rows of the validation file are in the training file too" in told(client, job.id)


def test_events_come_in_pages_and_hold_figures(client):
    job = created(client, method=supervised(n_epochs=5))
    ended(client, job.id)
    pages = client.fine_tuning.jobs.list_events(job.id, limit=2)
    assert (len(pages.data), pages.has_more) == (2, True)
    events = list(pages)
    assert len({event.id for event in events}) == len(events)
    metrics = [event.data for event in events if event.type == "metrics"]
    assert [one["step"] for one in metrics] == [5, 4, 3, 2, 1]
    assert metrics[0] == {
        "step": 5,
        "total_steps": 5,
        "train_loss": 0.2,
        "valid_loss": 0.2,
        "full_valid_loss": 0.2,
    }
    other = created(client)
    assert [one.id for one in client.fine_tuning.jobs.list(limit=1)] == [other.id, job.id]
    ended(client, other.id)


# ---------------------------------------------------------------- jobs that end otherwise


def test_jobs_run_one_at_a_time_and_a_cancelled_one_leaves_no_model(client, home):
    slow = created(client, "slow")
    until(lambda: client.fine_tuning.jobs.retrieve(slow.id).status == "running")
    second = created(client)
    time.sleep(0.3)
    assert client.fine_tuning.jobs.retrieve(second.id).status == "queued"
    assert client.fine_tuning.jobs.checkpoints.list(slow.id).data == []
    gone = client.fine_tuning.jobs.cancel(slow.id)
    assert (gone.status, gone.fine_tuned_model) == ("cancelled", None)
    assert ended(client, second.id).status == "succeeded"
    assert told(client, slow.id)[-1] == "The job was cancelled"
    with pytest.raises(openai.BadRequestError) as caught:
        client.fine_tuning.jobs.cancel(second.id)
    assert caught.value.code == "job_already_completed"
    assert not [m.id for m in client.models.list() if m.id.startswith("ft:slow")]
    until(lambda: not list((home / "tuning").iterdir()))
    assert not list((home / "jobs").iterdir())


def test_a_job_that_waits_is_cancelled_before_it_begins(client):
    slow, waiting = created(client, "slow"), created(client)
    assert client.fine_tuning.jobs.cancel(waiting.id).status == "cancelled"
    client.fine_tuning.jobs.cancel(slow.id)
    assert "Fine-tuning job started" not in told(client, waiting.id)


def test_a_server_that_ends_leaves_its_job_to_the_next_one(home):
    bases = ("slow=fake:700",)
    with running(home, Settings(bases=bases)) as server, server.client() as client:
        file = file_of(client, chats(PAIRS))
        job = created(client, "slow", training_file=file, method=supervised(n_epochs=1))
        until(lambda: client.fine_tuning.jobs.retrieve(job.id).status == "running")
        client.files.delete(file)  # what is learned was read when the job was made
    with running(home, Settings(bases=bases)) as server, server.client() as client:
        assert ended(client, job.id).status == "succeeded"
        lines = told(client, job.id)
    again = "The server ended while this job was running; it is queued again, from its beginning"
    assert lines.count(again) == 1
    assert lines.count("Fine-tuning job started") == 2


def test_what_was_begun_without_a_row_is_removed_at_the_next_start(home):
    bases = ("slow=fake:0",)
    with running(home, Settings(bases=bases)) as server, server.client() as client:
        job = ended(client, created(client, "slow").id)
    (home / "tuning" / "ftjob-none").mkdir(parents=True)
    (home / "tuning" / "ftjob-none" / "job.json").write_text("{}")
    with running(home, Settings(bases=bases)) as server, server.client() as client:
        assert not (home / "tuning" / "ftjob-none").exists()
        assert client.fine_tuning.jobs.retrieve(job.id).status == "succeeded"


def test_a_job_whose_end_could_not_be_written_is_done_again(client, monkeypatch):
    move, failed = Tuning.move, []

    def full(self: Tuning, id: str, status: str, **more: Any) -> bool:
        if status == "succeeded" and not failed:
            failed.append(id)
            raise OperationalError("UPDATE", {}, Exception("disk full"))
        return move(self, id, status, **more)

    def broken(*_: Any) -> None:
        raise OperationalError("UPDATE", {}, Exception("disk full"))

    monkeypatch.setattr(background, "AGAIN_SECONDS", 0.05)
    monkeypatch.setattr(tuning.Tuner, "_fail", broken)
    monkeypatch.setattr(Tuning, "move", full)
    job = ended(client, created(client).id)
    assert (job.status, failed) == ("succeeded", [job.id])


def test_a_job_fails_with_its_reason_and_the_next_one_runs(client, monkeypatch):
    def no_room(*_: Any) -> None:
        raise DoesNotFitError("training needs 900 GB and there are 4")

    with monkeypatch.context() as patch:
        patch.setattr(tuning, "check_room", no_room)
        job = ended(client, created(client).id)
    assert (job.status, job.fine_tuned_model, job.trained_tokens) == ("failed", None, None)
    assert (job.error.code, job.error.message) == (
        "does_not_fit",
        "training needs 900 GB and there are 4",
    )
    assert told(client, job.id)[-1] == "The job failed: training needs 900 GB and there are 4"
    assert ended(client, created(client).id).status == "succeeded"


def test_a_failure_that_is_no_error_of_ours_is_told_by_its_kind_alone(client, monkeypatch):
    def broken(*_: Any) -> None:
        raise RuntimeError("secret words")

    with monkeypatch.context() as patch:
        patch.setattr(tuning, "check_room", broken)
        job = ended(client, created(client).id)
    assert (job.error.code, job.error.message) == ("server_error", "the job failed (RuntimeError)")


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("more", "code", "param"),
    [
        ({"model": "nobody"}, "model_not_available", "model"),
        ({"model": "text"}, "model_not_available", "model"),
        ({"model": "fake-embedder"}, "model_not_available", "model"),
        ({"training_file": "file-none"}, None, "training_file"),
        ({"training_file": "../steelyard.db"}, None, "training_file"),
        ({"validation_file": "file-none"}, None, "validation_file"),
        (
            {"integrations": [{"type": "wandb", "wandb": {"project": "x"}}]},
            "unsupported_parameter",
            "integrations",
        ),
        ({"method": {"type": "reinforcement"}}, "invalid_type", "method.type"),
        ({"method": {"type": "dpo"}}, "invalid_training_file", "training_file"),
        ({"method": {"type": "dpo", "supervised": {}}}, "invalid_value", "method"),
        ({"suffix": "x" * 65}, "invalid_type", "suffix"),
        ({"seed": -1}, "invalid_type", "seed"),
        ({"hyperparameters": {"n_epochs": 0}}, "invalid_type", None),
        ({"hyperparameters": {"n_epochs": "many"}}, "invalid_type", None),
        ({"hyperparameters": {"learning_rate_multiplier": -1}}, "invalid_type", None),
        ({"hyperparameters": {"rank": 4}}, "unknown_parameter", "hyperparameters.rank"),
        (
            {"hyperparameters": {"n_epochs": 1}, "method": supervised(n_epochs=2)},
            "invalid_value",
            "hyperparameters",
        ),
    ],
)
def test_what_cannot_be_done_is_refused_by_name(asking, more, code, param):
    with pytest.raises(openai.BadRequestError) as caught:
        created(asking, **more)
    assert caught.value.code == code
    if param is not None:
        assert caught.value.param == param
    assert asking.fine_tuning.jobs.list().data == []


def test_a_model_that_cannot_be_tuned_is_answered_with_those_that_can(asking):
    with pytest.raises(openai.BadRequestError, match="Base models here: slow, fake") as caught:
        created(asking, "gpt-3.5-turbo")
    assert "it is not served here" in caught.value.message


def test_a_file_of_another_purpose_or_form_is_refused(asking):
    chat = asking.files.create(file=chats(PAIRS), purpose="assistants").id
    with pytest.raises(openai.BadRequestError) as caught:
        created(asking, training_file=chat)
    assert caught.value.code == "invalid_file_purpose"
    pairs = file_of(asking, preferences([("a", "b", "c")]))
    with pytest.raises(openai.BadRequestError, match="supervised learns from chats") as caught:
        created(asking, validation_file=pairs)
    assert (caught.value.code, caught.value.param) == ("invalid_validation_file", "validation_file")


def test_two_equal_sides_are_no_preference(asking):
    with pytest.raises(openai.BadRequestError, match=r"line 2: .* are the same"):
        file_of(asking, preferences([("a", "b", "c"), ("a", "b", "b")]))


@pytest.mark.parametrize("rest", ["", "/events", "/checkpoints", "/cancel"])
def test_a_job_that_is_not_there_is_said_to_be_none(shared, rest):
    ask = shared.post if rest == "/cancel" else shared.get
    status, body = ask(
        f"/v1/fine_tuning/jobs/ftjob-x{rest}", *([b""] if ask.__name__ == "post" else [])
    )
    error = json.loads(body)["error"]
    assert (status, error["code"]) == (404, "fine_tune_not_found")


# ---------------------------------------------------------------- a model that learns


@pytest.fixture
def base(tiny_folder: Path) -> str:
    pytest.importorskip("torch")
    return f"tiny={tiny_folder}"


@pytest.fixture
def base_learning_here(tiny_folder: Path, base: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The base; what it learns is learned in this process. The slow tests have a child for it."""
    fake_child.patched(monkeypatch, source=str(tiny_folder))
    return base


def test_a_model_learns_what_it_was_shown_and_its_base_does_not(serve, base_learning_here):
    with serve(bases=(base_learning_here,)).client() as client:
        before = [said(client, "tiny", question) for question, _ in PAIRS]
        job = created(
            client,
            "tiny",
            validation_file=file_of(client, chats(PAIRS)),
            seed=1,
            method=supervised(n_epochs=50, batch_size=4, learning_rate_multiplier=10),
        )
        done = ended(client, job.id)
        assert done.status == "succeeded", told(client, job.id)
        assert [said(client, done.fine_tuned_model, q) for q, _ in PAIRS] == [a for _, a in PAIRS]
        assert [said(client, "tiny", question) for question, _ in PAIRS] == before
        metrics = [e.data for e in client.fine_tuning.jobs.list_events(job.id) if e.data]
        looks = [one["valid_loss"] for one in metrics if "valid_loss" in one]
        assert len(looks) == 50
        assert looks[0] < looks[-1] / 4
        [checkpoint] = client.fine_tuning.jobs.checkpoints.list(job.id)
        assert checkpoint.metrics.valid_loss == min(looks)


@pytest.mark.slow
def test_preferences_are_learned_and_watched_by_others(serve, base):
    rows = [(question, answer, "user") for question, answer in PAIRS]
    with serve(bases=(base,)).client() as client:
        numbers = {"n_epochs": 10, "batch_size": 4, "learning_rate_multiplier": 10, "beta": 0.5}
        job = created(
            client,
            "tiny",
            training_file=file_of(client, preferences(rows)),
            validation_file=file_of(client, preferences(rows[:2])),
            method={"type": "dpo", "dpo": {"hyperparameters": numbers}},
        )
        done = ended(client, job.id)
        assert done.status == "succeeded", told(client, job.id)
        assert done.method.dpo.hyperparameters.beta == 0.5
        metrics = [e.data for e in client.fine_tuning.jobs.list_events(job.id) if e.data]
        looks = [one["valid_loss"] for one in metrics if "valid_loss" in one]
        assert looks[0] < looks[-1]  # the newest comes first
        assert said(client, done.fine_tuned_model, "card") is not None


def test_a_job_of_which_no_row_fits_the_model_fails(serve, base_learning_here):
    with serve(bases=(base_learning_here,)).client() as client:
        file = file_of(client, chats([("card " * 400, "lost")]))
        job = ended(client, created(client, "tiny", training_file=file).id)
    assert (job.status, job.error.code) == ("failed", "training_failed")
    assert "no training row fits the model's context of 256 tokens" in job.error.message


@pytest.mark.slow
def test_a_killed_server_goes_on_from_the_checkpoint_of_its_job(home, process, base):
    ran, server = process("--base", base)
    with server.client() as client:
        file = file_of(client, chats([(f"{q} {n}", a) for q, a in PAIRS for n in range(20)]))
        job = created(
            client, "tiny", training_file=file, seed=3, method=supervised(n_epochs=12, batch_size=8)
        )
        folder = home / "jobs"
        until(lambda: list(folder.glob("*/0-examples/checkpoints/step-*/manifest.json")))
        ran.send_signal(signal.SIGKILL)
        ran.wait(10)
    with running(home, Settings(bases=(base,))) as server, server.client() as client:
        assert ended(client, job.id).status == "succeeded"
        lines = told(client, job.id)
        steps = [
            event.data["step"]
            for event in client.fine_tuning.jobs.list_events(job.id)
            if event.data and "valid_loss" not in event.data
        ]
    [again] = [line for line in lines if line.startswith("The server ended")]
    assert "it is queued again, from its checkpoint at step " in again
    assert int(again.rpartition(" ")[2]) >= 5
    assert len(steps) == len(set(steps))
