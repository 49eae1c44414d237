from __future__ import annotations

from typing import Any

import pytest
import torch

from steelyard.models.constrain import Constraint, allowed_tokens


@pytest.mark.parametrize("vocabulary", [302, 320, 333])
def test_what_may_come_next_is_what_llguidance_says(tiny: Any, vocabulary: int) -> None:
    renderer = tiny.renderer
    schema = {"enum": ["card arrival", "cash", "fee", 5, None]}
    end = renderer.end_token_id
    constraint = Constraint(renderer.tokenizer, schema, end_token_id=end, vocabulary=vocabulary)
    matcher = constraint.start()
    ids = renderer.target_ids('"card arrival"')[:-1]
    for token in ids:
        found = allowed_tokens(matcher, vocabulary)
        assert found.tolist() == [bias > 0 for bias in matcher.compute_logit_bias()]
        assert found[token]
        assert 0 < int(found.sum()) < 20
        matcher.consume_token(token)
    assert matcher.is_stopped()
    assert allowed_tokens(constraint.start(), vocabulary)[ids[0]]  # each row has its own


def test_a_mask_is_as_wide_as_the_logits(tiny: Any) -> None:
    renderer = tiny.renderer
    constraint = Constraint(
        renderer.tokenizer, {"type": "boolean"}, end_token_id=renderer.end_token_id, vocabulary=302
    )
    found = allowed_tokens(constraint.start(), 302)
    assert (found.shape, found.dtype) == ((302,), torch.bool)
    texts = {renderer.decode([int(token)]) for token in found.nonzero()}
    assert texts == {"t", "f"}  # no longer piece of true or false is a token here
