"""The probe: twenty steps of the real training child, remembered."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from steelyard.core import ModelSpec
from steelyard.errors import ModelError
from steelyard.models.fake import FakeBackend
from steelyard.training import Job, Progress, Trained
from steelyard.training.planner import probe
from steelyard.training.planner.probe import probe_row, probed_speed


def test_a_row_of_the_probe_has_about_the_tokens_asked_for_half_of_them_learned():
    backend = FakeBackend()
    for seq in (16, 100, 512):
        row, tokens = probe_row(backend, seq)
        learned = backend.count_target_tokens(row.target)
        assert tokens == backend.count_tokens(row.prompt) + learned
        assert abs(tokens - seq) <= 4
        assert abs(learned - seq // 2) <= 8


def test_a_row_of_the_probe_is_never_longer_than_the_context():
    backend = FakeBackend()
    _, tokens = probe_row(backend, 10 * backend.context_tokens)
    assert tokens <= backend.context_tokens + 4


def test_the_speed_is_measured_after_the_first_step_with_the_real_child(tmp_path: Path):
    speed = probed_speed(ModelSpec("fake", "fake:1"), seq=64, rank=4, folder=tmp_path)
    [file] = tmp_path.iterdir()
    kept = json.loads(file.read_text(encoding="utf-8"))
    assert kept["tokens_per_second"] == speed
    assert (kept["model"], kept["seq"], kept["rank"]) == ("fake:1", 64, 4)


def test_the_speed_is_tokens_over_the_time_between_steps(tmp_path, monkeypatch):
    jobs: list[Job] = []
    clock = iter([0.0, 100.0, 105.0, 110.0])  # the deadline, then three steps

    def train(job: Job, folder: Path, *, log, deadline):
        jobs.append(job)
        for step in (1, 2, 3):
            log(Progress(step, 3, step / 3))
        return Trained(folder, {}, 1.0)

    monkeypatch.setattr(probe, "train_in_child", train)
    monkeypatch.setattr(probe.time, "monotonic", lambda: next(clock))
    asked = {"seq": 64, "rank": 4, "folder": tmp_path}
    speed = probed_speed(ModelSpec("fake", "fake"), **asked)
    row, tokens = probe_row(FakeBackend(), 64)
    assert speed == pytest.approx(2 * tokens / 10)
    [job] = jobs
    assert (job.rows, job.weights.batch_size, job.weights.rank) == ((row,) * 20, 1, 4)
    assert probed_speed(ModelSpec("fake", "fake"), **asked) == speed  # and nothing is run
    assert len(jobs) == 1


def test_a_damaged_file_is_measured_again(tmp_path, monkeypatch):
    monkeypatch.setattr(probe, "_measure", lambda spec, *, seq, rank: 7.0)
    asked = {"seq": 64, "rank": 4, "folder": tmp_path / "probes"}
    assert probed_speed(ModelSpec("fake", "fake"), **asked) == 7.0
    [file] = (tmp_path / "probes").iterdir()
    file.write_text("{", encoding="utf-8")
    monkeypatch.setattr(probe, "_measure", lambda spec, *, seq, rank: 8.0)
    assert probed_speed(ModelSpec("fake", "fake"), **asked) == 8.0


def test_a_model_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(ModelError, match="nowhere"):
        probed_speed(ModelSpec("x", "./nowhere"), seq=8, rank=1, folder=tmp_path)
