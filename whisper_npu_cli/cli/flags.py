"""Every option of `whisper-npu`, declared once; openai/whisper's names where it has them.

Switches take True or False or nothing. typer makes a flag without value of everything annotated
bool, so they are annotated int, with a parser that returns a bool; argv.py fills in a missing True.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import typer

from whisper_npu_cli.cli.argv import FALSE, SWITCH_METAVAR, TRUE

DEVICES = ("auto", "npu", "cpu", "emulator")
TASKS = ("transcribe", "translate")
COMPUTE_TYPES = ("default", "auto", "int8", "int8_float32", "int16", "float16", "float32")

_INPUT = "Input"
_MODEL = "Model and device"
_OUTPUT = "Output"
_DECODING = "Decoding"
_SILENCE = "Silence and repetition"
_WORDS = "Word times and subtitle lines"


def switch_value(value: Any) -> bool:
    """Parse a switch's value; raises BadParameter for what is neither True nor False."""
    text = str(value).lower()
    if text not in TRUE | FALSE:
        raise typer.BadParameter(f"{value!r} is neither True nor False.")
    return text in TRUE


def switch(*names: str, help: str, panel: str | None = None) -> Any:
    """Declare an option that takes True, False or nothing."""
    return typer.Option(
        *names, parser=switch_value, metavar=SWITCH_METAVAR, rich_help_panel=panel, help=help
    )


def _number_or_none(low: float, high: float = float("inf")) -> Callable[[Any], float | None]:
    def number(value: Any) -> float | None:
        if str(value).lower() == "none":
            return None
        try:
            parsed = float(value)
        except ValueError:
            raise typer.BadParameter(f"{value!r} is neither a number nor None.") from None
        if not low <= parsed <= high:
            raise typer.BadParameter(f"{value} is not in the range {low:g} to {high:g}.")
        return parsed

    return number


def _threshold(name: str, low: float, high: float = float("inf"), *, panel: str, help: str) -> Any:
    parser = _number_or_none(low, high)
    return typer.Option(name, parser=parser, metavar="X|None", rich_help_panel=panel, help=help)


def _option(*names: str, panel: str, help: str, **more: Any) -> Any:
    return typer.Option(*names, rich_help_panel=panel, help=help, **more)


def _choice(
    name: str, choices: tuple[str, ...], *, metavar: str, panel: str, help: str, **more: Any
) -> Any:
    def check(value: str) -> str:
        if value in choices:
            return value
        if name == "--device" and value.partition(":")[0] in ("cuda", "gpu", "mps", "rocm"):
            raise typer.BadParameter(
                f"{value!r} is a graphics card and this program runs on the AMD NPU or the CPU; "
                "use auto, npu or cpu."
            )
        raise typer.BadParameter(f"{value!r} is not one of {', '.join(choices)}.")

    return typer.Option(
        name,
        callback=check,
        metavar=metavar,
        autocompletion=lambda: list(choices),
        rich_help_panel=panel,
        help=help,
        **more,
    )


Audio = Annotated[
    list[str],
    typer.Argument(
        metavar="AUDIO",
        help="Files, folders (their audio files), quoted globs, or - for standard input.",
        show_default=False,
    ),
]
Raw = Annotated[
    str | None,
    _option(
        "--raw",
        panel=_INPUT,
        metavar="FORMAT:RATE[:CHANNELS]",
        help="All inputs are headerless samples, for example s16le:16000.",
    ),
]
ClipTimestamps = Annotated[
    str,
    _option(
        "--clip_timestamps",
        panel=_INPUT,
        metavar="START,END,...",
        help="Transcribe these stretches only, in seconds; the last end may be left out.",
    ),
]

