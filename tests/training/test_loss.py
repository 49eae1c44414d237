"""The loss and its gradient, however a step is laid out."""

from __future__ import annotations

import math
import random
import threading
from collections.abc import Sequence
from functools import cache
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoConfig, AutoModelForCausalLM

from steelyard.models import lora
from steelyard.models.decoder import Decoder
from steelyard.models.fused import Product
from steelyard.training import batches, step, target_loss
from steelyard.training.batches import Encoded
from steelyard.training.objective import Examples, mean_loss


class Table:
    """A decoder whose logits after a token are that token's row, whatever came before."""

    def __init__(self, rows: list[list[float]]) -> None:
        self.device = torch.device("cpu")
        self.tokens_at_once, self.lanes = 100, 1
        self.table = torch.tensor(rows)
        self.head = nn.Linear(len(rows), len(rows), bias=False)
        nn.init.eye_(self.head.weight).requires_grad_(requires_grad=False)
        self.output = Product(self.head.weight, None, lay_out=False)

    def __call__(self, ids: Tensor, _positions: Tensor, _attend: Any) -> Tensor:
        return self.table[ids]


EXAMPLES = Examples()
LOG_2, LOG_3 = math.log(2), math.log(3)
HAND: Any = Table([[0.0, 0.0, 0.0], [0.0, LOG_2, 0.0], [0.0, LOG_3, 0.0]])
# After token 0: 1/3 each. After 1: 1/4, 2/4, 1/4. After 2: 1/5, 3/5, 1/5.


def test_the_loss_of_a_row_worked_by_hand() -> None:
    # prompt 0 1, target 2 1:  −log P(2 | 1) − log P(1 | 2) = −log 1/4 − log 3/5
    row = Encoded([0, 1], [2, 1])
    expected = math.log(4) + math.log(5 / 3)
    assert float(EXAMPLES.loss(HAND, [row])) == pytest.approx(expected, abs=1e-6)
    assert mean_loss(EXAMPLES, HAND, [row]) == pytest.approx(expected / 2, abs=1e-6)


def test_only_the_last_token_of_a_prompt_is_in_the_loss_and_as_what_comes_before() -> None:
    losses = [
        float(EXAMPLES.loss(HAND, [Encoded([*before, 1], [2])]))
        for before in ([], [0], [2, 2], [1, 0, 2])
    ]
    assert losses == pytest.approx([math.log(4)] * 4, abs=1e-6)
    after_another = float(EXAMPLES.loss(HAND, [Encoded([0, 2], [2])]))
    assert after_another == pytest.approx(math.log(5), abs=1e-6)


def test_the_mean_is_over_tokens_and_not_over_rows() -> None:
    rows = [Encoded([1], [2]), Encoded([0], [0, 0, 0])]  # log 4 once, log 3 three times
    expected = (math.log(4) + 3 * math.log(3)) / 4
    assert mean_loss(EXAMPLES, HAND, rows) == pytest.approx(expected, abs=1e-6)


# ---------------------------------------------------------------- against transformers

IGNORED = -100
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {"tie_word_embeddings": True},
    "qwen2": {"tie_word_embeddings": False},  # query, key and value have biases
    "qwen3": {"head_dim": 16},  # norms of query and key; heads wider than the model
}
tokens = st.integers(3, 96)
rows_after_a_beginning = st.lists(
    st.builds(
        Encoded,
        prompt=st.lists(tokens, max_size=10),
        target=st.lists(tokens, min_size=1, max_size=6),
    ),
    min_size=1,
    max_size=8,
)


