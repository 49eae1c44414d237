"""Realistic verdicts for the HTML report: of extraction, of labels, of nothing that works."""

from __future__ import annotations

import json
import math
import random
from typing import Any

Verdict = dict[str, Any]

FIELDS = {"name": 1.0, "email": 1.02, "phone": 0.8, "location": 0.95, "seniority": 0.62,
          "skills": 0.9, "years_of_experience": 0.74, "languages": 0.97}  # fmt: skip


def measured(score: float, half: float, n: int, details: Any = None, errors: int = 0) -> Any:
    interval = [round(max(score - half, 0.0), 4), round(min(score + half, 1.0), 4)]
    return {"score": score, "interval": interval, "num_examples": n, "num_errors": errors,
            "details": details or {"valid": 1.0}}  # fmt: skip


def recipe(name: str, dev: Any = None, test: Any = None, **changes: Any) -> Any:
    return {
        "name": name, "model": "SmolLM2-135M-Instruct", "context": "instruction",
        "weights": "none", "decoding": "free", "control": False, "status": "finished",
        "why": None, "dev": dev, "test": test, "setup_seconds": 0.0, "setup_usd": 0.0,
        "usd_per_1k": None, "prompt_tokens": None, "cached_tokens": None,
        "completion_tokens": None, "latency_ms": None, "learning_curve": None,
    } | changes  # fmt: skip


def field_details(score: float, valid: float) -> Any:
    fields = {}
    for i, (name, ease) in enumerate(FIELDS.items()):
        f1 = round(min(score * ease, 0.996), 4)
        fields[name] = {
            "precision": min(f1 + 0.02, 1.0), "recall": max(f1 - 0.02, 0.0), "f1": f1,
            "support": 80 - 3 * i, "empty": round((1 - f1) / 3, 4),
        }  # fmt: skip
    of_valid = round(min(score / valid, 1.0), 4) if valid else None
    return {"valid": valid, "score_given_valid": of_valid, "exact": round(score**4, 4),
            "valid_but_wrong": round(valid * (1 - score**4), 4),
            "empty": round((1 - score) / 2, 4), "fields": fields}  # fmt: skip


def learning_curve(rng: random.Random) -> Any:
    points = []
    for step in range(5, 65, 5):
        loss = 0.16 + 1.9 * math.exp(-step / 9) + rng.uniform(-0.03, 0.03)
        held = 0.24 + 1.7 * math.exp(-step / 10) + max(step - 45, 0) * 0.004
        points.append({"step": step, "epoch": step / 15, "train_loss": loss,
                       "held_out_loss": held if step % 15 == 0 else None})  # fmt: skip
    why = "Stopped after step 60: the held-out loss had not improved for 1 epoch."
    return {"points": points, "best_step": 45, "stopped": why}


TARGET = {
    "name": "Marisol Vega", "email": "m.vega@example.org", "phone": "+34912345678",
    "location": "Badajoz, Spain", "seniority": "S3",
    "skills": ["Switchgear", "PLC programming", "AutoCAD", "Fault finding", "Wiring regulations"],
    "years_of_experience": 9, "languages": ["Spanish", "English"],
}  # fmt: skip
INPUT = (
    "My name is Marisol Vega and I am an electrician based in Badajoz, Spain. Since 2022 I have "
    "worked as Maintenance Electrician at Grupo Blanco S.L., where I maintained switchgear for 12 "
    "factories. From 2018 to 2021 I worked as Electrician at Grupo Uribe, and from 2015 to 2018 as "
    "an apprentice in the same house. Tools I use: Switchgear, PLC programming, AutoCAD, Fault "
    "finding, Wiring regulations. I speak Spanish and English. I hold a certificate in Industrial "
    "Installations (2015).\nContact: m.vega@example.org, (0034) 912 34 56 78.\n\nPage 1 of 1"
)


def answer(recipe: str, score: float | None, value: Any = None, **changes: Any) -> Any:
    return {"recipe": recipe, "text": json.dumps(value), "value": value, "valid": True,
            "score": score, "error": None} | changes  # fmt: skip


def disagreement(i: int) -> Any:
    few = TARGET | {"phone": "(0034) 912 34 56 78", "seniority": None, "years_of_experience": 4}
    zero = {"name": "Marisol Vega", "email": "", "phone": "912", "job": "electrician",
            "skills": ["electrician"], "location": "Spain", "seniority": "senior"}  # fmt: skip
    return {
        "id": f"resume-{i:03}", "split": "dev", "input": INPUT, "target": TARGET,
        "answers": [
            answer("lora+constrained", 1.0, TARGET),
            answer("nearest-shot+constrained", 0.81, TARGET | {"seniority": "S2"}),
            answer("few-shot", 0.63, few),
            answer("zero-shot+constrained", 0.21, zero),
            answer("zero-shot", 0.0, valid=False, text="Here is the JSON:\n```\n{name: Marisol"),
            answer("tfidf", None, error="the nearest answer has no target"),
        ],
    }  # fmt: skip


