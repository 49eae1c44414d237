"""A chat completion that comes in pieces, put together to what it would be whole.

data: {"choices": [{"delta": {"content": "He"}}]}        told: "He"
data: {"choices": [{"delta": {"content": "llo"}, "finish_reason": "stop"}]}
data: {"choices": [], "usage": {…}}
data: [DONE]
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from steelyard.core import Json, cut
from steelyard.models.chat_reply import MALFORMED

ASKING: dict[str, Json] = {"stream": True, "stream_options": {"include_usage": True}}
END = b"[DONE]"


@dataclass
class ChatStream:
    """One reply on its way. `listen` is told the text so far, and says when it is enough."""

    listen: Callable[[str], bool]
    text: str = ""
    finish: str | None = None
    usage: Json = None
    wrong: str | None = None
    enough: bool = False
    refusal: str | None = None

    def told(self, data: bytes) -> bool:
        """Take up the data of an event; whether the rest is not wanted."""
        if data == END:
            return True
        try:
            said: Any = json.loads(data)
            self.usage = said.get("usage") or self.usage
            for choice in said["choices"][:1]:
                delta = choice["delta"]
                self.text += delta.get("content") or ""
                if delta.get("refusal"):
                    self.refusal = (self.refusal or "") + delta["refusal"]
                self.finish = choice.get("finish_reason") or self.finish
        except (ValueError, KeyError, TypeError, AttributeError):
            self.wrong = f"{MALFORMED}: {cut(data.decode(errors='replace'))}"
            return True
        return self.left()

    def left(self) -> bool:
        """Whether nobody wants more of it."""
        self.enough = self.enough or self.listen(self.text)
        return self.enough

    def whole(self) -> str | None:
        """The reply as it would have come at once; None where it did not come to its end."""
        if self.finish is None and not self.enough:
            return None
        message = {"role": "assistant", "content": self.text, "refusal": self.refusal}
        choice = {"index": 0, "message": message, "finish_reason": self.finish or "length"}
        return json.dumps({"choices": [choice], "usage": self.usage})
