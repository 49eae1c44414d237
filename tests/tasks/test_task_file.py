"""task.toml: what it may say, and what is said about what it may not."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steelyard.core import Limits, ModelSpec, Search
from steelyard.errors import TaskError
from steelyard.tasks import SCORERS, load_task
from steelyard.tasks.toml_table import key_lines

TaskFile = Callable[..., Path]
FILES = 'files = ["tickets.jsonl"]'
LABEL = 'type = "label"'


def message(path: Path) -> str:
    with pytest.raises(TaskError) as caught:
        load_task(path)
    return str(caught.value)


def test_a_full_task_file_is_read_as_written(task_file: TaskFile) -> None:
    Path("weights").mkdir()
    path = task_file(
        (FILES, FILES + '\nid = "id"\nsplit = [0.5, 0.25, 0.25]\nseed = 3\nusd_per_label = 0.2'),
        add="""
[score]
scorer = "exact"
tolerance = 0.05

[models]
base = ["default", "big", "org/small", "./weights", "tiny.gguf"]
usd_per_machine_hour = 0.5

[models.big]
url = "https://example.org/v1"
model = "big-1"
key_env = "BIG_KEY"
usd_per_1m_input = 2
usd_per_1m_output = 8.0
context_tokens = 32000
concurrency = 4
timeout_s = 20
plain_http = true
tokenizer = "weights"

