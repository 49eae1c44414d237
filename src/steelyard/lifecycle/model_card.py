"""A model card: what exported weights are, learned from, are worth, and are not for.

The headings are those of model cards (Mitchell et al. 2019, arXiv:1810.03993), as far as they are
known here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from steelyard.core import Json, Task
from steelyard.recipes.answering import LanguageModelSystem

if TYPE_CHECKING:
    from steelyard.training.export_checks import Check

_LOADED = {
    "peft": "`peft.PeftModel.from_pretrained(base, FOLDER)`, over the base model named above",
    "merged": "`transformers.AutoModelForCausalLM.from_pretrained(FOLDER)`",
    "gguf": "llama.cpp, model file `model-f16.gguf`",
    "gguf-q8_0": "llama.cpp, model file `model-q8_0.gguf`",
    "gguf-adapter": "llama.cpp, `adapter.gguf` over the GGUF file of the base model named above",
}


def model_card(
    task: Task,
    verdict: Json,
    system: LanguageModelSystem,
    *,
    format: str,
    base: str,
    checks: Sequence[Check],
) -> str:
    """The card as Markdown."""
    recipe = system.recipe
    report = next(r for r in verdict["recipes"] if r["name"] == recipe.name)
    splits = ", ".join(f"{count} {split}" for split, count in verdict["splits"].items())
    sections = {
        "Model": [
            f"- Recipe: {recipe.name} ({report['weights']}), answers read as {report['decoding']}",
            f"- Base model: {system.backend.source}",
            f"- Base hash: `{base}`; weights made from another base must not be mixed with these",
            f"- Format: {format}; load with {_LOADED[format]}",
        ],
        "Prompt": [
            "The weights were trained with this system turn, and the input as the user turn, in "
            "the model's own chat template:",
            "",
            *(f"    {line}" for line in system.frame.system.splitlines()),
        ],
        "Data": [
            f"- Task: {task.name}, hash `{task.hash}`",
            f"- Rows: {splits}; learned from train alone",
            f"- Seed: {verdict['seed']}",
        ],
        "Scores": [
            f"Scorer `{verdict['scorer']}`, {verdict['confidence'] * 100:g}% intervals.",
            "",
            "| recipe | dev | test |",
            "|---|---|---|",
            *(_score_row(r) for r in _compared(verdict, recipe.name)),
        ],
        "Limits": _limits(verdict, report),
        "Checks": [f"- {check}" for check in checks],
    }
    body = "".join(f"\n## {title}\n\n{_joined(lines)}\n" for title, lines in sections.items())
    return f"# {task.name}: {recipe.name}\n\nTrained and measured with Steelyard.\n{body}"


def _compared(verdict: Json, name: str) -> list[Json]:
    """The recipe itself, the controls, and what the verdict held it against."""
    against = (name, verdict["baseline"])
    return [r for r in verdict["recipes"] if r["name"] in against or r["control"]]


def _score_row(report: Json) -> str:
    cells = [report["name"]]
    for split in ("dev", "test"):
        seen = report[split]
        if seen is None:
            cells.append("not measured")
            continue
        low, high = seen["interval"]
        cells.append(f"{seen['score']:.3f} [{low:.3f}, {high:.3f}], n = {seen['num_examples']}")
    return f"| {' | '.join(cells)} |"


def _limits(verdict: Json, report: Json) -> list[str]:
    said = [f"- {warning}" for warning in verdict["warnings"]]
    if report.get("guards"):
        said.insert(0, f"- {report['guards']['sentence']}")
    said.append(
        "- Measured on rows like those of the task. On any other use, in other languages, and on "
        "who is treated how, nothing is known."
    )
    return said


def _joined(lines: Sequence[str]) -> str:
    return "\n".join(lines)
