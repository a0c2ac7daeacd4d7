import json
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
from test_startup import HEAVY

import whisper_npu_cli.cli
from whisper_npu_cli.npu import probe
from whisper_npu_cli.npu.check import Report, fail, ok, unchecked, warn

SCHEMA = json.loads(
    (Path(whisper_npu_cli.cli.__path__[0]) / "doctor.schema.json").read_text("utf-8")
)
DOCUMENT = (Path(__file__).parents[2] / "docs/doctor.md").read_text("utf-8")
HEALTHY = [
    *(ok(name, f"{name} is well") for name in ("npu", "kernel", "driver", "firmware", "memlock")),
    ok("kernel-run", "mel.xclbin gave the right answer"),
]


@pytest.fixture
def found(monkeypatch):
    """What the probes find; `asked` is the self-test that they were asked for."""

    def examine(host, xclbins, selftest=""):
        found.asked = selftest
        return Report((*found.checks, *(found.emulated if selftest == "emulator" else ())))

    found = type("Found", (), {"checks": [*HEALTHY], "asked": None})
    found.emulated = [ok("self-test-emulated", "2 kernels gave the right answer")]
    monkeypatch.setattr(probe, "examine", examine)
    return found


def test_ready(command, found):
    code, out, err = command("doctor")
    assert (code, err) == (0, "")
    assert "The NPU is ready." in out
    assert command("doctor", "--json")[0] == 0


def test_not_ready_is_a_result_and_no_error(command, found):
    found.checks[0] = fail("npu", "no AMD NPU", "Use --device cpu.")
    code, out, err = command("doctor")
    assert (code, err) == (1, "")
    assert "The NPU is not ready; transcription runs on the CPU" in out
    assert command("doctor", "--json")[0] == 1


def test_table(command, found, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    found.checks += [
        warn("pyxrt", "[bold]/usr/lib[/] is not markup", "Run: sudo apt install [this]"),
        unchecked("open", "device-node"),
    ]
    lines = [line.rstrip() for line in command("doctor")[1].splitlines()]
    row = next(i for i, line in enumerate(lines) if line.strip().startswith("pyxrt"))
    assert lines[row].split(maxsplit=2) == ["pyxrt", "WARN", "[bold]/usr/lib[/] is not markup"]
    assert lines[row + 1].strip() == "Run: sudo apt install [this]"
    assert lines[row + 2].split(maxsplit=2)[2] == "not checked. Mend device-node first."


def test_nothing_is_cut_off_on_a_narrow_terminal(command, found, monkeypatch):
    monkeypatch.setenv("COLUMNS", "50")
    found.checks[0] = fail("npu", "a" * 70 + " and " + "b" * 70, "c" * 90)
    out = command("doctor")[1]
    assert [out.count(letter * 3) > 0 for letter in "abc"] == [True] * 3
    assert out.count("c") >= 90


def test_json_follows_its_schema(command, found):
    found.checks += [warn("pyxrt", "“quoted”", "Look.")]
    told = json.loads(command("doctor", "--json")[1])
    jsonschema.validate(told, SCHEMA)
    assert told["checks"][-1] == {
        "name": "pyxrt",
        "state": "WARN",
        "evidence": "“quoted”",
        "mend": "Look.",
    }


@pytest.mark.parametrize(
    "broken",
    [
        {"ready": 1},
        {"checks": [{"name": "npu", "state": "OK", "evidence": "x", "mend": "why?"}]},
        {"checks": [{"name": "npu", "state": "FAIL", "evidence": "x", "mend": ""}]},
        {"checks": [{"name": "tea", "state": "OK", "evidence": "x", "mend": ""}]},
        {"more": 1},
    ],
)
def test_the_schema_refuses(command, found, broken):
    told = json.loads(command("doctor", "--json")[1])
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(told | broken, SCHEMA)


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        ((), ""),
        (("--device", "emulator"), ""),
        (("--selftest",), "npu"),
        (("--selftest", "--device", "npu"), "npu"),
        (("--selftest", "True", "--device", "emulator"), "emulator"),
    ],
)
def test_selftest_and_device(command, found, words, asked):
    assert command("doctor", *words)[0] == 0
    assert found.asked == asked


def test_the_emulator_is_judged_when_it_was_asked_for(command, found):
    found.checks[0] = fail("npu", "no AMD NPU", "Use --device cpu.")
    code, out, _ = command("doctor", "--selftest", "--device", "emulator")
    assert code == 0
    assert "The emulator computes right, which proves nothing about an NPU." in out
    told = json.loads(command("doctor", "--selftest", "--device", "emulator", "--json")[1])
    assert told["ready"] is False
    found.emulated = [fail("self-test-emulated", "wrong answer", "Report it.")]
    code, out, _ = command("doctor", "--selftest", "--device", "emulator")
    assert (code, "does not compute right" in out) == (1, True)


@pytest.mark.parametrize(
    "words", [("--selftest", "--device", "cpu"), ("--device", "cuda"), ("a.wav",), ("--nope",)]
)
def test_wrong_usage(command, found, words):
    code, out, err = command("doctor", *words)
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1


def test_for_real_on_this_machine_without_any_numeric_library():
    program = (
        "import sys; from whisper_npu_cli.cli.app import run; code = run(['doctor', '--json']); "
        "print(*sys.modules, file=sys.stderr); sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode in (0, 1)
    jsonschema.validate(json.loads(done.stdout), SCHEMA)
    assert not set(done.stderr.split()) & HEAVY


def test_every_check_is_in_the_schema_and_documented():
    names = SCHEMA["properties"]["checks"]["items"]["properties"]["name"]["enum"]
    done = subprocess.run(
        [sys.executable, "-m", "whisper_npu_cli", "doctor", "--json"],
        capture_output=True,
        text=True,
    )
    told = [check["name"] for check in json.loads(done.stdout)["checks"]]
    assert [*told, "self-test-emulated"] == names
    assert [name for name in names if f"| `{name}` |" not in DOCUMENT] == []
    assert [key for key in SCHEMA["required"] if f"| `{key}` |" not in DOCUMENT] == []
