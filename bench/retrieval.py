"""Retrieval: how often the right passage is found, and how fast texts are embedded.

    python bench/retrieval.py FOLDER                        about five minutes on two cores
    python bench/retrieval.py FOLDER --only recall --llm 0
    python bench/retrieval.py FOLDER --only embedding --json speed.json

FOLDER holds corpus.jsonl (doc_id, title, text: each a document of one passage) and one other
JSON Lines file of questions (question, gold_doc_ids). Recall@k is the share of a question's
documents among the first k, over all questions.

    lexical, vector, hybrid   ours, over one knowledge base
    bm25s                     the library of that name, its usual settings (English stop words)
    maxsim                    hybrid's first 20, reranked by the embedder's own token vectors
    llm                       hybrid's first 10, reranked by the likelihood of the question, on the
                              first --llm questions alone; the row above it is hybrid on the same

Goals: lexical within a point of bm25s at 10; hybrid above lexical and above vector at 5 and 10.
The second table shows what decides fusion (the constant k, the depth of each ranking) on every
second question; what is best there is what search.py has, and the others are its test.

Texts per second are those of the passages, beside sentence-transformers with the same model, the
same 256 tokens and batches of 32 and 128 rows: in float32, as it comes, and in bfloat16. The
cosines of ours to its float32 vectors are printed too.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import torch

import knowledge_bases
import rounds
from rounds import OURS, Contender, Work
from steelyard.core import ModelSpec, Passage
from steelyard.knowledge import ranking
from steelyard.knowledge.rerank import Likelihood, MaxSim
from steelyard.knowledge.search import KINDS, SqliteIndex
from steelyard.models import open_backend, open_embedder, places

AT = (1, 5, 10)
FUSIONS = tuple((k, depth) for k in (5, 10, 20, 60) for depth in (20, 50, 100))
MAXSIM_FROM, LLM_FROM = 20, 10
SPEED_TEXTS = 256
NAMES = ("recall", "fusion", "embedding")

Ranks = list[list[str]]  # document ids for each question, best first


class Questions:
    """What is asked, and which documents answer it."""

    def __init__(self, folder: Path) -> None:
        self.documents = knowledge_bases.read(folder / "corpus.jsonl")
        [file] = [f for f in sorted(folder.glob("*.jsonl")) if f.name != "corpus.jsonl"]
        rows = [row for row in knowledge_bases.read(file) if row["gold_doc_ids"]]
        self.texts = [row["question"] for row in rows]
        self.right = [set(row["gold_doc_ids"]) for row in rows]

    def recall(self, ranks: Ranks, k: int, rows: Sequence[int] | None = None) -> float:
        """Shapes: N rankings → one number."""
        chosen = range(len(ranks)) if rows is None else rows
        return float(
            np.mean([len(self.right[i] & set(ranks[i][:k])) / len(self.right[i]) for i in chosen])
        )


def ids(found: Sequence[Sequence[Passage]]) -> Ranks:
    return [[passage.document for passage in passages] for passages in found]


def by_bm25s(questions: Questions, k: int) -> Ranks:
    """The peer's rankings over titles and texts, as ours searches them."""
    import bm25s

    texts = [f"{d['title']}\n{d['text']}" for d in questions.documents]
    peer = bm25s.BM25()
    peer.index(bm25s.tokenize(texts, show_progress=False), show_progress=False)
    asked = bm25s.tokenize(questions.texts, show_progress=False)
    found, _ = peer.retrieve(asked, k=k, show_progress=False)
    return [[questions.documents[int(i)]["doc_id"] for i in row] for row in found]


def measure_recall(questions: Questions, index: SqliteIndex, num_llm: int) -> list[dict[str, Any]]:
    """Print the recall of all contenders."""
    k = max(AT)
    ranks = {kind: ids(index.search(questions.texts, k, kind=kind)) for kind in KINDS}
    ranks["bm25s"] = by_bm25s(questions, k)
    found = index.search(questions.texts, MAXSIM_FROM)
    ranks["maxsim"] = ids(MaxSim(open_embedder("default"))(questions.texts, found))
    recalls = {name: [questions.recall(own, at) for at in AT] for name, own in ranks.items()}
    if num_llm:
        asked = questions.texts[:num_llm]
        few = index.search(asked, LLM_FROM)
        likely = Likelihood(open_backend(ModelSpec("default", "default")))(asked, few)
        for name, own in (
            (f"hybrid, {num_llm} questions", ids(few)),
            ("llm, the same", ids(likely)),
        ):
            recalls[name] = [questions.recall(own, at) for at in AT]
    lines = [["search", *(f"recall@{at}" for at in AT)]]
    lines += [[name, *(f"{value:.1%}" for value in own)] for name, own in recalls.items()]
    rounds.print_lines(f"recall, {len(questions.texts)} questions", lines)
    record = [{"work": "recall", "search": name, **shown(own)} for name, own in recalls.items()]
    behind = recalls["bm25s"][2] - recalls["lexical"][2]
    best_part = [max(recalls["lexical"][i], recalls["vector"][i]) for i in range(len(AT))]
    margins = [recalls["hybrid"][i] - best_part[i] for i in range(len(AT))]
    goals = {
        "lexical is within a point of bm25s at 10": behind <= 0.01,
        "hybrid is above both parts at 5": margins[1] > 0,
        "hybrid is above both parts at 10": margins[2] > 0,
    }
    for goal, met in goals.items():
        print(f"{goal}: {rounds.met({'met': met})}")
    return [*record, {"work": "recall goals", **goals}]


