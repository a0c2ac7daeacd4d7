"""A Transcriber that reads its transcript from the input file, so that the CLI is tested alone.

An input is JSON: `segments` (texts, one second each), `fault` ("audio", "crash", "device" or
"interrupt", raised after the segments), `warnings`, `duration`, `pause` (seconds before each
segment), `trouble` (of the device, told before the last segment), `launches` (of the encoder,
before each segment). Anything else is refused as no sound, as the real one does.
"""

import json
import signal
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import ClassVar

from whisper_npu_cli.errors import AudioError, DeviceError, ModelError
from whisper_npu_cli.pipeline.results import Engine, Result, Segment, Stage, Timings

MODULE = "whisper_npu_cli.pipeline.transcriber"
TYPES = {"encode": "default", "decode": "default"}
FAULTS = {
    "audio": AudioError("the sound breaks off."),
    "device": DeviceError("the device went away."),
    "crash": ZeroDivisionError("seventh"),
    "interrupt": KeyboardInterrupt(),
}


@dataclass
class Choice:
    device: str = "cpu"
    reason: str = "cpu: no Phoenix NPU on this machine"
    fallback_reason: str | None = None
    trouble: str = ""


@dataclass
class Transcription:
    script: dict
    transcriber: "FakeTranscriber"
    duration: float | None = None
    position: float = 0.0
    done: list[Segment] = field(default_factory=list)

    def __iter__(self):
        texts = self.script.get("segments", [])
        for index, text in enumerate(texts):
            for launch in range(self.script.get("launches", 0)):
                self.transcriber.progress(launch + 1, self.script["launches"])
            if index == len(texts) - 1 and "trouble" in self.script:
                self.transcriber.choice = Choice(trouble=self.script["trouble"])
            time.sleep(self.script.get("pause", 0))
            segment = Segment(index, 0, index, index + 1.0, f" {text}", [1, 2], 0.0, -0.5, 1.0, 0.1)
            self.position = segment.end
            self.done.append(segment)
            yield segment
        if "fault" in self.script:
            raise FAULTS[self.script["fault"]]

    def result(self):
        seconds = {"load": 0.125, "mel": 0.25, "encode": 0.5, "decode": 1.0, "other": 0.125}
        device = self.transcriber.choice.device
        cycles = {"encode": 12_345_678 * (device == "emulator")}
        places = dict.fromkeys(seconds, "cpu") | {"encode": device}
        stages = [Stage(n, places[n], s, cycles.get(n, 0)) for n, s in seconds.items()]
        return Result(
            text="".join(segment.text for segment in self.done),
            segments=self.done,
            language="en",
            timings=Timings(stages, 20.0, 1, 2 * len(self.done)),
            engine=Engine("base", device, places, TYPES, f"{device}: asked for"),
            warnings=self.script.get("warnings", []),
        )


class FakeTranscriber:
    """Remembers what it was made with and asked for, in the order of time."""

    made: ClassVar[list[dict]] = []
    asked: ClassVar[list[tuple]] = []

    def __init__(self, **arguments):
        self.progress = arguments.pop("progress", None)
        if arguments["device"] == "npu":
            raise DeviceError("The device npu cannot be used here.")
        if arguments["model"] == "nonsense":
            raise ModelError("There is no model called nonsense.")
        self.choice = Choice(*["emulator"] if arguments["device"] == "emulator" else [])
        encode = arguments.get("compute_type") if self.choice.device == "cpu" else "bfloat16"
        self.compute_types = {"encode": encode}
        self.load_seconds = 0.25
        self.made.append(arguments)

    def stream(self, source, options=None, *, raw=None, name=None):
        self.asked.append((name, options, raw))
        data = source.read_bytes() if isinstance(source, Path) else source.read()
        try:
            script = json.loads(data)
        except ValueError:
            raise AudioError(f"{name} is not a sound file; export it again.") from None
        return Transcription(script, self, script.get("duration"))

    def transcribe(self, source, options=None, *, raw=None, name=None):
        transcription = self.stream(Path(source), options, name=name)
        list(transcription)
        return transcription.result()


def module():
    """A stand-in for the pipeline's transcriber module."""
    fake = ModuleType(MODULE)
    fake.Transcriber = FakeTranscriber
    return fake


if __name__ == "__main__":  # the whole program in a process of its own
    sys.modules[MODULE] = module()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # even when started in the background
    from whisper_npu_cli.cli.app import main

    main()
