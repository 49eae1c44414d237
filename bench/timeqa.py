"""Does answering as of the time that is asked about beat answering that ignores time?

    python bench/timeqa.py FOLDER                   some minutes on two cores
    python bench/timeqa.py FOLDER --others 20
    python bench/timeqa.py FOLDER --rows 40 --json figures.json

FOLDER holds questions about facts that change (train.jsonl: question, answers, gold_doc_ids, page)
and the paragraphs that answer them (corpus.jsonl: doc_id, title, text). From them one task is made
in a temporary folder, as docs/task-file.md and docs/knowledge.md have it, and weighed once:

    Where was the USA Sevens held from 2007 to 2009?    a row: its words without the time, and
                                                        time = 2008-06-30
    The USA Sevens was held from 2007 to 2009 in San …  a document: valid_from = 2007-01-01,
                                                        valid_to = 2008-12-31

Only questions of one range are taken, whose paragraphs answer no other question, and only where
the page answers another one for another time. The dates of a paragraph are those of its question:
they stand for what a keeper of documents knows of them. So the time that is asked about is in
the dates alone, and perhaps in years that a paragraph names. With --others N there are up to N
other paragraphs of each page too, without dates: what is then not found is mostly lost to these,
which name the subject of the page while a dated one often does not.

`rag` sees what held at the row's time, `undated-passages` all paragraphs whatever their dates, in
the same search and prompt. The paired difference is what the dates bring.
"""

from __future__ import annotations

import argparse
import json
import re
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import knowledge_bases
import rounds
from steelyard.core import Verdict
from steelyard.lifecycle import weigh
from steelyard.tasks import load_task

