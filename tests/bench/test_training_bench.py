"""The training benchmark: both sides do the same work, and TRL is given its best settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench_scripts import load_script
from steelyard.core import Weights

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

for needed in ("rounds", "rows", "base_models", "trl_peer", "growth"):
    load_script(needed)
rows, trl_peer, training = load_script("rows"), load_script("trl_peer"), load_script("training")

LENGTHS = rows.Lengths(own=(3, 20), target=(2, 6), shared=8)
WEIGHTS = Weights("lora", rank=4, alpha=8, batch_size=4)


def decoder_of(folder: Path) -> Any:
    from tiny import open_in_float32

    return open_in_float32(folder).loaded.decoder


def test_ours_is_timed_after_its_first_step(tiny_folder: Path) -> None:
    made = rows.random_rows(LENGTHS, 40, vocabulary=300)
    timed = training.our_steps(decoder_of(tiny_folder), made, WEIGHTS, 3)
    assert timed.rows == 3 * WEIGHTS.batch_size
    learned = [
        len(made[i])
        for step in (1, 2, 3)
        for i in training.batches.rows_of_step(40, WEIGHTS.batch_size, step, training.SEED)
    ]
    assert timed.tokens == sum(learned)
    assert timed.seconds > 0


def test_too_few_rows_to_time_are_said(tiny_folder: Path) -> None:
    made = rows.random_rows(LENGTHS, 4, vocabulary=300)
    with pytest.raises(AssertionError, match="fewer steps"):
        training.our_steps(decoder_of(tiny_folder), made, WEIGHTS, 30)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("padding_free", [False, True])
def test_the_peer_is_timed_after_its_first_step(tiny_folder: Path, padding_free: bool) -> None:
    pytest.importorskip("trl")
    made = rows.random_rows(rows.Lengths((9, 9), (4, 4)), 40, vocabulary=300)
    timed = trl_peer.time_steps(
        transformers.AutoModelForCausalLM.from_pretrained(tiny_folder, dtype=torch.float32),
        transformers.AutoTokenizer.from_pretrained(tiny_folder),
        made,
        weights=WEIGHTS,
        settings=trl_peer.Settings(micro_batch=2, padding_free=padding_free),
        steps=3,
    )
    assert (timed.rows, timed.tokens) == (12, 12 * 13)
    assert timed.seconds > 0


def test_padding_is_not_counted() -> None:
    mask = torch.tensor([[1, 1, 1], [1, 0, 0]])
    assert trl_peer._count({"attention_mask": mask}, "rows") == 2
    assert trl_peer._count({"attention_mask": mask}, "tokens") == 4
    places = torch.tensor([[0, 1, 2, 0]])
    assert trl_peer._count({"position_ids": places}, "rows") == 2
    assert trl_peer._count({"position_ids": places}, "tokens") == 4


def test_the_fastest_settings_are_found_one_after_the_other(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def time_steps(settings: Any) -> Any:
        if settings.micro_batch > 4:
            raise torch.OutOfMemoryError
        slow = 2 * (settings.attention == "eager") + settings.padding_free
        return rows.Timed(10 + slow - settings.autocast - settings.micro_batch / 10, 8, 100)

    assert trl_peer.usual("cpu", 4).micro_batch == 4
    best = trl_peer.fastest(time_steps, "cpu", 8)
    assert (best.attention, best.padding_free, best.autocast) == ("sdpa", False, True)
    assert best.micro_batch == 4
    assert "8 rows a forward: failed: OutOfMemoryError" in capsys.readouterr().err


def test_a_forward_has_a_divisor_of_the_rows_of_a_step() -> None:
    assert trl_peer.choices("cpu", 12)["micro_batch"] == (4, 2, 1)
    assert trl_peer.choices("cpu", 16)["micro_batch"] == (16, 8, 4, 2, 1)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"padding_free": True},
        {"padding_free": True, "attention": "sdpa"},
        {"micro_batch": 2, "sampling": "random"},
        {"trainer": "transformers"},
        {"trainer": "transformers", "padding_free": True},
    ],
    ids=str,
)
def test_every_peer_begins_with_the_loss_that_ours_begins_with(
    settings: dict[str, Any], tiny_folder: Path, tmp_path: Path
) -> None:
    """Padding-free rows that saw each other would have another one."""
    pytest.importorskip("trl")
    from steelyard.training.objective import mean_loss

    made = rows.random_rows(LENGTHS, 4, vocabulary=300)
    model = transformers.AutoModelForCausalLM.from_pretrained(tiny_folder, dtype=torch.float32)
    trainer = trl_peer.make_trainer(
        model,
        transformers.AutoTokenizer.from_pretrained(tiny_folder),
        made,
        weights=WEIGHTS,
        settings=trl_peer.Settings(**{"micro_batch": 4, **settings}),
        arguments={"output_dir": str(tmp_path), "max_steps": 1},
    )
    found = trl_peer.train(trainer).training_loss
    expected = mean_loss(training.Examples(), decoder_of(tiny_folder), made)
    assert found == pytest.approx(expected, rel=1e-4)
    trained = [p for p in trainer.model.parameters() if p.requires_grad]
    layers = 7 * model.config.num_hidden_layers
    assert len(trained) == 2 * layers  # A and B of every linear layer, and nothing else