[limits]
minutes = 15
usd = 3
usd_per_1k = 1.5
p95_ms = 2000
too_long = "truncate"
memory_gb = 0.5
""",
    )
    task = load_task(path)
    here = Path.cwd()
    assert (task.name, task.instruction) == ("tickets", "Name the intent.")
    assert (task.scorer, task.tolerance, task.usd_per_machine_hour) == ("exact", 0.05, 0.5)
    assert task.usd_per_label == 0.2
    assert task.models == (
        ModelSpec("default", "default"),
        ModelSpec(
            *("big", "big-1", "https://example.org/v1", "BIG_KEY", 2.0, None, 8.0),
            context_tokens=32_000,
            concurrency=4,
            timeout_s=20.0,
            plain_http=True,
            tokenizer=str(here / "weights"),
        ),
        ModelSpec("org/small", "org/small"),
        ModelSpec("./weights", str(here / "weights")),
        ModelSpec("tiny.gguf", str(here / "tiny.gguf")),
    )
    assert task.limits == Limits(15.0, 1.5, 2000.0, "truncate", 0.5, usd=3.0)
    assert task.path == here / "task.toml"
    assert [len(rows) for rows in (task.train, task.dev, task.test)] == [16, 7, 7]


def test_what_is_left_out_has_its_default(task_file: TaskFile) -> None:
    task = load_task(task_file())
    assert (task.scorer, task.tolerance, task.usd_per_machine_hour) == ("label", 0.02, 0.10)
    assert task.models == (ModelSpec("default", "default"),)
    assert task.limits == Limits()


def test_a_folder_beside_the_task_file_is_a_path_whatever_its_spelling(
    task_file: TaskFile,
) -> None:
    Path("org").mkdir()
    task = load_task(task_file(add='[models]\nbase = ["org"]\n'))
    assert task.models == (ModelSpec("org", str(Path.cwd() / "org")),)


def test_paths_are_relative_to_the_task_file_and_not_to_the_current_folder(
    task_file: TaskFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = task_file().absolute()
    Path("elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    assert len(load_task(path).train) == 18


def test_a_model_table_that_is_not_in_base_is_noted(task_file: TaskFile) -> None:
    task = load_task(task_file(add='[models.big]\nurl = "http://localhost:1/v1"\n'))
    assert task.notes[0] == "[models.big] is not in [models] base, so it is not weighed."


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            "instruction =",
            "instrction =",
            'task.toml:2: key "instrction" is not known. Known: name, instruction, '
            "instructions, data, output, knowledge, search, score, models, limits, refresh. "
            'Did you mean "instruction"?',
        ),
        (
            "target =",
            "targt =",
            'task.toml:7: [data] key "targt" is not known. Known: files, train, dev, test, input, '
            "target, group, user, time, id, split, seed, unlabelled, preferences, usd_per_label. "
            'Did you mean "target"?',
        ),
        (
            'name = "tickets"',
            'name = "tickets"\nscorer = "exact"',
            'task.toml:2: key "scorer" is not known. Known: name, instruction, '
            "instructions, data, output, knowledge, search, score, models, limits, refresh. "
            'Did you mean "score"? It belongs in [score].',
        ),
        (
            LABEL,
            LABEL + "\n[limits]\nminuts = 3",
            'task.toml:12: [limits] key "minuts" is not known. Known: minutes, usd, usd_per_1k, '
            'p95_ms, too_long, memory_gb. Did you mean "minutes"?',
        ),
        (
            LABEL,
            LABEL + '\n[models.big]\nurl = "http://h"\nkey = "x"',
            'task.toml:13: [models.big] key "key" is not known. Known: url, model, key_env, '
            "usd_per_1m_input, usd_per_1m_cached, usd_per_1m_output, context_tokens, concurrency, "
            "timeout_s, tokenizer, plain_http, engine. "
            'Did you mean "key_env"?',
        ),
        (
            LABEL,
            LABEL + "\n[models]\nbases = []",
            'task.toml:12: [models] key "bases" is not known. Known: base, usd_per_machine_hour. '
            'Did you mean "base"?',
        ),
        (
            LABEL,
            LABEL + "\n[scores]",
            'task.toml:11: key "scores" is not known. Known: name, instruction, '
            "instructions, data, output, knowledge, search, score, models, limits, refresh. "
            'Did you mean "score"?',
        ),
    ],
)
def test_an_unknown_key_is_an_error_with_line_and_nearest_key(
    task_file: TaskFile, old: str, new: str, expected: str
) -> None:
    assert message(task_file((old, new))) == expected


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            'name = "tickets"\n',
            "",
            'task.toml: name is missing. Expected a text. Add a line such as name = "tickets".',
        ),
        (
            'input = "text"\n',
            "",
            "task.toml:4: [data] input is missing. Expected a text. "
            'Add a line such as input = "text" under [data].',
        ),
        (
            FILES + "\n",
            "",
            "task.toml:4: [data] names no file to learn from. Expected files or train. "
            'Add a line such as files = ["tickets.jsonl"] under [data].',
        ),
        (
            FILES,
            'test = "tickets.jsonl"',
            "task.toml:4: [data] names no file to learn from. Expected files or train. "
            'Add a line such as files = ["tickets.jsonl"] under [data].',
        ),
        (
            FILES,
            FILES + '\ntrain = "tickets.jsonl"',
            "task.toml:6: [data] train and files are both given. Expected one of them. "
            "Remove train.",
        ),
        (
            FILES,
            'files = ["tickts.jsonl"]',
            'task.toml:5: [data] files names "tickts.jsonl", and there is no such file. Expected '
            "a file, its path relative to ./. Correct the path. "
            'Did you mean "tickets.jsonl"?',
        ),
        (
            FILES,
            'files = "tickets.jsonl"',
            'task.toml:5: [data] files is "tickets.jsonl". Expected a list of texts such as '
            '["tickets.jsonl"]. Change it.',
        ),
        (
            FILES,
            'files = ["tickets.jsonl", "tickets.jsonl"]',
            'task.toml:5: [data] files is ["tickets.jsonl", "tickets.jsonl"]. Expected each once. '
            "Remove the repeats.",
        ),
        (
            FILES,
            FILES + "\nsplit = [0.6, 0.2]",
            "task.toml:6: [data] split is [0.6, 0.2]. Expected the shares of train, dev and test: "
            "three numbers above 0 that sum to 1, such as [0.6, 0.2, 0.2]. Change it.",
        ),
        (
            FILES,
            FILES + "\nseed = -1",
            "task.toml:6: [data] seed is -1. Expected a whole number of at least 0. Change it.",
        ),
        (
            'input = "text"',
            "input = 3",
            "task.toml:6: [data] input is 3. Expected a text that is not empty. Change it.",
        ),
        (
            'input = "text"',
            'input = "{text:>9}"',
            'task.toml:6: [data] input is "{text:>9}": only plain {column} holes are filled. '
            'Expected a column, or a template such as "{subject}\\n{body}" with {{ for a brace. '
            "Change it.",
        ),
        (
            'input = "text"',
            'input = "{text} {label}"',
            'task.toml:6: [data] input shows the target column "label". Expected other columns. '
            "Change it.",
        ),
        (
            'target = "label"',
            'target = "lable"',
            'task.toml:7: [data] target names the column "lable", and tickets.jsonl has none of '
            'that name. Columns: id, text, label. Correct the name. Did you mean "label"?',
        ),
        (
            'target = "label"',
            'target = "label"\ngroup = "customer"',
            'task.toml:8: [data] group names the column "customer", and tickets.jsonl has none of '
            "that name. Columns: id, text, label. Correct the name.",
        ),
        (
            LABEL,
            'type = "labels"',
            'task.toml:10: [output] type "labels" is not known. Known: label, json, text. '
            'Did you mean "label"?',
        ),
        (
            LABEL,
            LABEL + '\nschema = "s.json"',
            'task.toml:11: [output] schema is for type = "json", and the type is "label". '
            "Remove one of them.",
        ),
        (
            LABEL,
            'type = "json"\nschema = "s.json"',
            'task.toml:11: [output] schema names "s.json", and there is no such file. Expected a '
            'file, its path relative to ./. Correct the path. Did you mean "tickets.jsonl"?',
        ),
        (
            LABEL,
            LABEL + '\n[knowledge]\ndocuments = ["faq.md"]',
            'task.toml:12: [knowledge] documents names "faq.md", and there is no such file or '
            "folder. Expected a file or folder, its path relative to ./. Correct the path.",
        ),
        (
            LABEL,
            LABEL + '\n[score]\nscorer = "lable"',
            'task.toml:12: scorer "lable" is not known. Known: exact, label, fields, tokens_f1, '
            "rouge_l, chrf, contains, python:module:function. "
            'Did you mean "label"?',
        ),
        (
            LABEL,
            LABEL + '\n[score]\nscorer = "judge"',
            'task.toml:12: [score] scorer "judge" is not available in this version. Choose one of '
            "exact, label, fields, tokens_f1, rouge_l, chrf, contains, python:module:function.",
        ),
        (
            LABEL,
            LABEL + '\n[score]\nscorer = "fields"',
            'task.toml:12: [score] scorer "fields" compares json, and [output] type is "label". '
            "Expected one of exact, label, python:module:function. Change one of the two.",
        ),
        (
            LABEL,
            LABEL + "\n[score]\ntolerance = 2",
            "task.toml:12: [score] tolerance is 2. Expected a number from 0 to 1. Change it.",
        ),
        (
            LABEL,
            LABEL + "\n[limits]\nminutes = 0",
            "task.toml:12: [limits] minutes is 0. Expected a number > 0. Change it.",
        ),
        (
            LABEL,
            LABEL + "\n[limits]\np95_ms = true",
            "task.toml:12: [limits] p95_ms is true. Expected a number > 0. Change it.",
        ),
        (
            LABEL,
            LABEL + "\n[limits]\nusd_per_1k = inf",
            "task.toml:12: [limits] usd_per_1k is Infinity. Expected a number > 0. Change it.",
        ),
        (
            LABEL,
            LABEL + "\n[limits]\nmemory_gb = 0",
            "task.toml:12: [limits] memory_gb is 0. Expected a number > 0. Change it.",
        ),
        (
            LABEL,
            LABEL + '\n[limits]\ntoo_long = "cut"',
            'task.toml:12: [limits] too_long "cut" is not known. Known: error, truncate.',
        ),
        (
            LABEL,
            LABEL + "\n[models]\nbase = []",
            'task.toml:12: [models] base is []. Expected a list of texts such as ["default"]. '
            "Change it.",
        ),
        (
            LABEL,
            LABEL + "\n[models]\nusd_per_machine_hour = -1",
            "task.toml:12: [models] usd_per_machine_hour is -1. "
            "Expected a number of at least 0. Change it.",
        ),
        (
            LABEL,
            LABEL + '\n[models.big]\nmodel = "b"',
            "task.toml:11: [models.big] url is missing. Expected a text. "
            'Add a line such as url = "http://localhost:8000/v1" under [models.big].',
        ),
        (
            LABEL,
            LABEL + '\n[models.big]\nurl = "localhost:8000"',
            'task.toml:12: [models.big] url is "localhost:8000". Expected http://… or https://…. '
            "Change it.",
        ),
        (
            '[output]\ntype = "label"',
            'output = "label"',
            'task.toml:9: [data] key "output" is not known. Known: files, train, dev, test, '
            "input, target, group, user, time, id, split, seed, unlabelled, preferences, "
            "usd_per_label. "
            "It belongs at the top of the file.",
        ),
        (
            'name = "tickets"',
            'name = "tickets"\nlimits = 5',
            "task.toml:2: limits is 5. Expected a table, [limits]. Change it.",
        ),
    ],
)
def test_a_wrong_value_is_an_error_with_line_expectation_and_remedy(
    task_file: TaskFile, old: str, new: str, expected: str
) -> None:
    assert message(task_file((old, new))) == expected


def test_a_seed_with_nothing_to_split_is_an_error(task_file: TaskFile) -> None:
    given_files = "\n".join(f'{name} = "tickets.jsonl"' for name in ("train", "dev", "test"))
    path = task_file((FILES, given_files + "\nseed = 1"))
    assert message(path) == (
        "task.toml:8: [data] seed has nothing to split: train, dev and test are given. Remove it."
    )


def test_money_can_only_be_bounded_where_there_are_prices(task_file: TaskFile) -> None:
    big = '[models]\nbase = ["big"]\n\n[models.big]\nurl = "http://h"\nusd_per_1m_input = 1\n'
    said = message(task_file(add=f"{big}\n[limits]\nusd = 5\n"))
    assert said.startswith("task.toml:19: [limits] usd bounds what is paid, and [models.big] does")
    priced = f"{big}usd_per_1m_output = 0\n\n[limits]\nusd = 5\n"
    assert load_task(task_file(add=priced)).limits.usd == 5.0
    local = load_task(task_file(add="[limits]\nusd = 5\n"))
    assert local.limits.usd == 5.0


@pytest.mark.parametrize("key", ["context_tokens", "concurrency"])
def test_a_model_by_url_holds_and_is_asked_at_least_one(task_file: TaskFile, key: str) -> None:
    said = message(task_file(add=f'[models.big]\nurl = "http://h"\n{key} = 0\n'))
    assert f"[models.big] {key} is 0. Expected a whole number of at least 1" in said


def test_a_model_that_is_here_may_name_what_runs_it(task_file: TaskFile) -> None:
    small = '[models]\nbase = ["small"]\n\n[models.small]\nengine = "llama.cpp"\n'
    task = load_task(task_file(add=f'{small}model = "m.gguf"\ncontext_tokens = 512\n'))
    source = str(Path.cwd() / "m.gguf")
    expected = ModelSpec("small", source, context_tokens=512, concurrency=1, engine="llama.cpp")
    assert task.models == (expected,)
    said = message(task_file(add=f'{small}url = "http://h"\n'))
    assert "[models.small] url is of a model behind a URL, and engine says that this" in said
    said = message(task_file(add=small.replace("llama.cpp", "vllm")))
    assert 'engine "vllm" is not known. Known: torch, llama.cpp' in said


def test_a_key_pasted_into_key_env_is_not_repeated(task_file: TaskFile) -> None:
    said = message(task_file(add='[models.big]\nurl = "http://h"\nkey_env = "sk-secret-1"\n'))
    assert said.startswith("task.toml:13: [models.big] key_env is not the name of an environment")
    assert "secret" not in said


def test_toml_that_is_not_toml_is_an_error_with_its_line(task_file: TaskFile) -> None:
    said = message(task_file(('input = "text"', 'input = "text')))
    assert said.startswith("task.toml:6: not valid TOML: ")
    assert said.endswith("Correct the line.")
    unclosed = message(task_file(('type = "label"\n', 'type = """label')))
    assert unclosed.startswith("task.toml:10: not valid TOML: ")


