import pytest
import typer
from hypothesis import assume, given
from hypothesis import strategies as st

from whisper_npu_cli.cli.app import app
from whisper_npu_cli.cli.argv import Grammar, rewrite
from whisper_npu_cli.cli.foreign import FOREIGN
from whisper_npu_cli.errors import UsageError

GRAMMAR = Grammar.of(typer.main.get_command(app))
COMMANDS = ("transcribe", "models", "bench", "aie", "doctor", "emulate")


def test_grammar_is_read_from_the_application():
    assert GRAMMAR.commands == set(COMMANDS)
    assert {"--model", "--output_format", "--raw", "--repeat"} <= GRAMMAR.valued
    assert {"--word_timestamps", "--json", "--timings", "--debug"} <= GRAMMAR.switches
    assert not GRAMMAR.valued & GRAMMAR.switches


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("a.wav", "transcribe a.wav"),
        ("a.wav b.mp3", "transcribe a.wav b.mp3"),
        ("-", "transcribe -"),
        ("--model tiny a.wav", "transcribe --model=tiny a.wav"),
        ("--model bench a.wav", "transcribe --model=bench a.wav"),
        ("a.wav --model tiny", "transcribe a.wav --model=tiny"),
        ("transcribe bench", "transcribe bench"),
        ("./bench", "transcribe ./bench"),
        ("-- bench", "transcribe -- bench"),
        ("a.wav bench", "transcribe a.wav bench"),
        ("bench --repeat 3", "bench --repeat=3"),
        ("--repeat 3 bench", "bench --repeat=3"),
        ("models list", "models list"),
        ("--help", "--help"),
        ("-h", "-h"),
        ("--version", "--version"),
        ("", "--help"),
        ("a.wav --help", "transcribe a.wav --help"),
        ("--install-completion", "--install-completion"),
        ("a.wav --debug", "--debug=True transcribe a.wav"),
        ("bench --debug False", "--debug=False bench"),
        # a command's own options: transcribe has no --arg, wherever --debug stands
        ("transcribe --arg x --debug", "--debug=True transcribe --arg x"),
        ("--debug=True transcribe --arg x", "--debug=True transcribe --arg x"),
        ("--debug no transcribe --arg x", "--debug=no transcribe --arg x"),
        ("--no-debug emulate -o x", "--debug=False emulate -o x"),
        ("--word_timestamps a.wav", "transcribe --word_timestamps=True a.wav"),
        ("--word_timestamps True a.wav", "transcribe --word_timestamps=True a.wav"),
        ("--word_timestamps False a.wav", "transcribe --word_timestamps=False a.wav"),
        ("--word_timestamps=no a.wav", "transcribe --word_timestamps=no a.wav"),
        ("--word-timestamps yes a.wav", "transcribe --word_timestamps=yes a.wav"),
        ("--word_timestamps ./True", "transcribe --word_timestamps=True ./True"),
        ("--word_timestamps True True", "transcribe --word_timestamps=True True"),
        ("a.wav --no-timings", "transcribe a.wav --timings=False"),
        ("a.wav --timings", "transcribe a.wav --timings=True"),
        ("a.wav --no_speech_threshold 0.5", "transcribe a.wav --no_speech_threshold=0.5"),
        ("a.wav --logprob_threshold -1.5", "transcribe a.wav --logprob_threshold=-1.5"),
        ("a.wav --initial_prompt --model", "transcribe a.wav --initial_prompt=--model"),
        ("a.wav --initial_prompt --fp16", "transcribe a.wav --initial_prompt=--fp16"),
        ("a.wav --initial_prompt --", "transcribe a.wav --initial_prompt=--"),
        ("a.wav -o out -f srt", "transcribe a.wav --output_dir=out --output_format=srt"),
        ("a.wav --skip_existing", "transcribe a.wav --skip-existing=True"),
        ("a.wav -- --model -x.wav", "transcribe a.wav -- --model -x.wav"),
        ("a.wav --model", "transcribe a.wav --model"),
        ("a.wav --modle tiny", "transcribe a.wav --modle tiny"),
        ("a.wav -xvad", "transcribe a.wav -xvad"),  # not --vad of whisper.cpp
    ],
)
def test_habits(typed, meant):
    assert rewrite(typed.split(), GRAMMAR) == meant.split()


@pytest.mark.parametrize("flag", [*FOREIGN, "--device-index", "--output-srt", "--no-gpu"])
def test_flags_of_other_programs_are_refused_by_name(flag):
    with pytest.raises(UsageError, match=f"^{flag} is not supported here: ."):
        rewrite(["a.wav", flag, "1"], GRAMMAR)
    with pytest.raises(UsageError, match=flag):
        rewrite([f"{flag}=1", "a.wav"], GRAMMAR)
    assert rewrite(["--", flag], GRAMMAR) == ["transcribe", "--", flag]


def test_no_flag_of_ours_is_foreign():
    assert not set(FOREIGN) & set(GRAMMAR.names)


spellings = st.sampled_from(["dashes", "underscores"])
values = st.text(min_size=1) | st.sampled_from(
    ["-", "--", "--json", "-o", "bench", "a.wav", "True"]
)
files = st.just("-") | st.text(min_size=1).filter(
    lambda name: not name.startswith("-") and name not in COMMANDS  # those: test_habits
)


@st.composite
def typed_lines(draw):
    """Arguments as someone may type them, with the files and (option, value) pairs they mean."""
    arguments, meant_files, meant_options = [], [], []
    for kind in draw(st.lists(st.sampled_from(["file", "value", "joined", "switch", "bare"]))):
        if kind == "file":
            name = draw(files)
            meant_files.append(name)
            arguments.append(name)
            continue
        known = GRAMMAR.valued if kind in ("value", "joined") else GRAMMAR.switches
        name = draw(st.sampled_from(sorted(known - GRAMMAR.root)))
        spelled = name if draw(spellings) == "underscores" else "--" + name[2:].replace("_", "-")
        value = draw(values if kind in ("value", "joined") else st.sampled_from(["True", "no"]))
        if kind == "bare":
            value = "True"
            arguments += [spelled, "f.wav"]  # a file behind it stays a file
            meant_files.append("f.wav")
        else:
            arguments += [f"{spelled}={value}"] if kind == "joined" else [spelled, value]
        meant_options.append((name, value))
    behind = draw(st.lists(st.text()))
    return arguments + (["--", *behind] if behind else []), meant_files + behind, meant_options


def parsed(line):
    """Files and options of a rewritten line, read by rules of typer's parser alone."""
    cut = line.index("--") if "--" in line else len(line)
    head, rest = line[:cut], line[cut + 1 :]
    options = [tuple(word.split("=", 1)) for word in head if word.startswith("--")]
    return [word for word in head if not word.startswith("--")] + rest, options


@given(typed_lines())
def test_no_file_is_lost_and_no_value_becomes_one(line):
    typed, meant_files, meant_options = line
    assume(typed)
    command, *rest = rewrite(typed, GRAMMAR)
    assert command == "transcribe"
    assert parsed(rest) == (meant_files, meant_options)


anything = st.lists(
    st.text(max_size=5).filter(lambda word: word not in FOREIGN)  # those raise
    | st.sampled_from(
        [*COMMANDS, "--", "-", "-h", "--help", "--debug", "True", "-o", "-p", "a.wav"]
    )
    | st.sampled_from(sorted(GRAMMAR.names))
)


@given(anything)
def test_rewriting_twice_changes_nothing(typed):
    once = rewrite(typed, GRAMMAR)
    assert rewrite(once, GRAMMAR) == once
