"""Where it fits, how many are needed, the largest batch, hours, money, and what to change."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steelyard.errors import InputError
from steelyard.models.processor import processor_name
from steelyard.training.planner import GPUS, KNOWN, Device, Setup, Work, make_plan, parse_device
from steelyard.training.planner.devices import machine_memory_bytes, this_machine
from steelyard.training.planner.fitting import (
    devices_needed,
    largest_batch,
    mildest_stage,
    on_device,
    smallest,
)

LLAMA_7B, LLAMA_70B = KNOWN["llama-2-7b"], KNOWN["llama-3.1-70b"]
A100 = GPUS["a100-80"]


def on(name: str) -> tuple[Device, int | None]:
    return parse_device(name)


# ---------------------------------------------------------------- the two claims


def test_a_quantised_7b_trains_on_two_consumer_gpus_and_on_one_of_them():
    setup = Setup("qlora", seq=2048, stored="nf4-dq", checkpointing=True)
    for name in ("2xrtx3090", "2xrtx4090"):
        made = make_plan(LLAMA_7B, setup, [on(name)])
        [option] = made.options
        assert (option.fits, option.needed, option.stage) == (True, 1, "none")
        assert option.memory.total < 14e9
    assert not make_plan(LLAMA_7B, Setup("full", seq=2048), [on("2xrtx3090")]).fits


def test_all_weights_of_a_70b_need_15_to_20_gpus_of_80_gb():
    setup = Setup("full", seq=2048, checkpointing=True)
    for name in ("a100-80", "h100-80"):
        [option] = make_plan(LLAMA_70B, setup, [on(name)]).options
        assert option.needed is not None
        assert 15 <= option.needed <= 20
        assert option.stage == "zero-3"


# ---------------------------------------------------------------- arithmetic of fitting


@given(st.integers(1, 500), st.integers(1, 600))
def test_smallest_finds_the_first_number_that_holds(first, most):
    found = smallest(lambda number: number >= first, most)
    assert found == (first if first <= most else None)


@settings(max_examples=30, deadline=None)
@given(
    st.sampled_from([KNOWN["smollm2-1.7b"], LLAMA_7B, KNOWN["qwen-14b"]]),
    st.sampled_from(["lora", "full", "qlora", "serve"]),
    st.sampled_from(list(GPUS.values())),
    st.integers(16, 4096),
)
def test_what_is_needed_fits_and_one_less_does_not(facts, method, device, seq):
    setup = Setup(method, seq=seq, stored="nf4-dq" if method == "qlora" else "bf16")
    needed = devices_needed(facts, setup, device)
    if needed is None:
        assert mildest_stage(facts, setup, device, 1024) is None
        return
    assert mildest_stage(facts, setup, device, needed) is not None
    assert needed == 1 or mildest_stage(facts, setup, device, needed - 1) is None
    rows = largest_batch(facts, setup, device, needed)
    assert mildest_stage(facts, replace(setup, batch=rows), device, needed) is not None
    if rows < 4096:
        assert mildest_stage(facts, replace(setup, batch=rows + 1), device, needed) is None


def test_the_mildest_sharing_that_fits_is_taken():
    setup = Setup("full", seq=512, checkpointing=True)
    [option] = make_plan(LLAMA_7B, setup, [on("4xa100-80")]).options
    stages = list(option.by_stage)
    assert stages == ["none", "zero-1", "zero-2", "zero-3"]
    first = next(name for name in stages if option.by_stage[name] <= A100.memory_bytes)
    assert (option.fits, option.stage) == (True, first)
    assert first != "none"


# ---------------------------------------------------------------- hours and money


def test_hours_and_money_follow_from_operations_peak_and_price():
    setup, work = Setup("lora", seq=1000), Work(rows=2000, epochs=3)
    [option] = make_plan(LLAMA_7B, setup, [on("2xa100-80")], work=work).options
    flops = 4 * LLAMA_7B.parameters + 6 * LLAMA_7B.adapter_parameters(16)
    seconds = 6_000_000 * flops / (2 * 0.40 * 312e12)
    assert option.tokens_per_second == pytest.approx(6_000_000 / seconds)
    assert option.hours == pytest.approx(seconds / 3600)
    assert option.usd == pytest.approx(seconds / 3600 * 2 * A100.usd_per_hour)
    assert option.speed_source == "40% of 312 TFLOP/s"


def test_hours_of_this_machine_come_from_a_probe_or_are_not_known():
    facts, setup = KNOWN["smollm2-135m"], Setup("lora", seq=512)
    [unknown] = make_plan(facts, setup, [on("this")]).options
    assert (unknown.hours, unknown.usd, unknown.speed_source) == (None, None, "no probe")
    [probed] = make_plan(facts, setup, [on("this")], flops_here=1e11).options
    speed = 1e11 / (4 * facts.parameters + 6 * facts.adapter_parameters(16))
    assert probed.tokens_per_second == pytest.approx(speed)
    assert probed.hours == pytest.approx(1000 * 3 * 512 / speed / 3600)


def test_serving_has_no_hours():
    [option] = make_plan(LLAMA_7B, Setup("serve", seq=512), [on("l4")]).options
    assert (option.tokens_per_second, option.hours, option.usd) == (None, None, None)


# ---------------------------------------------------------------- sentences and remedies


def test_the_sentence_answers_first():
    fits = make_plan(LLAMA_7B, Setup("lora", seq=512, checkpointing=True), [on("a100-40")])
    assert fits.sentence.startswith("fits: Llama-2-7b (6.74B), lora, takes ")
    assert fits.sentence.endswith("of 1 × a100-40 (43 GB)")
    large = make_plan(LLAMA_70B, Setup("lora", seq=512), [on("1xa100-80")])
    assert large.sentence.startswith("does not fit: Llama-3.1-70B (70.6B), lora, needs ")
    assert large.sentence.endswith("of them would do")
    never = make_plan(LLAMA_70B, Setup("lora", seq=100_000, batch=99), [on("t4")])
    assert never.sentence.endswith("and 1024 of them would not do")
    assert never.options[0].needed is None


def test_remedies_come_in_order_with_true_numbers():
    setup = Setup("full", seq=2048, batch=8)
    [option] = make_plan(LLAMA_7B, setup, [on("1xa100-80")]).options
    assert not option.fits
    changes = [remedy.change for remedy in option.remedies]
    expected = (
        "compute activations again",
        "1 row at once (--batch 1, gradients of 8 passes summed)",
        "a loss that never holds all logits",
        "Adam's moments in 8 bits",
        "bfloat16 throughout",
        "adapters instead of all weights",
        "adapters beside weights in 4 bits",
    )
    for change, start in zip(changes, expected, strict=False):
        assert change.startswith(start)
    assert changes[-1].endswith("(--gpus 2xa100-80)")
    assert all(
        remedy.fits == (remedy.bytes_then <= A100.memory_bytes) for remedy in option.remedies
    )
    assert option.remedies[-1].fits
    assert (option.hours, option.usd, option.tokens_per_second) == (None, None, None)


def test_what_changes_no_result_ends_with_the_first_that_fits():
    setup = Setup("lora", seq=2048, batch=8)
    [option] = make_plan(LLAMA_7B, setup, [on("1xa100-80")]).options
    assert [remedy.fits for remedy in option.remedies][:1] == [True]
    assert option.remedies[0].change.startswith("compute activations again")
    assert "4 bits" in option.remedies[1].change


def test_shorter_rows_are_named_with_the_longest_that_fits():
    setup = Setup("qlora", seq=65_536, stored="nf4-dq", checkpointing=True, fused_loss=True)
    [option] = make_plan(LLAMA_7B, setup, [on("1xt4")]).options
    [remedy] = [r for r in option.remedies if "--seq" in r.change]
    longest = int(remedy.change.partition("--seq ")[2].rstrip(")"))
    t4 = GPUS["t4"]
    assert mildest_stage(LLAMA_7B, replace(setup, seq=longest), t4, 1) == 0
    assert mildest_stage(LLAMA_7B, replace(setup, seq=longest + 1), t4, 1) is None
    assert remedy.bytes_then == on_device(LLAMA_7B, replace(setup, seq=longest), t4, 1, 0).total


def test_json_has_the_sums_and_the_worst_moment():
    plain = make_plan(LLAMA_7B, Setup("lora", seq=512), [on("l4"), on("this")]).to_json()
    assert plain["model"]["parameters"] == LLAMA_7B.parameters
    assert plain["work"] == {"rows": 1000, "epochs": 3, "tokens": 1_536_000}
    assert plain["trained_parameters"] == LLAMA_7B.adapter_parameters(16)
    first = plain["options"][0]["memory"]
    parts = sum(first["parts"].values()) + first["moments"][first["moment"]] + first["overhead"]
    assert parts == pytest.approx(first["total"])
    assert [o["device"]["name"] for o in plain["options"]] == ["l4", "this"]


# ---------------------------------------------------------------- devices


def test_a_device_is_a_name_with_or_without_a_number():
    assert parse_device("a100-80") == (GPUS["a100-80"], None)
    assert parse_device(" 2xRTX3090 ") == (GPUS["rtx3090"], 2)
    device, count = parse_device("this")
    assert (device.name, count) == ("this", 1)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a100", r'GPU "a100" is not known\. Known: this, t4, .*h200\. Did you mean "a10"'),
        ("0xt4", "expected at least one, such as 2xt4"),
        ("2xthis", "there is one of this machine"),
        ("", 'GPU "" is not known'),
    ],
)
def test_an_unknown_device_is_refused_with_the_known_ones(text, said):
    with pytest.raises(InputError, match=said):
        parse_device(text)


def test_a_container_has_the_memory_that_it_may_use(tmp_path, monkeypatch):
    from steelyard.training.planner import devices

    limit = tmp_path / "memory.max"
    monkeypatch.setattr(devices, "CGROUP_LIMITS", (str(limit),))
    installed = machine_memory_bytes()
    limit.write_text("1000000\n", encoding="utf-8")
    assert machine_memory_bytes() == 1_000_000
    limit.write_text("max\n", encoding="utf-8")
    assert machine_memory_bytes() == installed


def test_this_machine_trains_with_a_loss_that_never_holds_all_logits(monkeypatch):
    from steelyard.training.planner import devices

    for multiplies, stored in ((True, "bf16"), (False, "fp32")):
        monkeypatch.setattr(devices, "multiplies_bfloat16", lambda found=multiplies: found)
        adapted = this_machine().adapted(Setup("lora", seq=9))
        assert (adapted.fused_loss, adapted.stored) == (True, stored)
    asked = Setup("lora", seq=9)
    assert A100.adapted(asked) is asked


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("echo 'NVIDIA H100 80GB HBM3, 81559'", ("NVIDIA H100 80GB HBM3", 81_559 * 2**20)),
        ("echo 'No devices were found'; exit 6", None),
        ("true", None),
    ],
)
def test_this_machine_is_its_gpu_where_the_driver_names_one(tmp_path, monkeypatch, said, expected):
    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{said}\n", encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    device = this_machine()
    if expected is None:
        assert device.memory_bytes == machine_memory_bytes()
        assert device.words.endswith(processor_name())
    else:
        assert (device.words, device.memory_bytes) == expected
        assert device.own_type == "bf16"
