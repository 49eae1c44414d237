"""A verdict as one HTML page: `whole.py` puts it together, the other modules draw a part each."""

from steelyard.lifecycle.page.whole import render

__all__ = ["render"]
