"""What is wrong with a task's data, before and after anything is measured on it.

A check is a function from a `Sheet` to findings, and this table is the list of them. Checks of a
model (`lengths`) or of a system (`slices`, `swaps`) take it as well and are called by the verb.
"""

from __future__ import annotations

from collections.abc import Callable

from steelyard.audit import balance, duplicates, enough, labels, languages, leakage, personal
from steelyard.audit.findings import Finding
from steelyard.audit.sheet import Sheet

Check = Callable[[Sheet], list[Finding]]

CHECKS: dict[str, Check] = {
    "copies": duplicates.copies,
    "near copies": duplicates.near,
    "conflicting targets": duplicates.conflicts,
    "groups": leakage.by_group,
    "time": leakage.by_time,
    "text": leakage.by_text,
    "answers in inputs": leakage.by_answer,
    "wrong labels": labels.wrong_labels,
    "personal data": personal.personal,
    "labels": balance.labels,
    "fields": balance.fields,
    "languages": languages.languages,
    "what can be told": enough.enough,
}
