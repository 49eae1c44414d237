from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from steelyard.errors import StoreError
from steelyard.models import lora
from steelyard.models.attention import Packing, WholeRows
from tiny import open_in_float32, write_adapter

IDS = torch.tensor([[1, 50, 60, 70, 80, 2]])
WIDTHS = [  # in and out of q, k, v, o, gate, up and down of one layer of the tiny model
    *((32, 32), (32, 16), (32, 16), (32, 32)),
    *((32, 64), (32, 64), (64, 32)),
]


@pytest.fixture
def backend(tiny_folder: Path) -> Any:
    return open_in_float32(tiny_folder)


def logits(model: Any) -> torch.Tensor:
    with torch.inference_mode():
        found: torch.Tensor = model(IDS).logits
    return found


def randomise(model: Any, adapter: str) -> None:
    chance = torch.Generator().manual_seed(5)
    state = lora.tensors(model, adapter)
    lora.assign(model, adapter, {k: v.normal_(0, 0.2, generator=chance) for k, v in state.items()})


def test_a_fresh_adapter_changes_nothing(backend: Any) -> None:
    model = backend.loaded.decoder.model
    before = logits(model)
    lora.add(model, "fresh", rank=4, alpha=8, seed=0)
    assert model.lora_switch.active == "fresh"
    assert torch.equal(logits(model), before)


def test_only_the_adapter_learns_and_it_is_on_every_linear_layer_but_the_head(
    backend: Any,
) -> None:
    model = backend.loaded.decoder.model
    parameters = lora.add(model, "fresh", rank=4, alpha=8, seed=0)
    assert sum(p.numel() for p in parameters) == 2 * sum(4 * (i + o) for i, o in WIDTHS)
    learning = [p for p in model.parameters() if p.requires_grad]
    assert {id(p) for p in learning} == {id(p) for p in parameters}
    assert not isinstance(model.lm_head, lora.LoraLinear)
    assert len(list(lora.layers(model))) == 2 * len(WIDTHS)


def test_an_adapter_starts_at_its_published_distribution(backend: Any) -> None:
    model = backend.loaded.decoder.model
    lora.add(model, "fresh", rank=4, alpha=8, seed=0)
    state = lora.tensors(model, "fresh")
    downs = [v for k, v in state.items() if k.endswith("lora_A.weight")]
    assert all(bool(v.abs().max() <= 1 / math.sqrt(v.shape[1])) for v in downs)
    spread = torch.cat([(v * math.sqrt(v.shape[1])).flatten() for v in downs]).std().item()
    assert spread == pytest.approx(1 / math.sqrt(3), rel=0.05)  # of a uniform on [-1, 1]
    assert all(not v.any() for k, v in state.items() if k.endswith("lora_B.weight"))


@pytest.mark.parametrize(("rank", "alpha"), [(4, 8), (4, 16), (2, 2)])
def test_the_update_is_alpha_over_rank_times_b_times_a(
    tiny_folder: Path, backend: Any, rank: int, alpha: int
) -> None:
    adapted, merged = (
        backend.loaded.decoder.model,
        open_in_float32(tiny_folder).loaded.decoder.model,
    )
    lora.add(adapted, "x", rank=rank, alpha=alpha, seed=0)
    randomise(adapted, "x")
    state = lora.tensors(adapted, "x")
    for name, _ in lora.layers(adapted):
        a = state[f"base_model.model.{name}.lora_A.weight"]
        b = state[f"base_model.model.{name}.lora_B.weight"]
        weight = merged.get_submodule(name).base.weight
        with torch.no_grad():
            weight += alpha / rank * (b @ a)
    assert torch.allclose(logits(adapted), logits(merged), atol=1e-4)


def test_an_adapter_is_float32_over_a_bfloat16_base(tiny_folder: Path) -> None:
    model = open_in_float32(tiny_folder).loaded.decoder.model.to(torch.bfloat16)
    parameters = lora.add(model, "x", rank=4, alpha=8, seed=0)
    assert {p.dtype for p in parameters} == {torch.float32}
    assert logits(model).dtype == torch.bfloat16


