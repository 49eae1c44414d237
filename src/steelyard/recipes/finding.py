"""What a recipe's context finds for each query: examples, history, passages.

Each finder is a function of queries; what they find together, in the order in which a prompt
shows it, is packed into the budget later (packing.py).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain

from steelyard.core import Context, Example, Json, Passage, Query, Recipe, Task
from steelyard.knowledge.index import Index, Scope
from steelyard.knowledge.nearest import NearestExamples
from steelyard.models import Embedder
from steelyard.recipes.history import History
from steelyard.recipes.near_misses import as_trained, evidence_shown
from steelyard.recipes.prompt import Part, target_text

Finder = Callable[[Sequence[Query]], list[list[Part]]]
Rerank = Callable[[Sequence[str], Sequence[Sequence[Passage]]], list[list[Passage]]]

RERANKED = 20  # passages that are put in order anew, of which k are shown. Source: ours


@dataclass(frozen=True)
class Lookup:
    """Where a context looks: passages of documents, records of users, accepted answers.

    `accepted` are answers that users accepted or corrected; they are examples like those of
    train, but those of a user are only ever shown to that user. `texts` are the ids and texts of
    whole documents, for weights that learn them. `seconds` is what making the indexes took, and
    `notes` say what could not be read.
    """

    documents: Index | None = None
    records: Index | None = None
    accepted: tuple[Example, ...] = ()
    texts: tuple[tuple[str, str], ...] = ()
    seconds: float = 0.0
    notes: tuple[str, ...] = ()

    def fingerprint(self, context: Context) -> list[Json]:
        """Names what of it a context depends on."""
        documents = self.documents if context.passages else None
        records = self.records if context.history != "none" else None
        pool = context.examples == "nearest" or context.history != "none"
        return [
            None if documents is None else documents.fingerprint,
            None if records is None else records.fingerprint,
            [[e.input, e.target, e.user, e.time] for e in self.accepted] if pool else [],
        ]


def find_parts(
    recipe: Recipe,
    task: Task,
    lookup: Lookup,
    *,
    embedder: Callable[[], Embedder],
    rerank: Rerank | None,
    seed: int,
) -> Finder:
    """All that the recipe's context finds, kind by kind."""
    context = recipe.context
    finders: list[Finder] = []
    if context.examples == "nearest":
        finders.append(_nearest(task, lookup.accepted, context.num_examples, embedder()))
    elif context.examples != "none":
        assert context.examples != "searched", "what is searched for is found before"
        if context.shots:
            known = {example.id: example for example in task.train}
            shots = tuple(known[id] for id in context.shots)
        else:
            shots = fixed_examples(task.train, context.num_examples, seed=seed)
        shots = shuffled(shots, seed=seed) if context.examples == "shuffled" else shots
        finders.append(_fixed(shots, _groups(task)))
    if context.history != "none":
        turns = (*task.train, *lookup.accepted)
        history = History(
            turns, lookup.records, embedder() if context.history == "nearest" else None
        )
        finders.append(lambda queries: history.find(queries, context.num_turns))
    if context.passages and lookup.documents is not None:
        trained = evidence_shown(recipe, task, seed)
        finders.append(_passages(context, lookup.documents, rerank, seed, trained))
    return lambda queries: (
        [list(chain(*own)) for own in zip(*(find(queries) for find in finders), strict=True)]
        or [[] for _ in queries]
    )


# ---------------------------------------------------------------- examples


def fixed_examples(pool: Sequence[Example], k: int, *, seed: int | str) -> tuple[Example, ...]:
    """The same k examples for every input, in the same order: its prefix can be cached.

    Targets that repeat (labels) are taken in turn, so that k examples show as many as they can.
    """
    order = list(pool)
    random.Random(f"shots:{seed}").shuffle(order)
    seen: dict[str, int] = {}
    ranked = []
    for place, example in enumerate(order):
        text = target_text(example.target)
        seen[text] = seen.get(text, 0) + 1
        ranked.append((seen[text], place, example))
    ranked.sort(key=lambda entry: entry[:2])
    return tuple(example for _, _, example in ranked[:k])


def shuffled(examples: Sequence[Example], *, seed: int) -> tuple[Example, ...]:
    """The same inputs, each with the target of another one.

    Targets go around in a seeded order; where several are equal an input may meet its own again.
    """
    order = list(range(len(examples)))
    random.Random(f"shuffled:{seed}").shuffle(order)
    giver = dict(zip(order, order[1:] + order[:1], strict=True))
    return tuple(replace(e, target=examples[giver[i]].target) for i, e in enumerate(examples))


