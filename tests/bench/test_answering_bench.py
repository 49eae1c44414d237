"""The contenders of the answering benchmark: that the peers do the same work, and do it right."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bench_scripts import load_script
from steelyard.models import Message, Sampling

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

for needed in ("rounds", "rows", "works", "base_models", "llama_cpp", "growth", "hf_peer"):
    load_script(needed)
answering, works = load_script("answering"), load_script("works")
growth, llama_cpp = load_script("growth"), load_script("llama_cpp")

PROMPTS = tuple(
    (Message("user", text),) for text in ("a ripe banana", "the sky", "snow in the hills at night")
)


def turn_of(tiny: Any, limit: int) -> Any:
    ids = [tiny.renderer.prompt_ids(prompt) for prompt in PROMPTS]
    return answering.Turn(works.Asked(PROMPTS, limit), ids)


def test_generate_writes_what_ours_writes(tiny: Any, tiny_folder: Path) -> None:
    peer = transformers.AutoModelForCausalLM.from_pretrained(tiny_folder, dtype=torch.float32)
    turn = turn_of(tiny, 12)
    said = answering.generate(peer.eval(), tiny.renderer, turn)
    ours = answering.ours(tiny, turn.asked)
    assert [one.text for one in said] == [one.text for one in ours]
    assert [one.tokens for one in said] == [one.tokens for one in ours]


# llguidance.torch names torch.compile, and reaching for that imports what torch deprecates.
@pytest.mark.filterwarnings("ignore:.*script_method.*:DeprecationWarning")
def test_generate_under_a_schema_writes_what_ours_writes(tiny: Any, tiny_folder: Path) -> None:
    peer = transformers.AutoModelForCausalLM.from_pretrained(tiny_folder, dtype=torch.float32)
    schema = {
        "type": "object",
        "properties": {"n": {"enum": [1, 22]}, "of": {"enum": ["a", "b"]}},
        "required": ["n", "of"],
        "additionalProperties": False,
    }
    turn = turn_of(tiny, 40)
    held = answering.Schema(
        schema,
        tiny.renderer.tokenizer,
        end=tiny.renderer.end_token_id,
        vocabulary=peer.config.vocab_size,
    )
    said = answering.generate(peer.eval(), tiny.renderer, turn, held)
    ours = answering.ours(tiny, works.Asked(PROMPTS, 40, schema=schema))
    assert [one.text for one in said] == [one.text for one in ours]


def test_ours_picks_the_likeliest_label(tiny: Any) -> None:
    asked = works.Asked(PROMPTS, 0, labels=("yellow", "blue", "white"))
    scored = tiny.score_labels(PROMPTS, asked.labels)
    best = [asked.labels[max(range(3), key=s.log_probs.__getitem__)] for s in scored]
    assert [one.text for one in answering.ours(tiny, asked)] == best


def test_the_schema_is_left_out_where_the_peer_has_none(tiny: Any) -> None:
    schema = {"type": "object", "properties": {"n": {"enum": [1]}}, "required": ["n"]}
    asked = works.Asked(PROMPTS, 12, schema=schema | {"additionalProperties": False})
    held = answering.ours(tiny, asked)
    assert [json.loads(one.text) for one in held] == [{"n": 1}] * 3
    free = answering.ours(tiny, asked, constrained=False)
    assert [one.text for one in free] == [g.text for g in tiny.generate(PROMPTS, Sampling(12))]


def test_a_contender_takes_other_rows_every_time(tiny: Any) -> None:
    turns = [turn_of(tiny, limit) for limit in (1, 2)]
    said: dict[str, Any] = {}
    limits = []

    def answer(turn: Any) -> Any:
        limits.append(turn.asked.limit)
        return [answering.Said("x", 1)] * 3

    one = answering.contender("x", answer, turns, units=answering.rows_of, said=said)
    assert [one.work(), one.work()] == [3, 3]
    assert limits == [1, 2]
    assert len(said["x"]) == 6


def test_what_was_written_is_said_beside_the_speed(capsys: pytest.CaptureFixture[str]) -> None:
    said = {
        "steelyard": [answering.Said("a", 2), answering.Said("b", 3)],
        "generate": [answering.Said(" a\n", 4), answering.Said("c", 5)],
    }
    assert answering.written(said) == {
        "tokens_written": {"steelyard": 2.5, "generate": 4.5},
        "same_as_generate": {"steelyard": 0.5},
    }
    assert "steelyard 50%" in capsys.readouterr().out


def test_growth_compares_within_rounds() -> None:
    few = [{"seconds": 1.0, "peak MB": 1000.0}, {"seconds": 2.0, "peak MB": 1000.0}]
    many = [{"seconds": 11.0, "peak MB": 1100.0}, {"seconds": 20.0, "peak MB": 1100.0}]
    record = growth.summary(few, many)
    assert record["seconds"] == {"few": 1.5, "many": 15.5, "times": 10.5, "goal": 10.5, "met": True}
    assert record["peak MB"]["times"] == 1.1


def test_the_probe_takes_the_fastest_threads_and_then_the_fastest_slots(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seconds = {(1, 4): 3.0, (2, 4): 2.0, (3, 4): 2.5, (2, 8): 1.9, (3, 8): 0.1}
    monkeypatch.setattr(
        llama_cpp, "_seconds", lambda settings: seconds[settings.threads, settings.slots]
    )
    best = llama_cpp.best_settings(Path("m.gguf"), most_threads=3, slots=(4, 8), context_tokens=256)
    assert best == llama_cpp.Settings("m.gguf", 2, 8, 256)
