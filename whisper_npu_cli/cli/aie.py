"""`whisper-npu aie`: a look into AIE2 programs, for people who build or debug kernels."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from whisper_npu_cli.cli import aie_inspect
from whisper_npu_cli.cli.streams import note, put

app = typer.Typer(help="Look into AIE2 programs and XCLBINs.", no_args_is_help=True)

Program = Annotated[
    Path,
    typer.Argument(
        metavar="FILE", exists=True, dir_okay=False, help="ELF file of an AIE2 core.",
        show_default=False,
    ),
]  # fmt: skip
Raw = Annotated[bool, typer.Option("--raw", help="FILE is bare code that starts at address 0.")]
Check = Annotated[
    bool,
    typer.Option("--check", help="Print nothing; encode again and fail at the first difference."),
]


@app.command()
def disasm(file: Program, raw: Raw = False, check: Check = False) -> None:
    """Print address, bytes and instructions of every bundle of a program."""
    from whisper_npu_cli.aie.asm.decode import DecodeError
    from whisper_npu_cli.aie.asm.listing import Difference, listing
    from whisper_npu_cli.aie.asm.listing import check as compare
    from whisper_npu_cli.aie.formats import elf

    data = file.read_bytes()
    try:
        for code in [elf.Code(0, data, {})] if raw else elf.read(data):
            if check:
                count = compare(code.data, code.address)
                note(f"{file}: {count} bundles from {code.address:#x} encode to the same bytes")
                continue
            for line in listing(code.data, code.address, code.symbols):
                put(line)
    except (elf.ElfError, DecodeError, Difference) as error:
        raise type(error)(f"{file}: {error}") from error


app.command()(aie_inspect.inspect)
