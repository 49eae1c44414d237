"""Keys of the server: who may ask, give feedback or administer. Kept by their hash alone."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from sqlalchemy import Engine, text

from steelyard.errors import InputError
from steelyard.store.sqlite import utc_now

Scope = Literal["ask", "feedback", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
PREFIX = "sk-steelyard-"
SECRET_BYTES = 32  # 256 random bits: no salt or slow hash makes them harder to guess


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key without its secret. `None` is no limit."""

    id: str
    name: str
    hash: str
    scopes: tuple[str, ...]
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    created_at: str = ""
    revoked_at: str | None = None

    @classmethod
    def of(cls, secret: str, name: str, scopes: Sequence[str]) -> ApiKey:
        """The key of a secret, under an id that its hash gives."""
        hashed = hash_secret(secret)
        return cls(f"key-{hashed[:12]}", name, hashed, tuple(scopes))


class Keys:
    """The keys of a home folder."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def add(
        self,
        name: str,
        scopes: Sequence[Scope],
        *,
        requests_per_minute: int | None = None,
        tokens_per_minute: int | None = None,
    ) -> tuple[ApiKey, str]:
        """A new key and its secret, which is not kept and cannot be shown again."""
        secret = PREFIX + secrets.token_urlsafe(SECRET_BYTES)
        key = ApiKey.of(secret, name, scopes)
        with self._engine.begin() as connection:
            connection.execute(
                text(
                    "INSERT INTO api_key VALUES "
                    "(:id, :name, :hash, :scopes, :requests, :tokens, :now, NULL)"
                ),
                {
                    "id": key.id,
                    "name": name,
                    "hash": key.hash,
                    "scopes": ",".join(scopes),
                    "requests": requests_per_minute,
                    "tokens": tokens_per_minute,
                    "now": utc_now(),
                },
            )
        return next(one for one in self.all() if one.id == key.id), secret

    def all(self) -> list[ApiKey]:
        """Every key there ever was, the oldest first."""
        with self._engine.connect() as connection:
            query = text("SELECT * FROM api_key ORDER BY created_at, rowid")
            found = connection.execute(query).mappings().all()
        return [ApiKey(**{**row, "scopes": tuple(row["scopes"].split(","))}) for row in found]

    def revoke(self, which: str) -> int:
        """Take the keys of an id or a name out of use; how many that were.

        Raises:
            InputError: there is none in use.
        """
        with self._engine.begin() as connection:
            query = text(
                "UPDATE api_key SET revoked_at = :now "
                "WHERE (id = :which OR name = :which) AND revoked_at IS NULL"
            )
            number = int(connection.execute(query, {"which": which, "now": utc_now()}).rowcount)
        if not number:
            used = [f"{key.id} ({key.name})" for key in self.all() if key.revoked_at is None]
            raise InputError(
                f"{which}: no key in use has that id or name. In use: {', '.join(used) or 'none'}"
            )
        return number


def hash_secret(secret: str) -> str:
    """What is kept of a secret."""
    return hashlib.sha256(secret.encode()).hexdigest()


def find_key(secret: str, keys: Sequence[ApiKey]) -> ApiKey | None:
    """The key of a secret, in a time that does not depend on which it is or how much is right."""
    hashed, found = hash_secret(secret), None
    for key in keys:
        if hmac.compare_digest(hashed, key.hash):
            found = key
    return found