def test_a_task_file_that_is_missing_or_not_utf8_is_an_error(folder: Path) -> None:
    assert message(Path("task.toml")) == (
        "task.toml: the task file cannot be read (No such file or directory). "
        "Expected a task.toml. Correct the path."
    )
    Path("task.toml").write_bytes('name = "a"\ninstruction = "café"'.encode("latin-1"))
    assert message(Path("task.toml")) == (
        "task.toml:2: byte 0xe9 is not UTF-8. Expected a TOML file in UTF-8. Save it as UTF-8."
    )


BIG = '\n[models.big]\nurl = "http://localhost:1/v1"\nmodel = "big-1"\n'


def test_variants_of_the_instruction_and_a_search_arrive(task_file: TaskFile) -> None:
    plain = load_task(task_file())
    assert (plain.instructions, plain.search) == ((), Search())
    variants = (
        'name = "tickets"',
        'name = "tickets"\ninstructions = [" Sort it. ", "Which queue?"]',
    )
    search = '\n[search]\nexamples = true\nreflection = "big"\n' + BIG
    task = load_task(task_file(variants, (LABEL, LABEL + search)))
    assert task.instructions == ("Sort it.", "Which queue?")
    assert task.search == Search(True, ModelSpec("big", "big-1", url="http://localhost:1/v1"))
    assert task.notes == plain.notes  # it is named, so nobody is told that it is not weighed
    assert task.hash == plain.hash


