"""TRL's SFTTrainer on rows of token ids: the peer that training.py and verdict.py measure against.

It trains what ours trains: bfloat16 weights where they are native, adapters of the same rank on
all linear layers, loss on the targets alone (ids and labels are made here, so that both sides
learn from the same tokens); without gradient checkpointing, and nothing logged or saved. What is
left to choose is a `Settings`, and `fastest` tries each choice on the work at hand.

`padding_free` lays the rows of a micro-batch end to end. Without a flash-attention kernel
transformers masks their attention block by block, so that it is sound here too (a test compares
the losses). Packing by TRL's own strategies does the same and changes how many rows a step has,
so that it is left out. Compiling is tried on a GPU alone, where all rows have one length: it
compiles again for every new one.
"""

from __future__ import annotations

import importlib
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from rows import Timed
from steelyard.core import Weights
from steelyard.training.batches import Encoded

IGNORED = -100
FLOOR = 0.1  # of the peak learning rate, at the end, as ours


@dataclass(frozen=True)
class Settings:
    """How the peer does the work. `micro_batch` is rows per forward; a step sums as many as its
    batch asks for. `trainer` is "trl" or "transformers", whose plain Trainer takes the same."""

    trainer: str = "trl"
    attention: str = "eager"
    padding_free: bool = False
    autocast: bool = True
    sampling: str = "group_by_length"
    compiled: bool = False
    micro_batch: int = 8

    def __str__(self) -> str:
        parts = [f"{self.attention} attention", "padding-free" if self.padding_free else "padded"]
        parts += ["autocast"] * self.autocast + [f"{self.sampling} order"]
        parts += ["compiled"] * self.compiled + [f"{self.micro_batch} rows a forward"]
        return ", ".join(parts)


# Where `fastest` begins, and what is used where it is not asked.
USUAL = {
    "cpu": Settings(),
    "cuda": Settings(attention="sdpa", micro_batch=2),
}


def usual(device: str, batch_size: int) -> Settings:
    """The usual settings, with no more rows in a forward than in a step."""
    settings = USUAL[device]
    return replace(settings, micro_batch=min(settings.micro_batch, batch_size))


def choices(device: str, batch_size: int) -> dict[str, tuple[Any, ...]]:
    """The values that `fastest` tries for each setting."""
    from transformers.utils import is_flash_attn_2_available

    flash = ("flash_attention_2",) * is_flash_attn_2_available()
    on_gpu = device == "cuda"
    return {
        "attention": ("sdpa", *flash) if on_gpu else ("eager", "sdpa"),
        "padding_free": (True, False),
        "autocast": (True, False),
        "sampling": ("random", "group_by_length"),
        "compiled": (False, True) if on_gpu else (False,),
        "micro_batch": tuple(n for n in (16, 8, 4, 2, 1) if batch_size % n == 0),
    }


