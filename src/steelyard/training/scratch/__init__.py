"""A tokenizer and a small decoder from nothing but documents; one dial sets their size."""

from steelyard.training.scratch.choices import BLOCK_TOKENS, Choice, Course
from steelyard.training.scratch.job import ScratchJob, corpus_bytes

__all__ = ["BLOCK_TOKENS", "Choice", "Course", "ScratchJob", "corpus_bytes"]
