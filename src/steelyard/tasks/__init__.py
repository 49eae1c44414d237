"""Task file and data → Task: read, validate, fold, split, hash."""

from steelyard.tasks.infer import infer_task, load_data_file
from steelyard.tasks.load import load_task
from steelyard.tasks.rows import READERS
from steelyard.tasks.task_file import SCORERS

__all__ = ["READERS", "SCORERS", "infer_task", "load_data_file", "load_task"]
