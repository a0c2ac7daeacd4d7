import subprocess
import sys
import time

import pytest

from whisper_npu_cli import __version__

HEAVY = {
    *("numpy", "ctranslate2", "faster_whisper", "huggingface_hub", "librosa", "av", "tokenizers"),
    *("tqdm", "safetensors", "pyxrt"),
}
BARE = "import typer; app = typer.Typer(); app.command()(lambda name: None); app(['--help'])"
OURS = "from whisper_npu_cli.cli.app import main; main(['--help'])"


@pytest.mark.parametrize("line", [["--help"], ["transcribe", "--help"], ["--version"], ["--nope"]])
def test_nothing_heavy_is_imported_before_it_is_needed(line):
    program = (
        "import sys; from whisper_npu_cli.cli.app import run; run(sys.argv[1:]); "
        "print(*sys.modules, file=sys.stderr)"
    )
    result = subprocess.run(
        [sys.executable, "-c", program, *line], capture_output=True, text=True, check=True
    )
    modules = set(result.stderr.split())
    assert "whisper_npu_cli.cli.app" in modules
    assert not modules & HEAVY


def seconds(program):
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    return time.perf_counter() - start


def test_help_takes_at_most_twice_a_bare_typer_program():
    seconds(OURS)  # compiles our modules
    # in turn, so that other work on the machine slows both; the least of each is disturbed least
    ours, bare = zip(*[(seconds(OURS), seconds(BARE)) for _ in range(5)], strict=True)
    assert min(ours) <= 2 * min(bare)


def test_version(command):
    assert command("--version") == (0, f"whisper-npu {__version__}\n", "")


@pytest.mark.parametrize("line", [[], ["-h"], ["--help"]])
def test_help(command, line):
    code, out, err = command(*line)
    assert (code, err) == (0, "")
    for word in ("transcribe", "models", "bench", "--version", "--install-completion"):
        assert word in out


def test_help_of_the_main_command_names_defaults_and_groups(command, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    code, out, _ = command("transcribe", "-h")
    assert code == 0
    for text in ("[default: base]", "WHISPER_NPU_MODEL", "Decoding", "Output", "[default: 5]"):
        assert text in out
    assert "--temperature_increment_on_fallback" in out


def test_a_missing_file_argument(command):
    code, out, err = command("--model", "tiny")
    assert (code, out) == (2, "")
    assert "Missing argument" in err and len(err.splitlines()) == 1


def test_completion_knows_commands_and_options(command):
    def complete(words):
        env = {
            "_WHISPER_NPU_COMPLETE": "complete_bash",
            "COMP_WORDS": words,
            "COMP_CWORD": str(words.count(" ")),
        }
        return command.process(env=env).communicate(timeout=120)[0].decode().split()

    assert set(complete("whisper-npu ")) >= {"transcribe", "models", "bench"}
    assert complete("whisper-npu transcribe --word_") == ["--word_timestamps"]
    assert complete("whisper-npu transcribe --device e") == ["emulator"]
