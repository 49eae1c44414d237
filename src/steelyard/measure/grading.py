"""From an answer and its example to a score: the task's scorer, and what it does not know of.

    several targets   the best of their scores
    abstaining        right on a row that nothing answers, wrong on any other, with any scorer
    passages          the share of the evidence that stood in the prompt (`recall`), and where
                      (`position`)
    citations         which of them point at a passage, and what that passage supports
    sections          how much of each is supported by what was found for it

Only the first two decide the score; the others stand beside it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest

from steelyard.core import Answer, Example, Json, Score, Scorer, Source, Task
from steelyard.knowledge.text import cited, split_sentences, without_marks
from steelyard.measure.fields import share
from steelyard.measure.normalise import as_text, bare_words, text
from steelyard.measure.scorers import get_scorer

RIGHT = 0.5  # an answer of at least this score is counted as right. Source: ours
# A sentence is supported when this share of its words stands in the passages that it cites.
# Source: the measure is K-Precision (Adlakha et al. 2023, arXiv:2307.16877); its cut is ours
SUPPORTED = 0.8
# Where the one passage of the evidence stood among those in the prompt; the last one is next to the
# question. `only` is one that stood alone, `several` are passages of the evidence in more than one
# place.
POSITIONS = ("first", "middle", "last", "only", "several", "absent")
WAYS = ("answered_right", "answered_wrong", "rightly_abstained", "wrongly_abstained")


@dataclass(frozen=True)
class Grader:
    """Scores answers as the task asks for it."""

    scorer: Scorer
    abstain: str | None = None
    cite: bool = False

    @classmethod
    def of(cls, task: Task) -> Grader:
        """The grader of a task.

        Raises:
            TaskError: the task's scorer cannot be used.
        """
        known = task.knowledge
        return cls(get_scorer(task.scorer, task.output), known.abstain, known.cite)

    def grade(self, answer: Answer, example: Example) -> Score:
        """The score of an answer that came back.

        Raises:
            TrialError: a scoring function of the user's own failed.
        """
        targets = (example.target, *example.also)
        score = max((self.scorer.score(answer, t) for t in targets), key=lambda s: s.value)
        more: dict[str, Json] = {}
        if self.abstain is not None:
            way = self._way(answer, example, score)
            more["way"] = way
            if way in ("rightly_abstained", "wrongly_abstained") or self._is_open(example):
                score = replace(score, value=float(way == "rightly_abstained"))
        if answer.sources is not None and example.evidence:
            evidence = frozenset(example.evidence)
            found = frozenset[str]().union(*(source.documents for source in answer.sources))
            more["recall"] = len(found & evidence) / len(evidence)
            more["position"] = position(answer.sources, evidence)
        if self.cite and answer.sources is not None and not self._abstains(answer):
            more["citations"] = citations(answer)
        if answer.sections and answer.sources is not None:
            more["sections"] = sections(answer)
        return replace(score, parts={**score.parts, **more}) if more else score

    def summarise(self, scores: Sequence[Score]) -> dict[str, Json]:
        """The scorer's figures, and those of abstaining, passages and citations."""
        found = self.scorer.summarise(scores)
        if self.abstain is not None:
            ways = Counter(score.parts["way"] for score in scores)
            found["abstaining"] = {way: ways[way] for way in WAYS}
        recalls = [score.parts["recall"] for score in scores if "recall" in score.parts]
        if recalls:
            found["recall"] = sum(recalls) / len(recalls)
            found["position"] = _by_position(scores)
        cites = [score.parts["citations"] for score in scores if "citations" in score.parts]
        if cites:
            found["citations"] = _summary(cites)
        parts = [score.parts["sections"] for score in scores if "sections" in score.parts]
        if parts:
            found["sections"] = _by_place(parts)
        return found

    def _is_open(self, example: Example) -> bool:
        return self.abstain is not None and bool(example.target == self.abstain)

    def _abstains(self, answer: Answer) -> bool:
        return self.abstain is not None and abstains(as_text(answer.value), self.abstain)

    def _way(self, answer: Answer, example: Example, score: Score) -> str:
        if self._abstains(answer):
            return "rightly_abstained" if self._is_open(example) else "wrongly_abstained"
        right = score.value >= RIGHT and not self._is_open(example)
        return "answered_right" if right else "answered_wrong"


