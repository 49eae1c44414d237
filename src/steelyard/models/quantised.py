"""Weights of four bits: a base that only adapters learn beside (QLoRA, Dettmers et al. 2023,
arXiv:2305.14314).

NF4 with its scales quantised too, as in the paper, by bitsandbytes. A product unpacks its weights
each time, forwards and backwards, into the type that they had. The model is read in sixteen bits
first, so that it must fit for that moment; the adapter is served beside the base as it is.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from steelyard.errors import need

EXTRA = "qlora"


class Packed:
    """A matrix of four bits a number, and half a bit for their scales."""

    def __init__(self, weight: Tensor) -> None:
        self._functional: Any = need("bitsandbytes.functional", EXTRA)
        self._data, self._state = self._functional.quantize_4bit(
            weight.contiguous(), quant_type="nf4", compress_statistics=True
        )

    def matrix(self) -> Tensor:
        """The numbers, as near as four bits come to them."""
        found: Tensor = self._functional.dequantize_4bit(self._data, self._state)
        return found
