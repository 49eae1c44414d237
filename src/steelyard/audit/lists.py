"""The editable lists beside this file: words and what they are exchanged for."""

from __future__ import annotations

from pathlib import Path

from steelyard.errors import InputError

SHIPPED = Path(__file__).parent / "word_lists"
SWAPS = ("gender", "age", "nationality", "names")


def read_words(name: str, folder: Path = SHIPPED) -> tuple[str, ...]:
    """The entries of a list, without its comments.

    Raises:
        InputError: the list is not there, or is not UTF-8.
    """
    path = folder / f"{name}.txt"
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path}: the list cannot be read ({error}). Expected a text file in UTF-8 with one "
            f"entry a line. Copy the one of {SHIPPED} and edit it."
        ) from error
    lines = (line.partition("#")[0].strip() for line in text.splitlines())
    return tuple(line for line in lines if line)


def read_swaps(name: str, folder: Path = SHIPPED) -> dict[str, str]:
    """What each word, in small letters, is exchanged for.

    Raises:
        InputError: the list cannot be read, or a line of it is no exchange.
    """
    swaps: dict[str, str] = {}
    for line in read_words(name, folder):
        sign = "=" if "=" in line else ">"
        left, found, right = (part.strip() for part in line.partition(sign))
        if not (left and found and right):
            raise InputError(
                f'{folder / name}.txt: the line "{line}" is no exchange. Expected "he = she", or '
                '"him > her" for one way only. Correct it.'
            )
        swaps.setdefault(left.casefold(), right)
        if sign == "=":
            swaps.setdefault(right.casefold(), left)
    return swaps
