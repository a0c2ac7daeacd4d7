"""The rules of the house: who may import whom, how large a file or a function may grow."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "whisper_npu_cli"
MODULES = sorted(PACKAGE.rglob("*.py"))
SCRIPTS = sorted((ROOT / "scripts").rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))

# room -> rooms of ours that it may import, whether at the top or inside a function
MAY_IMPORT = {
    "": {"pipeline", "cli"},
    "errors": set(),
    "cli": {"", "errors", "pipeline", "engines", "aie", "npu", "emulator"},
    "pipeline": {"", "errors", "engines"},
    "engines": {"", "errors", "cache", "kernels", "npu"},
    "aie": {"errors"},
    "pseudorandom": set(),
    "cache": set(),
    "kernels": {"errors", "aie", "pseudorandom"},
    "npu": {"errors", "pseudorandom", "cache"},
    "emulator": {"errors", "aie"},
}
# the emulator learns a design from its bytes, never from what made them
EMULATOR_AIE = ("aie.facts.", "aie.formats.", "aie.asm.decode.", "aie.asm.instruction.")
# the command line finds models by name and picks a device; it never touches a tensor
CLI_ENGINES = {
    "engines.encoder_bench", "engines.kernel_bench", "engines.models", "engines.select",
}  # fmt: skip
HEAVY = {
    "av", "ctranslate2", "faster_whisper", "huggingface_hub", "librosa", "numpy", "safetensors",
    "soxr", "tokenizers",
}  # fmt: skip
MAX_FILE, MAX_FUNCTION = 600, 80


def room(path: Path) -> str:
    """The room of a module: its folder, or its own name at the top level."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return "" if parts[0] in ("__init__", "__main__") else parts[0]


def imports(path: Path) -> set[str]:
    """Dotted names that a module imports anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def ours(path: Path) -> set[str]:
    return {
        n.removeprefix("whisper_npu_cli.") for n in imports(path) if n.startswith("whisper_npu")
    }


def label(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", MODULES, ids=label)
def test_imports_point_only_down(path: Path) -> None:
    for name in ours(path):
        target = name.split(".")[0]
        target = "" if target in ("whisper_npu_cli", "__version__", "Transcriber") else target
        assert target == room(path) or target in MAY_IMPORT[room(path)], f"{path} imports {name}"


@pytest.mark.parametrize("path", [p for p in MODULES if room(p) == "npu"], ids=label)
def test_only_the_backend_chooses_a_pyxrt(path: Path) -> None:
    """Elsewhere the module is handed over, and nobody asks which device it has."""
    if path.name not in ("backend.py", "binding.py"):
        assert "import_module" not in path.read_text()
        assert "whisper_npu_cli.emulator" not in path.read_text()


@pytest.mark.parametrize("path", [p for p in MODULES if room(p) == "cli"], ids=label)
def test_cli_touches_no_tensor(path: Path) -> None:
    used = {".".join(n.split(".")[:2]) for n in ours(path) if n.startswith("engines.")}
    assert used <= CLI_ENGINES
    assert not {n.split(".")[0] for n in imports(path)} & HEAVY


@pytest.mark.parametrize("path", [p for p in MODULES if room(p) == "emulator"], ids=label)
def test_the_emulator_shares_only_facts_formats_and_the_decoder(path: Path) -> None:
    assert all(n.startswith(EMULATOR_AIE) for n in ours(path) if n.startswith("aie."))


@pytest.mark.parametrize("path", [p for p in MODULES if room(p) != "cli"], ids=label)
def test_only_the_cli_knows_typer_and_rich(path: Path) -> None:
    assert not {n.split(".")[0] for n in imports(path)} & {"typer", "rich", "tqdm"}


@pytest.mark.parametrize("path", MODULES + SCRIPTS + TESTS, ids=label)
def test_sizes(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= MAX_FILE
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or 0) - node.lineno + 1
            assert length <= MAX_FUNCTION, f"{path}: {node.name} has {length} lines"


@pytest.mark.parametrize("path", MODULES, ids=label)
def test_public_names_are_documented_and_typed(path: Path) -> None:
    tree = ast.parse(path.read_text())
    if path.read_text().strip():
        assert ast.get_docstring(tree), f"{path} has no docstring"
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            assert node.returns is not None, f"{path}: {node.name} has no return type"


def test_no_inline_exceptions_from_lint_rules() -> None:
    for path in MODULES + SCRIPTS:
        assert not re.search(r"#\s*(noqa|type:\s*ignore|pylint|pragma)", path.read_text()), path


def test_version_is_in_the_changelog() -> None:
    version = re.search(r'__version__ = "(.+)"', (PACKAGE / "__init__.py").read_text())
    assert version
    assert f"## {version[1]}" in (ROOT / "CHANGELOG.md").read_text()


def test_the_demo_model_is_small() -> None:
    size = sum(f.stat().st_size for f in (PACKAGE / "engines" / "demo").rglob("*") if f.is_file())
    assert 1e6 < size <= 24e6
