import pytest

from whisper_npu_cli.pipeline.timings import STAGES, StageClock

DEVICES = dict.fromkeys(STAGES, "cpu") | {"encode": "npu"}


class Hands:
    """A clock that the test moves."""

    now = 100.0

    def __call__(self):
        return self.now


def test_other_is_what_no_stage_accounts_for():
    hands = Hands()
    clock = StageClock(hands)
    with clock.running():
        hands.now += 1
        with clock.stage("load"):
            hands.now += 2
        clock.add("encode", 3.0, 2)
        clock.add("decode", 4.0, 50)
        clock.add("decode", 0.5)
        hands.now += 7.5
    hands.now += 1000  # the caller's own time
    timings = clock.timings(DEVICES, audio_seconds=21.0)
    assert [(s.name, s.seconds) for s in timings.stages] == [
        ("load", 2.0), ("mel", 0.0), ("encode", 3.0), ("decode", 4.5), ("other", 1.0)
    ]  # fmt: skip
    assert [s.device for s in timings.stages] == ["cpu", "cpu", "npu", "cpu", "cpu"]
    assert (timings.windows, timings.tokens) == (2, 50)
    assert (timings.total, timings.rtf, timings.speed) == (10.5, 0.5, 2.0)


def test_time_before_an_error_counts():
    hands = Hands()
    clock = StageClock(hands)
    with pytest.raises(KeyboardInterrupt), clock.running(), clock.stage("load"):
        hands.now += 2
        raise KeyboardInterrupt
    assert clock.timings(DEVICES, 0.0).total == 2
    assert clock.timings(DEVICES, 0.0).rtf == 0


def test_an_unknown_stage_is_an_error():
    with pytest.raises(KeyError):
        StageClock().add("encoder", 1.0)