def extraction() -> Verdict:
    """Nine recipes on a JSON task; LoRA with constrained decoding wins on dev and test."""
    rng = random.Random(7)
    shots = "instruction + output description + 4 {} examples"
    lora = {"context": "instruction", "weights": "lora r=16", "setup_seconds": 372.4,
            "setup_usd": 0.0103, "learning_curve": learning_curve(rng)}  # fmt: skip
    told = {"context": "instruction + output description"}
    near = {"context": shots.format("nearest"), "setup_seconds": 2.1, "setup_usd": 0.00006}
    tight = {"decoding": "constrained"}
    table: list[tuple[str, float, float, float, tuple[int, int, int], float, Any]] = [
        ("majority", 0.118, 1.0, 0.0000004, (0, 0, 0), 0.02, {"control": True}),
        ("tfidf", 0.243, 1.0, 0.0000031, (0, 0, 0), 0.4, {"control": True}),
        ("zero-shot", 0.181, 0.34, 0.0316, (412, 96, 118), 1104, {"control": True, **told}),
        ("zero-shot+constrained", 0.334, 1.0, 0.0343, (412, 96, 104), 1251, {**told, **tight}),
        ("few-shot", 0.522, 0.81, 0.0472, (1604, 1290, 97), 1683,
         {"context": shots.format("fixed")}),
        ("nearest-shot", 0.604, 0.86, 0.0688, (1598, 96, 98), 2391, near),
        ("nearest-shot+constrained", 0.641, 1.0, 0.0703, (1598, 96, 99), 2466, {**near, **tight}),
        ("lora", 0.868, 0.98, 0.0238, (286, 22, 96), 812, lora),
        ("lora+constrained", 0.881, 1.0, 0.0251, (286, 22, 96), 874, {**lora, **tight}),
    ]  # fmt: skip
    tested = {"lora+constrained": 0.8742, "zero-shot": 0.1768}
    recipes = []
    for name, score, valid, usd, tokens, p50, changes in table:
        kinds = ("prompt_tokens", "cached_tokens", "completion_tokens")
        more = {"usd_per_1k": usd, "latency_ms": {"p50": p50, "p95": p50 * 1.7}, **changes}
        dev = measured(score, 0.034, 80, field_details(score, valid), int(name == "few-shot"))
        test = None
        if name in tested:
            test = measured(tested[name], 0.021, 160, field_details(tested[name], valid))
        recipes.append(recipe(name, dev, test, **more, **dict(zip(kinds, tokens, strict=True))))
    recipes[4] |= {"status": "eliminated", "why": "After 48 of 80 examples it could no longer "
                   "come within the tolerance of lora+constrained."}  # fmt: skip
    pairs = [
        ("lora+constrained", "zero-shot", "test", 0.6974, 0.031, 0.0002),
        ("lora+constrained", "lora", "dev", 0.013, 0.0151, 0.094),
        ("lora+constrained", "nearest-shot+constrained", "dev", 0.24, 0.046, 0.0004),
        ("lora+constrained", "few-shot", "dev", 0.359, 0.05, 0.0004),
        ("lora+constrained", "zero-shot+constrained", "dev", 0.547, 0.042, 0.0004),
        ("lora+constrained", "zero-shot", "dev", 0.7, 0.043, 0.0004),
        ("nearest-shot", "nearest-shot+constrained", "dev", -0.037, 0.0281, 0.021),
    ]
    return {
        "task": "resumes",
        "task_hash": "9f2c4be1a07d5e3386f1c2aa90b7d64e8f5531c07be2d9a4416c3f08e7a2b5d1",
        "seed": 0,
        "outcome": "chosen",
        "chosen": "lora+constrained",
        "prefer": None,
        "baseline": "zero-shot",
        "reason": "lora+constrained scored 0.874 on the sealed test, 0.697 above zero-shot "
        "(95% interval 0.666 to 0.728). On dev nothing cheaper came within 0.02 of it: the "
        "nearest, nearest-shot+constrained, was 0.240 below at nearly three times the cost. Its "
        "six minutes of training are paid back after 229 answers.",
        "confidence": 0.95,
        "tolerance": 0.02,
        "scorer": "fields",
        "splits": {"train": 240, "dev": 80, "test": 160},
        "minimum_detectable_difference": 0.0462,
        "test_looks": 1,
        "notes": [
            "The schema was inferred from the targets of the train split.",
            "3 exact duplicates were folded before splitting.",
        ],
        "warnings": [],
        "recipes": recipes,
        "comparisons": [
            {"a": a, "b": b, "split": split, "difference": d, "interval": [d - half, d + half],
             "p_adjusted": p, "num_examples": 160 if split == "test" else 80}
            for a, b, split, d, half, p in pairs
        ],
        "break_even": [
            {"a": "lora+constrained", "b": "nearest-shot+constrained", "calls": 229.0,
             "interval": [214.0, 247.0]},
            {"a": "lora+constrained", "b": "zero-shot", "calls": 1585.0,
             "interval": [1210.0, None]},
            {"a": "lora+constrained", "b": "tfidf", "calls": None, "interval": None},
            {"a": "tfidf", "b": "lora", "calls": 0.0, "interval": [0.0, 0.0]},
        ],
        "disagreements": [disagreement(i) for i in (17, 42, 3, 66, 71, 8)],
        "minutes": 11.4,
        "hardware": "2 cores, 8 GB memory, no GPU",
        "versions": {"steelyard": "0.1.0", "python": "3.11.7", "torch": "2.13.0",
                     "transformers": "5.23.0"},
    }  # fmt: skip


