"""Task file and data → Task: read, validate, fold, split, hash."""

from steelyard.tasks.infer import infer_task, load_data_file
from steelyard.tasks.load import load_task
from steelyard.tasks.retention import RetentionItem, read_retention
from steelyard.tasks.rows import READERS
from steelyard.tasks.task_file import SCORERS

__all__ = [
    "READERS",
    "SCORERS",
    "RetentionItem",
    "infer_task",
    "load_data_file",
    "load_task",
    "read_retention",
]
