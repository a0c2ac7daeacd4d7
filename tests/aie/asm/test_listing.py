import pytest

from whisper_npu_cli.aie.asm.decode import DecodeError
from whisper_npu_cli.aie.asm.listing import Difference, check, listing


def test_a_line_has_address_bytes_and_text():
    lines = list(listing(bytes.fromhex("99348210 0100"), 0x40, {0x44: "main"}))
    assert lines == [
        "      40: 99 34 82 10" + " " * 38 + "and r1, r2, r3",
        "00000044 <main>:",
        "      44: 01 00" + " " * 44 + "nop",
    ]


def test_check_counts_bundles_and_names_the_first_fault(monkeypatch):
    code = bytes.fromhex("99348210 0100")
    assert check(code) == 2
    with pytest.raises(DecodeError, match="at address 0x14 a bundle of 4 bytes"):
        check(bytes.fromhex("99348210 993482"), 0x10)
    from whisper_npu_cli.aie.asm.bundle import Bundle

    monkeypatch.setattr(Bundle, "encode", lambda self: b"\1\0")
    with pytest.raises(
        Difference, match=r"at address 0x0 `and r1, r2, r3` is 99 34 82 10 in .* 01 00"
    ):
        check(code)
