"""One home folder, one process at a time, and a message for every folder that cannot be one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import steelyard
from fake_tasks import row
from steelyard.errors import HomeError
from steelyard.lifecycle import open_home
from steelyard.store import TrialRef

HOLDER = """
import sys
from pathlib import Path
from steelyard.lifecycle.home import open_home
with open_home(Path(sys.argv[1])):
    print("open", flush=True)
    sys.stdin.read()
"""


def test_a_home_is_made_where_there_is_none_and_keeps_what_is_put_into_it(tmp_path):
    path = tmp_path / "deep" / "home"
    trial = TrialRef("t", "lora", "s", "dev", 0)
    with open_home(path) as home:
        home.database.add_rows(trial, [row("e1")])
        assert (home.jobs, home.reports) == (path / "jobs", path / "reports")
    with open_home(path, create=False) as home:
        assert list(home.database.rows(trial)) == ["e1"]


def test_a_second_process_is_refused_with_a_remedy_until_the_first_ends_also_by_a_kill(tmp_path):
    path = tmp_path / "home"
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)],
        env={**os.environ, "PYTHONPATH": str(Path(steelyard.__file__).parents[1])},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"open\n"
    try:
        with pytest.raises(HomeError) as caught, open_home(path):
            pass
    finally:
        process.kill()
        process.communicate()
    assert str(caught.value) == (
        f"{path}: another steelyard is working in this home folder; "
        "wait for it to end, or name another one with --home"
    )
    with open_home(path):
        pass


def test_a_home_is_free_again_when_its_work_failed(tmp_path):
    with pytest.raises(RuntimeError, match="broke"), open_home(tmp_path / "home"):
        raise RuntimeError("broke")
    with open_home(tmp_path / "home"):
        pass


def test_what_needs_a_home_says_when_there_is_none_and_makes_none(tmp_path):
    path = tmp_path / "home"
    with pytest.raises(HomeError, match=r"no home folder there; weigh a task.*--home"):
        open_home(path, create=False).__enter__()
    assert not path.exists()


@pytest.mark.parametrize("below", ["", "deeper"])
def test_a_file_in_its_place_is_said_to_be_unwritable_and_stays(tmp_path, below):
    place = tmp_path / "home"
    place.write_text("mine")
    with pytest.raises(HomeError, match=r"cannot be written.*expected a folder.*--home"):
        open_home(place / below if below else place).__enter__()
    assert place.read_text() == "mine"


def test_a_folder_that_may_not_be_written_is_said_to_be_so(tmp_path):
    path = tmp_path / "home"
    path.mkdir(mode=0o500)
    if os.access(path, os.W_OK):
        pytest.skip("this user may write anywhere")
    with pytest.raises(HomeError, match=r"cannot be written \(Permission denied\)"):
        open_home(path).__enter__()