RECIPES = ("rag", "oracle-passages", "undated-passages")
ROWS = 366  # all that there are
SPLIT = (0.1, 0.75, 0.15)  # a difference of 10 points must be seen
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_TIME = r"(?:([a-z]{3})[a-z]* )?(\d{4})"
RANGE = re.compile(
    r"(?:\b(?:in|during|over|for|within) the (?:time )?(?:period|years|span)(?: of)? )?"
    rf"\b(?:from|between) {_TIME} (?:to|and|until) {_TIME}\b,?",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Dated:
    """A question without its time, and the time: from a day to a last day."""

    row: Mapping[str, Any]
    question: str
    first: date
    last: date

    @property
    def middle(self) -> date:
        return self.first + (self.last - self.first) / 2


def dated(row: Mapping[str, Any]) -> Dated | None:
    """The row with its time taken out of its words; None: it does not have one range.

    >>> found = dated({"question": "Who ruled it from Mar 1891 to 1894?"})
    >>> found.question, found.first.isoformat(), found.last.isoformat()
    ('Who ruled it?', '1891-03-01', '1893-12-31')
    """
    found = RANGE.search(row["question"])
    if found is None:
        return None
    words = f"{row['question'][: found.start()]} {row['question'][found.end() :]}"
    months = [m and m.lower() for m in (found[1], found[3])]
    if re.search(r"\d{3}", words) or not all(m in (None, *MONTHS) for m in months):
        return None
    first, end = _day(months[0], found[2]), _day(months[1], found[4])
    if end <= first:  # the year, or the month, that is named at both ends
        end = first.replace(year=first.year + 1)
    words = re.sub(r"\s+([,?.])", r"\1", re.sub(r"\s+", " ", words)).strip(" ,")
    return Dated(row, words[:1].upper() + words[1:], first, end - timedelta(days=1))


def _day(month: str | None, year: str) -> date:
    return date(int(year), 1 if month is None else MONTHS.index(month) + 1, 1)


def chosen(rows: Sequence[Mapping[str, Any]]) -> list[Dated]:
    """The rows whose paragraphs are theirs alone, of pages that answer for several times."""
    uses = Counter(name for row in rows for name in set(row["gold_doc_ids"]))
    found = [
        one
        for row in rows
        if row["gold_doc_ids"]
        and all(uses[name] == 1 for name in row["gold_doc_ids"])
        and (one := dated(row)) is not None
    ]
    of_group = Counter(one.row["group"] for one in found)
    return [one for one in found if of_group[one.row["group"]] > 1]


def documents(
    rows: Sequence[Dated], corpus: Iterable[Mapping[str, Any]], num_others: int
) -> list[dict[str, Any]]:
    """The paragraphs of the rows with their dates, and others of the same pages without."""
    when = {name: one for one in rows for name in one.row["gold_doc_ids"]}
    pages = {one.row["page"] for one in rows}
    found, others = [], defaultdict(int)
    for paragraph in corpus:
        page = paragraph["doc_id"].rpartition("#")[0]
        own = {key: paragraph[key] for key in ("doc_id", "title", "text")}
        if (one := when.get(paragraph["doc_id"])) is not None:
            own |= {"valid_from": one.first.isoformat(), "valid_to": one.last.isoformat()}
            found.append(own)
        elif page in pages and others[page] < num_others and len(paragraph["text"].split()) > 7:
            others[page] += 1
            found.append(own)
    return found


def prepare(source: Path, folder: Path, num_rows: int = ROWS, *, num_others: int = 0) -> Path:
    """The task of these questions in an empty folder; its file comes back."""
    rows = chosen(knowledge_bases.read(source / "train.jsonl"))[:num_rows]
    _write(
        folder / "paragraphs.jsonl",
        documents(rows, knowledge_bases.read(source / "corpus.jsonl"), num_others),
    )
    _write(
        folder / "questions.jsonl",
        (
            {
                "id": one.row["id"],
                "question": one.question,
                "answers": one.row["answers"],
                "time": one.middle.isoformat(),
                "page": one.row["page"],
                "evidence": one.row["gold_doc_ids"],
            }
            for one in rows
        ),
    )
    task = folder / "task.toml"
    task.write_text(
        f"""name = "timeqa"
instruction = "Answer the question in a few words."

[data]
files = ["questions.jsonl"]
input = "question"
target = "answers"
group = "page"
time = "time"
split = {list(SPLIT)}

[output]
type = "text"

[knowledge]
documents = ["paragraphs.jsonl"]
evidence = "evidence"

[score]
scorer = "contains"
""",
        encoding="utf-8",
    )
    return task


def _write(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    path.write_text("".join(f"{json.dumps(dict(row))}\n" for row in rows), encoding="utf-8")


def print_verdict(verdict: Verdict) -> list[dict[str, Any]]:
    """Print what was measured; the same comes back as records."""
    lines = [["recipe", "score", "interval", "evidence shown", "prompt tokens", "rows"]]
    for recipe in verdict.recipes:
        if (dev := recipe.dev) is not None:
            recall = dev.details.get("recall")
            lines.append(
                [
                    recipe.name,
                    f"{dev.score:.3f}",
                    f"[{dev.interval[0]:.3f}, {dev.interval[1]:.3f}]",
                    "" if recall is None else f"{recall:.1%}",
                    "" if recipe.prompt_tokens is None else f"{recipe.prompt_tokens:.0f}",
                    str(dev.num_examples),
                ]
            )
    rounds.print_lines(f"{verdict.task}, dev", lines)
    print()
    for found in verdict.diagnostics:
        print(found["sentence"])
    print(verdict.reason)
    return [dict(zip(lines[0], line, strict=True)) for line in lines[1:]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="with corpus.jsonl and train.jsonl")
    parser.add_argument("--rows", type=int, default=ROWS, help="of all splits together")
    parser.add_argument("--others", type=int, default=0, help="paragraphs of a page without dates")
    parser.add_argument("--json", type=Path, help="write the figures there too")
    options = parser.parse_args()
    print(rounds.machine())
    with tempfile.TemporaryDirectory() as folder:
        task = load_task(
            prepare(options.folder, Path(folder), options.rows, num_others=options.others)
        )
        verdict = weigh(task, home=Path(folder) / "home", recipes=RECIPES, exhaustive=True)
    rounds.save(options.json, [*print_verdict(verdict), *verdict.diagnostics])


if __name__ == "__main__":
    main()
