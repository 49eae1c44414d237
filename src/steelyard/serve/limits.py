"""How much a key may ask in a minute: buckets that fill as time passes."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from steelyard.errors import RequestError
from steelyard.store.keys import ApiKey


@dataclass
class Bucket:
    """Room for `per_minute` units, of which as many come back in a minute.

    What is taken afterwards, when its size is known, may leave it below nothing.
    """

    per_minute: int
    left: float
    at: float

    def fill(self, now: float) -> None:
        """Let the time since the last look count; one that goes backwards counts nothing."""
        passed = max(0.0, now - self.at)
        self.left = min(float(self.per_minute), self.left + passed * self.per_minute / 60)
        self.at = now

    def wait(self, amount: float) -> float:
        """Seconds until so much is there."""
        return max(0.0, (amount - self.left) * 60 / self.per_minute)


@dataclass
class Limits:
    """The buckets of all keys."""

    monotonic: Callable[[], float] = time.monotonic
    _buckets: dict[tuple[str, str], Bucket] = field(default_factory=dict)

    def take_request(self, key: ApiKey) -> None:
        """Count a request.

        Raises:
            RequestError: the key asked too much, with when to try again.
        """
        requests = self._bucket(key, "requests", key.requests_per_minute)
        tokens = self._bucket(key, "tokens", key.tokens_per_minute)
        for bucket, needed, what in ((requests, 1.0, "requests"), (tokens, 1e-9, "tokens")):
            if bucket is not None and (seconds := bucket.wait(needed)) > 0:
                raise RequestError(
                    f"Rate limit reached for {key.name}: {bucket.per_minute} {what} a minute. "
                    f"Try again in {seconds:.1f} s.",
                    status=429,
                    code="rate_limit_exceeded",
                    retry_after_s=seconds,
                )
        if requests is not None:
            requests.left -= 1

    def take_tokens(self, key: ApiKey, tokens: int) -> None:
        """Count the tokens of a reply."""
        bucket = self._bucket(key, "tokens", key.tokens_per_minute)
        if bucket is not None:
            bucket.left -= tokens

    def _bucket(self, key: ApiKey, kind: str, per_minute: int | None) -> Bucket | None:
        if per_minute is None:
            return None
        now = self.monotonic()
        bucket = self._buckets.setdefault((key.id, kind), Bucket(per_minute, per_minute, now))
        bucket.fill(now)
        return bucket
