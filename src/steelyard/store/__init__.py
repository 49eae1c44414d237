"""What has been seen and built: SQLite rows and content-addressed folders."""

from steelyard.store.artefacts import Artefacts
from steelyard.store.database import Database, TrialRef
from steelyard.store.replies import Replies

__all__ = ["Artefacts", "Database", "Replies", "TrialRef"]