Model = Annotated[
    str,
    _option(
        "--model",
        metavar="NAME",
        panel=_MODEL,
        envvar="WHISPER_NPU_MODEL",
        help="tiny, base, small, medium, large-v3-turbo, ... (downloaded once), OWNER/NAME on the "
        "Hugging Face hub, a folder, or demo (in the package, a demonstration only).",
    ),
]
ModelDir = Annotated[
    str | None,
    _option(
        "--model_dir",
        metavar="FOLDER",
        panel=_MODEL,
        envvar="WHISPER_NPU_MODEL_DIR",
        help="Keep downloaded models in this folder; the Hugging Face cache if not given.",
    ),
]
ModelDirectory = Annotated[
    str | None,
    _option(
        "--model_directory",
        metavar="FOLDER",
        panel=_MODEL,
        help="Load the model in this folder, whatever --model.",
    ),
]
LocalFilesOnly = Annotated[
    int, switch("--local_files_only", panel=_MODEL, help="Never use the network.")
]
Device = Annotated[
    str,
    _choice(
        "--device",
        DEVICES,
        metavar="DEVICE",
        panel=_MODEL,
        envvar="WHISPER_NPU_DEVICE",
        help="auto, npu, cpu or emulator: auto takes the best that works and says which, the "
        "others never fall back.",
    ),
]
ComputeType = Annotated[
    str,
    _choice(
        "--compute_type",
        COMPUTE_TYPES,
        metavar="TYPE",
        panel=_MODEL,
        help="Number type of the CPU engine: default, int8, float16, float32, ...",
    ),
]
Threads = Annotated[
    int,
    _option(
        "--threads", metavar="N", panel=_MODEL, min=0, help="CPU threads; 0 lets the engine choose."
    ),
]
BatchSize = Annotated[
    int, _option("--batch_size", metavar="N", panel=_MODEL, min=1, help="Windows decoded at once.")
]

OutputDir = Annotated[
    str,
    _option(
        "--output_dir", "-o", metavar="FOLDER", panel=_OUTPUT, help="Folder for written files."
    ),
]
OutputFormat = Annotated[
    list[str] | None,
    _option(
        "--output_format",
        "-f",
        panel=_OUTPUT,
        metavar="FORMAT",
        help="Write txt, srt, vtt, tsv, json, lrc or all; several as a comma list or by "
        "repetition. Without it nothing is written to disk.",
        show_default=False,
    ),
]
SkipExisting = Annotated[
    int,
    switch(
        "--skip-existing",
        panel=_OUTPUT,
        help="Write only formats whose file is missing; skip inputs that have them all.",
    ),
]
Json = Annotated[
    int,
    switch("--json", panel=_OUTPUT, help="Print one JSON object per input in place of text."),
]
PrettyJson = Annotated[
    int, switch("--pretty_json", "-p", panel=_OUTPUT, help="Indent JSON for reading.")
]
Verbose = Annotated[
    int, switch("--verbose", panel=_OUTPUT, help="Print start and end before each segment.")
]
ShowTimings = Annotated[
    int,
    switch(
        "--timings",
        panel=_OUTPUT,
        help="Show where the time went, stage by stage, on standard error (--no-timings: not).",
    ),
]
Quiet = Annotated[
    int,
    switch("--quiet", panel=_OUTPUT, help="Say nothing on standard error but problems."),
]