def shown(recalls: Sequence[float]) -> dict[str, float]:
    return {f"recall@{at}": value for at, value in zip(AT, recalls, strict=True)}


def measure_fusion(questions: Questions, index: SqliteIndex) -> list[dict[str, Any]]:
    """Print recall for several ways to fuse, on the half they are chosen on and on the other."""
    deepest = max(depth for _, depth in FUSIONS)
    parts = [ids(index.search(questions.texts, deepest, kind=kind)) for kind in KINDS[:2]]
    halves = [range(half, len(questions.texts), 2) for half in (0, 1)]
    rows: dict[str, Ranks] = dict(zip(KINDS[:2], parts, strict=True))
    names = {name: n for n, name in enumerate({d["doc_id"] for d in questions.documents})}
    back = {n: name for name, n in names.items()}
    for k, depth in FUSIONS:
        rows[f"k = {k}, depth {depth}"] = [
            [
                back[n]
                for n, _ in ranking.fuse([[names[i] for i in part[:depth]] for part in both], k=k)
            ]
            for both in zip(*parts, strict=True)
        ]
    lines = [["fused by", *(f"{half} @{at}" for half in ("chosen", "other") for at in AT)]]
    record = []
    for name, own in rows.items():
        recalls = [questions.recall(own, at, half) for half in halves for at in AT]
        lines.append([name, *(f"{value:.1%}" for value in recalls)])
        record.append({"work": "fusion", "by": name, "chosen_and_other": recalls})
    rounds.print_lines("fusion", lines)
    return record


def measure_embedding(texts: Sequence[str], num_rounds: int) -> list[dict[str, Any]]:
    """Print texts per second beside sentence-transformers, and how alike the vectors are."""
    from sentence_transformers import SentenceTransformer

    folder = str(places.embedder_folder("default"))
    ours = open_embedder("default")
    starts = count(0, SPEED_TEXTS)

    def some() -> list[str]:
        start = next(starts) % max(1, len(texts) - SPEED_TEXTS)
        return list(texts[start : start + SPEED_TEXTS])

    def theirs(dtype: torch.dtype, rows: int) -> Contender:
        model = SentenceTransformer(folder, device="cpu", model_kwargs={"dtype": dtype})

        def work() -> float:
            asked = some()
            model.encode(asked, batch_size=rows, show_progress_bar=False)
            return len(asked)

        name = str(dtype).removeprefix("torch.")
        return Contender(f"sentence-transformers, {name}, {rows} rows", work)

    def embed() -> float:
        asked = some()
        ours.embed(asked)
        return len(asked)

    contenders = [Contender(OURS, embed), theirs(torch.float32, 32), theirs(torch.float32, 128)]
    contenders.append(theirs(torch.bfloat16, 32))
    speeds = rounds.take_turns(contenders, num_rounds)
    record = rounds.table(Work("embedding passages", unit="texts"), speeds)
    model = SentenceTransformer(folder, device="cpu")
    sample = list(texts[:SPEED_TEXTS])
    cosines = (ours.embed(sample) * model.encode(sample, show_progress_bar=False)).sum(axis=1)
    print(f"\ncosine to float32: least {cosines.min():.5f}, mean {cosines.mean():.5f}")
    return [{**record, "least_cosine": float(cosines.min())}]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="with corpus.jsonl and the questions")
    parser.add_argument("--only", choices=NAMES, action="append", help="this part; may be repeated")
    parser.add_argument(
        "--llm", type=int, default=40, help="questions for the llm reranking; 0: none"
    )
    parser.add_argument("--rounds", type=int, default=3, help="of the speed measurement")
    parser.add_argument("--json", type=Path, help="write the figures there too")
    options = parser.parse_args()
    names = options.only or NAMES
    questions = Questions(options.folder)
    print(rounds.machine())
    records: list[dict[str, Any]] = []
    if {"recall", "fusion"} & set(names):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "base.sqlite"
            embedder = open_embedder("default")
            knowledge_bases.write(path, questions.documents, embedder)
            index = SqliteIndex(path, embedder)
            if "recall" in names:
                records += measure_recall(questions, index, options.llm)
            if "fusion" in names:
                records += measure_fusion(questions, index)
            index.close()
    if "embedding" in names:
        texts = [document["text"] for document in questions.documents]
        records += measure_embedding(texts, options.rounds)
    rounds.save(options.json, records)


if __name__ == "__main__":
    main()
