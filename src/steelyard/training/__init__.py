"""Learning weights, in a child process that may die at any moment."""

from steelyard.training.job import (
    BETA,
    PAIR_EPOCHS,
    Job,
    Progress,
    Trained,
    TrainingRow,
    held_out_rows,
)
from steelyard.training.run import is_whole, last_step, train_in_child

__all__ = [
    "BETA",
    "PAIR_EPOCHS",
    "Job",
    "Progress",
    "Trained",
    "TrainingRow",
    "held_out_rows",
    "is_whole",
    "last_step",
    "train_in_child",
]
