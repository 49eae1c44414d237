"""Files of scores, or of predictions with their targets → the same examples, scored by each file.

    {"id": "e1", "score": 0.5}                                  as it is
    {"id": "e1", "prediction": "spam", "target": "ham"}         by the scorer that is named

Whatever could make a comparison unfair is an error with file and line: other ids, other targets,
an id twice, a score that is missing or off the scale.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from steelyard.core import Answer, Json, Output, Scorer, digest
from steelyard.errors import DataError, InputError, unknown
from steelyard.measure.normalise import as_text
from steelyard.measure.scorers import OUTPUT_TYPES, SCORERS, get_scorer
from steelyard.tasks.rows import RawRow, parse_json, read_rows
from steelyard.tasks.wording import count, shown

NUM_NAMED = 3  # ids that a message names before it only counts


@dataclass(frozen=True, slots=True)
class ScoreFile:
    """One file: a score by id, in the file's order."""

    name: str
    scores: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class _Read:
    """A file as it was read; `wheres` says on which line each id stands."""

    path: Path
    scores: dict[str, float]
    wheres: dict[str, str]
    groups: dict[str, str]
    targets: dict[str, str]


def read_score_files(
    paths: Sequence[Path], *, group: str | None, scorer: str | None
) -> tuple[list[ScoreFile], dict[str, str]]:
    """The files, and the group of every example (itself, where no column is named).

    Raises:
        InputError: fewer than two files, or one twice.
        TaskError: the scorer is not known.
        DataError: a row that cannot be scored, or files that do not hold the same examples.
    """
    if len(paths) < 2:
        raise InputError(
            f"compare: {count(len(paths), 'file')}. Expected at least 2, with scores of the same "
            "examples. Name them one after the other."
        )
    if len(set(paths)) < len(paths):
        twice = next(path for index, path in enumerate(paths) if path in paths[:index])
        raise InputError(f"compare: {twice} is named twice. Expected different files. Drop one.")
    score = _score if scorer is None else _scored_by(_scorer(scorer))
    read = [_read(path, score, group) for path in paths]
    for other in read[1:]:
        _check_same_examples(read[0], other)
    if len(read[0].scores) < 2:
        raise DataError(
            f"{paths[0]}: 1 example. At least 2 are needed for an interval. Score more examples."
        )
    groups = read[0].groups
    if len(set(groups.values())) < 2:
        raise DataError(
            f"{paths[0]}: all {len(groups)} examples are in one group ({group}). At least 2 groups "
            "are needed, because a group counts as one observation. Group by a finer column."
        )
    files = [ScoreFile(name, r.scores) for name, r in zip(_names(paths), read, strict=True)]
    return files, groups


def _names(paths: Sequence[Path]) -> list[str]:
    """What the files are called in sentences: without folder and ending, where that suffices."""
    stems = [path.stem for path in paths]
    return stems if len(set(stems)) == len(stems) else [str(path) for path in paths]


def _read(path: Path, score: Callable[[RawRow], float], group: str | None) -> _Read:
    read = _Read(path, {}, {}, {}, {})
    for row in read_rows(path):
        id_ = _id(row)
        if id_ in read.wheres:
            raise DataError(
                f"{row.where}: the id is {shown(id_)}, as in {read.wheres[id_]}. Expected each id "
                "once. Remove one of the rows, or number them."
            )
        read.wheres[id_] = row.where
        read.scores[id_] = score(row)
        read.groups[id_] = id_ if group is None else _group(row, group)
        if row.values.get("target") is not None:
            read.targets[id_] = digest(row.values["target"])
    return read


def _id(row: RawRow) -> str:
    value = row.values.get("id")
    if isinstance(value, str | int) and not isinstance(value, bool) and str(value).strip():
        return str(value)
    raise DataError(
        f"{row.where}: {_what(row, 'id')}. Expected a text or a whole number that names the "
        "example in every file. Add it."
    )


def _group(row: RawRow, column: str) -> str:
    value = row.values.get(column)
    if value is None or not as_text(value).strip():
        raise DataError(
            f"{row.where}: {_what(row, column)}, and --group names that column. Expected the "
            "group of each example in each row. Add it, or compare without --group."
        )
    return as_text(value)


