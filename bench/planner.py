"""The planner against published measurements: how far off it is, and whether that passes.

    python bench/planner.py [--points PATH] [--all]

The pass mark counts the training points that say how they were measured and ran on one device:
median |error| at most 10 %, nine of ten within 25 %, none under by more than 25 %; and every
published out-of-memory row must be judged to need more than its device has. What else is known
(several devices, serving, claims of vendors) is shown with --all and counts for nothing.

Exit code 0: passed. 1: not. 2: the points are not there.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from steelyard.training.planner import GPUS, KNOWN, Memory, Setup, memory

POINTS = Path(__file__).resolve().parents[2] / "shared" / "memory_points.json"
UNITS = {"GB": 1e9, "GiB": 2**30, "MiB": 2**20}
STORED = {"gptq-int4": "gptq", "nf4": "nf4", "nf4-dq": "nf4-dq"}
HARDWARE = {
    "a100-40gb": "a100-40",
    "a100-80gb": "a100-80",
    "a100": "a100-80",
    "tesla t4": "t4",
    "rtx4090": "rtx4090",
    "a6000": "a6000",
    "48gb gpu": "a6000",
}
MEDIAN, NINE_OF_TEN, UNDER = 0.10, 0.25, 0.25

Point = Mapping[str, Any]


@dataclass(frozen=True)
class Source:
    """What a source's own scripts say and its table does not.

    litgpt: `--precision bf16-true` keeps adapters in bfloat16; the loss is chunked; the figure is
    torch.cuda.max_memory_allocated.
    Qwen: finetune.py of its repository has rank 64 on every matrix; plain LoRA runs without
    DeepSpeed, and the peft of that time made adapters as wide as the base; all else runs in
    DeepSpeed's 16-bit engines; checkpoints are torch's; the figure is what the card shows.
    torchtune: bfloat16 throughout, rank 8 on attention, a chunked loss, torch's checkpoints; full
    weights with Adam's moments paged to the machine's memory.
    fitcheck: peft keeps adapters in 32 bits and widens what is not quantised; allocated as well.
    QLoRA: qlora.py of its repository makes adapters, embeddings and head bfloat16.
    """

    name: str
    rank: int
    targets: str
    trained_bits: Any = 32
    fused_loss: bool = False
    rest_bytes: float = 4
    checkpoint_states: int = 2
    whole: bool = False  # the figure includes the driver's and the allocator's part


SOURCES = {
    "litgpt": Source("litgpt", 8, "qv", 16, True, 2),
    "QwenLM": Source("Qwen", 64, "all", checkpoint_states=1, whole=True),
    "torchtune": Source("torchtune", 8, "qkvo", 16, True, 2, checkpoint_states=1),
    "fitcheck": Source("fitcheck", 32, "qkvo"),
    "QLoRA paper": Source("QLoRA paper", 64, "all", 16, rest_bytes=2, whole=True),
    "huggingface/peft": Source("peft", 8, "qv", whole=True),
}


def source_of(point: Point) -> Source | None:
    """The source of a point, if its scripts are known."""
    return next((s for marker, s in SOURCES.items() if marker in point["source"]), None)


def setup_of(point: Point) -> Setup:
    """The point in the planner's words."""
    source = source_of(point)
    assert source is not None
    words = point["method"]
    method = words.split()[0].partition("+")[0].replace("inference", "serve")
    setup = Setup(
        method=method,
        seq=point["seq_len"] or 1,
        batch=point["micro_batch"],
        checkpointing=bool(point["grad_ckpt"]),
        rank=source.rank,
        targets=source.targets,
        stored=STORED.get(point["base_weights"], "bf16"),
        rest_bytes=2 if method == "serve" else source.rest_bytes,
        trained_bits=source.trained_bits,
        fused_loss=source.fused_loss,
        checkpoint_states=source.checkpoint_states,
        fused_attention="eager" not in words,
        trains_embeddings="+emb" in words,
    )
    if source.name == "torchtune" and method == "full":
        at_once = "opt-in-bwd" not in words
        setup = replace(setup, optimiser="paged", step_at_once=at_once)
    if source.name == "Qwen":
        plain = method == "lora" and place_of(point)[0] == 1
        setup = replace(setup, **({"trained_bits": 16} if plain else {"loss_bits": 16}))
    return setup


def place_of(point: Point) -> tuple[int, str]:
    """How many devices shared the work, and which: "2xA100-80GB" → 2, a100-80."""
    head, times, name = point["hardware"].lower().partition("x")
    if times and head.isdigit():
        return int(head), HARDWARE[name]
    return 1, HARDWARE[point["hardware"].lower()]


def planned(point: Point) -> Memory:
    """What each device must hold; several share everything unless the point says otherwise."""
    devices, _ = place_of(point)
    stage = point.get("stage", 3 if devices > 1 else 0)
    return memory(KNOWN[point["model"].lower()], setup_of(point), devices=devices, stage=stage)


