"""TOML read key by key, so that every complaint names its file and line."""

from __future__ import annotations

import json
import math
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from steelyard.core import Json
from steelyard.errors import TaskError, nearest, unknown
from steelyard.tasks.wording import shown


def key_lines(text: str) -> dict[tuple[str, ...], int]:
    """The line on which each key of a valid TOML text first stands.

    The text is cut into statements by asking tomllib whether the lines so far are complete, so
    multi-line strings, dotted keys and inline tables need no grammar of our own.

    >>> key_lines('name = "a"\\n[data]\\ninput = "x"')
    {('name',): 1, ('data',): 2, ('data', 'input'): 3}
    """
    lines: dict[tuple[str, ...], int] = {}
    table: tuple[str, ...] = ()
    statement, start = "", 1
    for number, line in enumerate(text.replace("\r\n", "\n").split("\n"), 1):
        if not statement:
            start = number
        statement += line + "\n"
        try:
            parsed = tomllib.loads(statement)
        except tomllib.TOMLDecodeError:
            continue  # a value that goes on in the next line
        paths = list(_paths(parsed))
        if statement.lstrip().startswith("["):
            table = paths[-1]
        else:
            paths = [table + path for path in paths]
        for path in paths:
            lines.setdefault(path, start)
        statement = ""
    return lines


def _paths(values: Mapping[str, Json], above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for key, value in values.items():
        yield (*above, key)
        if isinstance(value, dict):
            yield from _paths(value, (*above, key))


@dataclass(frozen=True, slots=True)
class Table:
    """One table of a TOML file. The readers return None for a key that is not there."""

    file: Path
    text: str
    at: tuple[str, ...]
    values: Mapping[str, Json]

    @classmethod
    def parse(cls, file: Path, text: str) -> Table:
        """The top of a TOML text.

        Raises:
            TaskError: the text is not TOML.
        """
        try:
            return cls(file, text, (), tomllib.loads(text))
        except tomllib.TOMLDecodeError as error:
            reason = str(error)
            found = re.search(r" \(at line (\d+), column (\d+)\)$", reason)
            line = int(found[1]) if found else text.count("\n") + 1
            what = f"{reason[: found.start()]} at column {found[2]}" if found else reason
            raise TaskError(
                f"{file}:{line}: not valid TOML: {what}. "
                'Expected lines such as name = "tickets" or [data]. Correct the line.'
            ) from None

    def where(self, key: str | None = None) -> str:
        """`file:line` of a key, or of the table when the key is not there."""
        lines = key_lines(self.text)
        line = lines.get((*self.at, key) if key else self.at) or lines.get(self.at)
        return f"{self.file}:{line}" if line else str(self.file)

    def label(self, key: str) -> str:
        """The key with its table, as messages name it."""
        return f"[{'.'.join(self.at)}] {key}" if self.at else key

    def error(self, key: str, problem: str) -> TaskError:
        """`file:line: [table] key` and the problem with it."""
        return TaskError(f"{self.where(key)}: {self.label(key)} {problem}")

    def _unlike(self, key: str, expected: str) -> TaskError:
        return self.error(key, f"is {shown(self.values[key])}. Expected {expected}. Change it.")

    def known_only(self, known: Iterable[str], elsewhere: Mapping[str, Iterable[str]]) -> None:
        """Refuse a key that is not in `known`; `elsewhere` says where else keys belong.

        Raises:
            TaskError: an unknown key.
        """
        known = list(known)
        for key in self.values:
            if key in known:
                continue
            what = f"[{'.'.join(self.at)}] key" if self.at else "key"
            homes = [
                f"in [{table}]" if table else "at the top of the file"
                for table, keys in elsewhere.items()
                if key in keys
            ]
            home = f" It belongs {' or '.join(homes)}." if homes else ""
            raise TaskError(f"{self.where(key)}: {unknown(what, key, known)}{home}")

    def table(self, key: str) -> Table:
        """A table inside this one; empty when it is not there."""
        value = self.values.get(key, {})
        if not isinstance(value, dict):
            raise self._unlike(key, f"a table, [{'.'.join((*self.at, key))}]")
        return Table(self.file, self.text, (*self.at, key), value)

    def string(self, key: str, expected: str = "a text that is not empty") -> str | None:
        """A text with something in it."""
        value = self.values.get(key)
        if value is not None and (not isinstance(value, str) or not value.strip()):
            raise self._unlike(key, expected)
        return value

    def required(self, key: str, example: str) -> str:
        """A text that must be there."""
        value = self.string(key)
        if value is None:
            raise TaskError(
                f"{self.where()}: {self.label(key)} is missing. "
                f"Expected a text. Add a line such as {key} = {json.dumps(example)}"
                + (f" under [{'.'.join(self.at)}]." if self.at else ".")
            )
        return value

    def choice(self, key: str, known: Iterable[str]) -> str | None:
        """One word of a table of words."""
        known = list(known)
        value = self.string(key, f"one of {', '.join(known)}")
        if value is not None and value not in known:
            raise TaskError(f"{self.where(key)}: {unknown(self.label(key), value, known)}")
        return value

    def number(
        self, key: str, *, low: float = 0.0, high: float = math.inf, low_is_in: bool = True
    ) -> float | None:
        """A finite number of a range."""
        value = self.values.get(key)
        if value is None:
            return None
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        above = is_number and (value >= low if low_is_in else value > low)
        if not (above and value <= high and math.isfinite(value)):
            if math.isfinite(high):
                expected = f"a number from {low:g} to {high:g}"
            else:
                expected = f"a number of at least {low:g}" if low_is_in else f"a number > {low:g}"
            raise self._unlike(key, expected)
        return float(value)

    def whole(self, key: str) -> int | None:
        """A whole number from 0 on."""
        value = self.values.get(key)
        if value is not None and (type(value) is not int or value < 0):
            raise self._unlike(key, "a whole number of at least 0")
        return value

    def strings(self, key: str, example: str) -> tuple[str, ...] | None:
        """A list of distinct texts, at least one."""
        value = self.values.get(key)
        if value is None:
            return None
        fits = isinstance(value, list) and value
        if not fits or not all(isinstance(item, str) and item.strip() for item in value):
            raise self._unlike(key, f"a list of texts such as {example}")
        if len(set(value)) < len(value):
            raise self.error(key, f"is {shown(value)}. Expected each once. Remove the repeats.")
        return tuple(value)

    def switch(self, key: str) -> bool:
        """true or false; false when it is not there."""
        value = self.values.get(key, False)
        if not isinstance(value, bool):
            raise self._unlike(key, "true or false")
        return value

    def file_at(self, key: str, name: str) -> Path:
        """The path of a file that the key names, relative to the TOML file.

        Raises:
            TaskError: there is no such file.
        """
        path = self.file.parent / name
        if not path.is_file():
            raise self._missing(key, name, "file")
        return path

    def path_at(self, key: str, name: str) -> Path:
        """The path of a file or a folder that the key names, relative to the TOML file.

        Raises:
            TaskError: there is neither.
        """
        path = self.file.parent / Path(name).expanduser()
        if not path.exists():
            raise self._missing(key, name, "file or folder")
        return path

    def _missing(self, key: str, name: str, what: str) -> TaskError:
        path = self.file.parent / name
        siblings = [item.name for item in path.parent.iterdir()] if path.parent.is_dir() else []
        return self.error(
            key,
            f"names {shown(name)}, and there is no such {what}. Expected a {what}, its path "
            f"relative to {self.file.parent}/. Correct the path.{nearest(path.name, siblings)}",
        )
