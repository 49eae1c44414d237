"""The script that verdict.py measures against: a task's recipes by the usual tools, in order.

    python bench/usual_tools.py FOLDER        what script.json there asks for, as a command

Prompts are made and answers scored by steelyard, so that both sides do the same.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import steelyard.models  # noqa: F401  before torch: it settles how threads wait

# isort: split

import hf_peer
import trl_peer
from base_models import models_of
from steelyard.core import Answer, Query, Recipe, Split, Task
from steelyard.measure.scorers import get_scorer
from steelyard.measure.trial import BATCH
from steelyard.models import Prompt, open_embedder
from steelyard.models.render import Renderer
from steelyard.recipes import select
from steelyard.recipes.answering import answer_limit, parse
from steelyard.recipes.build import CONTROL_BUILDERS
from steelyard.recipes.finding import Lookup, find_parts
from steelyard.recipes.prompt import Frame, build_prompt, target_text
from steelyard.tasks import load_task
from steelyard.training import TrainingRow, held_out_rows
from steelyard.training.batches import Encoded, steps_per_epoch

SEED = 0
EVALUATIONS = 2  # an epoch, as ours
TRAINING = "training"
JOB_FILE, SIDE_FILE = "script.json", "script_side.json"


@dataclass
class Side:
    """What one side measured: seconds by phase, and mean scores by recipe."""

    total: float = 0.0
    seconds: dict[str, float] = field(default_factory=dict)
    dev: dict[str, float] = field(default_factory=dict)
    test: dict[str, float] = field(default_factory=dict)

    @property
    def rest(self) -> float:
        return self.total - sum(self.seconds.values())

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - started


@dataclass(frozen=True)
class Job:
    """What the script is told: recipes (all when None), those measured on test, how TRL trains."""

    task: str
    names: list[str] | None
    on_test: list[str]
    settings: dict[str, Any]


class Script:
    """The usual tools, one after the other."""

    def __init__(self, task: Task, settings: trl_peer.Settings) -> None:
        self.task, self.settings, self.side = task, settings, Side()
        [spec] = task.models
        self.models = models_of(spec)
        self.tokenizer = self.models.tokenizer()
        self.renderer = Renderer(self.tokenizer)
        self.base = self.models.peer()
        self.tuned: Any = None
        self.schema = hf_peer.Schema(
            dict(task.output.schema or {}),
            self.tokenizer,
            end=self.renderer.end_token_id,
            vocabulary=self.base.config.vocab_size,
        )
        lengths = [len(self.renderer.target_ids(target_text(e.target))) for e in task.train]
        self.max_tokens = answer_limit(lengths, self.base.config.max_position_embeddings)

    def measure(self, recipe: Recipe, split: Split) -> float:
        """The mean score of a recipe on a split."""
        examples = self.task.split(split)
        if recipe.weights.method == "lora" and self.tuned is None:
            with self.side.phase(TRAINING):
                self.tuned = self.trained(recipe)
        with self.side.phase(f"{recipe.name}, {split}"):
            answers = self.answers(recipe, [example.input for example in examples])
            scorer = get_scorer(self.task.scorer, self.task.output)
            pairs = zip(answers, examples, strict=True)
            return sum(scorer.score(a, e.target).value for a, e in pairs) / len(examples)

    def answers(self, recipe: Recipe, inputs: Sequence[str]) -> list[Answer]:
        if recipe.model in CONTROL_BUILDERS:
            queries = [Query(text) for text in inputs]
            return CONTROL_BUILDERS[recipe.model](recipe, self.task).answer_many(queries)
        written = hf_peer.generate(
            self.base if recipe.weights.method == "none" else self.tuned,
            [self.renderer.prompt_ids(prompt) for prompt in self.prompts(recipe, inputs)],
            max_tokens=self.max_tokens,
            end=self.renderer.end_token_id,
            batch_rows=BATCH,
            schema=self.schema if recipe.decoding.kind == "constrained" else None,
        )
        texts = [self.renderer.decode(ids).strip() for ids in written]
        parsed = [parse(text, self.task.output) for text in texts]
        return [
            Answer(value=value, text=text, valid=valid)
            for text, (value, valid) in zip(texts, parsed, strict=True)
        ]

    def prompts(self, recipe: Recipe, inputs: Sequence[str]) -> list[Prompt]:
        frame = Frame.of(self.task, recipe.context)
        find = find_parts(
            recipe,
            self.task,
            Lookup(),
            embedder=lambda: open_embedder(self.models.spec.source),
            rerank=None,
            seed=SEED,
        )
        found = find([Query(text) for text in inputs])
        return [build_prompt(frame, own, text) for text, own in zip(inputs, found, strict=True)]

    def rows(self, recipe: Recipe) -> tuple[list[Encoded], list[Encoded]]:
        """The rows to learn from, and those that early stopping listens to, as ours has them."""
        train = self.task.train
        prompts = self.prompts(recipe, [example.input for example in train])
        rows = [
            TrainingRow(prompt, target_text(example.target), example.group)
            for prompt, example in zip(prompts, train, strict=True)
        ]
        kept: tuple[list[Encoded], list[Encoded]] = ([], [])
        for row, held in zip(rows, held_out_rows(rows, SEED), strict=True):
            ids = self.renderer.prompt_ids(row.prompt), self.renderer.target_ids(row.target)
            kept[held].append(Encoded(*ids))
        return kept

    def trained(self, recipe: Recipe) -> Any:
        """A model with the recipe's adapter, learned by TRL and merged."""
        from transformers import EarlyStoppingCallback

        rows, held_out = self.rows(recipe)
        weights = recipe.weights
        every = steps_per_epoch(len(rows), weights.batch_size) // EVALUATIONS
        arguments: dict[str, Any] = {"seed": SEED}
        more: dict[str, Any] = {}
        if held_out:
            arguments |= {
                "eval_strategy": "steps",
                "eval_steps": max(1, every),
                "per_device_eval_batch_size": self.settings.micro_batch,
                "save_strategy": "steps",
                "save_steps": max(1, every),
                "save_only_model": True,
                "save_total_limit": 2,
                "load_best_model_at_end": True,
                "metric_for_best_model": "eval_loss",
                "greater_is_better": False,
            }
            patience = EarlyStoppingCallback(EVALUATIONS * weights.patience)
            more = {"eval_dataset": trl_peer.dataset(held_out), "callbacks": [patience]}
        with tempfile.TemporaryDirectory() as folder:
            trainer = trl_peer.make_trainer(
                self.models.peer(),
                self.tokenizer,
                rows,
                weights=weights,
                settings=self.settings,
                arguments=arguments | {"output_dir": folder},
                **more,
            )
            trl_peer.train(trainer)
        model = trainer.model.merge_and_unload().eval()
        model.set_attn_implementation("sdpa")
        return model


