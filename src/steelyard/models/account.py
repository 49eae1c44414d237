"""What asking models behind URLs has cost, and the replies that are there already."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Protocol

from steelyard.core import ModelSpec, Usage
from steelyard.errors import SpentError


class Kept(Protocol):
    """Where replies, and what was paid for them, outlast a run."""

    def reply(self, key: str) -> str | None:
        """The reply that was kept under a key."""
        ...

    def keep(self, key: str, reply: str) -> None:
        """Keep a reply; the first one of a key stays."""
        ...

    def spent(self) -> float:
        """US dollars paid so far, in all runs."""
        ...

    def spend(self, usd: float) -> None:
        """Remember that so much was paid."""
        ...


class Account:
    """Pays for requests as long as `limit_usd` is surely not passed.

    Before each request it sets aside what that could cost at most, and afterwards counts what it
    did cost. `held_back_usd` of the limit is not to be touched yet.
    """

    def __init__(self, limit_usd: float | None = None, kept: Kept | None = None) -> None:
        self.limit_usd, self.kept = limit_usd, kept
        self.held_back_usd = 0.0
        self.spent_usd = 0.0 if kept is None else kept.spent()
        self._reserved_usd = 0.0
        self._lock = threading.Lock()

    def reserve(self, usd: float) -> bool:
        """Set money aside; False while other requests, once paid, may leave enough.

        Raises:
            SpentError: it could be more than there is left.
        """
        with self._lock:
            if self.limit_usd is not None:
                there = self.limit_usd - self.held_back_usd
                if self.spent_usd + usd > there:
                    back = f", of which {self.held_back_usd:g} are kept for the sealed test"
                    raise SpentError(
                        f"[limits] usd is {self.limit_usd:g}{back * (self.held_back_usd > 0)}: "
                        f"{self.spent_usd:.4f} USD are spent, and the next answer could cost "
                        f"{usd:.4f}. What was answered is kept; raise the limit to go on from there"
                    )
                if self.spent_usd + self._reserved_usd + usd > there:
                    return False
            self._reserved_usd += usd
            return True

    def settle(self, reserved_usd: float, usd: float) -> None:
        """Take what was paid out of what was set aside."""
        with self._lock:
            self._reserved_usd -= reserved_usd
            self.spent_usd += usd
            if self.kept is not None and usd > 0:
                self.kept.spend(usd)


@dataclass
class Toll:
    """What one request may cost, at most `most`, and does cost."""

    account: Account
    spec: ModelSpec
    most: Usage
    _reserved: bool = field(default=False, init=False)

    @property
    def most_usd(self) -> float:
        return self.spec.usd(self.most) or 0.0

    def reserve(self) -> bool:
        """Before it is sent; False while it must wait for others to be paid.

        Raises:
            SpentError: it could cost more than there is left.
        """
        self._reserved = self.account.reserve(self.most_usd)
        return self._reserved

    def pay(self, usage: Usage) -> None:
        """A reply came, with this usage."""
        self._settle(self.spec.usd(usage) or 0.0)

    def release(self) -> None:
        """The server refused: nothing was paid."""
        self._settle(0.0)

    def lost(self) -> None:
        """The reply was lost on its way: it may have been paid in full."""
        self._settle(self.most_usd)

    def _settle(self, usd: float) -> None:
        if self._reserved:
            self.account.settle(self.most_usd, usd)
        self._reserved = False