def random_model(family: str) -> Any:
    config = AutoConfig.for_model(
        family,
        vocab_size=97,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=128,
        initializer_range=0.2,
        **FAMILIES[family],
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                nn.init.normal_(parameter)
    return model


@cache
def learning(family: str) -> tuple[Decoder, dict[str, nn.Parameter]]:
    """A small random model with an adapter that has learned something, and its parameters."""
    model = random_model(family)
    decoder = Decoder(model)
    lora.add(model, "x", rank=4, alpha=8, seed=0)
    chance = torch.Generator().manual_seed(1)
    state = lora.tensors(model, "x")
    lora.assign(model, "x", {k: v.normal_(0, 0.1, generator=chance) for k, v in state.items()})
    return decoder, {n: p for n, p in model.named_parameters() if ".adapters." in n}


def gradient(parameters: dict[str, nn.Parameter]) -> dict[str, Tensor]:
    found = {}
    for name, parameter in parameters.items():
        assert parameter.grad is not None
        found[name], parameter.grad = parameter.grad, None
    return found


def ours(
    family: str, rows: list[Encoded], *, worth: int, limit: int, at_once: int, **how: Any
) -> tuple[float, dict[str, Tensor]]:
    """Mean loss and gradient as training takes them."""
    decoder, parameters = learning(family)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in how.items():
            patch.setattr(decoder, name, value)
        patch.setattr(decoder, "tokens_at_once", limit)
        patch.setattr(batches, "WORTH_SHARING", worth)
        patch.setattr(target_loss, "states_at_once", lambda _: at_once)
        num_tokens = sum(map(EXAMPLES.count, rows))
        total = step.backward(decoder, EXAMPLES, rows)
    return total / num_tokens, gradient(parameters)


def theirs(family: str, rows: list[Encoded]) -> tuple[float, dict[str, Tensor]]:
    """The same from one batch padded on the right, through transformers' model."""
    decoder, parameters = learning(family)
    loss = whole_batch_loss(decoder.model, rows)
    loss.backward()
    return loss.item(), gradient(parameters)


def apart(found: dict[str, Tensor], expected: dict[str, Tensor]) -> float:
    """The length of the difference, relative to the expected."""
    assert found.keys() == expected.keys()
    whole = torch.cat([expected[name].flatten() for name in expected])
    difference = torch.cat([(found[name] - expected[name]).flatten() for name in expected])
    return float(difference.norm() / whole.norm())


@settings(max_examples=60)
@given(
    family=st.sampled_from(sorted(FAMILIES)),
    beginning=st.lists(tokens, min_size=1, max_size=30),
    alike=rows_after_a_beginning,
    unlike=st.just([]) | rows_after_a_beginning,
    worth=st.sampled_from([0, 1, 20, 64, 10_000]),
    limit=st.integers(1, 200),
    at_once=st.integers(1, 50),
    lanes=st.integers(1, 3),
    checkpointing=st.booleans(),
)
def test_a_step_has_the_loss_and_gradient_of_one_padded_batch(
    family: str,
    beginning: list[int],
    alike: list[Encoded],
    unlike: list[Encoded],
    **how: Any,
) -> None:
    rows = [Encoded([*beginning, *row.prompt], row.target) for row in alike]
    rows += [Encoded([*row.prompt, 1], row.target) for row in unlike]
    loss, found = ours(family, rows, **how)
    expected_loss, expected = theirs(family, rows)
    assert loss == pytest.approx(expected_loss, rel=1e-5)
    assert apart(found, expected) < 1e-5


def some_rows() -> list[Encoded]:
    """Rows of several lengths with a common beginning of 30 tokens, one of them no longer."""
    chance = random.Random(0)
    beginning = chance.choices(range(3, 97), k=30)
    rows = [Encoded(beginning, [5, 2])]
    for _ in range(9):
        own = chance.choices(range(3, 97), k=chance.randint(1, 12))
        target = chance.choices(range(3, 97), k=chance.randint(1, 5))
        rows.append(Encoded([*beginning, *own], target))
    return rows


PLAIN: dict[str, int] = {"worth": 10_000, "limit": 10_000, "at_once": 10_000}


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_sharing_splitting_and_computing_twice_change_no_gradient(family: str) -> None:
    rows = some_rows()
    assert batches.shared_tokens(rows) == 29
    expected_loss, expected = theirs(family, rows)
    changes: list[dict[str, Any]] = [
        {},
        {"worth": 1},
        {"worth": 1, "limit": 60},
        {"limit": 1},
        {"at_once": 1},
        {"checkpointing": True},
        {"lanes": 2},
        {"lanes": 2, "worth": 1, "limit": 60, "at_once": 3, "checkpointing": True},
        {"worth": 1, "limit": 60, "at_once": 3, "checkpointing": True},
    ]
    for change in changes:
        loss, found = ours(family, rows, **PLAIN | change)
        assert loss == pytest.approx(expected_loss, rel=1e-5)
        assert apart(found, expected) < 1e-5
        for name in expected:  # not one layer is wrong that is small beside the others
            assert apart({name: found[name]}, {name: expected[name]}) < 5e-5


def test_lanes_add_to_what_is_there_in_the_same_order_every_time() -> None:
    decoder, parameters = learning("llama")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decoder, "lanes", 2)
        patch.setattr(decoder, "tokens_at_once", 40)
        threads = torch.get_num_threads()
        once = [step.backward(decoder, EXAMPLES, some_rows())]
        first = gradient(parameters)
        for _ in range(5):
            once.append(step.backward(decoder, EXAMPLES, some_rows()))
            again = gradient(parameters)
            assert all(torch.equal(again[name], first[name]) for name in first)
        assert set(once) == {once[0]}
        assert torch.get_num_threads() == threads
        for _ in range(2):
            step.backward(decoder, EXAMPLES, some_rows())
        twice = gradient(parameters)
    assert apart(twice, {name: 2 * value for name, value in first.items()}) < 1e-6


