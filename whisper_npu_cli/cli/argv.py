"""Rewrites the command line that openai/whisper's users type into the one that typer parses.

Four habits are carried over: no command word (`whisper-npu a.wav`), dashes or underscores inside
a name, booleans with or without a value (`--word_timestamps True`), options before files.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from whisper_npu_cli.cli.foreign import refuse

DEFAULT_COMMAND = "transcribe"
SWITCH_METAVAR = "True|False"
HELP = frozenset({"-h", "--help"})
TRUE = frozenset({"true", "yes", "1"})
FALSE = frozenset({"false", "no", "0"})


@dataclass(frozen=True)
class Grammar:
    """What the rewriting must know of the options, read from the typer application itself.

    `names` maps each spelling to the one that typer knows, `valued` holds the options that are
    followed by a value, `switches` those whose value True or False may be left out, `root` those
    that stand before the command. `own` is the grammar of each command alone: where two commands
    spell an option alike, only a line that starts with the command can mean its own.
    """

    commands: frozenset[str]
    names: dict[str, str]
    valued: frozenset[str]
    switches: frozenset[str]
    root: frozenset[str]
    own: Mapping[str, Grammar]

    @classmethod
    def of(cls, group: Any) -> Grammar:
        """Read the click group that `typer.main.get_command` returns."""
        # the default command comes last, so that it decides what a line without a command means
        order = sorted(group.commands, key=lambda name: name == DEFAULT_COMMAND)
        options = {name: list(_parameters(group.commands[name])) for name in order}
        everything = [p for name in order for p in options[name]]
        own = {name: cls._of(group, found, {}) for name, found in options.items()}
        return cls._of(group, everything, own)

    @classmethod
    def _of(cls, group: Any, found: list[Any], own: Mapping[str, Grammar]) -> Grammar:
        options = {p.opts[0]: p for p in [*found, *group.params] if p.param_type_name == "option"}
        switches = {name for name, p in options.items() if p.metavar == SWITCH_METAVAR}
        return cls(
            commands=frozenset(group.commands),
            names={
                spelling: p.opts[0]
                for p in options.values()
                for opt in p.opts
                for spelling in (opt, _underscored(opt))
            },
            valued=frozenset(name for name, p in options.items() if not p.is_flag) - switches,
            switches=frozenset(switches),
            root=frozenset(p.opts[0] for p in group.params),
            own=own,
        )

    def spelled(self, flag: str) -> str:
        """The spelling that typer knows, or `flag` itself when it is unknown."""
        return self.names.get(flag) or self.names.get(_underscored(flag), flag)


def rewrite(args: Sequence[str], grammar: Grammar) -> list[str]:
    """Return arguments with the command first; rewriting them again changes nothing.

    Raises UsageError for a flag that another Whisper program has and this one has not.
    """
    command = next((token.text for token in _tokens(args, grammar) if token.kind != "root"), "")
    tokens = list(_tokens(args, grammar.own.get(command, grammar)))
    front = [token.text for token in tokens if token.kind == "root"]
    tail = [token for token in tokens if token.kind != "root"]
    first = next((token for token in tail if token.kind == "word"), None)
    if first is not None and first.text in grammar.commands:
        tail.remove(first)
        front.append(first.text)
    elif any(token.text not in HELP for token in tail):
        front.append(DEFAULT_COMMAND)
    return [*front, *(token.text for token in tail)] or ["--help"]


class _Token(NamedTuple):
    """One argument; `kind` is root, option, word (file or command) or file (behind `--`)."""

    text: str
    kind: str


def _tokens(args: Sequence[str], grammar: Grammar) -> Iterator[_Token]:
    queue = deque(args)
    while queue:
        word = queue.popleft()
        if word == "--":
            yield from (_Token(text, "file") for text in (word, *queue))
            return
        if word == "-" or not word.startswith("-"):
            yield _Token(word, "word")
            continue
        text = _option(word, queue, grammar)
        yield _Token(text, "root" if text.partition("=")[0] in grammar.root else "option")


def _option(word: str, queue: deque[str], grammar: Grammar) -> str:
    """Spell one option as typer knows it, with its value (taken off the queue) behind `=`."""
    flag, equals, value = word.partition("=")
    name = grammar.spelled(flag)
    positive = "--" + _underscored(flag)[len("--no_") :]
    if name in grammar.switches:
        if not equals:
            value = queue.popleft() if queue and queue[0].lower() in TRUE | FALSE else "True"
        return f"{name}={value}"
    if name in grammar.valued:
        return f"{name}={value if equals else queue.popleft()}" if equals or queue else name
    if _underscored(flag).startswith("--no_") and positive in grammar.switches:
        return f"{positive}=False"
    if flag not in grammar.names:
        refuse(flag)
    return name + equals + value


def _underscored(flag: str) -> str:
    return flag[:2] + flag[2:].replace("-", "_")


def _parameters(command: Any) -> Iterator[Any]:
    yield from command.params
    for child in getattr(command, "commands", {}).values():
        yield from _parameters(child)
