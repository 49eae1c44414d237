"""Models by hub id: the hub is asked once whether it can be reached and gives a model.

The libraries that load them ask anew for every file, five times over half a minute where there is
no network, also for files that lie in this machine's cache.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from steelyard.errors import ModelError, need

ANSWERS_WITHIN = 10.0  # seconds


@cache
def only_cached(source: str) -> bool:
    """Whether a model must come from this machine's cache, since the hub cannot be reached.

    What lies in a place of this machine is no hub id, and is not asked for.

    Raises:
        ModelError: the hub has no such model or does not give it, or cannot be reached and the
        cache does not have it either.
    """
    if Path(source).exists():
        return False
    hub: Any = need("huggingface_hub", "torch")
    try:
        hub.HfApi().model_info(source, timeout=ANSWERS_WITHIN)
    except hub.errors.HfHubHTTPError as error:
        if error.response is None or error.response.status_code < 500:
            raise ModelError(_gone(source, "does not give it", error)) from error
        why: Exception = error
    except Exception as error:  # its client's own kinds, which differ from version to version
        why = error
    else:
        return False
    if cached_config(source) is None:
        raise ModelError(
            _gone(source, "cannot be reached, nor has it been loaded here before", why)
        ) from why
    return True


def cached_config(source: str) -> Path | None:
    """The config.json of a hub id in this machine's cache; nothing is asked of the hub."""
    hub: Any = need("huggingface_hub", "torch")
    found = hub.try_to_load_from_cache(source, "config.json")
    return Path(found) if isinstance(found, str) else None


def _gone(source: str, how: str, error: Exception) -> str:
    said = (str(error) or type(error).__name__).splitlines()[0].rstrip(".")
    return (
        f'model "{source}" is not there: no such folder here, and the hub {how} ({said}). Expected '
        "a folder, a .gguf file, or the id of a model that the hub gives to this machine"
    )
