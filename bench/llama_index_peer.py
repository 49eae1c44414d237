"""LlamaIndex, as its documentation does it: documents in memory → nodes → vectors → a folder.

Its vector store is the one that it takes by default: in memory, written as JSON at the end. It has
no words index, folds no duplicates and remembers no files, so it does less than ours does.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from llama_index.core import Document, VectorStoreIndex
from llama_index.core.node_parser import SentenceSplitter
from llama_index.embeddings.huggingface import HuggingFaceEmbedding

USUAL = (1024, 200)  # tokens of a node, and of its overlap: SentenceSplitter's defaults
BATCH = 64  # texts; its default of 10 is slower


class LlamaIndex:
    """Ingests with the embedder of a folder."""

    def __init__(self, folder: Path) -> None:
        self._embedder = HuggingFaceEmbedding(
            model_name=str(folder), embed_batch_size=BATCH, device="cpu"
        )

    def ingest(self, texts: Sequence[str], size: tuple[int, int] = USUAL) -> int:
        """Make an index of these documents and write it; how many nodes it has comes back."""
        tokens, overlap = size
        index = VectorStoreIndex.from_documents(
            [Document(text=text) for text in texts],
            embed_model=self._embedder,
            transformations=[SentenceSplitter(chunk_size=tokens, chunk_overlap=overlap)],
        )
        with tempfile.TemporaryDirectory() as place:
            index.storage_context.persist(place)
        return len(index.docstore.docs)
