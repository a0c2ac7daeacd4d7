import json
import os
import re

import pytest

from whisper_npu_cli.pipeline.options import Options

TEXT = "hello\nworld\n"


def test_text_to_stdout_and_one_summary_line_to_stderr(command):
    sound = command.sound("a.wav")
    code, out, err = command(sound)
    assert (code, out) == (0, TEXT)
    auto, summary = err.splitlines()
    assert auto == "whisper-npu: auto chose cpu: no Phoenix NPU on this machine"
    assert summary == f"whisper-npu: {sound}: 20.0 s of audio in 2.0 s, 10.0x real time on cpu"
    assert os.listdir() == ["a.wav"]


def test_quiet_leaves_stderr_empty(command):
    assert command(command.sound(), "--quiet") == (0, TEXT, "")


def test_a_device_asked_for_by_name_needs_no_explanation(command):
    assert "auto" not in command(command.sound(), "--device", "cpu")[2]


def test_silence_is_no_error(command):
    path = command.folder / "quiet.wav"
    path.write_text("{}")
    assert command(path)[:2] == (0, "")


def test_verbose_prints_times_as_openai_whisper_does(command):
    _, out, _ = command(command.sound(), "--verbose", "True")
    assert out == "[00:00.000 --> 00:01.000]  hello\n[00:01.000 --> 00:02.000]  world\n"


def test_the_model_is_loaded_once_for_all_inputs(command):
    command.sound("b.wav", "two")
    code, out, err = command(command.sound("a.wav", "one"), "b.wav", "--quiet")
    assert (code, out, err) == (0, "one\ntwo\n", "")
    assert len(command.made) == 1
    assert [name for name, *_ in command.asked] == [str(command.folder / "a.wav"), "b.wav"]


def test_the_model_is_not_loaded_for_nothing(command):
    command("missing.wav")
    assert command.made == []


def test_every_option_reaches_the_pipeline(command):
    line = (
        "--language German --task translate --temperature 0.1 --best_of 3 --beam_size 2 "
        "--temperature_increment_on_fallback None --patience 2 --length_penalty 0.5 "
        "--compression_ratio_threshold None --logprob_threshold -2 --no_speech_threshold 0.5 "
        "--condition_on_previous_text False --initial_prompt ab --carry_initial_prompt "
        "--suppress_tokens 1,2 --hotwords cd --word_timestamps --prepend_punctuations ( "
        "--append_punctuations ) --clip_timestamps 1,2.5 --hallucination_silence_threshold 2 "
        "--vad_filter --vad_threshold 0.4 --vad_min_silence_duration_ms 100 --batch_size 8"
    )
    assert command(command.sound(), *line.split())[0] == 0
    assert command.asked[0][1] == Options(
        language="de",
        task="translate",
        temperature=0.1,
        temperature_increment_on_fallback=None,
        best_of=3,
        beam_size=2,
        patience=2.0,
        length_penalty=0.5,
        compression_ratio_threshold=None,
        logprob_threshold=-2.0,
        no_speech_threshold=0.5,
        condition_on_previous_text=False,
        initial_prompt="ab",
        carry_initial_prompt=True,
        suppress_tokens=(1, 2),
        hotwords="cd",
        word_timestamps=True,
        prepend_punctuations="(",
        append_punctuations=")",
        clip_timestamps=(1.0, 2.5),
        hallucination_silence_threshold=2.0,
        vad_filter=True,
        vad_threshold=0.4,
        vad_min_silence_duration_ms=100,
        batch_size=8,
    )


def test_defaults_are_those_of_the_python_api(command):
    command(command.sound())
    assert command.asked[0][1:] == (Options(), None)
    assert command.made[0] == {
        "model": "base",
        "device": "auto",
        "compute_type": "default",
        "threads": 0,
        "model_dir": None,
        "local_files_only": False,
    }


def test_model_options_reach_the_engine(command, monkeypatch):
    monkeypatch.setenv("WHISPER_NPU_MODEL", "tiny")
    monkeypatch.setenv("WHISPER_NPU_DEVICE", "cpu")
    monkeypatch.setenv("WHISPER_NPU_MODEL_DIR", "cache")
    sound = command.sound()
    command(sound, "--compute-type", "int8", "--threads", "2", "--local_files_only")
    assert command.made[0] == {
        "model": "tiny",
        "device": "cpu",
        "compute_type": "int8",
        "threads": 2,
        "model_dir": "cache",
        "local_files_only": True,
    }
    command(sound, "--model", "small")
    assert command.made[1]["model"] == "small"


