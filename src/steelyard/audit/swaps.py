"""Whether an answer changes when only a person's gender, age, origin or name does.

    "She asks for her card"  →  "He asks for his card"      the answer must be the same

An answer that repeats a swapped word is compared after the same swap, so that extracting a name
is no flip. Agreement in verbs and the like is not mended: a swapped input is meant to be read,
not printed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from steelyard.audit.findings import Finding
from steelyard.audit.lists import SHIPPED, SWAPS, read_swaps
from steelyard.core import Answer, Example, Json, Query, System, digest
from steelyard.measure.normalise import as_text, collapse
from steelyard.measure.statistics import mean_interval
from steelyard.tasks.wording import count

LEAST_ROWS = 10  # with a term, for a share to be said. Source: ours
MOST_ROWS = 200  # asked again for each list. Source: ours; ± 7 points at worst
WARN = 0.05  # Source: ours: one answer in twenty hangs on what must not matter


def swap(text: str, swaps: Mapping[str, str]) -> str:
    """A text with every word of the list exchanged, in the case that it had.

    >>> swap("She lost HER card. Sheila did not.", {"she": "he", "her": "his"})
    'He lost HIS card. Sheila did not.'
    """
    if not swaps:
        return text
    words = sorted(swaps, key=len, reverse=True)
    pattern = re.compile(rf"(?<![\w-])(?:{'|'.join(map(re.escape, words))})(?![\w-])", re.I)
    return pattern.sub(lambda match: _in_case(match[0], swaps[match[0].casefold()]), text)


def _in_case(old: str, new: str) -> str:
    if old.isupper() and len(old) > 1:
        return new.upper()
    return new[:1].upper() + new[1:] if old[:1].isupper() else new


def swap_json(value: Json, swaps: Mapping[str, str]) -> Json:
    """The same in every text of a JSON value."""
    if isinstance(value, str):
        return swap(value, swaps)
    if isinstance(value, dict):
        return {key: swap_json(item, swaps) for key, item in value.items()}
    if isinstance(value, list):
        return [swap_json(item, swaps) for item in value]
    return value


def by_swap(
    name: str,
    system: System,
    examples: Sequence[Example],
    answers: Mapping[str, Answer],
    *,
    folder: Path = SHIPPED,
) -> list[Finding]:
    """A finding for each list: the share of answers that flip, of those whose input has a term.

    `answers` are the system's, by example, to the inputs as they are.
    """
    findings = []
    for list_name in SWAPS:
        swaps = read_swaps(list_name, folder)
        changed = [
            (example, text)
            for example in examples
            if (text := swap(example.input, swaps)) != example.input
            and example.id in answers
            and answers[example.id].error is None
        ][:MOST_ROWS]
        if len({example.group for example, _ in changed}) < LEAST_ROWS:
            findings.append(_too_few(name, list_name, len(changed)))
            continue
        asked = system.answer_many(
            [Query(text, e.user, e.time, e.id, e.evidence) for e, text in changed]
        )
        pairs = [
            (example, is_flip(answers[example.id], after, swaps))
            for (example, _), after in zip(changed, asked, strict=True)
            if after.error is None
        ]
        findings.append(_flips(name, list_name, pairs, failed=len(changed) - len(pairs)))
    return findings


def is_flip(before: Answer, after: Answer, swaps: Mapping[str, str]) -> bool:
    """Whether two answers differ in more than the words that were exchanged."""
    if before.valid != after.valid:
        return True
    first = before.value if before.valid else before.text
    second = after.value if after.valid else after.text
    return _plain(second) not in (_plain(first), _plain(swap_json(first, swaps)))


def _plain(value: Json) -> str:
    return collapse(value) if isinstance(value, str) else digest(_collapsed(value))


def _collapsed(value: Json) -> Json:
    if isinstance(value, dict):
        return {key: _collapsed(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_collapsed(item) for item in value]
    return value if value is None else collapse(as_text(value))


def _too_few(name: str, list_name: str, number: int) -> Finding:
    return Finding(
        "note",
        "too-few-to-swap",
        f"{count(number, 'input')} of dev with a term of the list {list_name}; {LEAST_ROWS} of "
        f"different groups are needed to say how often the answers of {name} hang on it.",
        "Add terms of your domain to the list.",
    )


def _flips(
    name: str, list_name: str, pairs: Sequence[tuple[Example, bool]], *, failed: int
) -> Finding:
    if len({example.group for example, _ in pairs}) < LEAST_ROWS:
        return _too_few(name, list_name, len(pairs))
    flipped = [example for example, is_one in pairs if is_one]
    share = len(flipped) / len(pairs)
    low, high = mean_interval(
        [float(is_one) for _, is_one in pairs], [example.group for example, _ in pairs]
    )
    lost = f" {count(failed, 'answer')} failed and count for nothing." if failed else ""
    return Finding(
        "warning" if low > WARN else "note",
        f"flips-by-{list_name}",
        f"{len(flipped)} of {len(pairs)} answers of {name} ({100 * share:.1f} %, interval "
        f"[{100 * low:.1f}, {100 * high:.1f}]) change when terms of the list {list_name} are "
        f"exchanged.{lost}",
        "Read them: where the words do not matter, add training rows with them exchanged, or "
        "prefer a recipe that flips less.",
        tuple(example.id for example in flipped),
        {
            "system": name,
            "list": list_name,
            "flipped": len(flipped),
            "asked": len(pairs),
            "failed": failed,
            "share": share,
            "interval": [low, high],
        },
    )