Task = Annotated[
    str,
    _choice(
        "--task",
        TASKS,
        metavar="TASK",
        panel=_DECODING,
        help="transcribe, or translate into English.",
    ),
]
Language = Annotated[
    str | None,
    _option(
        "--language",
        panel=_DECODING,
        metavar="CODE|NAME",
        help="de or German; detected from the first window if not given.",
    ),
]
Temperature = Annotated[
    float,
    _option("--temperature", metavar="X", panel=_DECODING, min=0.0, help="Of the first attempt."),
]
TemperatureIncrement = Annotated[
    float | None,
    _threshold(
        "--temperature_increment_on_fallback",
        0.01,
        panel=_DECODING,
        help="Added when an attempt fails a threshold, up to 1.0; None tries once.",
    ),
]
BestOf = Annotated[
    int,
    _option(
        "--best_of", metavar="N", panel=_DECODING, min=1, help="Samples at temperatures above 0."
    ),
]
BeamSize = Annotated[
    int,
    _option(
        "--beam_size",
        metavar="N",
        panel=_DECODING,
        min=1,
        help="Beams at temperature 0; 1 is greedy.",
    ),
]
Patience = Annotated[
    float, _option("--patience", metavar="X", panel=_DECODING, min=0.01, help="Of the beam search.")
]
LengthPenalty = Annotated[
    float, _option("--length_penalty", metavar="X", panel=_DECODING, help="Of the beam search.")
]
SuppressTokens = Annotated[
    str,
    _option(
        "--suppress_tokens",
        panel=_DECODING,
        metavar="ID,...",
        help="Never produce these; -1 stands for the model's own list of symbols.",
    ),
]
InitialPrompt = Annotated[
    str | None,
    _option(
        "--initial_prompt",
        metavar="TEXT",
        panel=_DECODING,
        help="Text as if spoken before the first window.",
    ),
]
CarryInitialPrompt = Annotated[
    int,
    switch("--carry_initial_prompt", panel=_DECODING, help="Repeat the prompt in every window."),
]
ConditionOnPreviousText = Annotated[
    int,
    switch(
        "--condition_on_previous_text",
        panel=_DECODING,
        help="Show each window the text before it; False breaks loops of repeated text.",
    ),
]
Hotwords = Annotated[
    str | None,
    _option("--hotwords", metavar="TEXT", panel=_DECODING, help="Words that are likely to occur."),
]

CompressionRatioThreshold = Annotated[
    float | None,
    _threshold(
        "--compression_ratio_threshold",
        0,
        panel=_SILENCE,
        help="Text that compresses better than this has failed.",
    ),
]
LogprobThreshold = Annotated[
    float | None,
    _threshold(
        "--logprob_threshold",
        float("-inf"),
        panel=_SILENCE,
        help="Text with a lower mean log probability has failed.",
    ),
]
NoSpeechThreshold = Annotated[
    float | None,
    _threshold(
        "--no_speech_threshold",
        0,
        1,
        panel=_SILENCE,
        help="Above this probability a window whose text has failed is silence.",
    ),
]
HallucinationSilenceThreshold = Annotated[
    float | None,
    _threshold(
        "--hallucination_silence_threshold",
        0,
        panel=_SILENCE,
        help="Skip longer silences, in seconds, around suspect text (needs --word_timestamps).",
    ),
]
VadFilter = Annotated[
    int, switch("--vad_filter", panel=_SILENCE, help="Skip stretches without speech.")
]
VadThreshold = Annotated[
    float,
    _option(
        "--vad_threshold", metavar="X", panel=_SILENCE, min=0.0, max=1.0, help="More is speech."
    ),
]
VadMinSilence = Annotated[
    int,
    _option(
        "--vad_min_silence_duration_ms",
        metavar="N",
        panel=_SILENCE,
        min=0,
        help="Shorter pauses do not end a stretch of speech.",
    ),
]

WordTimestamps = Annotated[
    int, switch("--word_timestamps", panel=_WORDS, help="Find when each word is spoken.")
]
PrependPunctuations = Annotated[
    str,
    _option(
        "--prepend_punctuations", metavar="TEXT", panel=_WORDS, help="Kept with the next word."
    ),
]
AppendPunctuations = Annotated[
    str,
    _option(
        "--append_punctuations", metavar="TEXT", panel=_WORDS, help="Kept with the word before."
    ),
]
MaxLineWidth = Annotated[
    int | None,
    _option(
        "--max_line_width", metavar="N", panel=_WORDS, min=1, help="Characters in a subtitle line."
    ),
]
MaxLineCount = Annotated[
    int | None,
    _option("--max_line_count", metavar="N", panel=_WORDS, min=1, help="Lines in a subtitle."),
]
MaxWordsPerLine = Annotated[
    int | None,
    _option(
        "--max_words_per_line", metavar="N", panel=_WORDS, min=1, help="Words in a subtitle line."
    ),
]
HighlightWords = Annotated[
    int,
    switch("--highlight_words", panel=_WORDS, help="Underline each word while it is spoken."),
]