def test_model_directory_is_a_folder_even_when_called_like_a_model(command):
    (command.folder / "tiny").mkdir()
    command(command.sound(), "--model_directory", "tiny")
    assert command.made[0]["model"] == str(command.folder / "tiny")
    code, _, err = command("a.wav", "--model_directory", "absent")
    assert (code, err) == (
        4,
        "whisper-npu: error: --model_directory absent is not a folder; check the path.\n",
    )


def test_raw_samples_from_standard_input(command, pipe):
    pipe(json.dumps({"segments": ["piped"]}).encode())
    assert command("-", "--raw", "s16le:8000:2", "--quiet") == (0, "piped\n", "")
    name, _, raw = command.asked[0]
    assert (name, raw.rate, raw.channels) == ("stdin", 8000, 2)


# files


def test_formats_are_written_and_the_text_still_printed(command):
    code, out, _ = command(
        command.sound("talk.wav"), "-f", "srt,txt", "-f", "json", "-o", "new/out"
    )
    assert (code, out) == (0, TEXT)
    assert sorted(os.listdir("new/out")) == ["talk.json", "talk.srt", "talk.txt"]
    assert (command.folder / "new/out/talk.txt").read_text() == TEXT
    assert "00:00:00,000 --> 00:00:01,000" in (command.folder / "new/out/talk.srt").read_text()


def test_all_formats_from_standard_input(command, pipe):
    pipe(b'{"segments": ["piped"]}')
    assert command("-", "--output_format", "all")[0] == 0
    assert sorted(os.listdir()) == [
        f"stdin.{name}" for name in ("json", "lrc", "srt", "tsv", "txt", "vtt")
    ]


def test_same_names_in_one_folder_keep_their_suffix(command):
    command.sound("a.mp3", "three")
    command.sound("b.mp3", "two")
    assert command(command.sound("a.wav", "one"), "a.mp3", "b.mp3", "-f", "txt")[0] == 0
    texts = {name: (command.folder / name).read_text() for name in os.listdir()}
    assert texts["a.wav.txt"] == "one\n"
    assert texts["a.mp3.txt"] == "three\n"
    assert texts["b.txt"] == "two\n"


def test_same_names_from_two_folders_are_refused_before_any_work(command):
    command.sound("x/a.wav")
    command.sound("y/a.wav")
    code, out, err = command("x/a.wav", "y/a.wav", "-f", "txt")
    assert (code, out) == (2, "")
    assert err == (
        "whisper-npu: error: x/a.wav and y/a.wav would both be written to a.wav.txt; transcribe "
        "them in two runs with different --output_dir.\n"
    )
    assert command("x/a.wav", "y/a.wav")[0] == 0  # nothing is written, nothing collides


def test_a_transcript_never_replaces_its_sound(command):
    sound = command.sound("a.txt")
    before = sound.read_bytes()
    code, _, err = command(sound, "-f", "txt")
    assert code == 2 and "would replace the input" in err
    assert sound.read_bytes() == before


def test_skip_existing_looks_at_each_format(command):
    sound = command.sound()
    (command.folder / "a.txt").write_text("mine")
    code, _, err = command(sound, "-f", "txt,srt", "--skip-existing")
    assert (command.folder / "a.txt").read_text() == "mine"
    assert (command.folder / "a.srt").exists()
    assert len(command.made) == 1
    code, out, err = command(sound, "-f", "txt,srt", "--skip-existing")
    assert (code, out) == (0, "") and "skipped" in err
    assert len(command.made) == 1  # neither decoded nor even loaded


def test_json_lines(command):
    command.sound("b.wav", "schön")
    code, out, _ = command(command.sound(), "b.wav", "--json")
    assert code == 0
    first, second = map(json.loads, out.splitlines())
    assert second["engine"]["input"] == "b.wav"
    assert first["text"] == " hello world"
    assert second["segments"][0]["text"] == " schön"
    assert first["engine"]["device"] == "cpu"
    _, out, _ = command("b.wav", "--json", "--pretty_json")
    assert out.startswith("{\n  ") and json.loads(out) == second


def test_the_timing_table(command):
    command.sound()
    _, out, err = command("a.wav", "--timings")
    rows = {name: cells for name, *cells in _cells(err)}
    assert list(rows) == ["stage", "load audio", "mel", "encode", "decode", "other", "total"]
    assert rows["encode"] == ["cpu", "0.500", "25.0%", "0.0250"]
    assert rows["decode"] == ["cpu", "1.000", "50.0%", "0.0500", "4", "4.0"]
    assert rows["total"] == ["cpu", "2.000", "100.0%", "0.1000"]
    assert out == TEXT
    assert not list(_cells(command("a.wav")[2]))
    assert not list(_cells(command("a.wav", "--timings", "--no-timings")[2]))