def the_script(job: Job) -> Side:
    """The same recipes by the usual tools."""
    script = Script(load_task(job.task), trl_peer.Settings(**job.settings))
    recipes = select(script.task, job.names)
    for recipe in recipes:
        script.side.dev[recipe.name] = script.measure(recipe, "dev")
        print(f"the script: {recipe.name} {script.side.dev[recipe.name]:.3f}", file=sys.stderr)
    for recipe in recipes:
        if recipe.name in job.on_test:
            script.side.test[recipe.name] = script.measure(recipe, "test")
    return script.side


def in_child(job: Job, folder: Path) -> Side:
    """The script as a command of its own, as ours is."""
    (folder / JOB_FILE).write_text(json.dumps(asdict(job)), encoding="utf-8")
    started = time.perf_counter()
    subprocess.run([sys.executable, __file__, str(folder)], check=True)
    total = time.perf_counter() - started
    side = Side(**json.loads((folder / SIDE_FILE).read_text(encoding="utf-8")))
    return replace(side, total=total)


def main() -> None:
    folder = Path(sys.argv[1])
    job = Job(**json.loads((folder / JOB_FILE).read_text(encoding="utf-8")))
    (folder / SIDE_FILE).write_text(json.dumps(asdict(the_script(job))), encoding="utf-8")


if __name__ == "__main__":
    main()
