"""What has been seen and built: SQLite rows and content-addressed folders."""

from steelyard.store.artefacts import Artefacts
from steelyard.store.database import Database, TrialRef
from steelyard.store.releases import ALIASES, Alias, Promotion, Releases
from steelyard.store.replies import Replies

__all__ = [
    "ALIASES",
    "Alias",
    "Artefacts",
    "Database",
    "Promotion",
    "Releases",
    "Replies",
    "TrialRef",
]
