"""What the measured rows give away, or take from the rows that are learned from."""

from __future__ import annotations

import math
from collections import Counter, defaultdict

from steelyard.audit.alike import normal
from steelyard.audit.findings import Finding, Severity, percent
from steelyard.audit.sheet import Sheet
from steelyard.core import Example, Split
from steelyard.tasks.wording import count, shown

MEASURED: tuple[Split, ...] = ("dev", "test")
RUN = 8  # words. Source: ours; between the 8 of PaLM (2204.02311, 8) and the 13 of GPT-3
CONTAINED = 0.7  # of a row's runs stand in train. Source: PaLM, as above
COMMON = 0.02  # a run in more of the training rows than this is a template's. Source: ours
NUM_COMMON = 3
GIVEN_AWAY = 0.9  # of the rows show their own label in the input. Source: ours
SEVERE_SHARE = 0.01  # as in duplicates.py


def by_group(sheet: Sheet) -> list[Finding]:
    """Groups that stand in more than one split, where the user named a group and the splits."""
    if sheet.spec is None or sheet.spec.data.group is None:
        return []
    homes: defaultdict[str, set[Split]] = defaultdict(set)
    for row in sheet.rows:
        homes[row.example.group].add(row.split)
    cut = {group for group, splits in homes.items() if len(splits) > 1}
    if not cut:
        return []
    rows = [row for row in sheet.rows if row.split in MEASURED and row.example.group in cut]
    return [
        Finding(
            "severe",
            "groups-across-splits",
            f"{count(len(cut), 'group')} ({sheet.spec.data.group}) have rows in more than one "
            f"split, such as {shown(min(cut))}; {count(len(rows), 'row')} of dev and test are of "
            "them.",
            "Put each group into one split, or give all rows as files and let Steelyard split "
            "them.",
            tuple(row.id for row in rows),
        )
    ]


def by_time(sheet: Sheet) -> list[Finding]:
    """Training rows that are later than what is measured."""
    learned = [e for e in sheet.examples("train") if e.time]
    measured = [e for e in sheet.examples(*MEASURED) if e.time]
    if not learned or not measured:
        return []
    first = min(str(e.time) for e in measured)
    later = [e.id for e in learned if str(e.time) > first]
    if not later:
        return []
    return [
        Finding(
            "warning",
            "trained-on-later-rows",
            f"{count(len(later), 'row')} of train ({percent(len(later), len(learned))}) are later "
            f"than the first row that is measured ({first}). In use nothing is known of what "
            "comes later, so scores may flatter.",
            "If what is right changes over time, give train, dev and test as files, the oldest "
            "rows to train and the newest to test.",
            tuple(later),
        )
    ]


def by_text(sheet: Sheet) -> list[Finding]:
    """Measured inputs most of whose words stand in a longer training input, in the same order."""
    learned = [_runs(example) for example in sheet.examples("train")]
    number = Counter(run for runs in learned for run in runs)
    most = max(NUM_COMMON, COMMON * len(learned))
    homes: defaultdict[str, list[int]] = defaultdict(list)
    for place, runs in enumerate(learned):
        for run in runs:
            if number[run] <= most:
                homes[run].append(place)
    found: dict[str, str] = {}
    train = sheet.examples("train")
    for example in sheet.examples(*MEASURED):
        own = [run for run in _runs(example) if number[run] <= most]
        hits = Counter(place for run in own for place in homes.get(run, ()))
        if hits and hits.most_common(1)[0][1] >= CONTAINED * len(own):
            found[example.id] = train[hits.most_common(1)[0][0]].id
    if not found:
        return []
    size = len(sheet.examples(*MEASURED))
    severity: Severity = "severe" if len(found) >= SEVERE_SHARE * size else "warning"
    first, other = next(iter(found.items()))
    return [
        Finding(
            severity,
            "text-in-train",
            f"A training input has, word for word or nearly, {count(len(found), 'input')} of dev "
            f"and test ({percent(len(found), size)}), such as {other} that of {first}.",
            "Give rows cut from one text one [data] group.",
            tuple(found),
            {"pairs": [list(pair) for pair in found.items()]},
        )
    ]


def by_answer(sheet: Sheet) -> list[Finding]:
    """Labels that stand in their own inputs far more often than in those of others."""
    task = sheet.task
    if task.output.type != "label":
        return []
    rows = sheet.examples("train", "dev")
    words = [f" {normal(example.input)} " for example in rows]
    labels = {label: f" {normal(label)} " for label in task.output.labels}
    own = [labels[str(e.target)] in text for e, text in zip(rows, words, strict=True)]
    wrong = [
        sum(label in text for name, label in labels.items() if name != e.target)
        for e, text in zip(rows, words, strict=True)
    ]
    expected = math.fsum(wrong) / max(1, len(rows) * (len(labels) - 1))
    if sum(own) < GIVEN_AWAY * len(rows) or expected > GIVEN_AWAY / 2:
        return []
    return [
        Finding(
            "warning",
            "answer-in-input",
            f"{percent(sum(own), len(rows))} of the inputs of train and dev contain their own "
            f"label, and {percent(expected, 1)} a label that is not theirs. A column may give the "
            "answer away.",
            "Look at the [data] input: leave out what is not known when the question is asked.",
            tuple(e.id for e, has in zip(rows, own, strict=True) if has),
        )
    ]


def _runs(example: Example) -> set[str]:
    words = normal(example.input).split()
    return {" ".join(words[at : at + RUN]) for at in range(len(words) - RUN + 1)}