def test_lanes_run_beside_each_other_and_a_lone_row_needs_none() -> None:
    decoder, parameters = learning("llama")
    both = threading.Barrier(2, timeout=20)

    class Meeting(Examples):
        """Comes to an end only where two are under way."""

        def loss(self, decoder: Decoder, rows: Sequence[Encoded]) -> Tensor:
            both.wait()
            return super().loss(decoder, rows)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decoder, "lanes", 2)
        step.backward(decoder, Meeting(), some_rows())
        step.backward(decoder, EXAMPLES, some_rows()[:1])
    gradient(parameters)


def test_the_order_of_rows_changes_no_gradient() -> None:
    rows = some_rows()
    loss, found = ours("llama", rows, worth=1, limit=60, at_once=7)
    turned_loss, turned = ours("llama", rows[::-1], worth=1, limit=60, at_once=7)
    assert turned_loss == pytest.approx(loss, rel=1e-6)
    assert apart(turned, found) < 1e-5


@pytest.mark.parametrize("family", sorted(FAMILIES))
@pytest.mark.parametrize("checkpointing", [False, True])
def test_all_weights_have_the_gradient_that_transformers_gives_them(
    family: str, checkpointing: bool
) -> None:
    decoder, plain = Decoder(random_model(family)), random_model(family)
    decoder.learn()
    decoder.checkpointing = checkpointing
    decoder.tokens_at_once = 60
    rows = some_rows()
    count = sum(map(EXAMPLES.count, rows))
    loss = step.backward(decoder, EXAMPLES, rows)
    expected = whole_batch_loss(plain, rows)
    expected.backward()
    assert loss / count == pytest.approx(expected.item(), rel=1e-5)
    theirs = dict(plain.named_parameters())
    seen = []
    for names, parameter in decoder.weights().items():
        wanted = torch.cat([theirs[name].grad for name in names])
        torch.testing.assert_close(parameter.grad, wanted, rtol=1e-4, atol=1e-6)
        seen += names
    assert sorted(seen) == sorted(theirs)


def whole_batch_loss(model: Any, rows: list[Encoded]) -> Tensor:
    """The mean loss of one batch padded on the right, as transformers computes it."""
    shape = len(rows), max(map(len, rows))
    ids, mask = torch.zeros(shape, dtype=torch.long), torch.zeros(shape, dtype=torch.long)
    labels = torch.full(shape, IGNORED)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = torch.tensor(row.prompt + row.target)
        mask[i, : len(row)] = 1
        labels[i, len(row.prompt) : len(row)] = torch.tensor(row.target)
    logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits
    return functional.cross_entropy(
        logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), ignore_index=IGNORED
    )


