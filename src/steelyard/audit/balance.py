"""How targets are spread: labels and fields that are rare, missing or shifted between splits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

import numpy as np

from steelyard.audit.findings import Finding, percent
from steelyard.audit.sheet import Sheet
from steelyard.core import SPLITS, Example, Json, Split
from steelyard.tasks.wording import count, shown

FEW = 5  # training rows of a label. Source: ours
DOMINANT = 0.9  # of the rows, from which on always answering it is hard to beat. Source: ours
RARELY_FILLED = 0.05  # of the rows. Source: ours
SHIFT_P = 0.001  # so seldom by chance that a random split is not to be believed. Source: ours


def labels(sheet: Sheet) -> list[Finding]:
    """Labels that cannot be learned, that hide all others, or that moved between splits."""
    if sheet.task.output.type != "label":
        return []
    numbers = {split: _labels(sheet, split) for split in SPLITS}
    total = sum(numbers.values(), Counter[str]())
    findings = [*_unlearnable(sheet, numbers), *_dominant(total), *_shifted(numbers)]
    rarest = min(total, key=lambda label: (total[label], label))
    findings.append(
        Finding(
            "note",
            "label-balance",
            f"{count(len(total), 'label')}, from {total[rarest]:,} rows ({shown(rarest, 30)}) to "
            f"{max(total.values()):,} ({shown(total.most_common(1)[0][0], 30)}).",
            "Nothing, if this is how often they come in use. Accuracy counts rows, macro-F1 "
            "labels.",
            figures={split: dict(numbers[split].most_common()) for split in SPLITS},
        )
    )
    return findings


def _labels(sheet: Sheet, split: Split) -> Counter[str]:
    return Counter(str(example.target) for example in sheet.examples(split))


def _unlearnable(sheet: Sheet, numbers: Mapping[Split, Counter[str]]) -> Iterator[Finding]:
    measured = numbers["dev"] + numbers["test"]
    missing = sorted(label for label in measured if label not in numbers["train"])
    if missing:
        rows = [e.id for e in sheet.examples("dev", "test") if e.target in missing]
        yield Finding(
            "severe",
            "labels-not-in-train",
            f"{count(len(missing), 'label')} of dev or test "
            f"{'is' if len(missing) == 1 else 'are'} not in train, so that nothing can learn "
            f"{'it' if len(missing) == 1 else 'them'}: {_named(missing)}.",
            "Add training rows of these labels, or take the rows out.",
            tuple(rows),
        )
    few = sorted(label for label, number in numbers["train"].items() if number < FEW)
    if few:
        rows = [e.id for e in sheet.examples("train") if e.target in few]
        yield Finding(
            "warning",
            "labels-with-few-rows",
            f"{count(len(few), 'label')} {'has' if len(few) == 1 else 'have'} fewer than {FEW} "
            f"training rows: {_named(few)}.",
            "Add rows of these labels, or join them with others.",
            tuple(rows),
        )


def _dominant(total: Counter[str]) -> Iterator[Finding]:
    label, number = total.most_common(1)[0]
    if number >= DOMINANT * total.total():
        yield Finding(
            "warning",
            "one-label-dominates",
            f"{percent(number, total.total())} of all rows have the label {shown(label, 30)}: "
            f"always answering it scores {number / total.total():.2f}.",
            "Collect more rows of the others, or score with a function that weighs labels.",
        )


def _shifted(numbers: Mapping[Split, Counter[str]]) -> Iterator[Finding]:
    """Whether splits have labels in other shares than chance would give them.

    Source: Pearson's chi-squared test, over the labels that are expected five times everywhere.
    """
    from scipy.stats import chi2_contingency

    total = sum(numbers.values(), Counter[str]())
    smallest = min(counter.total() for counter in numbers.values()) / total.total()
    names = [label for label, number in total.items() if number * smallest >= 5]
    if len(names) < 2:
        return
    table = np.array([[numbers[split][name] for name in names] for split in SPLITS])
    p_value = float(chi2_contingency(table).pvalue)
    if p_value < SHIFT_P:
        shares = table / table.sum(axis=1, keepdims=True)
        worst = int(np.argmax(np.ptp(shares, axis=0)))
        ways = ", ".join(
            f"{100 * share:.0f} % of {split}"
            for share, split in zip(shares[:, worst], SPLITS, strict=True)
        )
        yield Finding(
            "warning",
            "labels-shift-between-splits",
            f"The splits have their labels in different shares (p {p_value:.1g}): "
            f"{shown(names[worst], 30)} is {ways}.",
            "If time or place made the splits, this is what use will be like; otherwise let "
            "Steelyard split the rows.",
        )


def fields(sheet: Sheet) -> list[Finding]:
    """Fields of JSON targets that are never, seldom or always the same filled."""
    if sheet.task.output.type != "json":
        return []
    examples = sheet.examples(*SPLITS)
    filled: Counter[str] = Counter()
    values: dict[str, set[str]] = {}
    for example in examples:
        for name, value in _leaves(example.target):
            filled[name] += 1
            values.setdefault(name, set()).add(str(value))
    learned = {name for e in sheet.examples("train") for name, _ in _leaves(e.target)}
    findings = [
        *_field_findings(examples, filled, values),
        *_missing_fields(sheet, learned),
    ]
    shares = {name: filled[name] / len(examples) for name in sorted(filled)}
    lowest = min(shares, key=lambda name: shares[name], default=None)
    if lowest is not None:
        findings.append(
            Finding(
                "note",
                "field-balance",
                f"{count(len(shares), 'field')}, filled in {percent(shares[lowest], 1)} "
                f"({lowest}) to {percent(max(shares.values()), 1)} of the rows.",
                "Nothing, if this is how often they come in use.",
                figures={"filled": {name: round(share, 4) for name, share in shares.items()}},
            )
        )
    return findings


def _field_findings(
    examples: list[Example], filled: Counter[str], values: Mapping[str, set[str]]
) -> Iterator[Finding]:
    rare = sorted(name for name in filled if filled[name] < RARELY_FILLED * len(examples))
    if rare:
        yield Finding(
            "warning",
            "fields-rarely-filled",
            f"{count(len(rare), 'field')} filled in fewer than {percent(RARELY_FILLED, 1)} of the "
            f"rows: {_named(rare)}. What is right there hardly moves the score.",
            "Add rows that have them, or take them out of the schema.",
        )
    constant = sorted(
        name
        for name, different in values.items()
        if len(different) == 1 and filled[name] > max(FEW, len(examples) / 2)
    )
    if constant:
        yield Finding(
            "warning",
            "fields-always-the-same",
            f"{count(len(constant), 'field')} with one value in all rows that fill it: "
            f"{_named(constant)}.",
            "Take them out of the targets: code can add them.",
        )


def _missing_fields(sheet: Sheet, learned: set[str]) -> Iterator[Finding]:
    rows = {
        example.id: name
        for example in sheet.examples("dev", "test")
        for name, _ in _leaves(example.target)
        if name not in learned
    }
    if rows:
        names = sorted(set(rows.values()))
        yield Finding(
            "warning",
            "fields-not-in-train",
            f"{count(len(names), 'field')} of dev or test never filled in train: {_named(names)}.",
            "Add training rows that have them.",
            tuple(rows),
        )


def _leaves(value: Json, name: str = "") -> Iterator[tuple[str, Json]]:
    """The filled fields of a target by their dotted names, each once."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _leaves(item, f"{name}.{key}" if name else key)
    elif isinstance(value, list):
        found = {leaf: item for part in value for leaf, item in _leaves(part, name)}
        yield from found.items()
    elif value is not None and value != "":
        yield name, value


def _named(names: list[str], most: int = 8) -> str:
    return ", ".join(names[:most]) + (", …" if len(names) > most else "")