def test_emulated_stages_are_marked(command):
    command.sound()
    code, _, err = command("a.wav", "--timings", "--device", "emulator")
    rows = {name: cells for name, *cells in _cells(err)}
    assert code == 0
    assert rows["encode"][:2] == ["emulator", "0.500"]
    assert rows["total"][0] == "several"
    told = " ".join(err.split())
    assert "encode: 12,345,678 cycles, 0.0123 s at 1.0 GHz. Emulated, not measured" in told
    assert "10.0x real time on the emulator, which is no measurement of an NPU" in told
    assert "Emulated" not in command("a.wav", "--timings")[2]


@pytest.mark.parametrize(
    ("device", "compute_type", "said"),
    [("emulator", "int8", True), ("emulator", "default", False), ("cpu", "int8", False)],
)
def test_who_computes_in_what_is_said(command, device, compute_type, said):
    command.sound()
    _, _, err = command("a.wav", "--device", device, "--compute_type", compute_type)
    sentence = (
        f"whisper-npu: --compute_type {compute_type} is the decoder's, on the CPU; the encoder "
        f"computes in bfloat16 on {device}\n"
    )
    assert (sentence in err) is said


def _cells(err):
    """The timing table's rows of cells; empty when there is none."""
    _, _, table = err.partition("Where the time of a.wav went")
    for line in table.splitlines():
        if any(character.isalnum() for character in line):
            yield re.split(r"\s{2,}", line.strip())


# faults


def test_one_bad_input_does_not_stop_the_others(command):
    (command.folder / "bad.wav").write_text("this is no sound")
    command.sound("c.wav", "three")
    code, out, err = command("gone.wav", "bad.wav", "c.wav", "-f", "txt")
    assert (code, out) == (1, "three\n")
    assert "error: gone.wav does not exist; check the name and the folder.\n" in err
    assert "error: bad.wav is not a sound file; export it again.\n" in err
    assert sorted(os.listdir()) == ["bad.wav", "c.txt", "c.wav"]


def test_a_device_that_fails_without_harm_is_told_of_once(command):
    sentence = "The NPU failed while running x; use --device cpu. The CPU goes on."
    command.sound("b.wav", "next", trouble=sentence)
    code, out, err = command(command.sound(trouble=sentence), "b.wav", "--quiet")
    assert (code, out) == (0, f"{TEXT}next\n")
    assert err == f"whisper-npu: warning: {sentence}\n"


@pytest.mark.parametrize("fault", ["audio", "crash"])
def test_a_fault_in_the_middle_keeps_what_is_done(command, fault):
    command.sound("b.wav", "next")
    code, out, err = command(command.sound(fault=fault), "b.wav", "-f", "txt")
    assert (code, out) == (1, f"{TEXT}next\n")
    assert (command.folder / "a.txt").read_text() == TEXT
    assert "only the first 2.0 s are transcribed" in err
    assert "Traceback" not in err
    said = {
        "audio": "the sound breaks off.",
        "crash": "a.wav: unexpected ZeroDivisionError (seventh); run again with --debug",
    }
    assert said[fault] in err


def test_a_fault_at_the_start_writes_nothing(command):
    path = command.folder / "a.wav"
    path.write_text('{"fault": "audio"}')
    assert command(path, "-f", "all", "--json")[:2] == (1, "")
    assert os.listdir() == ["a.wav"]


def test_a_lost_device_stops_the_run_with_its_own_code(command):
    command.sound("b.wav", "next")
    code, out, err = command(command.sound(fault="device"), "b.wav", "-f", "txt")
    assert (code, out) == (3, TEXT)
    assert "error: the device went away." in err
    assert (command.folder / "a.txt").exists()


def test_an_interrupt_keeps_what_is_done(command):
    command.sound("b.wav", "next")
    code, out, err = command(command.sound(fault="interrupt"), "b.wav", "-f", "txt")
    assert (code, out) == (130, TEXT)
    assert (command.folder / "a.txt").read_text() == TEXT
    assert err.endswith("whisper-npu: interrupted\n")


