"""Rows that say the same: copies, near copies, and one input with two targets."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Literal

from steelyard.audit.alike import SURE, normal
from steelyard.audit.findings import Finding, Severity, percent
from steelyard.audit.sheet import Pair, Placed, Sheet
from steelyard.core import Split, digest
from steelyard.tasks.wording import count, shown

# From this share of a split on, copies of what was learned move its score by more than the
# differences that are looked for. Source: ours
SEVERE_SHARE = 0.01
NUM_SHOWN = 50  # pairs in the figures


def copies(sheet: Sheet) -> list[Finding]:
    """Rows that repeat input and target of another: the task leaves them out."""
    within = [copy for copy in sheet.copies if copy.part in ("all", sheet.split_of[copy.of])]
    across = [copy for copy in sheet.copies if copy not in within]
    findings = []
    if within:
        findings.append(
            Finding(
                "note",
                "copies",
                f"{count(len(within), 'row')} repeat input and target of an earlier one and count "
                "once.",
                "Nothing: they are left out. If they were measured, and not copied by mistake, "
                "frequent inputs matter more to you than they do here.",
                tuple(sheet.place(copy.where) for copy in within),
            )
        )
    if across:
        into = Counter((copy.part, sheet.split_of[copy.of]) for copy in across)
        ways = ", ".join(f"{number:,} of {a} in {b}" for (a, b), number in into.items())
        findings.append(
            Finding(
                "warning",
                "copies-across-splits",
                f"{count(len(across), 'row')} also stand in another split ({ways}) and were "
                "dropped from the one that learns.",
                "Look how the splits were made: near copies may have slipped through as well.",
                tuple(sheet.place(copy.where) for copy in across),
            )
        )
    return findings


def near(sheet: Sheet) -> list[Finding]:
    """Near copies: across splits they leak, within one they make it smaller than it looks."""
    across = [pair for pair in sheet.pairs if pair[0].split != pair[1].split]
    within = [pair for pair in sheet.pairs if pair[0].split == pair[1].split]
    findings = [*_leaking(sheet, "dev", across), *_leaking(sheet, "test", across)]
    rows = _rows(within)
    if rows:
        shares = percent(len(rows), len(sheet.rows))
        findings.append(
            Finding(
                "note",
                "near-copies",
                f"{count(len(rows), 'row')} ({shares}) have a near copy in their own split, such "
                f"as {_example(within)}.",
                "If they come from one source, name its column as [data] group, so that they "
                "count as one observation.",
                rows,
                {"pairs": _shown(within)},
            )
        )
    return findings


def conflicts(sheet: Sheet) -> list[Finding]:
    """Inputs that have two different targets: one of them, or the task, is wrong."""
    homes: defaultdict[str, list[Placed]] = defaultdict(list)
    for row in sheet.rows:
        homes[normal(row.example.input)].append(row)
    at_odds = [
        rows
        for rows in homes.values()
        if len({digest([row.example.target, list(row.example.also)]) for row in rows}) > 1
        and not _agree(rows)
    ]
    if not at_odds:
        return []
    rows = [row for rows in at_odds for row in rows]
    one, two = (
        at_odds[0][0],
        next(row for row in at_odds[0] if row.example.target != at_odds[0][0].example.target),
    )
    share = len(rows) / len(sheet.rows)
    return [
        Finding(
            "severe" if share >= SEVERE_SHARE else "warning",
            "conflicting-targets",
            f"{count(len(at_odds), 'input')} ({count(len(rows), 'row')}, "
            f"{percent(len(rows), len(sheet.rows))}) have different targets, such as "
            f"{shown(one.example.input)}: {shown(one.example.target, 30)} in {one.id} and "
            f"{shown(two.example.target, 30)} in {two.id}.",
            "Correct the wrong ones. If both are right, show in the input what decides, or list "
            "both as targets.",
            tuple(row.id for row in rows),
        )
    ]


def _agree(rows: Sequence[Placed]) -> bool:
    """Whether some answer is right for all of these rows."""
    right = [{digest(t) for t in (row.example.target, *row.example.also)} for row in rows]
    return bool(set.intersection(*right))


def _leaking(sheet: Sheet, split: Literal["dev", "test"], pairs: Sequence[Pair]) -> list[Finding]:
    """Rows of a split that measures and have a near copy in one that comes before it."""
    before: tuple[Split, ...] = ("train",) if split == "dev" else ("train", "dev")
    leaking = [pair for pair in pairs if pair[1].split == split and pair[0].split in before]
    rows = tuple(dict.fromkeys(pair[1].id for pair in leaking))
    if not rows:
        return []
    size = len(sheet.examples(split))
    sure = {pair[1].id for pair in leaking if pair[2] >= SURE}
    severity: Severity = "severe" if len(sure) > SEVERE_SHARE * size else "warning"
    return [
        Finding(
            severity,
            f"near-copies-in-{split}",
            f"{count(len(rows), 'row')} of {split} ({percent(len(rows), size)}) "
            f"{'is' if len(rows) == 1 else 'are'} nearly the "
            f"same as one of {' or '.join(before)}, {len(sure):,} of them surely "
            f"(≥ {SURE:g} alike), such as {_example(leaking)}. What was learned by heart scores "
            "there.",
            "Give rows of one source one [data] group, or write a copy without them: "
            "steelyard check --fix DIR.",
            rows,
            {"surely": len(sure), "pairs": _shown(leaking)},
        )
    ]


def _example(pairs: Sequence[Pair]) -> str:
    a, b, alike = pairs[0]
    return f"{a.id} and {b.id} ({alike:.2f} alike)"


def _rows(pairs: Sequence[Pair]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(row.id for pair in pairs for row in pair[:2]))


def _shown(pairs: Sequence[Pair]) -> list[list[object]]:
    return [[a.id, b.id, round(alike, 3)] for a, b, alike in pairs[:NUM_SHOWN]]
