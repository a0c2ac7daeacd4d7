import io
import os
import struct
import threading
from contextlib import suppress
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from faster_whisper.audio import decode_audio

from whisper_npu_cli.errors import AudioError
from whisper_npu_cli.pipeline.audio import open_audio

KINDS = ["wav", "flac", "mp3", "ogg", "m4a", "webm"]


def tone(rate=16000, seconds=3.0, hertz=440.0, amplitude=0.5):
    return amplitude * np.sin(2 * np.pi * hertz * np.arange(round(rate * seconds)) / rate)


def noise(*shape, seed=1):
    return np.random.default_rng(seed).uniform(-0.4, 0.4, shape)


def encode(path: Path, samples, rate):
    """By FFmpeg, for what soundfile cannot write."""
    form, codec = {".m4a": ("mp4", "aac"), ".webm": ("webm", "libopus")}[path.suffix]
    with av.open(path, "w", format=form) as container:
        stream = container.add_stream(codec, rate=rate)
        stream.layout = "mono"
        frame = av.AudioFrame.from_ndarray(samples[None].astype(np.float32), "flt", "mono")
        frame.sample_rate, frame.pts = rate, 0
        resampler = av.AudioResampler(stream.codec_context.format, "mono", rate, 960)
        for part in [*resampler.resample(frame), *resampler.resample(None)]:
            container.mux(stream.encode(part))
        container.mux(stream.encode(None))


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Three seconds of tone and noise at 48 kHz in each container."""
    folder = tmp_path_factory.mktemp("sounds")
    samples = tone(48000) + noise(144000) / 10
    for kind in KINDS:
        path = folder / f"x.{kind}"
        if kind in ("m4a", "webm"):
            encode(path, samples, 48000)
        else:
            soundfile.write(path, samples, 48000)
    return folder


def read_all(reader, n=7777):
    with reader:
        blocks = []
        while len(block := reader.read(n)):
            blocks.append(block)
        return np.concatenate(blocks)


def refusal(source, **options):
    with pytest.raises(AudioError) as caught:
        read_all(open_audio(source, **options))
    message = str(caught.value)
    assert message.endswith(".") and "\n" not in message
    return message


class Pipe:
    """What cannot seek, and gives less than was asked for."""

    def __init__(self, data, most=1 << 30):
        self._file = io.BytesIO(data)
        self._most = most

    def read(self, n=-1):
        return self._file.read(min(n, self._most))


@pytest.mark.parametrize("kind", KINDS)
def test_files_decode_to_faster_whispers_samples(files, kind):
    path = files / f"x.{kind}"
    reader = open_audio(path)
    assert reader.duration == pytest.approx(3, abs=0.05)
    assert np.array_equal(read_all(reader), decode_audio(str(path)))
    assert reader.warnings == []


def test_long_files_decode_to_faster_whispers_samples(tmp_path):
    path = tmp_path / "long.flac"  # more than one group of frames for the resampler
    soundfile.write(path, noise(44100 * 40, 2), 44100)
    assert np.array_equal(read_all(open_audio(path)), decode_audio(str(path)))


@pytest.mark.parametrize("kind", KINDS)
def test_pipes_decode_as_files_do(files, kind):
    data = (files / f"x.{kind}").read_bytes()
    expected = decode_audio(io.BytesIO(data))
    piped = read_all(open_audio(Pipe(data)))
    if kind == "mp3":  # the encoder's padding at the end is known to seekable files only
        assert 0 <= len(piped) - len(expected) < 1200
        piped = piped[: len(expected)]
        assert np.abs(piped[:-50] - expected[:-50]).max() < 1e-4
    else:
        assert np.array_equal(piped, expected)


@pytest.mark.parametrize("kind", ["wav", "m4a"])
def test_a_pipe_of_the_system(files, kind):
    data = (files / f"x.{kind}").read_bytes()
    reading, writing = os.pipe()

    def feed():
        with os.fdopen(writing, "wb") as end:
            end.write(data)

    thread = threading.Thread(target=feed)
    thread.start()
    with os.fdopen(reading, "rb") as stream:
        piped = read_all(open_audio(stream))
    thread.join()
    assert np.array_equal(piped, decode_audio(io.BytesIO(data)))


def test_an_m4a_pipe_longer_than_ffmpegs_buffers(tmp_path):
    path = tmp_path / "x.m4a"  # its index is at the end
    encode(path, noise(16000 * 60), 16000)
    data = path.read_bytes()
    assert data.rindex(b"moov") > 300_000
    assert np.array_equal(read_all(open_audio(Pipe(data))), decode_audio(str(path)))


def test_a_named_pipe_by_its_path(files, tmp_path):
    path = tmp_path / "fifo"
    os.mkfifo(path)
    data = (files / "x.m4a").read_bytes()
    thread = threading.Thread(target=path.write_bytes, args=(data,))
    thread.start()
    piped = read_all(open_audio(path))
    thread.join()
    assert np.array_equal(piped, decode_audio(io.BytesIO(data)))


@pytest.mark.parametrize("size", [0, 0xFFFFFFFF, 0x7FFFFFFF, 0x7FFFF000])
def test_sizes_that_programs_write_into_pipes_promise_nothing(files, size):
    data = bytearray((files / "x.wav").read_bytes())
    data[40:44] = struct.pack("<I", size)
    expected = decode_audio(str(files / "x.wav"))
    for source in Pipe(bytes(data)), io.BytesIO(bytes(data)):
        reader = open_audio(source)
        assert np.array_equal(read_all(reader), expected)
        assert reader.warnings == []


@pytest.mark.parametrize("kind", ["wav", "flac", "mp3"])
@pytest.mark.parametrize("wrap", [io.BytesIO, Pipe])
def test_truncated_files_are_decoded_and_reported(files, kind, wrap):
    data = (files / f"x.{kind}").read_bytes()
    whole = decode_audio(str(files / f"x.{kind}"))
    reader = open_audio(wrap(data[: len(data) // 2]), name=f"short.{kind}")
    part = read_all(reader)
    assert 0.8 * 16000 < len(part) < 2 * 16000
    assert np.abs(part[:9600] - whole[:9600]).max() < 1e-3
    if kind == "mp3" and wrap is Pipe:
        assert reader.warnings == []  # the length stands in a header that needs seeking
        return
    (sentence,) = reader.warnings
    assert f"short.{kind} is cut short" in sentence
    assert f"{len(part) / 16000:.1f} s of the 3.0 s" in sentence


def test_a_wav_file_with_long_metadata_keeps_its_promise(files):
    data = (files / "x.wav").read_bytes()
    junk = struct.pack("<4sI", b"JUNK", 5001) + bytes(5002)
    data = data[:12] + junk + data[12:]
    reader = open_audio(io.BytesIO(data[:100_000]))
    read_all(reader)
    assert "of the 3.0 s" in reader.warnings[0]


def test_an_mp3_file_behind_a_picture_keeps_its_promise(files):
    data = (files / "x.mp3").read_bytes()
    size = 200_000
    tag = b"ID3\x03\0\0" + bytes(size >> shift & 127 for shift in (21, 14, 7, 0)) + bytes(size)
    reader = open_audio(io.BytesIO(tag + data[: len(data) // 2]))
    read_all(reader)
    assert "of the 3.0 s" in reader.warnings[0]


def test_an_mp3_file_without_a_frame_count_promises_nothing(files):
    data = (files / "x.mp3").read_bytes()
    first = data.index(b"\xff\xfb", data.index(b"Info") if b"Info" in data else data.index(b"Xing"))
    reader = open_audio(io.BytesIO(data[first : len(data) // 2]))
    read_all(reader)
    assert reader.warnings == []


def test_a_damaged_middle_costs_only_itself(files):
    data = bytearray((files / "x.mp3").read_bytes())
    middle = len(data) // 2
    data[middle : middle + 3000] = np.random.default_rng(2).bytes(3000)
    reader = open_audio(io.BytesIO(bytes(data)), name="hurt.mp3")
    samples = read_all(reader)
    assert 2 * 16000 < len(samples) < 2.95 * 16000
    assert "hurt.mp3 is cut short or damaged" in reader.warnings[0]


def test_missing_file(tmp_path):
    assert "gone.wav does not exist" in refusal(tmp_path / "gone.wav")


def test_folder(tmp_path):
    assert "is a folder" in refusal(tmp_path)


def test_unreadable_file(tmp_path):
    path = tmp_path / "secret.wav"
    soundfile.write(path, tone(), 16000)
    path.chmod(0)
    me = os.geteuid()
    try:
        if me == 0:  # root may read everything
            os.seteuid(65534)
        assert "permission denied" in refusal(path)
    finally:
        os.seteuid(me)


@pytest.mark.parametrize("wrap", [io.BytesIO, Pipe])
@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "is empty"),
        (b"Dear diary, today I rename a text.\n" * 99, "is not a sound file"),
        (np.random.default_rng(0).bytes(50_000), "is not a sound file"),
        (b"RIFF", "is not a sound file"),
        (b"RIFF\x24\0\0\0WAVEfmt ", "is not a sound file"),
        (b"\0\0\0\x18ftypM4A " + bytes(1000), "the index of this MP4 file is missing"),
        (b"#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:3,\nx.wav\n", "x.wav"),
    ],
)
def test_data_that_is_not_sound(data, words, wrap):
    message = refusal(wrap(data), name="x.wav")
    assert "x.wav" in message and words in message


def test_an_m4a_file_that_lost_its_end(files):
    data = (files / "x.m4a").read_bytes()
    assert "is cut short" in refusal(io.BytesIO(data[: len(data) // 2]))


def test_an_image_has_no_sound(tmp_path):
    path = tmp_path / "x.png"
    with av.open(path, "w", format="image2") as container:
        stream = container.add_stream("png", rate=1)
        stream.width = stream.height = 16
        stream.pix_fmt = "rgb24"
        frame = av.VideoFrame.from_ndarray(np.zeros((16, 16, 3), np.uint8), "rgb24")
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    assert "has no audio stream" in refusal(path)


def test_a_file_without_samples(tmp_path, files):
    path = tmp_path / "nothing.wav"
    soundfile.write(path, np.zeros(0), 16000)
    assert "holds no audio samples" in refusal(path)
    path = tmp_path / "header.flac"
    path.write_bytes((files / "x.flac").read_bytes()[:200])
    assert "holds no audio samples" in refusal(path)


@pytest.mark.parametrize("rate", [8000, 16000, 44100, 192000])
def test_ten_milliseconds(tmp_path, rate):
    path = tmp_path / "short.wav"
    soundfile.write(path, tone(rate, 0.01), rate)
    assert 150 <= len(read_all(open_audio(path))) <= 170


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("subtype", ["FLOAT", "DOUBLE"])
@pytest.mark.parametrize("channels", [1, 2])
def test_samples_that_are_not_numbers_are_silence(tmp_path, bad, subtype, channels):
    samples = np.tile(tone()[:, None], channels)
    repaired = samples.copy()
    samples[24000:24010, -1], repaired[24000:24010, -1] = bad, 0
    path, clean = tmp_path / "bad.wav", tmp_path / "clean.wav"
    soundfile.write(path, samples, 16000, subtype=subtype)
    soundfile.write(clean, repaired, 16000, subtype=subtype)
    reader = open_audio(path)
    assert np.array_equal(read_all(reader), decode_audio(str(clean)))
    (sentence,) = reader.warnings
    assert "bad.wav holds 10 samples that are not numbers, the first at 1.50 s" in sentence


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 22050, 44100, 48000, 96000, 192000])
def test_every_rate_keeps_a_tone(tmp_path, rate):
    path = tmp_path / "x.wav"
    soundfile.write(path, tone(rate, 2.0, hertz=1000), rate)
    samples = read_all(open_audio(path))
    assert abs(len(samples) - 32000) <= 2
    expected = tone(16000, 2.0, hertz=1000)[: len(samples)]
    assert np.abs(samples - expected)[200:-200].max() < 2e-3


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"])
def test_every_depth(tmp_path, subtype):
    path = tmp_path / "x.wav"
    soundfile.write(path, tone(), 16000, subtype=subtype)
    worst = 1 / 128 if subtype == "PCM_U8" else 1 / 32768
    assert np.abs(read_all(open_audio(path)) - tone()).max() <= worst


def test_two_channels_are_their_mean(tmp_path):
    samples = noise(48000, 2)
    path = tmp_path / "x.wav"
    soundfile.write(path, samples, 16000, subtype="FLOAT")
    mixed = read_all(open_audio(path))
    assert np.abs(mixed - samples.mean(axis=1)).max() <= 1.01 / 32768


def test_six_channels_keep_what_is_said_in_the_middle(tmp_path):
    samples = np.zeros((48000, 6))
    samples[:, 2] = tone()  # centre
    path = tmp_path / "x.wav"
    soundfile.write(path, samples, 16000)
    mixed = read_all(open_audio(path))
    gain = mixed @ tone() / (tone() @ tone())
    assert 0.2 < gain <= 1
    assert np.abs(mixed - gain * tone()).max() < 1e-3


@pytest.mark.parametrize(
    "name",
    ["a b.wav", "new\nline.wav", "\N{PARROT}.wav", "-n.wav", "http:x.wav", "%d.wav", b"\xff.wav"],
)
def test_names_are_only_names(tmp_path, name):
    path = tmp_path / os.fsdecode(name)
    path.write_bytes(b"no sound")
    assert os.linesep not in refusal(path)
    with path.open("wb") as file:
        soundfile.write(file, tone(), 16000, format="wav")
    assert len(read_all(open_audio(path))) == 48000
    assert len(read_all(open_audio(str(path)))) == 48000


def test_arrays_are_taken_as_they_are():
    for dtype in np.float32, np.float64, np.float16:
        samples = tone().astype(dtype)
        reader = open_audio(samples)
        assert reader.duration == 3
        read = read_all(reader)
        assert read.dtype == np.float32
        assert np.array_equal(read, samples.astype(np.float32))


def test_arrays_with_holes_are_repaired_and_left_alone():
    samples = tone().astype(np.float32)
    samples[16000] = np.nan
    reader = open_audio(samples)
    assert read_all(reader)[16000] == 0
    assert "the input holds 1 samples that are not numbers, the first at 1.00 s" in str(
        reader.warnings
    )
    assert np.isnan(samples[16000])


@pytest.mark.parametrize(
    "array", [np.zeros((2, 100), np.float32), np.zeros(100, np.int16), [0.0, 0.1]]
)
def test_other_arrays_are_refused(array):
    assert "one-dimensional float array" in refusal(array)


def test_an_empty_array_is_refused():
    assert "holds no audio samples" in refusal(np.zeros(0, np.float32))


def test_a_source_that_breaks_off_names_the_place(files):
    class Broken(Pipe):
        def read(self, n=-1):
            data = super().read(n)
            if self._file.tell() > 200_000:
                raise OSError(5, "Input/output error")
            return data

    data = (files / "x.wav").read_bytes()
    assert "Input/output error" in refusal(Broken(data, most=8192), name="tape.wav")


def test_ffmpeg_says_nothing(files, tmp_path, capfd):
    for path in sorted(files.iterdir()):
        data = bytearray(path.read_bytes())
        data[len(data) // 2 : len(data) // 2 + 200] = b"?" * 200
        for part in data, data[: len(data) // 3], b"ID3" + data[:100], b"#EXTM3U\nhttp://[" + data:
            with suppress(AudioError):
                read_all(open_audio(io.BytesIO(bytes(part))))
    assert capfd.readouterr() == ("", "")


def test_own_files_are_closed_and_those_of_others_stay_open(files):
    stream = (files / "x.wav").open("rb")
    read_all(open_audio(stream))
    assert not stream.closed
    stream.close()
    before = len(os.listdir("/proc/self/fd"))
    for path in files / "x.wav", files / "x.m4a":
        with open_audio(path):
            pass
    with pytest.raises(AudioError):
        open_audio(__file__)
    assert len(os.listdir("/proc/self/fd")) == before