def test_warnings_about_the_input_fail_it_but_keep_everything(command):
    code, out, err = command(
        command.sound(warnings=["a.wav is cut short."]), "-f", "txt", "--quiet"
    )
    assert (code, out) == (1, TEXT)
    assert err == "whisper-npu: warning: a.wav is cut short.\n"
    assert (command.folder / "a.txt").exists()


def test_debug_shows_the_traceback(command):
    sound = command.sound(fault="crash")
    assert "Traceback" in command(sound, "--debug")[2]
    assert "Traceback" not in command(sound, "--debug", "False")[2]
    assert "Traceback" in command("--debug", sound, "--model", "nonsense")[2]


def test_devices_and_models_that_are_not_there(command):
    code, out, err = command(command.sound(), "--device", "npu")
    assert (code, out) == (3, "")
    assert err == "whisper-npu: error: The device npu cannot be used here.\n"
    assert command("a.wav", "--model", "nonsense")[0] == 4


def test_an_unwritable_output_folder(command, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK | os.X_OK)  # not as root
    code, _, err = command(command.sound(), "-f", "txt", "-o", "locked")
    assert code == 1
    assert "output folder locked is not writable; choose another --output_dir." in err
    assert command.made == []


def test_one_unwritable_file_does_not_stop_the_others(command):
    command.sound("b.wav", "next")
    (command.folder / "a.txt").mkdir()
    code, out, err = command(command.sound(), "b.wav", "-f", "txt")
    assert (code, out) == (1, f"{TEXT}next\n")
    assert "a.txt" in err and "cannot be written" in err and "Traceback" not in err
    assert (command.folder / "b.txt").read_text() == "next\n"


def test_an_output_folder_that_is_a_file(command):
    code, _, err = command(command.sound(), "-f", "txt", "-o", "a.wav")
    assert code == 1
    assert "output folder a.wav cannot be created" in err


# wrong usage: exit 2, a sentence that names the option, no work done


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("--device cuda", "cuda"),
        ("--device tpu", "not one of auto, npu, cpu, emulator"),
        ("--compute_type bfloat16", "--compute_type"),
        ("--task sing", "--task"),
        ("--language klingon", "--language 'klingon' is unknown"),
        ("--output_format docx", "--output_format 'docx' is unknown"),
        ("--output_format srt,", "--output_format '' is unknown"),
        ("--output_dir out", "--output_dir needs --output_format"),
        ("--skip-existing", "--skip-existing needs --output_format"),
        ("--max_line_width 40", "--max_line_width needs --word_timestamps"),
        ("--max_line_count 2", "--max_line_count needs --word_timestamps"),
        ("--max_words_per_line 3", "--max_words_per_line needs --word_timestamps"),
        ("--highlight_words True", "--highlight_words needs --word_timestamps"),
        ("--hallucination_silence_threshold 2", "needs --word_timestamps"),
        ("--word_timestamps=maybe", "neither True nor False"),
        ("--temperature -1", "--temperature"),
        ("--temperature nan", "--temperature"),
        ("--length_penalty nan", "--length_penalty nan"),
        ("--temperature_increment_on_fallback 0", "--temperature_increment_on_fallback"),
        ("--best_of 0", "--best_of"),
        ("--beam_size 0", "--beam_size"),
        ("--beam_size five", "--beam_size"),
        ("--patience 0", "--patience"),
        ("--compression_ratio_threshold -1", "--compression_ratio_threshold"),
        ("--logprob_threshold nan", "--logprob_threshold"),
        ("--no_speech_threshold 1.5", "--no_speech_threshold"),
        ("--no_speech_threshold much", "neither a number nor None"),
        ("--vad_threshold 2", "--vad_threshold"),
        ("--vad_min_silence_duration_ms -1", "--vad_min_silence_duration_ms"),
        ("--threads -1", "--threads"),
        ("--batch_size 0", "--batch_size"),
        ("--suppress_tokens a", "--suppress_tokens 'a' is not a list of numbers"),
        ("--clip_timestamps 5,1", "--clip_timestamps"),
        ("--clip_timestamps 0,inf", "--clip_timestamps"),
        ("--raw s16le", "s16le"),
        ("--fp16 True", "--fp16 is not supported here"),
        ("--unheard_of", "--unheard_of"),
        ("--model", "--model"),
    ],
)
def test_refusals(command, line, said):
    code, out, err = command(command.sound(), *line.split())
    assert (code, out) == (2, "")
    assert err.startswith("whisper-npu: error: ") and said in err
    assert len(err.splitlines()) == 1
    assert command.asked == []
    assert os.listdir() == ["a.wav"]