def test_checkpointing_runs_each_layer_twice_and_only_where_it_learns() -> None:
    decoder, parameters = learning("llama")
    counts = []
    with pytest.MonkeyPatch.context() as patch:
        calls: list[int] = []
        patch.setattr(decoder, "layers", [counted(layer, calls) for layer in decoder.layers])
        for checkpointing in (False, True):
            patch.setattr(decoder, "checkpointing", checkpointing)
            for run in (learn, hold_out):
                calls.clear()
                run(decoder)
                counts.append(calls[:])
    gradient(parameters)
    assert counts == [[0, 1], [0, 1], [0, 1, 1, 0], [0, 1]]


def learn(decoder: Decoder) -> None:
    step.backward(decoder, EXAMPLES, some_rows())


def hold_out(decoder: Decoder) -> None:
    mean_loss(EXAMPLES, decoder, some_rows())


def counted(layer: Any, calls: list[int]) -> Any:
    def run(index: int, *given: Any) -> Tensor:
        calls.append(index)
        found: Tensor = layer(index, *given)
        return found

    return run


def test_only_the_active_adapter_gets_gradients() -> None:
    decoder, parameters = learning("qwen2")
    lora.add(decoder.model, "other", rank=2, alpha=4, seed=0)
    decoder.switch.active = "x"
    try:
        step.backward(decoder, EXAMPLES, some_rows())
        learned = {n for n, p in decoder.model.named_parameters() if p.grad is not None}
        assert learned == {n for n in parameters if ".adapters.x." in n}
        assert len(learned) == 2 * 2 * 7  # A and B of seven linear layers in two layers
        assert all(float(p.grad.norm()) > 0 for p in parameters.values() if p.grad is not None)
    finally:
        gradient(parameters)
        for _, layer in lora.layers(decoder.model):
            del layer.adapters["other"]


def test_a_fresh_adapter_learns_only_its_second_half() -> None:
    decoder, _ = learning("llama")
    fresh = lora.add(decoder.model, "fresh", rank=2, alpha=4, seed=0)
    try:
        step.backward(decoder, EXAMPLES, some_rows())
        norms = [float(p.grad.norm()) for p in fresh if p.grad is not None]
        assert len(norms) == len(fresh)
        assert set(norms[::2]) == {0.0}  # B is zero, and A is seen through it
        assert min(norms[1::2]) > 0
    finally:
        decoder.switch.active = "x"
        for _, layer in lora.layers(decoder.model):
            del layer.adapters["fresh"]


def test_a_held_out_loss_is_the_same_however_it_is_split(monkeypatch: pytest.MonkeyPatch) -> None:
    decoder, _ = learning("qwen3")
    whole = mean_loss(EXAMPLES, decoder, some_rows())
    for limit in (1, 40, 100):
        monkeypatch.setattr(decoder, "tokens_at_once", limit)
        assert mean_loss(EXAMPLES, decoder, some_rows()) == pytest.approx(whole, rel=1e-6)


def test_the_loss_is_that_of_each_row_alone() -> None:
    decoder, _ = learning("llama")
    rows = [Encoded([5, 6, 7], [8, 9, 2]), Encoded([50], [2]), Encoded([9, 9], [90, 2])]
    alone = 0.0
    with torch.inference_mode():
        for row in rows:
            ids = row.prompt + row.target
            log_probs = torch.log_softmax(decoder.model(torch.tensor([ids])).logits[0], dim=-1)
            for i, token in enumerate(row.target):
                alone -= float(log_probs[len(row.prompt) - 1 + i, token])
        assert float(EXAMPLES.loss(decoder, rows)) == pytest.approx(alone, rel=1e-5)