def _fixed(shots: Sequence[Example], groups: dict[str, str]) -> Finder:
    def find(queries: Sequence[Query]) -> list[list[Part]]:
        return [
            [
                Part("example", shot, rank)
                for rank, shot in enumerate(shots)
                if query.example is None or groups.get(query.example) != shot.group
            ]
            for query in queries
        ]

    return find


def _nearest(task: Task, accepted: Sequence[Example], k: int, embedder: Embedder) -> Finder:
    pool = (*task.train, *accepted)
    nearest, groups = NearestExamples(pool, embedder), _groups(task)
    everyones = [i for i, e in enumerate(pool) if i < len(task.train) or e.user is None]

    def visible(query: Query) -> list[int]:
        own = groups.get(query.example or "")
        users = [
            i
            for i in range(len(task.train), len(pool))
            if pool[i].user is not None and pool[i].user == query.user
        ]
        seen = sorted([*everyones, *users]) if users else everyones
        return seen if own is None else [i for i in seen if pool[i].group != own]

    def find(queries: Sequence[Query]) -> list[list[Part]]:
        among = [visible(query) for query in queries]
        found = nearest.nearest([query.input for query in queries], k, among=among)
        return [
            [Part("example", shot, len(shots) - 1 - place) for place, shot in enumerate(shots)]
            for shots in found
        ]

    return find


def _groups(task: Task) -> dict[str, str]:
    """The group of each training row: a row that is trained on sees none of its own group."""
    return {example.id: example.group for example in task.train}


# ---------------------------------------------------------------- passages


def _passages(
    context: Context,
    index: Index,
    rerank: Rerank | None,
    seed: int,
    trained: Mapping[str, bool],
) -> Finder:
    """What is found for each query; `trained` says of training rows whether evidence is shown."""

    def find(queries: Sequence[Query]) -> list[list[Part]]:
        deeper = any(query.example in trained for query in queries)
        found = search(queries, context, index, seed, more=RERANKED if deeper else 0)
        if rerank is not None:
            found = rerank([query.input for query in queries], found)
        return [
            _in_order(own(q, passages), context) for q, passages in zip(queries, found, strict=True)
        ]

    def own(query: Query, found: Sequence[Passage]) -> list[Passage]:
        floor = context.relevance_floor
        kept = [p for p in found if floor is None or p.relevance >= floor]
        if query.example is None or query.example not in trained:
            return kept[: context.passages]
        scope = Scope(user=query.user, as_of=query.time)
        evidence = _evidence(query, scope, context.passages, index)
        return as_trained(
            query,
            kept,
            evidence,
            k=context.passages,
            shown=trained[query.example],
            seed=seed,
        )

    return find


def search(
    queries: Sequence[Query], context: Context, index: Index, seed: int, *, more: int = 0
) -> list[list[Passage]]:
    """The passages of a context for each query, best first; more of them to be reranked."""
    k = max(more, context.passages if context.rerank == "none" else max(RERANKED, context.passages))
    if context.search == "random":
        everything = index.passages(Scope(any_time=True))
        return [
            random.Random(f"{seed}:{query.input}").sample(everything, min(k, len(everything)))
            for query in queries
        ]
    any_time = context.as_of == "any"
    scopes = [Scope(user=q.user, as_of=q.time, any_time=any_time) for q in queries]
    if context.search == "evidence":
        return [
            _evidence(query, scope, k, index) for query, scope in zip(queries, scopes, strict=True)
        ]
    inputs = [query.input for query in queries]
    return index.search(inputs, k, kind=context.search, scopes=scopes)


def _evidence(query: Query, scope: Scope, k: int, index: Index) -> list[Passage]:
    """The passages of the documents that hold the answer; of long ones the k that fit best."""
    scope = replace(scope, documents=frozenset(query.evidence))
    whole = index.passages(scope) if query.evidence else []
    return whole if len(whole) <= k else index.search([query.input], k, scopes=[scope])[0]


def _in_order(passages: Sequence[Passage], context: Context) -> list[Part]:
    parts = [Part("passage", passage, rank) for rank, passage in enumerate(passages)]
    return parts[::-1] if context.order == "best_last" else parts
