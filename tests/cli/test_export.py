"""`steelyard export`: what it refuses, and what it leaves behind when it does."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from fake_tasks import rows_of, write_task
from steelyard.lifecycle import exporting, weigh
from steelyard.models import open_backend
from steelyard.recipes import build
from steelyard.tasks import load_task
from steelyard.training import Trained
from steelyard.training.export_checks import Check
from tiny import write_adapter, write_tiny_model

CURVE = {"points": [], "best_step": 1, "stopped": "", "num_too_long": 0}


@pytest.fixture(scope="module")
def faked(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A task over the fake, weighed with its LoRA."""
    folder = tmp_path_factory.mktemp("fake-task")
    task = write_task(folder)
    weigh(load_task(task), home=folder / "home", recipes=["lora"], exhaustive=True)
    return task, folder / "home"


def test_a_task_that_was_not_weighed_has_nothing_to_export(
    steelyard: Any, faked: tuple[Path, Path], folder: Path
) -> None:
    other = write_task(folder, "text")
    ran = steelyard(
        *("export", str(other), "--format", "peft", "--to", "out", "--home", str(faked[1]))
    )
    assert ran.code == 2
    assert f"no verdict in {faked[1]}" in ran.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--format", "gguff"], 'format "gguff" is not known. Known: peft, merged'),
        (["--format", "peft", "--recipe", "lorax"], 'recipe "lorax" is not known'),
        (["--format", "peft", "--recipe", "tfidf"], "tfidf was chosen, and has no trained model"),
        (["--format", "peft", "--recipe", "lora"], "only local models can be exported"),
    ],
)
def test_what_cannot_be_exported_is_refused_and_nothing_is_written(
    steelyard: Any, faked: tuple[Path, Path], folder: Path, arguments: list[str], message: str
) -> None:
    task, home = faked
    ran = steelyard("export", str(task), "--home", str(home), "--to", "out", *arguments)
    assert ran.code == 2
    assert message in ran.err
    assert list(folder.iterdir()) == []


def test_a_folder_with_something_in_it_is_left_alone(
    steelyard: Any, faked: tuple[Path, Path], folder: Path
) -> None:
    task, home = faked
    Path("out").mkdir()
    Path("out/mine").write_text("kept")
    ran = steelyard(
        *("export", str(task), "--home", str(home), "--to", "out"),
        *("--format", "peft", "--recipe", "lora"),
    )
    assert (ran.code, "there is something already" in ran.err) == (2, True)
    assert [file.name for file in Path("out").iterdir()] == ["mine"]


@pytest.fixture(scope="module")
def weighed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A task over the tiny model, weighed with a LoRA that no child had to learn."""
    folder = tmp_path_factory.mktemp("tiny-task")
    write_tiny_model(folder / "model")
    task = write_task(folder, model="model", rows=rows_of("label", 30))
    home = folder / "home"

    def trained(job: Any, place: Path, **_: Any) -> Trained:
        backend = open_backend(job.model)
        return Trained(write_adapter(place, backend, seed=1), CURVE, 1.0)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys.modules[build.__module__], "train_in_child", trained)
        weigh(load_task(task), home=home, recipes=["lora"], exhaustive=True)
    return task, home


def test_an_export_is_checked_and_has_a_card(
    steelyard: Any, weighed: tuple[Path, Path], folder: Path
) -> None:
    task, home = weighed
    ran = steelyard(
        *("export", str(task), "--home", str(home), "--format", "merged"),
        *("--recipe", "lora", "--to", "out", "--json", "-"),
    )
    assert (ran.code, "transformers: " in ran.err) == (0, True), ran.err
    body = json.loads(ran.out)
    assert (body["recipe"], body["format"]) == ("lora", "merged")
    assert body["checks"][0]["passed"]
    card = Path("out/README.md").read_text(encoding="utf-8")
    for said in (
        f"`{body['base']}`",
        "## Scores",
        "| lora |",
        "| zero-shot |",
        "    Answer.",
        "dev",
    ):
        assert said in card
    assert "is within the tolerance" in card
    assert "neutral prompts" in card
    assert Path("out/model.safetensors").is_file()


def test_an_export_that_says_something_else_is_not_left_behind(
    steelyard: Any, weighed: tuple[Path, Path], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from steelyard.training import export_checks

    task, home = weighed
    wrong = (Check("llama.cpp", 1.8, 0.2),)
    monkeypatch.setattr(export_checks, "check", lambda *_: wrong)
    ran = steelyard(
        *("export", str(task), "--home", str(home), "--format", "gguf"),
        *("--recipe", "lora", "--to", "out"),
    )
    assert (ran.code, ran.out) == (1, "")
    assert "llama.cpp: 1.8000 is beyond the tolerance of 0.2; nothing was written" in ran.err
    assert not list(folder.glob("*out*"))
    assert exporting.FORMATS == ("peft", "merged", "gguf", "gguf-q8_0", "gguf-adapter")


def test_the_formats_named_are_those_that_are_written() -> None:
    from steelyard.training.export import FORMATS

    assert tuple(FORMATS) == exporting.FORMATS