def test_the_seed_decides_the_start(tiny_folder: Path) -> None:
    def start(seed: int) -> torch.Tensor:
        model = open_in_float32(tiny_folder).loaded.decoder.model
        return lora.add(model, "x", rank=4, alpha=8, seed=seed)[0].detach()

    assert torch.equal(start(1), start(1))
    assert not torch.equal(start(1), start(2))


def test_a_saved_adapter_comes_back_as_it_was(
    tiny_folder: Path, backend: Any, tmp_path: Path
) -> None:
    model = backend.loaded.decoder.model
    lora.add(model, "x", rank=4, alpha=8, seed=0)
    randomise(model, "x")
    base = backend.loaded.fingerprint
    lora.save(tmp_path, model, "x", base=base)
    other = open_in_float32(tiny_folder).loaded.decoder.model
    name = lora.load(tmp_path, other, base=base)
    ours, theirs = lora.tensors(model, "x"), lora.tensors(other, name)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    other.lora_switch.active = name
    assert torch.equal(logits(other), logits(model))
    assert not any(p.requires_grad for p in other.parameters())


KINDS: list[dict[str, bool]] = [
    {},
    {"rank_stabilised": True},
    {"dora": True},
    {"rank_stabilised": True, "dora": True},
]


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # peft's own
def test_the_peft_library_reads_a_saved_adapter(
    tiny_folder: Path, tmp_path: Path, kind: dict[str, bool]
) -> None:
    peft = pytest.importorskip("peft")
    backend = open_in_float32(tiny_folder)
    write_adapter(tmp_path, backend, seed=1, **kind)
    adapted = backend.adapted(tmp_path)
    adapted.loaded.decoder.model.lora_switch.active = adapted.adapter
    plain = AutoModelForCausalLM.from_pretrained(tiny_folder, dtype=torch.float32)
    before = logits(plain)
    theirs = peft.PeftModel.from_pretrained(plain, tmp_path)
    assert torch.allclose(logits(theirs), logits(adapted.loaded.decoder.model), atol=1e-4)
    assert not torch.allclose(logits(theirs), before, atol=1e-1)


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_the_packed_pass_is_that_of_the_layers_whether_the_adapter_learns_or_answers(
    tiny_folder: Path, tmp_path: Path, kind: dict[str, bool]
) -> None:
    backend = open_in_float32(tiny_folder)
    write_adapter(tmp_path, backend, seed=1, **kind)
    decoder = backend.loaded.decoder
    learning = packed_logits(decoder)
    assert learning.requires_grad
    torch.testing.assert_close(learning, logits(decoder.model)[0], atol=1e-4, rtol=1e-4)
    decoder.switch.active = backend.adapted(tmp_path).adapter
    torch.testing.assert_close(packed_logits(decoder), learning, atol=1e-4, rtol=1e-4)
    with torch.inference_mode():
        answering = packed_logits(decoder)
    torch.testing.assert_close(answering, learning, atol=1e-4, rtol=1e-4)


def packed_logits(decoder: Any) -> torch.Tensor:
    attend = WholeRows(0, Packing([IDS.shape[1]]), decoder.head.weight)
    found: torch.Tensor = decoder.logits(decoder(IDS[0], torch.arange(IDS.shape[1]), attend))
    return found


def test_rank_stabilised_the_factor_is_alpha_over_the_root_of_the_rank() -> None:
    assert lora.Kind(16, 32).scale == 2
    assert lora.Kind(16, 32, rank_stabilised=True).scale == 8
    assert lora.Kind(64, 32).scale == 0.5
    assert lora.Kind(64, 32, rank_stabilised=True).scale == 4


def test_dora_gives_every_row_the_length_that_it_learned_worked_by_hand() -> None:
    base = torch.nn.Linear(2, 2)
    with torch.no_grad():
        base.weight.copy_(torch.tensor([[3.0, 4.0], [0.0, 2.0]]))
        base.bias.copy_(torch.tensor([10.0, 20.0]))
    kind = lora.Kind(1, 2, dora=True)
    layer = lora.LoraLinear(base, lora.Switch("x"))
    layer.adapters["x"] = pair = lora.LowRank(base, kind, torch.Generator().manual_seed(0))
    assert pair.magnitude is not None
    assert pair.magnitude.tolist() == [5.0, 2.0]  # the rows' own lengths
    x = torch.tensor([1.0, 1.0])
    assert layer(x).tolist() == [17.0, 22.0]
    with torch.no_grad():
        pair.a.copy_(torch.tensor([[1.0, 0.0]]))
        pair.b.copy_(torch.tensor([[1.5], [0.0]]))  # twice it is (3, 0): the rows (6, 4), (0, 2)
        pair.magnitude.copy_(torch.tensor([52**0.5 / 2, 6.0]))  # half as long, thrice as long
    assert layer(x).tolist() == pytest.approx([10 + 5, 20 + 6])


