"""Texts become blocks: every token once, no block of two documents, attention within one."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from steelyard.errors import TrainingError
from steelyard.training.batches import micro_batches
from steelyard.training.documents import BLOCK_TOKENS, blocks, read
from steelyard.training.objective import Examples


@given(st.lists(st.integers(5, 99), min_size=1, max_size=200), st.integers(1, 64))
def test_every_token_of_a_text_is_learned_once_after_the_token_before_it(text, longest):
    ids = [0, *text, 0]
    cut = blocks(ids, longest)
    assert [token for block in cut for token in block.target] == ids[1:]
    before = [block.prompt[0] for block in cut]
    assert before == [0, *(block.target[-1] for block in cut[:-1])]
    sizes = [len(block.target) for block in cut]
    assert max(sizes) <= longest
    assert max(sizes) - min(sizes) <= 1
    assert len(cut) == -(-len(ids[1:]) // longest)


def test_a_block_is_a_piece_of_one_document(tiny: Any) -> None:
    texts = ["card cash " * 150, "fee", "lost rate " * 150]
    found = read(texts, tiny.renderer, tiny.context_tokens)
    by_text = [read([text], tiny.renderer, tiny.context_tokens) for text in texts]
    assert found == [block for own in by_text for block in own]
    assert [len(own) > 1 for own in by_text] == [True, False, True]
    assert max(map(len, found)) <= tiny.context_tokens < BLOCK_TOKENS


def test_attention_never_crosses_from_one_document_into_another(tiny: Any) -> None:
    decoder, objective = tiny.loaded.decoder, Examples()
    found = read(["card cash fee", "top up", "card lost " * 80], tiny.renderer, 256)
    with torch.inference_mode():
        [together] = [objective.loss(decoder, m) for m in micro_batches(found, 10_000)]
        alone = [float(objective.loss(decoder, [block])) for block in found]
    assert float(together) == pytest.approx(sum(alone), rel=1e-5)


def test_a_corpus_smaller_than_one_block_is_read_as_it_is(tiny: Any) -> None:
    [block] = read(["fee"], tiny.renderer, tiny.context_tokens)
    end = tiny.renderer.document_ids("")[0]
    assert tiny.renderer.decode(block.target) == "fee"
    assert (block.prompt, block.target[-1]) == ([end], end)


def test_special_tokens_in_a_document_do_not_end_it(tiny: Any) -> None:
    end = tiny.renderer.document_ids("")[0]
    assert tiny.renderer.document_ids("fee <|endoftext|> card").count(end) == 2


@pytest.mark.parametrize("texts", [[], [""], [" \n", "\t"]])
def test_no_text_at_all_is_an_error(tiny: Any, texts: list[str]) -> None:
    with pytest.raises(TrainingError, match=f"none of the {len(texts)} texts to be read holds"):
        read(texts, tiny.renderer, tiny.context_tokens)
