"""Several processes that train one model, started as torchrun starts them."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from steelyard.core import ModelSpec, Weights
from steelyard.models import Sampling, loading
from steelyard.training import Job, TrainingRow, job, ranks, worker
from steelyard.training.batches import Encoded
from steelyard.training.ranks import Ranks
from tiny import WORDS, ask, open_in_float32, some_texts

LORA = Weights("lora", rank=4, alpha=8, learning_rate=1e-2, epochs=3, batch_size=5)
FULL = Weights("full", learning_rate=1e-3, epochs=2, batch_size=5)


def test_shares_are_all_rows_once_and_about_as_long() -> None:
    rows = [Encoded([7] * n, [2]) for n in (9, 1, 5, 30, 2, 31, 8)]
    shares = [Ranks(rank, 3).share(rows) for rank in range(3)]
    assert sorted(len(row) for share in shares for row in share) == sorted(map(len, rows))
    assert [sum(map(len, share)) for share in shares] == [2 + 9 + 32, 3 + 10, 6 + 31]
    assert Ranks().share(rows) is rows


def test_one_process_alone_adds_nothing_up_and_agrees_with_itself() -> None:
    parameter = torch.nn.Parameter(torch.ones(2))
    assert Ranks.join() == Ranks()
    assert Ranks().add_up([parameter], 3.5) == 3.5
    assert parameter.grad is None
    assert Ranks().agree({"held_out_loss": 0.5}) == {"held_out_loss": 0.5}


def test_the_first_process_makes_what_the_others_wait_for(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr(ranks.dist, "barrier", lambda: told.append("barrier"))

    def make() -> str:
        told.append("made")
        return "it"

    for rank, order in ((0, ["made", "barrier"]), (1, ["barrier", "made"])):
        told.clear()
        assert Ranks(rank, 2).after_the_first(make) == "it"
        assert told == order
    told.clear()
    assert Ranks().after_the_first(make) == "it"
    assert told == ["made"]


def two_processes(folder: Path) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    ran = subprocess.run(
        [*command, "-m", "steelyard.training.worker", str(folder)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert ran.returncode == 0, ran.stderr


@pytest.mark.slow
@pytest.mark.parametrize("weights", [LORA, FULL], ids=["lora", "full"])
def test_two_processes_learn_what_one_does(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, weights: Weights
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setenv("STEELYARD_CACHE", str(tmp_path / "cache"))
    (tmp_path / "cache").mkdir()
    float32_here(tmp_path / "cache", monkeypatch)
    backend = open_in_float32(tiny_folder)
    texts = some_texts(31, seed=1)  # steps of 5, and one of a single row for two processes
    rows = tuple(TrainingRow(ask(t), WORDS[n % 11], f"g{n}") for n, t in enumerate(texts))
    spec = ModelSpec("tiny", str(tiny_folder))
    given = Job(spec, backend.fingerprint, weights, 2, rows)

    folders = tmp_path / "one", tmp_path / "two"
    for folder in folders:
        given.write(folder)
    monkeypatch.setattr(worker, "open_backend", lambda _: open_in_float32(tiny_folder))
    monkeypatch.setattr(worker, "_end_with_parent", lambda: None)  # nobody holds our input here
    assert worker.main(folders[0]) == 0
    two_processes(folders[1])

    curves = [json.loads((f / "result" / job.CURVE_FILE).read_text()) for f in folders]
    assert len(curves[0]["points"]) == len(curves[1]["points"]) >= 4
    for one, two in zip(*(curve["points"] for curve in curves), strict=True):
        assert two == pytest.approx(one, rel=1e-3)
    assert curves[0]["best_step"] == curves[1]["best_step"]
    steps = [
        [json.loads(line)["step"] for line in (f / job.PROGRESS_FILE).read_text().splitlines()]
        for f in folders
    ]
    assert steps[0] == steps[1]  # one of the two alone writes

    one, two = (load_file(next((f / "result").glob("*.safetensors"))) for f in folders)
    assert one.keys() == two.keys()
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=2e-2, atol=2e-3)
        filled = (two[name] != 0).reshape(len(value), -1).any(dim=-1)
        if "embed_tokens" in name:
            filled[2] = True  # the padding's row is zeros from the start
        assert bool(filled.all()), f"{name} has a row of zeros"
    third = tmp_path / "third"  # one process goes on from what two left
    shutil.copytree(folders[1], third, ignore=shutil.ignore_patterns("result", job.PROGRESS_FILE))
    shutil.rmtree(max(third.glob("*/checkpoints/step-*")))
    assert worker.main(third) == 0
    resumed = json.loads((third / "result" / job.CURVE_FILE).read_text())
    assert resumed["points"][-1] == pytest.approx(curves[0]["points"][-1], rel=1e-3)
    first = json.loads((third / job.PROGRESS_FILE).read_text().splitlines()[0])
    assert first["step"] > steps[0][0]

    prompts = [ask(word) for word in WORDS]
    served = [open_in_float32(tiny_folder).adapted(f / "result") for f in folders]
    answers = [backend.generate(prompts, Sampling(6)) for backend in served]
    assert answers[0] == answers[1] != backend.generate(prompts, Sampling(6))


def float32_here(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For this process and those it starts."""
    from steelyard.models import tuning

    monkeypatch.setattr(tuning, "_faster_type", lambda: torch.float32)
    assert tuning.number_type(cache) == torch.float32
    monkeypatch.setattr(loading, "number_type", lambda: torch.float32)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