def fastest(time_steps: Callable[[Settings], Timed], device: str, batch_size: int) -> Settings:
    """The best settings for a work, one setting after the other; `time_steps` tries some.

    What fails, for want of memory above all, is said and passed over.
    """
    tried: dict[Settings, float] = {}

    def speed(settings: Settings) -> float:
        if settings not in tried:
            try:
                timed = time_steps(settings)
                tried[settings] = timed.tokens / timed.seconds
                said = f"{tried[settings]:,.0f} tokens/s"
            except Exception as error:
                tried[settings] = 0.0
                said = f"failed: {type(error).__name__}"
            print(f"trl with {settings}: {said}", file=sys.stderr, flush=True)
        return tried[settings]

    best = usual(device, batch_size)
    while speed(best) == 0 and best.micro_batch > 1:
        best = replace(best, micro_batch=best.micro_batch // 2)
    for name, values in choices(device, batch_size).items():
        best = max((replace(best, **{name: value}) for value in values), key=speed)
    return best


def dataset(rows: Sequence[Encoded]) -> Any:
    """Ids and labels as SFTTrainer takes them: it prepares no more."""
    return importlib.import_module("datasets").Dataset.from_list(
        [
            {"input_ids": r.prompt + r.target, "labels": [IGNORED] * len(r.prompt) + r.target}
            for r in rows
        ]
    )


def make_trainer(
    model: Any,
    tokenizer: Any,
    rows: Sequence[Encoded],
    *,
    weights: Weights,
    settings: Settings,
    arguments: Mapping[str, Any],
    **more: Any,
) -> Any:
    """A trainer about to train a fresh adapter on `model`, which it changes.

    `arguments` are those of SFTConfig beside ours; `more` goes to the trainer.
    """
    from peft import LoraConfig, get_peft_model
    from transformers import PrinterCallback, Trainer

    sft = importlib.import_module("trl.trainer.sft_trainer")
    lora = LoraConfig(
        r=weights.rank,
        lora_alpha=weights.alpha,
        lora_dropout=0.0,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )
    model.set_attn_implementation(settings.attention)
    num_steps = -(-len(rows) // weights.batch_size) * weights.epochs
    own = {"max_steps": num_steps, "bf16": settings.autocast and model.dtype == torch.bfloat16}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of names that will change in later versions
        config = sft.SFTConfig(
            **_arguments(weights, settings, model.device.type) | own | dict(arguments)
        )
        more |= {"args": config, "train_dataset": dataset(rows)}
        if settings.trainer == "trl":
            trainer = sft.SFTTrainer(
                model=model, processing_class=tokenizer, peft_config=lora, **more
            )
        else:
            collate = sft.DataCollatorForLanguageModeling(
                tokenizer.pad_token_id, padding_free=settings.padding_free
            )
            trainer = Trainer(model=get_peft_model(model, lora), data_collator=collate, **more)
    trainer.remove_callback(PrinterCallback)
    return trainer


def _arguments(weights: Weights, settings: Settings, device: str) -> dict[str, Any]:
    """What SFTConfig is told whatever the rows."""
    return {
        "per_device_train_batch_size": settings.micro_batch,
        "gradient_accumulation_steps": max(1, weights.batch_size // settings.micro_batch),
        "learning_rate": weights.peak_learning_rate,
        "lr_scheduler_type": "cosine_with_min_lr",
        "lr_scheduler_kwargs": {"min_lr_rate": FLOOR},
        "warmup_steps": weights.warmup_share,  # a share, where it is below 1
        "weight_decay": 0.0,
        "max_grad_norm": 1.0,
        "gradient_checkpointing": False,
        "max_length": None,
        "padding_free": settings.padding_free,
        "train_sampling_strategy": settings.sampling,
        "torch_compile": settings.compiled,
        "use_cpu": device == "cpu",
        "dataloader_pin_memory": device != "cpu",
        "logging_strategy": "no",
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
    }


def train(trainer: Any) -> Any:
    """Train without a word, and return what the trainer returns."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return trainer.train()


def time_steps(
    model: Any,
    tokenizer: Any,
    rows: Sequence[Encoded],
    *,
    weights: Weights,
    settings: Settings,
    steps: int,
) -> Timed:
    """`steps` optimiser steps after a first one."""
    from transformers import TrainerCallback

    marks: list[float] = []

    class Clock(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            if model.device.type == "cuda":
                torch.cuda.synchronize()
            marks.append(time.perf_counter())

    with tempfile.TemporaryDirectory() as folder:
        trainer = make_trainer(
            model,
            tokenizer,
            rows,
            weights=weights,
            settings=settings,
            arguments={"output_dir": folder, "max_steps": steps + 1},
            callbacks=[Clock()],
        )
        fed = _keep_batches(trainer)
        train(trainer)
    return Timed(
        marks[-1] - marks[0],
        sum(_count(batch, "rows") for step in fed[1:] for batch in step),
        sum(_count(batch, "tokens") for step in fed[1:] for batch in step),
    )


def _keep_batches(trainer: Any) -> list[Any]:
    """Keeps the batches that each optimiser step is given, in a list that grows."""
    given: list[Any] = []
    take = trainer.get_batch_samples

    def taken(*arguments: Any) -> Any:
        batches, items = take(*arguments)
        given.append([dict(batch) for batch in batches])
        return batches, items

    trainer.get_batch_samples = taken
    return given


def _count(batch: Mapping[str, Any], what: str) -> int:
    """The rows of a batch, or their tokens without the padding."""
    if "attention_mask" in batch:
        mask = batch["attention_mask"]
        return len(mask) if what == "rows" else int(mask.sum())
    places = batch["position_ids"]
    return int((places == 0).sum()) if what == "rows" else places.numel()