def test_a_writer_of_paraphrases_is_one_of_the_models_and_no_part_of_the_hash(
    task_file: TaskFile,
) -> None:
    known = '\n[knowledge]\ndocuments = ["tickets.jsonl"]\n'
    plain = load_task(task_file((LABEL, LABEL + known)))
    asked = known + 'paraphrase = "big"\ncopies = 5\n'
    task = load_task(task_file((LABEL, LABEL + asked + BIG)))
    assert task.knowledge.paraphrase == ModelSpec("big", "big-1", url="http://localhost:1/v1")
    assert (task.knowledge.copies, plain.knowledge.copies) == (5, 3)
    assert plain.knowledge.paraphrase is None
    assert (task.notes, task.hash) == (plain.notes, plain.hash)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            'name = "tickets"',
            'name = "tickets"\ninstructions = "Sort it."',
            'task.toml:2: instructions is "Sort it.". Expected a list of texts such as '
            '["Which queue is it for?"]. Change it.',
        ),
        (
            'name = "tickets"',
            'name = "tickets"\ninstructions = ["Sort it.", "Sort it. "]',
            "task.toml:2: instructions repeats the instruction or itself. Expected other wordings, "
            "as the instruction is weighed anyway. Remove the repeats.",
        ),
        (
            LABEL,
            LABEL + "\n[search]\nexamples = 16",
            "task.toml:12: [search] examples is 16. Expected true or false. Change it.",
        ),
        (
            LABEL,
            LABEL + '\n[search]\nreflection = "bog"\n' + BIG,
            'task.toml:12: [search] reflection is "bog", and there is no table [models.bog]. '
            "Expected the name of one, as the instruction is rewritten by a model behind a URL. "
            'Add it. Did you mean "big"?',
        ),
        (
            LABEL,
            LABEL + '\n[knowledge]\ndocuments = ["tickets.jsonl"]\nparaphrase = "bog"\n' + BIG,
            'task.toml:13: [knowledge] paraphrase is "bog", and there is no table [models.bog]. '
            "Expected the name of one, as documents are rewritten by a model behind a URL. "
            'Add it. Did you mean "big"?',
        ),
        (
            LABEL,
            LABEL + '\n[knowledge]\ndocuments = ["tickets.jsonl"]\ncopies = 2\n',
            "task.toml:13: [knowledge] copies counts paraphrases, and nobody writes them. Expected "
            'the name of a [models.NAME] table too. Add a line such as paraphrase = "big".',
        ),
        (
            LABEL,
            LABEL + '\n[knowledge]\nparaphrase = "big"\n' + BIG,
            "task.toml:12: [knowledge] paraphrase is about documents, and there are none. "
            "Add documents.",
        ),
    ],
)
def test_a_wrong_variant_or_search_is_an_error(
    task_file: TaskFile, old: str, new: str, expected: str
) -> None:
    assert message(task_file((old, new))) == expected


