"""docs/cli.md names what there is, and nothing else."""

import json
import re
from pathlib import Path

import typer
from test_bench_command import COSTS, KERNEL

from whisper_npu_cli.cli.app import app
from whisper_npu_cli.cli.argv import Grammar
from whisper_npu_cli.engines.kernel_cases import CASES
from whisper_npu_cli.errors import ExitCode

TEXT = (Path(__file__).parents[2] / "docs/cli.md").read_text()
GRAMMAR = Grammar.of(typer.main.get_command(app))
ELSEWHERE = {"--help", "--no-timings", "--fp16", "--lang"}  # shown as examples, not as options


def test_every_option_is_documented_and_every_documented_option_exists():
    documented = set(re.findall(r"--[a-z][a-z0-9_-]+[a-z0-9]", TEXT))
    declared = {name for name in GRAMMAR.names.values() if name != "--show-completion"}
    assert declared - documented == set()
    assert documented - declared == ELSEWHERE


def test_every_exit_code_is_documented():
    table = {int(code) for code in re.findall(r"^\| (\d+) \|", TEXT, re.MULTILINE)}
    assert table == set(ExitCode)


def test_every_command_is_documented():
    for command in GRAMMAR.commands:
        assert f"whisper-npu {command}" in TEXT


def test_every_figure_of_bench_is_documented(command):
    figures = json.loads(command("bench", "--audio", command.sound(), "--repeat", "1", "--json")[1])
    assert [key for key in figures if f"`{key}`" not in TEXT] == []


def test_every_figure_of_the_encoders_bench_is_documented():
    named = [key for part in (COSTS, COSTS["window"], COSTS["operations"][0]) for key in part]
    assert [key for key in named if f"`{key}`" not in TEXT] == []


def test_every_figure_of_the_kernels_bench_is_documented():
    text = (Path(__file__).parents[2] / "docs/json.md").read_text()
    assert [key for key in KERNEL if f"`{key}`" not in text] == []
    assert [c.kernel for c in CASES if f"`{c.kernel}`" not in text] == []
    assert [c.dtype for c in CASES if f"`{c.dtype}`" not in text] == []
