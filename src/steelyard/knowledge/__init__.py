"""What can be looked up for an input. So far: the nearest labelled examples."""

from steelyard.knowledge.nearest import NearestExamples

__all__ = ["NearestExamples"]