def published(point: Point) -> float:
    """Bytes of each device."""
    devices = place_of(point)[0] if "sum over" in point["note"] else 1
    return float(point["value"] * UNITS[point["unit"]] / devices)


def ours(point: Point) -> float:
    """Bytes of each device, of the kind that the source counts."""
    source, found = source_of(point), planned(point)
    return found.total if source is not None and source.whole else found.tensors


def error(point: Point) -> float:
    """(planned − published) / published."""
    return ours(point) / published(point) - 1


def known(point: Point) -> bool:
    """Whether the planner can say anything: the model's shape and how it was trained."""
    measured = point["kind"] in ("train_measured", "infer_measured", "upper_bound")
    there = point["model"].lower() in KNOWN and source_of(point) is not None
    return measured and there and "offload" not in point["method"]


def counted(points: Sequence[Point]) -> list[Point]:
    """Those that the pass mark counts: training, fully specified, on one device.

    Points of one source that say the same and differ by more than a quarter are not fully
    specified: something that decides is not said. (torchtune's two of LoRA: the slower card is the
    faster one, so it does not compute activations again.)
    """
    said: dict[str, list[Point]] = {}
    for point in points:
        if point["kind"] == "train_measured" and point["seq_len"] is not None:
            left_out = ("value", "hardware", "note", "unit")
            same = {k: v for k, v in point.items() if k not in left_out}
            if place_of(point)[0] == 1:
                said.setdefault(json.dumps(same, sort_keys=True), []).append(point)
    return [
        point
        for same in said.values()
        if max(map(published, same)) <= (1 + UNDER) * min(map(published, same))
        for point in same
    ]


def summary(errors: Sequence[float]) -> tuple[float, float, float, float]:
    """Median and ninth decile of |error|, least and largest error."""
    sizes = sorted(map(abs, errors))
    nine = statistics.quantiles(sizes, n=10, method="inclusive")[8] if len(sizes) > 1 else sizes[0]
    return statistics.median(sizes), nine, min(errors), max(errors)


# ---------------------------------------------------------------- rows that are not in the file

LITGPT, QWEN = "Lightning-AI/litgpt tutorials/resource-tables.md", "QwenLM/Qwen README"
PEFT = "huggingface/peft README"


def _row(source: str, model: str, method: str, base: str, sizes: str, **more: Any) -> Point:
    """`sizes`: tokens and rows at once."""
    seq, batch = map(int, sizes.split())
    row = {"source": source, "model": model, "method": method, "base_weights": base}
    row |= {"seq_len": seq, "micro_batch": batch, "grad_ckpt": source == QWEN, "note": ""}
    return {**row, "hardware": "A100-40GB", **more}


# Published as "OOM", or left blank "due to the limitation of GPU memory" (Qwen-7B). The lengths of
# litgpt's are those of its longest example; peft does not say its own.
OUT_OF_MEMORY: tuple[Point, ...] = (
    _row(LITGPT, "Llama-2-7b", "lora", "bf16", "1304 4"),
    _row(LITGPT, "Llama-2-13b", "lora", "bf16", "1304 2"),
    _row(LITGPT, "Llama-2-13b", "lora", "bf16", "1304 4"),
    _row(LITGPT, "Falcon-40b", "lora", "bf16", "1079 1"),
    _row(LITGPT, "Falcon-40b", "qlora", "nf4", "1079 1"),
    _row(LITGPT, "Falcon-40b", "qlora", "nf4-dq", "1079 1"),
    _row(LITGPT, "CodeLlama-34b", "inference", "bf16", "1 1"),
    _row(LITGPT, "Falcon-40b", "inference", "bf16", "1 1"),
    _row(LITGPT, "Llama-2-70b", "inference", "bf16", "1 1"),
    _row(PEFT, "mt0-xxl", "full", "bf16", "1 1", hardware="A100-80GB"),
    _row(PEFT, "bloomz-7b1", "full", "bf16", "1 1", hardware="A100-80GB"),
)
OUT_OF_MEMORY_SHARED: tuple[Point, ...] = (
    _row(QWEN, "Qwen-72B", "lora+emb", "bf16", "256 1", hardware="4xA100-80GB", stage=2),
    _row(QWEN, "Qwen-72B", "lora", "bf16", "256 1", hardware="4xA100-80GB", stage=2),
    _row(QWEN, "Qwen-7B", "full", "bf16", "2048 1", hardware="2xA100-80GB"),
    _row(LITGPT, "Falcon-40b", "lora", "bf16", "1079 1", hardware="4xA100-40GB"),
    _row(LITGPT, "Llama-2-13b", "lora", "bf16", "1304 1", hardware="2xA100-40GB"),
)


