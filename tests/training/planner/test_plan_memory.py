"""Bytes by part: hand-worked values, what may never shrink, and the published points."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench_scripts import load_script
from steelyard.training.planner import KNOWN, METHODS, STAGES, ModelFacts, Setup, memory
from steelyard.training.planner.memory import STORED_BYTES, kept_bytes, layer_bytes

SMALL = ModelFacts("small", 2, 8, 16, 2, 1, 100, head_width=4)
# q 8·8 + k 8·4 + v 8·4 + o 8·8 + three of 8·16 = 576 a layer
FULL = Setup("full", seq=10, batch=3)


def test_the_parts_of_full_weights_are_sixteen_bytes_a_parameter():
    found = memory(SMALL, FULL)
    parameters = 2 * 576 + 2 * 800
    assert SMALL.parameters == parameters
    assert found.parts["weights"] == 2 * parameters
    assert found.parts["gradients"] == 2 * parameters
    assert found.parts["optimiser"] == 12 * parameters
    # 30 tokens, 2 bytes, 15 widths of 8 and 4 of 16, in two layers
    assert found.parts["activations"] == 2 * 30 * 2 * (15 * 8 + 4 * 16)
    assert found.moments["loss"] == 16 * 30 * 100
    assert found.moment == "loss"
    assert found.tensors == 16 * parameters + 22_080 + 48_000


@pytest.mark.parametrize(
    ("setup", "each"),
    [
        (Setup("full", 1), 16),
        (Setup("full", 1, trained_bits=16), 8),
        (Setup("full", 1, optimiser="adamw-8bit"), 10),
        (Setup("full", 1, optimiser="paged", trained_bits=16), 4),
        (Setup("full", 1, optimiser="paged", trained_bits=16, step_at_once=False), 2),
    ],
)
def test_full_weights_take_these_bytes_a_parameter(setup, each):
    facts = KNOWN["llama-2-7b"]
    parts = memory(facts, setup).parts
    parts.pop("activations")
    assert sum(parts.values()) == each * facts.parameters


def test_at_the_step_mixed_precision_takes_the_twenty_four_bytes_that_frameworks_measure():
    facts = KNOWN["qwen-1.8b"]
    found = memory(facts, Setup("full", 256, checkpointing=True))
    assert found.moment == "optimiser's step"
    assert found.tensors / facts.parameters == pytest.approx(24)


def test_adapters_in_float32_take_sixteen_bytes_beside_weights_of_two():
    facts = KNOWN["llama-2-7b"]
    parts = memory(facts, Setup("lora", 1, rank=8, targets="qv")).parts
    assert parts["weights"] == 2 * facts.parameters
    trained = parts["trained copies"] + parts["gradients"] + parts["optimiser"]
    assert trained == 16 * 4_194_304


def test_four_bits_take_the_bytes_of_the_evidence_on_the_quantised_part_alone():
    assert STORED_BYTES["nf4-dq"] == pytest.approx(0.516, abs=5e-4)
    facts = KNOWN["llama-2-7b"]
    setup = Setup("qlora", 1, stored="nf4-dq")
    expected = facts.matrix_parameters * STORED_BYTES["nf4-dq"] + 4 * facts.embedding_parameters
    assert memory(facts, setup).parts["weights"] == expected


def test_the_cache_of_32_shots_of_t_few_is_144_gib():
    # T-Few, arXiv:2205.05638: 32 shots × 512 tokens × 96 layers × 12288 × 32 bits × 2.
    gpt3 = ModelFacts("GPT-3", 96, 12288, 4 * 12288, 96, 96, 50257, head_width=128, gated=False)
    assert 32 * 512 * gpt3.kv_bytes_per_token(4) / 2**30 == 144.0


def test_serving_holds_weights_keys_and_values_and_no_gradients():
    facts = KNOWN["llama-3.1-8b"]
    parts = memory(facts, Setup("serve", seq=1024, batch=4)).parts
    assert parts == {"weights": 2 * facts.parameters, "keys and values": 4 * 1024 * 128 * 1024}


def test_a_head_holds_no_more_than_the_weights_and_a_layer():
    found = memory(SMALL, Setup("head", seq=10))
    assert found.parts == {"weights": 2 * SMALL.parameters}
    assert found.moments == {"one layer": layer_bytes(SMALL, Setup("head", seq=10))}


def test_checkpointing_keeps_two_states_a_layer_and_the_larger_of_two_moments():
    setup = Setup("lora", seq=10, checkpointing=True)
    assert kept_bytes(SMALL, setup) == 2 * 2 * 10 * 8 * 2
    found = memory(SMALL, setup)
    assert found.moments["loss"] == 16_000
    assert found.moments["one layer again"] == 10 * 2 * (15 * 8 + 4 * 16)
    assert found.tensors == sum(found.parts.values()) + 16_000


def test_written_out_scores_are_kept_by_every_layer_or_live_in_one():
    setup = Setup("lora", seq=10, fused_attention=False)
    fused = replace(setup, fused_attention=True)
    scores = 2 * 2 * 10**2
    difference = kept_bytes(SMALL, setup) - kept_bytes(SMALL, fused)
    assert difference == pytest.approx(2 * 2.9 * scores)
    again = replace(setup, checkpointing=True)
    live = memory(SMALL, again).moments["one layer again"]
    assert live - layer_bytes(SMALL, again) == pytest.approx(9 * scores)


def test_each_stage_shares_what_its_name_says():
    facts, setup = KNOWN["llama-2-7b"], Setup("full", 512, checkpointing=True)
    n = facts.parameters
    for stage, each in ((0, 16), (1, 4 + 12 / 4), (2, 2 + 14 / 4), (3, 16 / 4)):
        parts = memory(facts, setup, devices=4, stage=stage).parts
        own = parts["weights"] + parts["gradients"] + parts["optimiser"]
        assert own == pytest.approx(each * n), STAGES[stage]
        assert ("gathered weights" in parts) == (stage == 3)


SETUPS = st.builds(
    Setup,
    method=st.sampled_from(list(METHODS)),
    seq=st.integers(1, 4096),
    batch=st.integers(1, 32),
    checkpointing=st.booleans(),
    rank=st.integers(1, 256),
    stored=st.sampled_from(list(STORED_BYTES)),
    trained_bits=st.sampled_from([16, 32]),
    optimiser=st.sampled_from(["adamw", "adamw-8bit", "paged"]),
    fused_loss=st.booleans(),
    fused_attention=st.booleans(),
)
MODELS = st.sampled_from(list(KNOWN.values()))


@settings(max_examples=60, deadline=None)
@given(MODELS, SETUPS, st.integers(1, 64), st.integers(0, 3))
def test_more_rows_longer_rows_and_larger_ranks_never_need_less(facts, setup, devices, stage):
    least = memory(facts, setup, devices=devices, stage=stage)
    assert least.total > least.tensors > 0
    for more in ({"batch": setup.batch + 1}, {"seq": setup.seq + 1}, {"rank": setup.rank + 1}):
        most = memory(facts, replace(setup, **more), devices=devices, stage=stage)
        assert most.total >= least.total, more


@settings(max_examples=60, deadline=None)
@given(MODELS, SETUPS, st.integers(1, 64))
def test_sharing_the_optimiser_and_the_gradients_never_needs_more(facts, setup, devices):
    totals = [memory(facts, setup, devices=devices, stage=stage).total for stage in range(3)]
    assert totals == sorted(totals, reverse=True)


@settings(max_examples=60, deadline=None)
@given(MODELS, SETUPS)
def test_one_device_has_nobody_to_share_with(facts, setup):
    alone, shared = (memory(facts, setup, stage=stage) for stage in (0, 2))
    assert alone == shared


# ---------------------------------------------------------------- the published points

planner = load_script("planner")


@pytest.mark.parametrize(
    "point", planner.OUT_OF_MEMORY, ids=lambda p: f"{p['model']} {p['method']}"
)
def test_a_published_out_of_memory_row_is_judged_to_be_one(point):
    assert planner.overflows(point)


def test_the_published_points_pass_the_mark():
    if not planner.POINTS.is_file():
        pytest.skip("the published points are not beside this checkout")
    points = json.loads(Path(planner.POINTS).read_text(encoding="utf-8"))
    mark = planner.counted([p for p in points if planner.known(p)])
    assert len(mark) == 86
    assert planner.passes(mark)
    assert [p for p in mark if planner.overflows(p)] == []


def test_rows_that_the_formulas_were_not_made_with_are_met_as_well():
    median, nine, least, _ = planner.summary([planner.error(p) for p in planner.UNSEEN])
    assert (median <= 0.10, nine <= 0.25, least >= -0.25) == (True, True, True)


def test_the_bench_fails_on_points_that_are_far_off_and_says_when_there_are_none(tmp_path, capsys):
    point = dict(planner.UNSEEN[-1], value=9.99)
    file = tmp_path / "points.json"
    file.write_text(json.dumps([point]), encoding="utf-8")
    assert planner.main(["--points", str(file)]) == 1
    assert "FAILED: 1 points, 0 rows misjudged" in capsys.readouterr().out
    file.write_text(json.dumps([planner.UNSEEN[-1]]), encoding="utf-8")
    assert planner.main(["--points", str(file)]) == 0
    assert planner.main(["--points", str(tmp_path / "none.json")]) == 2
    assert "no such file" in capsys.readouterr().out