def labels() -> Verdict:
    """A label task that cannot be decided: two recipes too close, with few examples."""
    verdict = extraction()
    table = [("majority", 0.21, 0.058), ("tfidf", 0.823, 0.804), ("zero-shot", 0.584, 0.551),
             ("nearest-shot", 0.871, 0.866), ("lora", 0.879, 0.87)]  # fmt: skip
    recipes = []
    for i, (name, accuracy, f1) in enumerate(table):
        dev = measured(accuracy, 0.062, 90, {"accuracy": accuracy, "macro_f1": f1, "valid": 1.0})
        usd = None if name == "zero-shot" else 0.002 + 0.006 * i
        waited = {"p50": 21.0 + 40 * i, "p95": 44.0 + 51 * i}
        more = {"usd_per_1k": usd, "latency_ms": waited, "control": i < 3, "decoding": "labels"}
        recipes.append(recipe(name, dev, **more))
    pairs = [("lora", "nearest-shot", 0.008, 0.055, 0.81), ("lora", "tfidf", 0.056, 0.061, 0.16)]
    cases = [
        {"id": f"t-{i}", "split": "dev", "input": "The card I ordered has still not come.",
         "target": "card_arrival",
         "answers": [answer("lora", 1.0, "card_arrival"),
                     answer("nearest-shot", 0.0, "card_delivery_estimate")]}
        for i in range(2)
    ]  # fmt: skip
    return verdict | {
        "task": "support-intents", "outcome": "cannot_tell", "chosen": None,
        "prefer": "nearest-shot", "scorer": "label", "recipes": recipes,
        "reason": "lora and nearest-shot differ by 0.008 on dev (95% interval -0.047 to 0.063), "
        "less than the 0.079 that 90 examples could show. About 1,400 more would decide it.",
        "warnings": ["The rarest label has 2 examples in dev; its score says little."],
        "minimum_detectable_difference": 0.079, "test_looks": 0, "disagreements": cases,
        "comparisons": [{"a": a, "b": b, "split": "dev", "difference": d,
                         "interval": [d - h, d + h], "p_adjusted": p, "num_examples": 90}
                        for a, b, d, h, p in pairs],
        "break_even": [],
    }  # fmt: skip


def nothing_works() -> Verdict:
    failed = {"status": "failed", "why": "Training ended after step 12: the loss was not finite."}
    skipped = {"status": "skipped", "why": "4 examples do not fit into the model's context of "
               "2,048 tokens beside the longest input."}  # fmt: skip
    return extraction() | {
        "outcome": "nothing_works", "chosen": None, "comparisons": [], "disagreements": [],
        "reason": "No recipe scored above the control majority on dev.",
        "recipes": [
            recipe("majority", measured(0.31, 0.08, 40), control=True, usd_per_1k=0.0),
            recipe("zero-shot", measured(0.24, 0.07, 40), usd_per_1k=0.03, control=True),
            recipe("lora", setup_seconds=None, setup_usd=None, **failed),
            recipe("nearest-shot", setup_seconds=None, setup_usd=None, **skipped),
        ],
    }  # fmt: skip


def minimal() -> Verdict:
    return {
        "task": "t", "task_hash": "0", "seed": 0, "outcome": "cannot_tell", "chosen": None,
        "prefer": None, "baseline": None, "reason": "", "confidence": 0.95, "tolerance": 0.0,
        "scorer": "exact", "splits": {}, "minimum_detectable_difference": None, "test_looks": 0,
        "notes": [], "warnings": [], "recipes": [], "comparisons": [], "break_even": [],
        "disagreements": [], "minutes": None, "hardware": "", "versions": {},
    }  # fmt: skip


VERDICTS = {f.__name__: f for f in (extraction, labels, nothing_works, minimal)}
