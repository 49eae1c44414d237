from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from steelyard.errors import ModelError
from steelyard.models import Message
from steelyard.models.render import Renderer
from tiny import CHATML, END, START, TEXT_END, ask, write_tokenizer

START_ID, END_ID = 1, 2
HEADER = "<|header|>"  # a special token without a role of its own, as Llama 3 has them
REFUSES_SYSTEM = (
    "{% if messages[0]['role'] == 'system' %}"
    "{{ raise_exception('System role not supported') }}{% endif %}" + CHATML
)


def renderer(tmp_path: Path, **how: Any) -> Renderer:
    return Renderer(write_tokenizer(tmp_path, **how))


@pytest.fixture(scope="module")
def bytewise(tmp_path_factory: pytest.TempPathFactory) -> Renderer:
    """A renderer whose tokens are bytes, with a special token that has no role."""
    folder = tmp_path_factory.mktemp("bytewise")
    return Renderer(write_tokenizer(folder, merges=0, more_specials=[HEADER]))


def test_a_prompt_as_text_and_as_ids(tmp_path: Path) -> None:
    shown = renderer(tmp_path, merges=0)
    prompt = ask("Hi", "Be.")
    assert shown.text(prompt) == (
        "<|im_start|>system\nBe.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    )
    # "!" is token 3 and printable characters follow in their order; a newline is 201.
    line = 201
    assert shown.prompt_ids(prompt) == [
        *(1, *(ord(c) - 30 for c in "system"), line, *(36, 71, 16), 2, line),
        *(1, *(ord(c) - 30 for c in "user"), line, *(42, 75), 2, line),
        *(1, *(ord(c) - 30 for c in "assistant"), line),
    ]
    assert shown.target_ids("Hi") == [42, 75, 2]


def test_shots_are_turns_in_their_order(tmp_path: Path) -> None:
    prompt = (*ask("2+2"), Message("assistant", "4"), *ask("3+3"))
    assert renderer(tmp_path).text(prompt) == (
        "<|im_start|>user\n2+2<|im_end|>\n<|im_start|>assistant\n4<|im_end|>\n"
        "<|im_start|>user\n3+3<|im_end|>\n<|im_start|>assistant\n"
    )


def test_prompt_and_target_together_are_what_the_template_writes_for_the_whole(
    bytewise: Renderer,
) -> None:
    whole = bytewise.tokenizer.apply_chat_template(
        [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes."}],
        tokenize=False,
    )
    ids = bytewise.tokenizer(whole, add_special_tokens=False)["input_ids"]
    assert [*bytewise.prompt_ids(ask("Hi")), *bytewise.target_ids("Yes.")] == ids[:-1]  # a newline


def test_a_tokenizer_that_adds_a_first_token_does_not_double_it(tmp_path: Path) -> None:
    shown = renderer(tmp_path, adds_start=True)
    assert shown.tokenizer("Hi")["input_ids"][0] == START_ID
    ids = shown.prompt_ids(ask("Hi"))
    assert ids[0] == START_ID
    assert ids[1] != START_ID
    assert ids.count(START_ID) == 2  # the user's turn and the assistant's
    assert START_ID not in shown.target_ids("Hi")


def test_the_end_token_is_the_one_the_template_writes_after_an_answer(tmp_path: Path) -> None:
    assert renderer(tmp_path / "usual").end_token_id == END_ID
    other = CHATML.replace(END, TEXT_END)
    assert renderer(tmp_path / "other", template=other).end_token_id == 0
    without_a_role = CHATML.replace(END, HEADER)
    shown = renderer(tmp_path / "header", template=without_a_role, more_specials=[HEADER])
    assert shown.end_token_id == 3


def test_a_template_that_writes_none_leaves_the_tokenizers_end_token(tmp_path: Path) -> None:
    assert renderer(tmp_path, template=None).end_token_id == END_ID


def test_a_tokenizer_without_any_end_token_is_refused(tmp_path: Path) -> None:
    tokenizer = write_tokenizer(tmp_path, template=None)
    tokenizer.eos_token = None
    with pytest.raises(ModelError, match=r"no end token \(eos_token\); expected one in tokenizer_"):
        Renderer(tokenizer)


def test_a_tokenizer_without_a_template_uses_the_plain_one(tmp_path: Path) -> None:
    prompt = ask("Hi", "Be.")
    assert renderer(tmp_path, template=None).text(prompt) == "system: Be.\nuser: Hi\nassistant: "


def test_a_template_that_refuses_the_system_role_gets_it_in_the_first_turn(tmp_path: Path) -> None:
    shown = renderer(tmp_path, template=REFUSES_SYSTEM)
    prompt = (*ask("2+2", "Add."), Message("assistant", "4"), *ask("3+3"))
    assert shown.text(prompt) == (
        "<|im_start|>user\nAdd.\n\n2+2<|im_end|>\n<|im_start|>assistant\n4<|im_end|>\n"
        "<|im_start|>user\n3+3<|im_end|>\n<|im_start|>assistant\n"
    )


def test_a_template_that_refuses_everything_is_an_error(tmp_path: Path) -> None:
    refuses = "{% if messages | length == 1 %}{{ raise_exception('no') }}{% endif %}" + CHATML
    with pytest.raises(ModelError, match="the model's chat template failed: no"):
        renderer(tmp_path, template=refuses).text(ask("Hi"))


@pytest.mark.parametrize("token", [START, END, TEXT_END, HEADER])
def test_special_tokens_in_data_are_only_text(bytewise: Renderer, token: str) -> None:
    number = bytewise.tokenizer.convert_tokens_to_ids(token)
    hostile = f"a{token}b"
    plain = bytewise.prompt_ids(ask("a", "a"))
    assert bytewise.prompt_ids(ask(hostile, hostile)).count(number) == plain.count(number)
    assert bytewise.target_ids(hostile).count(number) == (number == END_ID)
    assert f"a< {token[1:]}b" in bytewise.text(ask(hostile))


pieces = st.sampled_from([START, END, TEXT_END, HEADER, "<|im_", "end|>", "<", "|>", " ", "\n"])


@given(st.lists(pieces | st.text(max_size=5), max_size=8).map("".join))
def test_no_data_adds_a_special_token_to_a_prompt(bytewise: Renderer, text: str) -> None:
    specials = range(4)
    ids = bytewise.prompt_ids(ask(text, text))
    assert [i for i in ids if i in specials] == [1, 2, 1, 2, 1]
    assert [i for i in bytewise.target_ids(text) if i in specials] == [2]


@given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=30))
def test_a_target_reads_back_as_it_was(bytewise: Renderer, text: str) -> None:
    assume(not any(token in text for token in (START, END, TEXT_END, HEADER)))  # broken on purpose
    assert bytewise.decode(bytewise.target_ids(text)) == text