def position(sources: Sequence[Source], evidence: frozenset[str]) -> str:
    """One of `POSITIONS`: where the passage of the evidence stood in the prompt."""
    right = [i for i, source in enumerate(sources) if source.documents & evidence]
    if len(right) != 1:
        return "several" if right else "absent"
    if len(sources) == 1:
        return "only"
    return {0: "first", len(sources) - 1: "last"}.get(right[0], "middle")


def _by_position(scores: Sequence[Score]) -> dict[str, Json]:
    """How many answers had the right passage there, and their mean score."""
    values: dict[str, list[float]] = {place: [] for place in POSITIONS}
    for score in scores:
        if "position" in score.parts:
            values[score.parts["position"]].append(score.value)
    return {
        place: {"num_examples": len(own), "score": sum(own) / len(own)}
        for place, own in values.items()
        if own
    }


def abstains(said: str, sentence: str) -> bool:
    """Whether an answer is the sentence that says that it is not known, or begins with it.

    >>> abstains("i do not know", "I do not know.")
    True
    >>> abstains("I do not know if it was 1888.", "I do not know.")
    False
    """
    sentences = split_sentences(sentence)
    first = split_sentences(without_marks(said))[: len(sentences)]
    return bool(first) and text(" ".join(first)) == text(" ".join(sentences))


def citations(answer: Answer) -> dict[str, int]:
    """What an answer cites: marks, those that point at a passage, sentences, those supported."""
    sources = answer.sources or ()
    written = [section.text for section in answer.sections] or [answer.text]  # no titles
    sentences = [sentence for text in written for sentence in spoken(text)]
    marks = [n for text in written for s in split_sentences(text) for n in cited(s)]
    return {
        "marks": len(marks),
        "pointing": sum(1 <= number <= len(sources) for number in marks),
        "sentences": len(sentences),
        "supported": sum(
            is_supported(s, [sources[n - 1].text for n in cited(s) if 1 <= n <= len(sources)])
            for s in sentences
        ),
    }


def spoken(text: str) -> list[str]:
    """The sentences of a text that say something: marks alone do not."""
    return [s for s in split_sentences(text) if bare_words(without_marks(s))]


def sections(answer: Answer) -> list[dict[str, Json]]:
    """For each section its title, its sentences, and those that what was found for it supports.

    Support is that of citations, whether or not the sentence names its passages.
    """
    sources = answer.sources or ()
    found: list[dict[str, Json]] = []
    for section in answer.sections:
        shown = [sources[number - 1].text for number in section.sources]
        sentences = spoken(section.text)
        supported = sum(is_supported(sentence, shown) for sentence in sentences)
        found.append({"title": section.title, "sentences": len(sentences), "supported": supported})
    return found


def is_supported(sentence: str, passages: Sequence[str]) -> bool:
    """Whether most words of a sentence stand in the passages that it cites.

    >>> is_supported("Ott built it in 1888 [1].", ["In 1888, Ott built the mill; it burnt."])
    True
    """
    known = {word for passage in passages for word in bare_words(passage)}
    said = bare_words(without_marks(sentence))
    return bool(passages) and sum(word in known for word in said) >= SUPPORTED * len(said)


def _by_place(found: Sequence[Sequence[Mapping[str, Json]]]) -> dict[str, Json]:
    """How many sections answers have, the share of their sentences that is supported, and the
    same for the first sections, the second ones, and so on."""
    places = zip_longest(*found, fillvalue={"sentences": 0, "supported": 0})
    counts = [[(s["supported"], s["sentences"]) for s in own] for own in places]
    totals = [[sum(column) for column in zip(*own, strict=True)] for own in counts]
    whole = [sum(column) for column in zip(*totals, strict=True)]
    return {
        "mean": sum(map(len, found)) / len(found),
        "supported": share(whole[0], whole[1]),
        "supported_by_place": [share(supported, total) for supported, total in totals],
    }


def _summary(found: Sequence[Mapping[str, int]]) -> dict[str, float | None]:
    """`cited`: answers with a mark; `pointing`: marks at a passage that was in the prompt;
    `supported`: sentences that what they cite supports."""
    totals = {key: sum(counts[key] for counts in found) for key in found[0]}
    return {
        "cited": share(sum(counts["marks"] > 0 for counts in found), len(found)),
        "pointing": share(totals["pointing"], totals["marks"]),
        "supported": share(totals["supported"], totals["sentences"]),
    }
