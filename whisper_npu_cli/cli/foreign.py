"""Flags of other Whisper programs that this one does not have: each is refused, never ignored.

Sources: `--help` of openai/whisper, whisper-ctranslate2, whisperX, whisper.cpp and
whisper-standalone. Names are written with underscores; the refusal covers dashes as well.
"""

from __future__ import annotations

from whisper_npu_cli.errors import UsageError

_NO_DIARIZATION = "speakers are not told apart by this program"
_NO_LIVE = (
    "pipe the microphone in instead, for example "
    "`ffmpeg -f pulse -i default -f wav - | whisper-npu -`"
)
_NO_ALIGNER = "use --word_timestamps, which aligns with the model itself"
_USE_FORMAT = "use --output_format"

FOREIGN = {
    # openai/whisper
    "--fp16": "use --compute_type float16, int8 or float32",
    # whisper-ctranslate2 and faster-whisper
    "--device_index": "there is one device of each kind; choose it with --device",
    "--print_colors": "use --word_timestamps with --output_format json to see probabilities",
    "--prompt_reset_on_temperature": "use --condition_on_previous_text False",
    "--prefix": "use --initial_prompt",
    "--suppress_blank": "blanks at the start are always suppressed",
    "--repetition_penalty": "use --compression_ratio_threshold against repetitions",
    "--no_repeat_ngram_size": "use --compression_ratio_threshold against repetitions",
    "--vad_min_speech_duration_ms": "use --vad_threshold or --vad_min_silence_duration_ms",
    "--vad_max_speech_duration_s": "use --vad_min_silence_duration_ms",
    "--vad_speech_pad_ms": "use --vad_threshold or --vad_min_silence_duration_ms",
    "--without_timestamps": "use --output_format txt, which has none",
    "--max_initial_timestamp": "leave it out; the usual 1.0 s holds",
    "--multilingual": "give --language, or leave it out to detect it",
    "--batched": "use --batch_size with a number greater than 1",
    "--cache_directory": "use --model_dir",
    "--hf_token": "set the environment variable HF_TOKEN",
    "--speaker_name": _NO_DIARIZATION,
    "--speaker_num": _NO_DIARIZATION,
    "--live_transcribe": _NO_LIVE,
    "--live_volume_threshold": _NO_LIVE,
    "--live_input_device": _NO_LIVE,
    "--live_input_device_sample_rate": _NO_LIVE,
    # whisperX
    "--model_cache_only": "use --local_files_only",
    "--align_model": _NO_ALIGNER,
    "--interpolate_method": _NO_ALIGNER,
    "--no_align": "leave out --word_timestamps",
    "--return_char_alignments": _NO_ALIGNER,
    "--vad_method": "use --vad_filter",
    "--vad_onset": "use --vad_threshold",
    "--vad_offset": "use --vad_threshold",
    "--chunk_size": "windows are always 30 s; use --batch_size for speed",
    "--chunk_length": "windows are always 30 s; use --batch_size for speed",
    "--segment_resolution": "use --max_line_width or --max_words_per_line",
    "--diarize": _NO_DIARIZATION,
    "--diarize_model": _NO_DIARIZATION,
    "--min_speakers": _NO_DIARIZATION,
    "--max_speakers": _NO_DIARIZATION,
    "--speaker_embeddings": _NO_DIARIZATION,
    "--print_progress": "progress is shown whenever standard error is a terminal",
    # whisper.cpp
    "--tinydiarize": _NO_DIARIZATION,
    "--output_txt": _USE_FORMAT,
    "--output_srt": _USE_FORMAT,
    "--output_vtt": _USE_FORMAT,
    "--output_lrc": _USE_FORMAT,
    "--output_json": _USE_FORMAT,
    "--output_json_full": _USE_FORMAT,
    "--output_csv": "use --output_format tsv",
    "--output_file": "use --output_dir; files are named after their input",
    "--file": "give the file without a flag",
    "--translate": "use --task translate",
    "--detect_language": "leave out --language",
    "--prompt": "use --initial_prompt",
    "--no_timestamps": "leave out --verbose, or use --output_format txt",
    "--no_prints": "use --quiet",
    "--no_gpu": "use --device cpu",
    "--no_fallback": "use --temperature_increment_on_fallback None",
    "--processors": "use --threads",
    "--offset_t": "use --clip_timestamps",
    "--duration": "use --clip_timestamps",
    "--max_len": "use --word_timestamps with --max_line_width",
    "--max_context": "use --condition_on_previous_text False",
    "--audio_ctx": "the encoder always sees whole windows, since shorter ones make text repeat",
    "--entropy_thold": "use --compression_ratio_threshold",
    "--logprob_thold": "use --logprob_threshold",
    "--no_speech_thold": "use --no_speech_threshold",
    "--vad": "use --vad_filter",
    # whisper-standalone
    "--batch_recursive": "give the folders, or a quoted glob such as 'talks/**/*.mp3'",
    "--skip": "use --skip-existing",
    "--sentence": "use --max_line_width",
    "--standard": "use --max_line_width 42 --max_line_count 2",
}


def refuse(flag: str) -> None:
    """Raise UsageError when `flag` is another program's, saying what to write instead."""
    instead = FOREIGN.get(flag[:2] + flag[2:].replace("-", "_"))
    if instead is not None:
        raise UsageError(f"{flag} is not supported here: {instead}.")
