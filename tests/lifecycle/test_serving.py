"""A release that is served through another engine than the one it was weighed with."""

from __future__ import annotations

import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import openai
import pytest

from fake_server import Server, streamed
from fake_server import chat as fake_chat
from fake_tasks import rows_of, write_task
from llama_stand_in import END, StandIn, event, stand_in, streaming
from servers import Running, running
from steelyard.core import Query, Serving, Task
from steelyard.errors import InputError, ModelError, ReleaseError
from steelyard.lifecycle import find_release, open_home, open_release, publish, weigh
from steelyard.lifecycle.serving import PARTIAL, _put
from steelyard.models import llama_process, loading, open_backend
from steelyard.recipes import build
from steelyard.serve.service import Settings
from steelyard.store import Promotion
from steelyard.tasks import load_task
from steelyard.training import Trained
from tiny import write_adapter, write_tiny_model

LLAMA = Serving("llama.cpp")
CURVE = {"points": [], "best_step": 1, "stopped": "", "num_too_long": 0}


@pytest.fixture(scope="module")
def weighed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a task over the tiny model, weighed with a LoRA that no child had to learn."""
    folder = tmp_path_factory.mktemp("tiny-task")
    write_tiny_model(folder / "model")
    task = load_task(write_task(folder, model="model", rows=rows_of("label", 30)))

    def trained(job: Any, place: Path, **_: Any) -> Trained:
        return Trained(write_adapter(place, open_backend(job.model), seed=1), CURVE, 1.0)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys.modules[build.__module__], "train_in_child", trained)
        weigh(task, home=folder / "home", recipes=["lora"], exhaustive=True)
    publish(task, home=folder / "home", name="torch", recipe="lora")
    return folder


@pytest.fixture(scope="module")
def task(weighed: Path) -> Task:
    return load_task(weighed / "task.toml")


@pytest.fixture(scope="module")
def known(task: Task, weighed: Path) -> dict[tuple[int, ...], str]:
    """What was answered to the ids of each prompt of dev."""
    with open_home(weighed / "home") as opened:
        served = open_release(find_release(opened, "torch"), opened)
        system: Any = served.system
        queries = [Query.of(example) for example in task.dev]
        texts = [answer.text for answer in system.answer_many(queries)]
        renderer = system.backend.renderer
        prompts = system.prompts(queries)
        return {tuple(renderer.prompt_ids(p)): t for p, t in zip(prompts, texts, strict=True)}


@pytest.fixture
def home(weighed: Path, tmp_path: Path) -> Path:
    shutil.copytree(weighed / "home", tmp_path / "home")
    return tmp_path / "home"


@pytest.fixture
def llama(known: dict[tuple[int, ...], str]) -> Iterator[StandIn]:
    """A llama.cpp that says what the trained model said, if its adapter is on."""
    with stand_in() as made:

        def answer(body: Any) -> Any:
            on = 1.0 in [one["scale"] for one in body.get("lora", ())]
            return known.get(tuple(body["prompt"]), "") if on else "a| b"

        made.answer = answer
        yield made


# ---------------------------------------------------------------- published


def test_an_adapter_is_written_for_llama_cpp_and_answers_there_as_it_was_weighed(task, home, llama):
    found = publish(task, home=home, name="fast", recipe="lora", serving=LLAMA).release
    serving = found.serving
    assert (serving.engine, serving.format) == ("llama.cpp", "gguf-adapter")
    assert (home / "artefacts" / serving.weights / "adapter.gguf").is_file()
    base = home / "artefacts" / serving.base
    assert {"model-f16.gguf", "tokenizer.json"} <= {file.name for file in base.iterdir()}
    assert found.parity["differing"] == []
    assert found.parity["score"] == found.parity["score_served"]
    [child] = llama.children
    assert child.settings.model == str(base / "model-f16.gguf")
    assert child.settings.adapters == (str(home / "artefacts" / serving.weights / "adapter.gguf"),)
    again = publish(task, home=home, name="fast", recipe="lora", serving=LLAMA)
    assert (again.known, again.release) == (True, found)
    plain = publish(task, home=home, name="fast", recipe="lora").release
    assert (plain.version, plain.serving) == (2, None)


def test_weights_can_be_written_whole(task, home, llama, known):
    llama.answer = lambda body: known.get(tuple(body["prompt"]), "")
    found = publish(
        task, home=home, name="fast", recipe="lora", serving=Serving("llama.cpp", "gguf-q8_0")
    ).release
    assert (found.serving.format, found.serving.base) == ("gguf-q8_0", None)
    assert llama.children[0].settings.adapters == ()
    with open_home(home) as opened:
        assert open_release(found, opened).base is None


def test_an_engine_that_answers_otherwise_is_refused_with_the_rows_that_differ(task, home, llama):
    answer = llama.answer
    wrong = next(label for label in task.output.labels if label != task.dev[0].target)

    def otherwise(body: Any) -> Any:
        said = answer(body)
        return wrong if said == task.dev[0].target else "none of them"

    llama.answer = otherwise
    tight = replace(task, tolerance=0.0)
    with pytest.raises(ReleaseError) as caught:
        publish(tight, home=home, name="fast", recipe="lora", serving=LLAMA)
    said = str(caught.value)
    assert "Nothing was published. Name another engine than llama.cpp or another --format" in said
    assert f"{len(task.dev)} of {len(task.dev)} answers differ" in said
    assert task.dev[0].id in said
    with open_home(home) as opened:
        assert opened.releases.all("fast") == []


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"serving": Serving("vllm")}, r'engine "vllm" is not known. Known: llama.cpp'),
        ({"serving": Serving("llama.cpp", "peft")}, r'"peft" is not known. Known: gguf-adapter'),
        ({"serving": LLAMA, "recipe": "tfidf"}, "asks no language model"),
        (
            {"serving": Serving("llama.cpp", "gguf-adapter"), "recipe": "zero-shot"},
            "has no adapter of that kind",
        ),
    ],
)
def test_what_an_engine_cannot_serve_is_refused(task, home, llama, options, said):
    with pytest.raises(InputError, match=said):
        publish(task, home=home, name="fast", **{"recipe": "lora", **options})


def test_another_build_of_the_engine_makes_a_release_stale(task, home, llama):
    found = publish(task, home=home, name="fast", recipe="lora", serving=LLAMA).release
    serving = replace(found.serving, fingerprint="another")
    with open_home(home) as opened:
        assert open_release(found, opened).stale == ()
        [why] = open_release(replace(found, serving=serving), opened).stale
    assert why == "llama.cpp does not run what it ran when it was published"


def test_a_tokenizer_that_is_none_is_an_error_that_names_the_folder(tmp_path):
    with pytest.raises(ModelError, match="no tokenizer can be read there"):
        loading.gguf_tokenizer(tmp_path / "a.gguf", str(tmp_path))


def test_what_a_kill_left_of_written_weights_is_removed_by_the_next(home):
    (home / f"{PARTIAL}half").mkdir()
    with open_home(home) as opened:
        name = _put(opened, lambda to: (to / "a.gguf").write_bytes(b"whole") and None)
        assert (opened.artefacts.get(name) / "a.gguf").read_bytes() == b"whole"
    assert not list(home.glob(f"{PARTIAL}*"))


# ---------------------------------------------------------------- served


@pytest.fixture
def server(
    task: Task, home: Path, llama: StandIn, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Running]:
    publish(task, home=home, name="fast", recipe="lora", serving=LLAMA)
    monkeypatch.setattr(llama_process, "WAITS_SECONDS", (0.0, 0.0, 0.0))
    with running(home, Settings(names=("fast",), timeout_s=2.0)) as found:
        yield found


def chat(server: Running, text: str, model: str, **more: Any) -> Any:
    with server.client() as client:
        asked: Any = [{"role": "user", "content": text}]
        return client.chat.completions.create(model=model, messages=asked, **more)


def heard(server: Running, text: str) -> str:
    """The text of a streamed chat with the base model."""
    with server.client() as client:
        asked: Any = [{"role": "user", "content": text}]
        chunks = client.chat.completions.create(model="model", messages=asked, stream=True)
        return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


def test_a_release_and_its_base_are_served_by_one_child(server, llama, task, known):
    found = chat(server, task.dev[0].input, "fast")
    assert found.choices[0].message.content in task.output.labels
    assert found.model_extra["steelyard"]["release"] == "fast@1"
    assert heard(server, "hello") == "a b"
    assert len(llama.children) == 1
    scales = [body["lora"][0]["scale"] for _, _, body in llama.server.asked[-2:]]
    assert scales == [1.0, 0.0]


def test_the_base_of_a_release_under_llama_cpp_is_no_tuned_model(server):
    """It learns nothing, is not deleted, and goes on answering."""
    with server.client() as client:
        assert client.models.retrieve("model").model_extra["steelyard"] == {"kind": "base"}
        with pytest.raises(openai.BadRequestError, match="was not fine-tuned here"):
            client.models.delete("model")
        file = client.files.create(
            file=(
                "a.jsonl",
                b'{"messages": [{"role": "user", "content": "a"}, '
                b'{"role": "assistant", "content": "b"}]}',
            ),
            purpose="fine-tune",
        )
        with pytest.raises(openai.BadRequestError, match=r"runs elsewhere.*Base models here: none"):
            client.fine_tuning.jobs.create(model="model", training_file=file.id)
    assert heard(server, "hello") == "a b"


def test_a_child_that_is_killed_in_a_stream_ends_it_with_an_error_and_the_next_works(server, llama):
    answer = llama.answer

    def die(handler: Any) -> None:
        llama.children[-1].is_running = False
        handler.connection.close()

    llama.answer = lambda _: streaming(event("a", 1), then=die)
    with pytest.raises(openai.APIError, match="the model gave no answer"):
        heard(server, "hello")
    llama.answer = answer
    assert heard(server, "hello") == "a b"
    assert len(llama.children) == 2


def test_a_child_that_hangs_is_timed_out_and_the_next_request_works(server, llama, monkeypatch):
    monkeypatch.setattr("steelyard.models.llama_backend.HUNG_SECONDS", 0.3)
    answer, free = llama.answer, threading.Event()
    llama.answer = lambda _: lambda _: bool(free.wait(20))
    with pytest.raises(openai.InternalServerError, match="did not come in time") as caught:
        chat(server, "hello", "model")
    assert caught.value.status_code == 504
    llama.answer = answer
    until(lambda: server.service.engine.busy_seconds == 0)
    assert heard(server, "hello") == "a b"
    assert len(llama.children) == 2
    free.set()


def until(holds: Callable[[], bool], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def add_second(home: Path, *promoted: Promotion) -> None:
    """A second version of the release, with an adapter of its own."""
    with open_home(home, lock=None) as opened:
        found = find_release(opened, "fast")
        other = home / "other"
        shutil.copytree(home / "artefacts" / found.serving.weights, other)
        (other / "manifest.json").unlink()
        (other / "adapter.gguf").write_bytes((other / "adapter.gguf").read_bytes() + b"x")
        serving = replace(found.serving, weights=opened.artefacts.put(other))
        opened.releases.add(replace(found, serving=serving), promoted)


def test_a_second_release_starts_the_child_anew_with_both_adapters(server, llama, task, home):
    chat(server, task.dev[0].input, "fast")
    add_second(home)
    assert chat(server, task.dev[0].input, "fast@2").model == "fast@2"
    first, second = llama.children
    assert not first.is_running
    assert len(second.settings.adapters) == 2
    assert [one["scale"] for one in llama.server.asked[-1][2]["lora"]] == [0.0, 1.0]


@pytest.fixture
def patient(task: Task, home: Path, llama: StandIn) -> Iterator[Running]:
    """The same server, whose answers may take longer."""
    publish(task, home=home, name="fast", recipe="lora", serving=LLAMA)
    with running(home, Settings(names=("fast",))) as found:
        yield found


def test_a_promotion_with_another_adapter_lets_a_running_stream_come_to_its_end(
    patient, llama, task, home
):
    answer, begun, free = llama.answer, threading.Event(), threading.Event()
    was_running: list[bool] = []

    def rest(handler: Any) -> None:
        begun.set()
        free.wait(60)
        was_running.append(llama.children[0].is_running)
        handler.wfile.write(event(" b", 2) + b"\n\n" + END + b"\n\n")

    llama.answer = lambda _: streaming(event("a", 1), then=rest)
    found: list[str] = []
    stream = threading.Thread(target=lambda: found.append(heard(patient, "hello")))
    stream.start()
    assert begun.wait(20)
    llama.answer = answer
    add_second(home, Promotion("fast", "champion", 0, "ann", "better"))
    until(lambda: patient.service.engine.num_waiting == 1)  # it waits for its turn
    free.set()
    stream.join(20)
    assert (found, was_running) == (["a b"], [True])
    until(lambda: chat(patient, task.dev[0].input, "fast").model == "fast@2")
    assert [child.is_running for child in llama.children] == [False, True]


# ---------------------------------------------------------------- behind a URL


@pytest.fixture
def there() -> Iterator[Server]:
    """A server of our own, such as vLLM, whose model is the fake."""
    server = Server()
    server.answer = fake_chat
    yield server
    server.close()


def faked(folder: Path, there: Server, more: str = "") -> Task:
    """A task over the fake that is here, weighed, with a table of the one that is there."""
    path = write_task(folder, "text")
    table = f'\n[models.vllm]\nurl = "{there.url}"\nmodel = "resumes"\n{more}'
    path.write_text(path.read_text(encoding="utf-8") + table, encoding="utf-8")
    task = load_task(path)
    weigh(task, home=folder / "home", recipes=["nearest-shot"])
    return task


def test_a_release_is_measured_and_served_through_the_url_of_a_table(tmp_path, there):
    task = faked(tmp_path, there)
    home = tmp_path / "home"
    found = publish(task, home=home, recipe="nearest-shot", serving=Serving("vllm")).release
    assert (found.serving.engine, found.serving.weights, found.artefacts) == ("vllm", None, ())
    assert found.parity["differing"] == []
    assert len(there.asked) == len(task.dev)
    assert {body["model"] for _, _, body in there.asked} == {"resumes"}
    (tmp_path / "task.toml").unlink()
    with running(home, Settings()) as server, server.client() as client:
        asked: Any = [{"role": "user", "content": task.dev[0].input}]
        chunks = list(client.chat.completions.create(model="small", messages=asked, stream=True))
        texts = [c.choices[0].delta.content or "" for c in chunks if c.choices]
        assert len([text for text in texts if text]) > 1
        assert server.service.catalogue.plain == {}  # what it was weighed with is not loaded
    assert there.asked[-1][2]["stream"] is True


def test_a_url_that_refuses_stream_options_is_streamed_with_usage_of_our_own(tmp_path, there):
    task = faked(tmp_path, there)
    publish(task, home=tmp_path / "home", recipe="nearest-shot", serving=Serving("vllm"))

    def picky(number: int, body: Any) -> Any:
        if "stream_options" in body:
            return 400, {}, b'{"error": {"message": "Unknown parameter: stream_options"}}'
        return streamed("so it is") if body.get("stream") else fake_chat(number, body)

    there.answer, before = picky, len(there.asked)
    with running(tmp_path / "home", Settings()) as server, server.client() as client:
        asked: Any = [{"role": "user", "content": task.dev[0].input}]
        more: Any = {"stream": True, "stream_options": {"include_usage": True}}
        chunks = list(client.chat.completions.create(model="small", messages=asked, **more))
        whole = client.chat.completions.create(model="small", messages=asked)
    texts = [c.choices[0].delta.content or "" for c in chunks if c.choices]
    assert "".join(texts) == "so it is"
    usage = chunks[-1].usage
    assert usage.completion_tokens == 4  # of 8 bytes, and its end
    assert usage.model_extra == {"estimated": True}
    assert whole.usage == usage
    assert len(there.asked) == before + 3


def test_a_url_that_answers_otherwise_or_not_at_all_is_refused(tmp_path, there):
    task = faked(tmp_path, there)
    there.answer = lambda *_: streamed("something else")
    with pytest.raises(ReleaseError, match=r"Name another engine than vllm, or weigh what it runs"):
        publish(task, home=tmp_path / "home", recipe="nearest-shot", serving=Serving("vllm"))
    there.answer = lambda *_: (404, {}, b'{"error": {"message": "no such model"}}')
    with pytest.raises(ReleaseError, match="no such model"):
        publish(task, home=tmp_path / "home", recipe="nearest-shot", serving=Serving("vllm"))


def test_nothing_is_written_for_a_url(tmp_path, there):
    task = faked(tmp_path, there)
    with pytest.raises(InputError, match="nothing is written for a model behind a URL"):
        publish(
            *(task,), home=tmp_path / "home", recipe="nearest-shot", serving=Serving("vllm", "gguf")
        )
    with pytest.raises(InputError, match=r'engine "vlm" is not known. Known: llama.cpp, vllm'):
        publish(task, home=tmp_path / "home", recipe="nearest-shot", serving=Serving("vlm"))
