"""Nothing on the command line is undocumented."""

from __future__ import annotations

from typing import Any

import pytest
import typer

from steelyard.cli.main import app

GROUP: Any = typer.main.get_command(app)
COMMANDS: dict[str, Any] = {}  # those of a group by both words: "knowledge add"
for word, found in GROUP.commands.items():
    inner = getattr(found, "commands", None)
    COMMANDS |= {f"{word} {w}": c for w, c in inner.items()} if inner else {word: found}
PARAMETERS = [
    (name, parameter)
    for name in COMMANDS
    for parameter in COMMANDS[name].params
    if "--help" not in parameter.opts
]


def test_the_commands_are_those_of_the_design_that_are_built():
    assert {"ask", "check", "compare", "report", "weigh", "knowledge"} <= set(GROUP.commands)
    verbs = {"check", "advise", "weigh", "publish", "serve", "refresh", "report", "plan", "ask"}
    assert set(GROUP.commands) <= verbs | {
        *("compare", "export", "knowledge", "pretrain", "rollback", "keys", "feedback", "status")
    }
    assert {f"knowledge {verb}" for verb in ("add", "remove", "list", "search")} <= set(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_lists_every_command_with_what_it_does(name, steelyard):
    *group, word = name.split()
    ran = steelyard(*group, "--help")
    assert (ran.code, ran.err) == (0, "")
    summary = COMMANDS[name].help
    assert summary
    [line] = [x for x in ran.out.splitlines() if x.split()[:1] == [word]]
    assert summary.split()[0] in line


@pytest.mark.parametrize(("name", "parameter"), PARAMETERS, ids=lambda x: getattr(x, "name", x))
def test_every_option_and_argument_is_listed_with_a_help_text(name, parameter, steelyard):
    assert parameter.help, f"{name} {parameter.opts} has no help text"
    ran = steelyard(*name.split(), "--help")
    assert (ran.code, ran.err) == (0, "")
    shown = " ".join(ran.out.split())
    option = parameter.opts[0]
    assert (option if option.startswith("--") else parameter.metavar or parameter.name) in shown
    assert " ".join(parameter.help.split()) in shown


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_names_its_home_and_its_json(name):
    options = {option for parameter in COMMANDS[name].params for option in parameter.opts}
    needs_no_home = name == "compare"  # of files alone
    assert {"--json"} | (set() if needs_no_home else {"--home"}) <= options


def test_nothing_typed_shows_the_help(steelyard):
    ran = steelyard()
    assert "Usage:" in ran.out + ran.err
    assert "weigh" in ran.out + ran.err
