"""What a training child is told, and what it tells back. Plain JSON on both ways."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from steelyard.core import Context, Json, Limits, ModelSpec, Objective, Weights, digest
from steelyard.models import Message, Prompt

JOB_FILE = "job.json"
PROGRESS_FILE = "progress.jsonl"
RESULT_FOLDER = "result"
CURVE_FILE = "learning_curve.json"

HELD_OUT_SHARE = 0.1
HELD_OUT_ROWS = (8, 64)  # fewer say nothing, more cost time. Source: ours
BETA = 0.1  # of preferences. Source: Rafailov et al. 2023, arXiv:2305.18290, appendix B
PAIR_EPOCHS = 1  # of preferences. Source: ours, docs/log/2026-11-27-objectives.md
SMALLEST_SPLIT = 24  # with fewer rows every one is trained on, without early stopping


@dataclass(frozen=True, slots=True)
class TrainingRow:
    """A prompt as it will be met when serving, the target's text, and the row's group.

    `stage` is the part of the training that learns from it. Documents and inputs are a target
    without a prompt. `taught_by` is the prompt after which the base itself, without what is being
    trained, is asked for its distribution over the target. `rejected` is the answer that the
    target is preferred to. `held_out` says whether the row is learned from or only looked at; where
    no row says so, the job draws some (`held_out_rows`).
    """

    prompt: Prompt
    target: str
    group: str
    stage: Objective = "examples"
    taught_by: Prompt | None = None
    rejected: str | None = None
    held_out: bool | None = None


@dataclass(frozen=True, slots=True)
class Job:
    """Everything that decides the weights; `key` names them before they exist.

    `memory_gb` decides only how much is computed at once. `beta` is how far preferences may pull
    the model away from what it was: the smaller, the farther.
    """

    model: ModelSpec
    fingerprint: str
    weights: Weights
    seed: int
    rows: tuple[TrainingRow, ...]
    memory_gb: float = Limits().memory_gb
    beta: float = BETA

    @property
    def key(self) -> str:
        head = [self.fingerprint, asdict(self.weights), self.seed]
        own = [] if self.beta == BETA else [{"beta": self.beta}]  # the names of jobs stay
        return digest([*head, *own, *map(_plain, self.rows)])

    def stage_rows(self, stage: Objective) -> list[TrainingRow]:
        """The rows of one of the stages that `weights.learn` names."""
        return [row for row in self.rows if row.stage == stage]

    def write(self, folder: Path) -> None:
        """Write the job so that `read` gives it back."""
        folder.mkdir(parents=True, exist_ok=True)
        plain = {
            "model": asdict(self.model),
            "fingerprint": self.fingerprint,
            "weights": asdict(self.weights),
            "seed": self.seed,
            "memory_gb": self.memory_gb,
            "beta": self.beta,
            "rows": [_plain(row) for row in self.rows],
        }
        (folder / JOB_FILE).write_text(json.dumps(plain, ensure_ascii=False), encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> Job:
        plain = json.loads((folder / JOB_FILE).read_text(encoding="utf-8"))
        return cls(
            model=ModelSpec(**plain["model"]),
            fingerprint=plain["fingerprint"],
            weights=_weights(plain["weights"]),
            seed=plain["seed"],
            memory_gb=plain["memory_gb"],
            beta=plain.get("beta", BETA),
            rows=tuple(map(_row, plain["rows"])),
        )


@dataclass(frozen=True, slots=True)
class Progress:
    """A line from the child. `held_out_loss` comes at evaluations only. Loss: nats per token."""

    step: int
    num_steps: int
    epoch: float
    train_loss: float | None = None
    held_out_loss: float | None = None


@dataclass(frozen=True, slots=True)
class Trained:
    """Weights in a folder, how they came about, and the seconds that took."""

    folder: Path
    curve: Json
    seconds: float


def held_out_rows(rows: Sequence[TrainingRow], seed: int) -> list[bool]:
    """Which rows early stopping listens to and nothing is learned from.

    Those that say so of themselves; where none says anything, whole groups with a tenth of the
    rows. All False where too few can be spared, or the groups are too large.
    """
    if any(row.held_out is not None for row in rows):
        return [bool(row.held_out) for row in rows]
    if len(rows) < SMALLEST_SPLIT:
        return [False] * len(rows)
    low, high = HELD_OUT_ROWS
    wanted = min(max(low, round(HELD_OUT_SHARE * len(rows))), high)
    sizes: dict[str, int] = {}
    for row in rows:
        sizes[row.group] = sizes.get(row.group, 0) + 1
    chosen: set[str] = set()
    taken = 0
    for group in sorted(sizes, key=lambda g: hashlib.sha256(f"{seed}:{g}".encode()).digest()):
        if taken + sizes[group] > max(wanted, len(rows) // 4):
            continue  # one giant group must not swallow the training rows
        chosen.add(group)
        taken += sizes[group]
        if taken >= wanted:
            break
    if taken < low:
        return [False] * len(rows)
    return [row.group in chosen for row in rows]


def _plain(row: TrainingRow) -> list[Json]:
    """A row as JSON; what only some stages have stands last, where it is there."""
    more = {
        "taught_by": None if row.taught_by is None else _turns(row.taught_by),
        "rejected": row.rejected,
        "held_out": row.held_out,
    }
    rest = {name: value for name, value in more.items() if value is not None}
    stage = [] if row.stage == "examples" and not rest else [row.stage, rest]
    return [_turns(row.prompt), row.target, row.group, *stage]


def _row(plain: list[Json]) -> TrainingRow:
    turns, target, group, *more = plain
    stage: Objective = more[0] if more else "examples"
    rest: dict[str, Json] = more[1] if more else {}
    taught_by = rest.get("taught_by")
    return TrainingRow(
        _prompt(turns),
        target,
        group,
        stage,
        taught_by=None if taught_by is None else _prompt(taught_by),
        rejected=rest.get("rejected"),
        held_out=rest.get("held_out"),
    )


def _turns(prompt: Prompt) -> list[list[str]]:
    return [[message.role, message.content] for message in prompt]


def _prompt(turns: list[Json]) -> Prompt:
    return tuple(Message(*turn) for turn in turns)


def _weights(plain: dict[str, Json]) -> Weights:
    teacher = plain["teacher"]
    own = {"learn": tuple(plain["learn"]), "teacher": teacher and Context(**teacher)}
    return Weights(**{**plain, **own})
