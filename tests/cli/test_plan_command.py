"""`steelyard plan` as it is typed: the sentence first, tables, JSON, and what is refused."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from steelyard.cli.plan import duration
from steelyard.training.planner import GPUS, KNOWN, METHODS

ROOT = Path(__file__).parents[2]
QLORA = ("plan", "--model", "llama-2-7b", "--method", "qlora", "--seq", "2048", "--checkpointing")


def test_the_sentence_comes_first_then_the_memory_by_part_and_the_devices(folder, steelyard):
    ran = steelyard(*QLORA, "--gpus", "2xrtx3090", "--gpus", "t4")
    assert (ran.code, ran.err) == (0, "")
    lines = [line for line in ran.out.splitlines() if line.strip()]
    assert lines[0].startswith("fits: Llama-2-7b (6.74B), qlora, takes ")
    words = {line.split("  ")[0]: line.split()[-1] for line in lines}
    for part in ("weights", "trained copies", "gradients", "optimiser", "activations"):
        assert float(words[part]) > 0
    assert words["worst moment: loss"] == "1.05"  # 16 bytes × 2048 tokens × 32000 words
    [header] = [line for line in lines if line.startswith("device ")]
    assert header.split()[:3] == ["device", "needed", "planned"]
    [row] = [line for line in lines if line.startswith("rtx3090")]
    assert row.split()[1:3] == ["1", "2"]
    assert "1,000 rows × 3 epochs × 2,048 tokens = 6,144,000 tokens" in " ".join(lines)
    assert not list(folder.iterdir())


def test_what_does_not_fit_is_an_answer_with_what_would_change_it(folder, steelyard):
    ran = steelyard("plan", "--model", "llama-3.1-70b", "--method", "full", "--gpus", "8xa100-80")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.strip().startswith("does not fit: Llama-3.1-70B (70.6B), full, needs ")
    assert "What would change it:" in ran.out
    assert "--gpus" in ran.out


@pytest.mark.parametrize(
    ("hours", "said"),
    [(0, "0 s"), (0.0025, "9 s"), (0.45, "27 min"), (30, "30 h"), (200, "8.3 days")],
)
def test_times_are_said_in_the_unit_that_reads_best(hours, said):
    assert duration(hours) == said


def test_json_says_the_same(folder, steelyard):
    ran = steelyard(*QLORA, "--gpus", "2xrtx3090", "--json", "-")
    assert ran.code == 0
    plain = json.loads(ran.out)
    assert (plain["fits"], plain["model"]["name"]) == (True, "Llama-2-7b")
    assert plain["setup"]["stored"] == "nf4-dq"
    [option] = plain["options"]
    assert (option["count"], option["needed"], option["stage"]) == (2, 1, "none")
    assert plain["sentence"] in ran.err


def test_options_are_heard(folder, steelyard):
    more = (
        "--rank 4 --rows 10 --epochs 2 --usd-per-hour 5 --precision bf16 --batch 3 --json out.json"
    )
    ran = steelyard(*QLORA, "--gpus", "l4", *more.split())
    assert (ran.code, ran.err) == (0, "")
    plain = json.loads((folder / "out.json").read_text(encoding="utf-8"))
    setup = plain["setup"]
    assert (setup["rank"], setup["batch"], setup["trained_bits"]) == (4, 3, 16)
    assert plain["work"] == {"rows": 10, "epochs": 2, "tokens": 10 * 2 * 2048}
    assert plain["options"][0]["usd"] == pytest.approx(5 * plain["options"][0]["hours"])


def test_serving_shows_keys_and_values_and_no_hours(folder, steelyard):
    ran = steelyard("plan", "--model", "llama-3.1-8b", "--method", "serve", "--batch", "8")
    assert ran.code == 0
    [row] = [line for line in ran.out.splitlines() if line.startswith("keys and values")]
    assert row.split()[-1] == f"{8 * 512 * 128 * 1024 / 1e9:.2f}"
    assert "Times are for" not in ran.out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ("--method", "lorra"),
            'error: --method lorra: method "lorra" is not known. Known: lora, qlora, full, head, '
            'serve. Did you mean "lora"?',
        ),
        (
            ("--precision", "fp8"),
            'error: --precision fp8: precision "fp8" is not known. Known: mixed, bf16.',
        ),
        (("--gpus", "h100"), 'error: --gpus h100: GPU "h100" is not known. Known: this, t4, '),
        (("--model", "gpt-5"), 'error: model "gpt-5" is not there; expected "default"'),
        (("--seq", "9000"), "error: --seq 9000: Llama-2-7b holds 4096 tokens"),
        (("--json", "no/such/folder.json"), "error: --json no/such/folder.json: cannot be written"),
    ],
)
def test_wrong_input_is_exit_code_2_with_what_was_expected(folder, steelyard, arguments, said):
    ran = steelyard("plan", "--model", "llama-2-7b", *arguments)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith(said)


@pytest.mark.parametrize("option", ["--seq", "--batch", "--rank", "--rows", "--epochs"])
def test_nothing_can_be_planned_for_none(folder, steelyard, option):
    ran = steelyard("plan", "--model", "llama-2-7b", option, "0")
    assert ran.code == 2
    assert f"Invalid value for '{option}'" in ran.err


def test_a_hub_id_that_is_not_cached_is_refused_and_nothing_is_downloaded(folder, steelyard):
    pytest.importorskip("huggingface_hub")
    ran = steelyard("plan", "--model", "nobody/no-such-model")
    assert (ran.code, ran.out) == (2, "")
    assert 'the config.json of "nobody/no-such-model" is not in the cache' in ran.err


def test_a_damaged_gguf_is_refused_with_its_path(folder, steelyard):
    pytest.importorskip("gguf")
    (folder / "x.gguf").write_bytes(b"GGUF" + b"\0" * 60)
    ran = steelyard("plan", "--model", "x.gguf")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("error: x.gguf: cannot be read as a .gguf model")


def documented() -> list[tuple[str, str]]:
    """The commands of the page that are shown with what they print."""
    text = (ROOT / "docs" / "plan.md").read_text(encoding="utf-8")
    blocks = re.findall(
        r"```console\n\$ (steelyard plan [^\n]*)\n\n(.*?)```", text, flags=re.DOTALL
    )
    return list(blocks)


@pytest.mark.parametrize(("command", "shown"), documented())
def test_the_page_shows_what_the_command_prints(folder, steelyard, command, shown):
    ran = steelyard(*command.split()[1:])
    assert [line.rstrip() for line in ran.out.strip().splitlines()] == shown.strip().splitlines()


def test_both_claims_are_shown():
    assert len(documented()) == 2


def test_every_gpu_known_model_and_method_is_on_the_page():
    page = (ROOT / "docs" / "plan.md").read_text(encoding="utf-8")
    for name in (*KNOWN, *METHODS):
        assert f"`{name}`" in page
    for device in GPUS.values():
        assert device.peak_flops is not None
        row = (device.memory_bytes / 1e9, device.peak_flops / 1e12, device.usd_per_hour)
        assert f"| `{device.name}` | {row[0]:.1f} | {row[1]:.0f} | {row[2]:.2f} |" in page