@pytest.mark.parametrize("scorer", [*SCORERS, "python:my.module:score"])
def test_every_scorer_fits_some_output_type(task_file: TaskFile, scorer: str) -> None:
    fits = {"fields": "json", "label": "label", "python:my.module:score": "label"}
    rows = [{"text": f"t{i}", "label": {"intent": i}} for i in range(30)]
    kind = fits.get(scorer, "text")
    path = task_file(
        (LABEL, f'type = "{kind}"\n[score]\nscorer = "{scorer}"'),
        rows=rows if kind == "json" else [{"text": f"t{i}", "label": i % 3} for i in range(30)],
    )
    assert load_task(path).scorer == scorer


def test_lines_are_those_of_the_keys_and_not_of_look_alikes_in_strings() -> None:
    text = (
        "# [data]\n"
        'text = """\n[data]\ninput = 1\n"""\r\n'
        "data.input = 2\n"
        "limits = {minutes = 1, p95_ms = 2}\n"
        "list = [\n  1, # one\n  2,\n]\n"
        '["a b".c]\n'
        "'x.y' = 1\n"
        "[[rows]]\n"
        "n = 1\n"
    )
    assert key_lines(text) == {
        ("text",): 2,
        ("data",): 6,
        ("data", "input"): 6,
        ("limits",): 7,
        ("limits", "minutes"): 7,
        ("limits", "p95_ms"): 7,
        ("list",): 8,
        ("a b",): 12,
        ("a b", "c"): 12,
        ("a b", "c", "x.y"): 13,
        ("rows",): 14,
        ("rows", "n"): 15,
    }
    assert key_lines("") == {}


@settings(max_examples=50)
@given(
    st.dictionaries(
        st.from_regex(r"[a-z]{1,4}", fullmatch=True),
        st.sampled_from(["1", "[\n1,\n2\n]", '"""\n[x]\ny = 1\n"""', "'#'", "{a = 1}"]),
    )
)
def test_every_key_stands_on_the_line_it_is_given(values: dict[str, str]) -> None:
    text = "[t]\n" + "".join(f"{key} = {value}\n" for key, value in values.items())
    lines = key_lines(text)
    for key in tomllib.loads(text)["t"]:
        assert text.split("\n")[lines["t", key] - 1].startswith(f"{key} = ")