def test_a_fresh_dora_adapter_changes_nothing(backend: Any) -> None:
    model = backend.loaded.decoder.model
    before = logits(model)
    parameters = lora.add(model, "fresh", rank=4, alpha=8, seed=0, dora=True)
    assert len(parameters) == 3 * 2 * len(WIDTHS)
    torch.testing.assert_close(logits(model), before, atol=1e-5, rtol=1e-5)


def test_an_adapter_written_before_there_were_kinds_is_read_as_plain(
    backend: Any, tmp_path: Path
) -> None:
    write_adapter(tmp_path, backend, seed=1)
    config = json.loads((tmp_path / lora.CONFIG_FILE).read_text())
    assert config.pop("use_rslora") is config.pop("use_dora") is False
    (tmp_path / lora.CONFIG_FILE).write_text(json.dumps(config))
    adapter = backend.adapted(tmp_path).adapter
    _, layer = next(lora.layers(backend.loaded.decoder.model))
    assert layer.adapters[adapter].kind == lora.Kind(4, 8)


def test_a_missing_or_damaged_adapter_is_an_error(backend: Any, tmp_path: Path) -> None:
    base = backend.loaded.fingerprint
    with pytest.raises(StoreError, match=r"no adapter that can be read there .*weigh the task"):
        lora.load(tmp_path / "none", backend.loaded.decoder.model, base=base)
    whole = write_adapter(tmp_path / "whole", backend, seed=1)
    for file, damage in [
        (lora.CONFIG_FILE, b"{"),
        (lora.WEIGHTS_FILE, b"damaged"),
        (lora.WEIGHTS_FILE, (whole / lora.WEIGHTS_FILE).read_bytes()[:-8]),
    ]:
        spoilt = tmp_path / "spoilt"
        shutil.copytree(whole, spoilt, dirs_exist_ok=True)
        (spoilt / file).write_bytes(damage)
        with pytest.raises(StoreError, match="no adapter that can be read there"):
            lora.load(spoilt, backend.loaded.decoder.model, base=base)


@pytest.mark.parametrize("cut", [lambda v: v[:, :-1], lambda v: None])
def test_an_adapter_that_does_not_fit_is_refused_every_time(
    backend: Any, tmp_path: Path, cut: Any
) -> None:
    write_adapter(tmp_path, backend, seed=1)
    state = load_file(tmp_path / lora.WEIGHTS_FILE)
    key = next(k for k in state if "layers.1.mlp.up_proj.lora_A" in k)
    spoilt = {k: v if k != key else cut(v) for k, v in state.items()}
    save_file(
        {k: v.contiguous() for k, v in spoilt.items() if v is not None},
        tmp_path / lora.WEIGHTS_FILE,
        metadata={lora.BASE: backend.loaded.fingerprint},
    )
    for _ in range(2):  # the first attempt must leave nothing that the second could find
        with pytest.raises(StoreError, match=r"up_proj.lora_A.weight is .* expects \(4, 32\)"):
            backend.adapted(tmp_path)


def test_an_adapter_says_what_it_was_trained_on(backend: Any, tmp_path: Path) -> None:
    write_adapter(tmp_path, backend, seed=1, rank=4, alpha=8)
    config = json.loads((tmp_path / lora.CONFIG_FILE).read_text())
    assert (config["r"], config["lora_alpha"], config["peft_type"]) == (4, 8, "LORA")
    with safe_open(tmp_path / lora.WEIGHTS_FILE, framework="pt") as weights:
        assert weights.metadata() == {"steelyard_base": backend.loaded.fingerprint}
    assert config["target_modules"] == sorted(
        ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    )
