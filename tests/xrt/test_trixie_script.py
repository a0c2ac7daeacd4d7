"""scripts/trixie with stand-ins for the programs that it starts: never half a folder."""

import os
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts/trixie"
STAND_INS = {
    "id": "echo 0",
    "uname": "echo x86_64",
    "unshare": 'shift; exec "$@"',
    "wget": "exit 0",
    "chroot": "exit 0",
    "apt-config": "exit 0",
    "debootstrap": 'echo called >>"$CALLS"; mkdir -p "$3/etc/apt"; echo unpacking',
}


class Script:
    def __init__(self, folder: Path):
        self.folder = folder / "trixie"
        self.calls = folder / "calls"
        self.calls.touch()
        self.bin = folder / "bin"
        self.bin.mkdir()
        for name, text in STAND_INS.items():
            self.stand_in(name, text)

    def stand_in(self, name, text):
        program = self.bin / name
        program.write_text(f"#!/bin/sh\n{text}\n")
        program.chmod(0o755)

    def __call__(self):
        environ = os.environ | {
            "PATH": f"{self.bin}:/usr/bin:/bin",
            "CALLS": str(self.calls),
            "HOME": str(self.bin),
        }
        command = [SCRIPT, self.folder]
        return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60)

    @property
    def builds(self):
        return self.calls.read_text().count("called")


@pytest.fixture
def script(tmp_path):
    return Script(tmp_path)


def test_a_second_run_finds_the_folder(script):
    done = script()
    assert (done.returncode, done.stdout) == (0, f"{script.folder}\n"), done.stderr
    assert (
        (script.folder / "etc/apt/sources.list")
        .read_text()
        .splitlines()[1]
        .endswith("/debian trixie-backports main")
    )
    assert script().returncode == 0
    assert script.builds == 1
    assert not Path(f"{script.folder}.partial").exists()


def test_a_changed_recipe_builds_again(script):
    script()
    (script.folder / "etc/whisper-npu-recipe").write_text("trixie other packages\n")
    script()
    assert script.builds == 2


def test_a_folder_that_was_never_finished_is_not_taken_for_one(script):
    (script.folder / "etc").mkdir(parents=True)
    leftover = Path(f"{script.folder}.partial/old")
    leftover.mkdir(parents=True)
    assert script().returncode == 0
    assert script.builds == 1
    assert not leftover.exists()


@pytest.mark.parametrize("name", ["debootstrap", "chroot"])
def test_a_failed_build_leaves_nothing_under_the_name(script, name):
    script.stand_in(name, "echo no space left; exit 1")
    done = script()
    assert done.returncode == 1
    assert "no space left" in done.stderr
    assert "could not be built" in done.stderr
    assert not script.folder.exists()
    script.stand_in(name, STAND_INS[name])
    assert script().returncode == 0


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("id", "echo 1000", "needs root"),
        ("uname", "echo aarch64", "this is aarch64"),
        ("unshare", "exit 1", "does not permit mounts"),
        ("wget", "exit 4", "cannot be reached"),
    ],
)
def test_where_it_cannot_run_it_says_why(script, name, text, reason):
    script.stand_in(name, text)
    done = script()
    assert (done.returncode, done.stdout) == (77, "")
    assert done.stderr.startswith("trixie: skipped: ")
    assert reason in done.stderr
    assert script.builds == 0


def test_unknown_options_show_the_usage():
    done = subprocess.run([SCRIPT, "--help"], capture_output=True, text=True)
    assert done.returncode == 2
    assert "scripts/trixie FOLDER COMMAND..." in done.stderr
