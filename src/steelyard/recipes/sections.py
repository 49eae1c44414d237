"""Answers longer than one generation holds: an outline, then section by section.

    What should I know of asthma?
      outline     Causes · Symptoms · Treatment
      sections    What should I know of asthma? Section: Causes     ─→ its passages ─→ its text
                  What should I know of asthma? Section: Symptoms   ─→ its passages ─→ its text
                  What should I know of asthma? Section: Treatment  ─→ its passages ─→ its text
      assembly    the texts under their titles, nothing said twice, marks renumbered

The outline is what the documents have on the question: the headings and titles of the passages
that a wide search finds. Where they have none, the model writes it. Each section is asked for on
its own, so that the last one has as much context as the first. All sections of a batch are one call
of the backend.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil

from steelyard.core import (
    Answer,
    Decoding,
    Output,
    Passage,
    Query,
    Recipe,
    Section,
    Source,
    Usage,
)
from steelyard.knowledge.text import MARKS, split_sentences, without_marks
from steelyard.recipes.answering import LanguageModelSystem
from steelyard.recipes.finding import Finder
from steelyard.recipes.prompt import Frame, Part
from steelyard.tasks.rows import parse_json

MOST_SECTIONS = 6
LEAST_SECTIONS = 2
WIDE = 12  # passages whose titles make an outline. Source: ours
TITLE_CHARACTERS = 80
OUTLINE_TOKENS = 160
# A section may have this share of an answer's tokens, and neither it nor the outline more of the
# model's context than leaves room for passages. Source: ours
SECTION_SHARE, CONTEXT_SHARE = 1 / 4, 1 / 4
LEAST_TOKENS = 48  # of a section

OUTLINE = Output(
    "json",
    schema={
        "type": "object",
        "properties": {
            "sections": {
                "type": "array",
                "items": {"type": "string", "maxLength": TITLE_CHARACTERS},
                "minItems": 2,
                "maxItems": MOST_SECTIONS,
            }
        },
        "required": ["sections"],
        "additionalProperties": False,
    },
)
OUTLINE_RULE = "Do not answer yet: give the titles of the sections that a full answer has."
SECTION_RULE = "Write the named section of the answer and nothing else."


@dataclass(frozen=True)
class SectionedSystem:
    """Answers in sections: `outline` looks widely and gives their titles, `section` writes one."""

    outline: LanguageModelSystem
    section: LanguageModelSystem

    @classmethod
    def of(cls, whole: LanguageModelSystem, wide: Finder) -> SectionedSystem:
        """The system that writes in sections what `whole` would write at once.

        `wide` finds what its outlines are made of.
        """
        frame, backend = whole.frame, whole.backend
        outline = Frame(
            instruction=f"{frame.instruction}\n{OUTLINE_RULE}",
            output=OUTLINE,
            passages=frame.passages,
        )
        most = int(CONTEXT_SHARE * backend.context_tokens)
        room = max(LEAST_TOKENS, ceil(SECTION_SHARE * whole.max_tokens))
        constrained = replace(whole.recipe, decoding=Decoding("constrained"))
        return cls(
            replace(
                whole,
                recipe=constrained,
                frame=outline,
                find=wide,
                max_tokens=min(OUTLINE_TOKENS, most),
            ),
            replace(
                whole,
                frame=replace(frame, instruction=f"{frame.instruction}\n{SECTION_RULE}"),
                max_tokens=min(room, most),
            ),
        )

    @property
    def recipe(self) -> Recipe:
        return self.section.recipe

    def prepare(self) -> None:
        """Have the backend ready for what our prompts begin with."""
        self.outline.prepare()
        self.section.prepare()

    def answer(self, input: str, *, user: str | None = None, time: str | None = None) -> Answer:
        """Answer one input of a user at a time; failures come back as `Answer.error`."""
        return self.answer_many([Query(input, user, time)])[0]

    def answer_many(self, queries: Sequence[Query]) -> list[Answer]:
        """Answer several queries together, in their order."""
        outlines, titles = self._outlined(queries)
        asked = [
            self._asked(query, title)
            for query, own in zip(queries, titles, strict=True)
            for title in own
        ]
        written = iter(self.section.answer_many(asked))
        return [
            self._whole(outline, own, [next(written) for _ in own])
            for outline, own in zip(outlines, titles, strict=True)
        ]

    def _outlined(self, queries: Sequence[Query]) -> tuple[list[Answer], list[list[str]]]:
        """What was generated for each outline, nothing where nothing had to be, and its titles."""
        titles = [found_titles(parts) for parts in self.outline.find(queries)]
        outlines = [Answer() for _ in queries]
        bare = [i for i, own in enumerate(titles) if len(own) < LEAST_SECTIONS]
        written = self.outline.answer_many([queries[i] for i in bare])
        for i, outline in zip(bare, written, strict=True):
            outlines[i] = outline
            titles[i] = [] if outline.error is not None else titles_of(outline.text)
        return outlines, titles

    def _asked(self, query: Query, title: str) -> Query:
        """What is looked up and asked for one section; without a title it is the whole answer."""
        if not title:
            return query
        named = f"\nSection: {title}"
        text = query.input
        if self.section.truncate:
            text = self.section.cut(text, before=named)
        return replace(query, input=text + named)

    def _whole(self, outline: Answer, titles: Sequence[str], written: Sequence[Answer]) -> Answer:
        failed = next((a for a in (outline, *written) if a.error is not None), None)
        if failed is not None:
            return Answer(valid=False, error=failed.error)
        answer = assembled(titles, written, abstain=self.section.frame.abstain)
        value = without_marks(answer.text) if self.section.frame.cite else answer.text
        usage = _sum([outline.usage, *(a.usage for a in written)])
        return replace(answer, value=value, valid=bool(answer.text), usage=usage)


def titles_of(outline: str) -> list[str]:
    """The different titles of an outline, in order; one without words where it has none.

    An outline that was cut short still has those before the cut.

    >>> titles_of('{"sections": ["1. Causes", "Treatment", "causes", " ", "Progn')
    ['Causes', 'Treatment']
    >>> titles_of("Causes and treatment")
    ['']
    """
    found: dict[str, str] = {}
    for string in re.findall(r'"(?:[^"\\]|\\.)*"', outline.partition("[")[2]):
        try:
            title = str(parse_json(string))
        except ValueError:  # half a character
            continue
        bare = re.sub(r"^([#*-]+ |\d+[.)]( |$))*", "", " ".join(title.split())).rstrip(" :.")
        if bare:
            found.setdefault(bare.casefold(), bare)
    return list(found.values())[:MOST_SECTIONS] or [""]


def found_titles(parts: Sequence[Part]) -> list[str]:
    """The different headings or titles of passages: the best documents first, each in its order."""
    shown = sorted((p for p in parts if p.kind == "passage"), key=lambda part: part.rank)
    passages = [p.content for p in shown if isinstance(p.content, Passage)]
    documents = list(dict.fromkeys(passage.document for passage in passages))
    passages.sort(key=lambda passage: (documents.index(passage.document), passage.start))
    named = [" ".join((p.headings[-1] if p.headings else p.title).split()) for p in passages]
    found: dict[str, str] = {}
    for title in named:
        if title:
            found.setdefault(title.casefold(), title)
    return list(found.values())[:MOST_SECTIONS]


def assembled(
    titles: Sequence[str], written: Sequence[Answer], *, abstain: str | None = None
) -> Answer:
    """One answer of the answers to its sections.

    A sentence that an earlier section said is left out, and so is a section that says nothing new
    or that its answer is not known; where all say so, that is the answer. Marks point into the
    sources of all sections.
    """
    sources: dict[tuple[str, str], Source] = {}
    sections: list[Section] = []
    said: set[str] = set()
    for title, answer in zip(titles, written, strict=True):
        own = answer.sources or ()
        if abstain is not None and _same(answer.text) == _same(abstain):
            continue
        fresh = [s for s in split_sentences(answer.text) if _same(s) and _same(s) not in said]
        said.update(_same(sentence) for sentence in fresh)
        if not fresh:
            continue
        numbers = []
        for source in own:
            sources.setdefault((source.passage, source.text), source)
            numbers.append(list(sources).index((source.passage, source.text)) + 1)
        kept = answer.text if len(fresh) == len(split_sentences(answer.text)) else " ".join(fresh)
        sections.append(Section(title, renumbered(kept, numbers), tuple(numbers)))
    unknown = abstain if not sections and abstain is not None and written else ""
    looked_up = any(answer.sources is not None for answer in written)
    return Answer(
        text="\n\n".join(f"{s.title}\n{s.text}".strip() for s in sections) or unknown,
        sources=tuple(sources.values()) if looked_up else None,
        left_out=tuple(dict.fromkeys(name for answer in written for name in answer.left_out)),
        sections=tuple(sections),
    )


def renumbered(text: str, numbers: Sequence[int]) -> str:
    """A text whose marks point to `numbers`; what points nowhere is a mark no longer.

    >>> renumbered("In 1888 [1, 2]. It burnt [7].", [3, 4])
    'In 1888 [3, 4]. It burnt.'
    """

    def mark(found: re.Match[str]) -> str:
        cited = [int(number) for number in re.findall(r"\d+", found[0])]
        known = [str(numbers[number - 1]) for number in cited if 1 <= number <= len(numbers)]
        return f" [{', '.join(known)}]" if known else ""

    return re.sub(rf"\s*{MARKS}", mark, text)


def _same(sentence: str) -> str:
    """What two sentences that say the same have in common: their words."""
    return " ".join(re.findall(r"\w+", without_marks(sentence).casefold()))


def _sum(usages: Sequence[Usage]) -> Usage:
    return Usage(
        sum(u.prompt_tokens for u in usages),
        sum(u.cached_tokens for u in usages),
        sum(u.completion_tokens for u in usages),
    )
