"""Messages → tokens: the one prompt renderer, for training, measuring and serving alike.

For a model with a ChatML template the messages

    system: Name the colour.      user: a ripe banana

become the text

    <|im_start|>system
    Name the colour.<|im_end|>
    <|im_start|>user
    a ripe banana<|im_end|>
    <|im_start|>assistant

(with the newline that ends it), and a target "yellow" becomes the tokens of `yellow` and the
template's one end token. The template writes its own special tokens, so the tokenizer must add
none: a doubled first token is the classic silent fault.
"""

from __future__ import annotations

from typing import Any

from jinja2 import TemplateError

from steelyard.errors import ModelError
from steelyard.models.base import Prompt

# For tokenizers without a template: roles on lines of their own, nothing clever.
PLAIN_TEMPLATE = (
    "{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)

TEXT_END = "<|endoftext|>"  # what most models were pre-trained with; the end token otherwise


class Renderer:
    """Renders prompts and targets with a Hugging Face tokenizer."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        if not getattr(tokenizer, "chat_template", None):
            tokenizer.chat_template = PLAIN_TEMPLATE
        # More than all_special_tokens, which lists only those that have a role by name.
        self._specials = {
            token.content: number
            for number, token in tokenizer.added_tokens_decoder.items()
            if token.special
        }
        self.end_token_id = self._find_end_token()

    def text(self, prompt: Prompt) -> str:
        """The prompt as the model's template writes it, up to where its answer begins."""
        return self._template(self._messages(prompt), add_generation_prompt=True)

    def prompt_ids(self, prompt: Prompt) -> list[int]:
        """Token ids of the rendered prompt."""
        return self._encode(self.text(prompt))

    def beginning_ids(self, before: Prompt | str) -> list[int]:
        """Token ids of a prompt, or of a plain text, which begins as all texts do."""
        if isinstance(before, str):
            ids: list[int] = self.tokenizer(before)["input_ids"]
            return ids
        return self.prompt_ids(before)

    def target_ids(self, text: str) -> list[int]:
        """Token ids of an answer and its end token."""
        return [*self.text_ids(text), self.end_token_id]

    def text_ids(self, text: str) -> list[int]:
        """Token ids of a text that is data."""
        return self._encode(self._defused(text))

    def document_ids(self, text: str) -> list[int]:
        """Token ids of a text that is no turn of a conversation, between two that end texts."""
        end = self._specials.get(TEXT_END, self.tokenizer.eos_token_id)
        end = self.end_token_id if end is None else end
        return [end, *self._encode(self._defused(text)), end]

    def decode(self, ids: list[int]) -> str:
        """The text of generated tokens, without special tokens."""
        text: str = self.tokenizer.decode(ids, skip_special_tokens=True)
        return text

    def _messages(self, prompt: Prompt) -> list[dict[str, str]]:
        return [{"role": m.role, "content": self._defused(m.content)} for m in prompt]

    def _defused(self, content: str) -> str:
        """Data must not be able to end its turn: special tokens in it are broken with a space."""
        for token in sorted(self._specials, key=len, reverse=True):
            if token in content:
                content = content.replace(token, f"{token[0]} {token[1:]}")
        return content

    def _template(self, messages: list[dict[str, str]], *, add_generation_prompt: bool) -> str:
        try:
            return self._apply(messages, add_generation_prompt)
        except TemplateError as error:
            if messages and messages[0]["role"] == "system" and len(messages) > 1:
                # Some templates know no system turn; the instruction then opens the first one.
                head, first, *rest = messages
                content = f"{head['content']}\n\n{first['content']}"
                return self._apply([{**first, "content": content}, *rest], add_generation_prompt)
            raise ModelError(f"the model's chat template failed: {error}") from error

    def _apply(self, messages: list[dict[str, str]], add_generation_prompt: bool) -> str:
        text: str = self.tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=add_generation_prompt
        )
        return text

    def _encode(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    def _find_end_token(self) -> int:
        """The token that the template writes after an answer; the tokenizer's own otherwise."""
        answer = "yellow"
        turns = [{"role": "user", "content": "?"}, {"role": "assistant", "content": answer}]
        after = self._template(turns, add_generation_prompt=False).rpartition(answer)[2]
        ids = self._encode(after.lstrip())
        if ids and ids[0] in self._specials.values():
            return ids[0]
        end = self.tokenizer.eos_token_id
        if end is None:
            raise ModelError(
                "the model's tokenizer has no end token (eos_token); "
                "expected one in tokenizer_config.json"
            )
        return int(end)
