"""Every exception Steelyard raises on purpose.

    SteelyardError
    ├── InputError            what the user gave is wrong: exit code 2
    │   ├── TaskError         the task file
    │   ├── DataError         the rows
    │   ├── ModelError        a base model that is missing or cannot be read
    │   ├── HomeError         the home folder
    │   ├── RequestError      a request to the server
    │   └── MissingExtraError an optional dependency that is not installed
    └── WorkError             the work itself failed: exit code 1
        ├── TrainingError     a training job ended without weights
        ├── DoesNotFitError   training needs more memory than this machine has
        ├── SearchError       a search ended without anything found
        ├── SpentError        the next answer could cost more than there is left to spend
        ├── TrialError        a trial that cannot be turned into numbers
        ├── ReleaseError      what would serve does not answer as what was measured
        ├── BusyError         more is waiting to be answered than may wait
        └── StoreError        what is on disk is not what was written

A message says where, what, what was expected and what to do, in that order, so that the
command line can print it as it is.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterable
from types import ModuleType


class SteelyardError(Exception):
    """Base of all the errors below."""


class InputError(SteelyardError):
    """Something the user gave is wrong; nothing was done."""


class TaskError(InputError):
    """The task file is missing, malformed or asks for something unknown."""


class DataError(InputError):
    """The rows cannot be read or do not fit the task."""


class ModelError(InputError):
    """The base model is not there, or is not one that can be run."""


class HomeError(InputError):
    """The home folder cannot be used."""


class RequestError(InputError):
    """A request to the server that is refused, with its HTTP status and OpenAI's code for it."""

    def __init__(
        self,
        message: str,
        *,
        status: int = 400,
        code: str | None = None,
        param: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.param = status, code, param
        self.retry_after_s = retry_after_s


class MissingExtraError(InputError):
    """An optional dependency is needed and is not installed."""


class WorkError(SteelyardError):
    """The input was fine and the work failed."""


class TrainingError(WorkError):
    """A training job ended without weights."""


class DoesNotFitError(WorkError):
    """Training needs more memory than this machine has; nothing was started."""


class SearchError(WorkError):
    """A search for examples or an instruction ended without anything found."""


class SpentError(WorkError):
    """What models behind URLs may cost is spent; all that was paid for is kept."""


class TrialError(WorkError):
    """A trial or a comparison that has no honest number: too few rows, or only failures."""


class ReleaseError(WorkError):
    """A system that would be served does not answer as the one that was measured."""


class BusyError(WorkError):
    """More is waiting to be answered than may wait; a later attempt may find room."""


class StoreError(WorkError):
    """The store does not hold what it should."""


def nearest(word: str, known: Iterable[str]) -> str:
    """A hint that names the nearest known word, or nothing.

    >>> nearest("instrction", ["instruction", "name"])
    ' Did you mean "instruction"?'
    >>> nearest("zzz", ["instruction", "name"])
    ''
    """
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f' Did you mean "{close[0]}"?' if close else ""


def unknown(what: str, word: str, known: Iterable[str]) -> str:
    """The one sentence for a word that is not in a table, made from that table.

    >>> unknown("scorer", "lable", ["exact", "label"])
    'scorer "lable" is not known. Known: exact, label. Did you mean "label"?'
    """
    known = list(known)
    return f'{what} "{word}" is not known. Known: {", ".join(known)}.{nearest(word, known)}'


def need(module: str, extra: str) -> ModuleType:
    """Import an optional dependency, or say which extra brings it.

    Raises:
        MissingExtraError: `module` is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtraError(
            f"{module} is not installed, and this needs it. "
            f"Install it with: pip install 'steelyard[{extra}]' ({error})"
        ) from error
