"""`plan` as a verb, and the check of memory before a recipe is trained."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fake_tasks import write_task
from steelyard.core import ModelSpec, Recipe, Task, Weights
from steelyard.errors import DoesNotFitError, InputError
from steelyard.lifecycle import plan, planning, weigh
from steelyard.lifecycle.planning import check_memory
from steelyard.tasks import load_task
from steelyard.training.planner import GPUS, KNOWN, Device, Setup, training_flops

LORA = Recipe("lora", model="big", weights=Weights("lora"))


def task_of(folder, source: str, **more: str) -> Task:
    task = load_task(write_task(folder))
    return replace(task, models=(ModelSpec("big", source, **more),))


def machine(monkeypatch, gigabytes: float) -> None:
    device = Device("this", gigabytes * 1e9, None, 0.1, 0.8e9, "bf16", "1 × test")
    monkeypatch.setattr(planning, "this_machine", lambda: device)


# ---------------------------------------------------------------- before training


def test_a_recipe_that_cannot_fit_is_refused_with_the_plan_as_reason(tmp_path, monkeypatch):
    machine(monkeypatch, 12)
    with pytest.raises(DoesNotFitError) as error:
        check_memory(LORA, task_of(tmp_path, "llama-2-7b"))
    assert str(error.value).startswith("does not fit: Llama-2-7b (6.74B), lora, needs ")
    assert str(error.value).endswith("GB on this machine (1 × test, 12 GB)")
    machine(monkeypatch, 24)
    check_memory(LORA, task_of(tmp_path, "llama-2-7b"))


@pytest.mark.parametrize(
    ("source", "more"),
    [("fake", {}), ("./nowhere", {}), ("llama-2-7b", {"url": "http://127.0.0.1:1"})],
)
def test_the_fake_a_model_of_unknown_size_and_one_by_url_are_never_refused(
    tmp_path, monkeypatch, source, more
):
    machine(monkeypatch, 0.001)
    check_memory(LORA, task_of(tmp_path, source, **more))


def test_a_recipe_that_trains_nothing_is_never_refused(tmp_path, monkeypatch):
    machine(monkeypatch, 0.001)
    check_memory(replace(LORA, weights=Weights()), task_of(tmp_path, "llama-2-7b"))


def test_weigh_skips_what_does_not_fit_and_goes_on(tmp_path, monkeypatch):
    task = load_task(write_task(tmp_path))
    monkeypatch.setattr(planning, "is_fake", lambda source: False)
    monkeypatch.setattr(planning, "read_facts", lambda source: KNOWN["llama-2-7b"])
    machine(monkeypatch, 4)
    verdict = weigh(task, home=tmp_path / "home", recipes=["lora", "few-shot"])
    reports = {report.name: report for report in verdict.recipes}
    assert reports["few-shot"].status == "finished"
    assert (reports["lora"].status, reports["lora"].dev) == ("skipped", None)
    assert str(reports["lora"].why).startswith("does not fit: Llama-2-7b")


# ---------------------------------------------------------------- the verb


def test_without_devices_it_is_planned_for_this_machine_and_every_gpu():
    made = plan("llama-2-7b", Setup("lora", seq=512))
    assert [option.device.name for option in made.options] == ["this", *GPUS]
    quantised = plan("llama-2-7b", Setup("qlora", seq=512, stored="nf4-dq"))
    assert [option.device.name for option in quantised.options] == list(GPUS)


def test_a_price_of_ones_own_replaces_every_price():
    made = plan("llama-2-7b", Setup("lora", seq=512), gpus=["l4", "h200"], usd_per_hour=7.0)
    for option in made.options:
        assert option.hours is not None
        assert option.usd == pytest.approx(7.0 * option.hours * option.count)


def test_four_bits_on_this_machine_and_rows_longer_than_the_context_are_refused():
    with pytest.raises(InputError, match="expected --method lora here"):
        plan("llama-2-7b", Setup("qlora", seq=512), gpus=["this"])
    with pytest.raises(InputError, match="--seq 4097: Llama-2-7b holds 4096 tokens"):
        plan("llama-2-7b", Setup("lora", seq=4097))


def test_a_probe_of_another_model_tells_the_hours_of_a_known_one(tmp_path, monkeypatch):
    asked = []

    def probed(spec, **more):
        asked.append((spec.source, more["seq"], more["folder"]))
        return 1000.0

    small = KNOWN["smollm2-135m"]
    monkeypatch.setattr(planning, "probed_speed", probed)
    monkeypatch.setattr(planning, "locate", lambda source: str(tmp_path))
    monkeypatch.setattr(
        planning, "read_facts", lambda s: small if s == "default" else KNOWN["llama-2-7b"]
    )
    machine(monkeypatch, 4)  # too small for the model itself
    made = plan("llama-2-7b", Setup("lora", seq=512), gpus=["this"], probe_in=tmp_path)
    assert asked == [("default", 512, tmp_path / "probes")]
    flops = 1000.0 * training_flops(small, Setup("lora", seq=512))
    speed = flops / training_flops(KNOWN["llama-2-7b"], Setup("lora", seq=512))
    assert made.options[0].tokens_per_second == pytest.approx(speed)


def test_where_nothing_can_be_probed_the_hours_are_not_known(tmp_path, monkeypatch):
    def nowhere(source):
        raise InputError("not here")

    monkeypatch.setattr(planning, "locate", nowhere)
    made = plan("llama-2-7b", Setup("lora", seq=512), gpus=["this"], probe_in=tmp_path)
    assert made.options[0].hours is None
    assert list(tmp_path.iterdir()) == []
