"""The whole-verdict benchmark: the script measures what ours measures, in the usual way."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bench_scripts import load_script
from steelyard.models import Sampling
from steelyard.tasks import load_task
from tiny import ask, open_in_float32, some_texts

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

for needed in ("rounds", "rows", "base_models", "trl_peer", "hf_peer", "usual_tools"):
    load_script(needed)
hf_peer, trl_peer = load_script("hf_peer"), load_script("trl_peer")
usual_tools, verdict = load_script("usual_tools"), load_script("verdict")

SCHEMA = {
    "type": "object",
    "properties": {"n": {"enum": [1, 2]}, "of": {"enum": ["card", "cash"]}},
    "required": ["n", "of"],
    "additionalProperties": False,
}
TOML = """
name = "counting"
instruction = "Count."
[data]
train = "train.jsonl"
dev = "dev.jsonl"
test = "test.jsonl"
input = "text"
target = "output"
[output]
type = "json"
schema = "answer.schema.json"
[score]
scorer = "fields"
[models]
base = ["{base}"]
"""


def write_task(folder: Path, base: Path) -> Path:
    """A task of counting words, for the tiny model."""
    texts = some_texts(48, seed=3)
    lines = [
        json.dumps({"text": f"{text} {i}", "output": {"n": 1 + i % 2, "of": "card"}}) + "\n"
        for i, text in enumerate(texts)
    ]
    for name, part in (("train", lines[:32]), ("dev", lines[32:40]), ("test", lines[40:])):
        (folder / f"{name}.jsonl").write_text("".join(part), encoding="utf-8")
    (folder / "answer.schema.json").write_text(json.dumps(SCHEMA), encoding="utf-8")
    (folder / "task.toml").write_text(TOML.format(base=base), encoding="utf-8")
    return folder / "task.toml"


def test_generate_answers_what_ours_answers_free_and_under_a_schema(tiny_folder: Path) -> None:
    backend = open_in_float32(tiny_folder)
    model = transformers.AutoModelForCausalLM.from_pretrained(tiny_folder, dtype=torch.float32)
    renderer, end = backend.renderer, backend.renderer.end_token_id
    prompts = [ask(text) for text in some_texts(7, seed=1)]
    ids = [renderer.prompt_ids(prompt) for prompt in prompts]
    compiled = hf_peer.Schema(
        SCHEMA, renderer.tokenizer, end=end, vocabulary=model.config.vocab_size
    )
    for schema, held in ((None, None), (SCHEMA, compiled)):
        written = hf_peer.generate(
            model.eval(), ids, max_tokens=24, end=end, batch_rows=3, schema=held
        )
        ours = backend.generate(prompts, Sampling(24, schema))
        assert [renderer.decode(tokens) for tokens in written] == [g.text for g in ours]
    assert all(set(json.loads(g.text)) == {"n", "of"} for g in ours)


@pytest.mark.filterwarnings("ignore")
def test_the_script_measures_every_recipe_and_trains_once(
    tiny_folder: Path, tmp_path: Path
) -> None:
    pytest.importorskip("trl")
    path = write_task(tmp_path, tiny_folder)
    names = ["zero-shot+constrained", "lora", "lora+constrained"]
    side = usual_tools.the_script(usual_tools.Job(str(path), names, ["lora"], {"micro_batch": 8}))
    assert set(side.dev) == {"majority", "tfidf", "zero-shot", *names}
    assert set(side.test) == {"lora"}
    assert all(0 <= score <= 1 for score in side.dev.values())
    assert side.dev["lora+constrained"] > 0.4  # "of" is always "card"
    assert set(side.seconds) == {
        "training",
        "lora, test",
        *(f"{name}, dev" for name in side.dev),
    }


def test_rows_held_out_are_not_trained_on(tiny_folder: Path, tmp_path: Path) -> None:
    task = load_task(write_task(tmp_path, tiny_folder))
    script = usual_tools.Script(task, trl_peer.USUAL["cpu"])
    [lora] = [recipe for recipe in usual_tools.select(task) if recipe.name == "lora"]
    rows, held_out = script.rows(lora)
    assert (len(rows), len(held_out)) == (24, 8)
    assert not {tuple(row.prompt) for row in rows} & {tuple(row.prompt) for row in held_out}


def test_a_shrunk_task_has_a_few_rows_of_each_split(tiny_folder: Path, tmp_path: Path) -> None:
    whole, small = tmp_path / "whole", tmp_path / "small"
    whole.mkdir()
    small.mkdir()
    task = load_task(verdict.shrunk(write_task(whole, tiny_folder), small))
    assert [len(task.train), len(task.dev), len(task.test)] == [16, 8, 6]  # dev has no more
    assert task.train == load_task(whole / "task.toml").train[:16]


def test_both_sides_are_told_phase_by_phase(capsys: pytest.CaptureFixture[str]) -> None:
    ours = usual_tools.Side(20.0, {"lora, dev": 4.0, "training": 10.0}, {"lora": 0.5})
    script = usual_tools.Side(100.0, {"training": 60.0, "lora, dev": 30.0}, {"lora": 0.46})
    record: dict[str, Any] = verdict.report(ours, script)
    assert record["met"]
    assert record["differences"] == {"lora, dev": pytest.approx(0.04)}
    assert capsys.readouterr().out.splitlines()[3:] == [
        "| phase | steelyard, s | the script, s | ratio | scores |",
        "|---|---|---|---|---|",
        "| training | 10.0 | 60.0 | 6.00× |  |",
        "| lora, dev | 4.0 | 30.0 | 7.50× | 0.500 and 0.460 |",
        "| everything else | 6.0 | 10.0 | 1.67× |  |",
        "| **in all** | 20.0 | 100.0 | 5.00× |  |",
        "",
        "5.00× the script's speed, goal ≥ 4×: met. Scores differ by at most 0.040.",
    ]