def _what(row: RawRow, column: str) -> str:
    """What is wrong with a cell: it is not there, or it is this."""
    if column not in row.values:
        return f'there is no "{column}" (columns: {", ".join(row.values) or "none"})'
    return f'"{column}" is {shown(row.values[column])}'


# ---------------------------------------------------------------- the score of one row


def _score(row: RawRow) -> float:
    value = row.values.get("score")
    if "score" not in row.values and "prediction" in row.values:
        raise DataError(
            f'{row.where}: there is a "prediction" and no "score". Expected to be told how to '
            f"score it. Name a scorer, as in: --scorer exact. Known: {', '.join(SCORERS)}."
        )
    number = _number(value)
    if number is None or not 0 <= number <= 1:
        raise DataError(
            f"{row.where}: {_what(row, 'score')}. Expected a number from 0 to 1. Scale it, for "
            "instance divide per cent by 100; an example that failed has no score: decide what a "
            "failure is worth, or leave it out of every file."
        )
    return number


def _number(value: Json) -> float | None:
    """A cell as a number; CSV has numbers as text only."""
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return None
    return float(value) if isinstance(value, int | float) else None


def _scorer(name: str) -> Scorer:
    if name not in SCORERS and not name.startswith("python:"):
        raise InputError(f"--scorer: {unknown('scorer', name, SCORERS)}")
    return get_scorer(name, Output("json" if _reads_json(name) else "text"))


def _reads_json(scorer: str) -> bool:
    return OUTPUT_TYPES.get(scorer) == ("json",)


def _scored_by(scorer: Scorer) -> Callable[[RawRow], float]:
    reads_json = _reads_json(scorer.name)

    def score(row: RawRow) -> float:
        for column in ("prediction", "target"):
            if row.values.get(column) is None:
                raise DataError(
                    f"{row.where}: {_what(row, column)}, and --scorer {scorer.name} needs it. "
                    'Expected "prediction" and "target" in each row. Add it; an empty answer is "".'
                )
        answer, target = row.values["prediction"], row.values["target"]
        valid = True
        if reads_json:
            answer, valid = _json(answer)
            target, is_json = _json(target)
            if not is_json:
                raise DataError(
                    f"{row.where}: {_what(row, 'target')}, and --scorer {scorer.name} compares "
                    "JSON. Expected JSON. Correct the target, or choose another scorer."
                )
        return scorer.score(Answer(answer, as_text(answer), valid=valid), target).value

    return score


def _json(value: Json) -> tuple[Json, bool]:
    """A value, from its text where it is one; what is no JSON is an invalid answer."""
    if not isinstance(value, str):
        return value, True
    try:
        return parse_json(value), True
    except ValueError:
        return None, False


# ---------------------------------------------------------------- the same examples


def _check_same_examples(first: _Read, other: _Read) -> None:
    missing = [id_ for id_ in first.scores if id_ not in other.scores]
    more = [id_ for id_ in other.scores if id_ not in first.scores]
    if missing or more:
        sides = [
            f"{count(len(ids), 'id')} of {path} {_be(ids)} not in {elsewhere} ({_named(ids)})"
            for ids, path, elsewhere in (
                (missing, first.path, other.path),
                (more, other.path, first.path),
            )
            if ids
        ]
        raise DataError(
            f"{'; '.join(sides)}. Expected the same examples in every file, because they are "
            "compared one by one. Score the missing ones, or remove them from all files."
        )
    for what, ours, theirs in (
        ("target", first.targets, other.targets),
        ("group", first.groups, other.groups),
    ):
        differ = [id_ for id_ in ours if id_ in theirs and ours[id_] != theirs[id_]]
        if differ:
            raise DataError(
                f"{other.wheres[differ[0]]}: the {what} of {shown(differ[0])} is another than in "
                f"{first.wheres[differ[0]]} ({count(len(differ), 'example')} of this kind). "
                f"Expected the same {what} in every file. Correct one of them."
            )


def _be(ids: Sequence[str]) -> str:
    return "is" if len(ids) == 1 else "are"


def _named(ids: Sequence[str]) -> str:
    return ", ".join(ids[:NUM_NAMED]) + (", …" if len(ids) > NUM_NAMED else "")