def _unseen() -> Iterable[Point]:
    gb = {"unit": "GB", "kind": "train_measured"}
    card = {"hardware": "A100-80GB", **gb}
    lengths = (256, 512, 1024, 2048, 4096, 8192)
    for model, values in (
        ("Qwen-1.8B", (13.7, 14.0, 14.0, 15.1, 19.7, 27.7)),
        ("Qwen-14B", (51.2, 51.1, 51.5, 54.1, 56.8, 67.7)),
    ):
        for seq, value in zip(lengths, values, strict=True):
            yield _row(QWEN, model, "lora+emb", "bf16", f"{seq} 1", value=value, **card)
    yield _row(LITGPT, "StableLM-alpha-3b", "lora", "bf16", "1034 2", value=12.10, **gb)
    yield _row(LITGPT, "StableLM-alpha-3b", "qlora", "nf4-dq", "1034 1", value=6.19, **gb)
    yield _row(LITGPT, "phi-1.5", "qlora", "nf4-dq", "1044 1", value=3.72, **gb)


UNSEEN = tuple(_unseen())  # published in the same tables, and looked at only after the formulas


def overflows(point: Point) -> bool:
    """Whether the plan says that it needs more than its device has."""
    return planned(point).total > GPUS[place_of(point)[1]].memory_bytes


# ---------------------------------------------------------------- what is printed


def line(point: Point) -> str:
    source = source_of(point)
    what = f"{source.name if source else '':<12} {point['model']:<18} {point['method'][:28]:<28}"
    how = f"{point['base_weights']:<10} {point['seq_len'] or '?':>5} × {point['micro_batch']}"
    return (
        f"{what} {how}  {published(point) / 1e9:7.2f} {ours(point) / 1e9:7.2f} {error(point):+7.1%}"
    )


def table(title: str, points: Sequence[Point]) -> None:
    print(f"\n{title}: published GB, planned GB, error")
    for point in points:
        print("  " + line(point))
    if points:
        median, nine, least, largest = summary([error(point) for point in points])
        print(
            f"  {len(points)} points: median |error| {median:.1%}, nine of ten within {nine:.1%}, "
            f"from {least:+.1%} to {largest:+.1%}"
        )


def judged(title: str, points: Sequence[Point]) -> int:
    """Print whether each out-of-memory row is called one; returns how many are not."""
    print(f"\n{title}: planned GB of the device's")
    wrong = 0
    for point in points:
        right = overflows(point)
        wrong += not right
        has = GPUS[place_of(point)[1]].memory_bytes
        print(
            f"  {'right' if right else 'WRONG'}  {point['hardware']:<12} {point['model']:<14} "
            f"{point['method']:<10} {point['base_weights']:<7} {point['seq_len']:>5} × "
            f"{point['micro_batch']}  {planned(point).total / 1e9:7.1f} of {has / 1e9:.1f}"
        )
    return wrong


def passes(points: Sequence[Point]) -> bool:
    """The pass mark's first part."""
    median, nine, least, _ = summary([error(point) for point in points])
    return median <= MEDIAN and nine <= NINE_OF_TEN and least >= -UNDER


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--points", type=Path, default=POINTS)
    parser.add_argument("--all", action="store_true", help="also what counts for nothing")
    options = parser.parse_args(arguments)
    if not options.points.is_file():
        print(f"{options.points}: no such file; name the published points with --points")
        return 2
    points = [p for p in json.loads(options.points.read_text(encoding="utf-8")) if known(p)]
    mark = counted(points)
    table("One device, fully specified", mark)
    for name in dict.fromkeys(s.name for p in mark if (s := source_of(p))):
        own = [error(p) for p in mark if (s := source_of(p)) and s.name == name]
        median, nine, least, largest = summary(own)
        print(
            f"    {name:<10} {len(own):>3}: {median:.1%}, {nine:.1%}, {least:+.1%} {largest:+.1%}"
        )
    if options.all:
        table("Not in the file", UNSEEN)
        trained = [p for p in points if p["kind"] == "train_measured" and p["seq_len"]]
        alone = [p for p in trained if place_of(p)[0] == 1]
        table("Contradicting each other", [p for p in alone if p not in mark])
        table("Several devices", [p for p in points if p["seq_len"] and place_of(p)[0] > 1])
        table("Serving", [p for p in points if p["kind"] == "infer_measured"])
        judged("Out of memory, several devices", OUT_OF_MEMORY_SHARED)
    wrong = judged("Out of memory, one device", OUT_OF_MEMORY)
    for point in points:
        if point["kind"] == "upper_bound":
            print(f"\nPublished as under {published(point) / 1e9:.1f} GB:\n  {line(point)}")
            wrong += ours(point) > published(point)
    refused = [p for p in mark if overflows(p)]
    print(f"\n{len(mark) - len(refused)} of {len(mark)} that ran are said to fit where they ran")
    ok = passes(mark) and not wrong
    print(f"{'PASSED' if ok else 'FAILED'}: {len(mark)} points, {wrong} rows misjudged")
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
