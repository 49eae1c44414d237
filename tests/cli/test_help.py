"""Nothing on the command line is undocumented."""

from __future__ import annotations

from typing import Any

import pytest
import typer

from steelyard import __version__
from steelyard.cli.main import app

GROUP: Any = typer.main.get_command(app)
COMMANDS: dict[str, Any] = {}  # those of a group by both words: "knowledge add"
for word, found in GROUP.commands.items():
    inner = getattr(found, "commands", None)
    COMMANDS |= {f"{word} {w}": c for w, c in inner.items()} if inner else {word: found}


def test_the_commands_are_those_of_the_design_that_are_built():
    assert {"ask", "check", "compare", "report", "weigh", "knowledge"} <= set(GROUP.commands)
    verbs = {"check", "advise", "weigh", "publish", "serve", "refresh", "report", "plan", "ask"}
    assert set(GROUP.commands) <= verbs | {
        *("compare", "export", "knowledge", "pretrain", "rollback", "keys", "feedback", "status")
    }
    assert {f"knowledge {verb}" for verb in ("add", "remove", "list", "search")} <= set(COMMANDS)


@pytest.mark.parametrize("group", sorted({name.rpartition(" ")[0] for name in COMMANDS}))
def test_the_help_lists_every_command_with_what_it_does(group, steelyard):
    ran = steelyard(*group.split(), "--help")
    assert (ran.code, ran.err) == (0, "")
    for name, command in COMMANDS.items():
        of, _, word = name.rpartition(" ")
        if of == group:
            assert command.help, name
            [line] = [x for x in ran.out.splitlines() if x.split()[:1] == [word]]
            assert command.help.split()[0] in line, name


@pytest.mark.parametrize("group", sorted({name.rpartition(" ")[0] for name in COMMANDS}))
def test_what_a_command_does_is_said_in_whole_on_eighty_columns(group, steelyard, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert "..." not in steelyard(*group.split(), "--help").out.partition("Commands:")[2]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_and_argument_is_listed_with_a_help_text(name, steelyard):
    ran = steelyard(*name.split(), "--help")
    assert (ran.code, ran.err) == (0, "")
    shown = " ".join(ran.out.split())
    for parameter in COMMANDS[name].params:
        option = parameter.opts[0]
        if option == "--help":
            continue
        assert parameter.help, f"{name} {option} has no help text"
        named = option if option.startswith("--") else parameter.metavar or parameter.name
        assert named in shown, f"{name} {option}"
        assert " ".join(parameter.help.split()) in shown, f"{name} {option}"


def test_every_command_names_its_home_and_its_json():
    for name, command in COMMANDS.items():
        options = {option for parameter in command.params for option in parameter.opts}
        needs_no_home = name == "compare"  # of files alone
        assert {"--json"} | (set() if needs_no_home else {"--home"}) <= options, name


def test_nothing_typed_shows_the_help(steelyard):
    ran = steelyard()
    assert "Usage:" in ran.out + ran.err
    assert "weigh" in ran.out + ran.err


def test_the_version_is_said(steelyard):
    assert steelyard("--version").out == f"steelyard {__version__}\n"
