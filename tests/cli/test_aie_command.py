"""`whisper-npu aie disasm`."""

CODE = bytes.fromhex("99348210 0100")


def test_disasm_prints_address_bytes_and_slots(command, tmp_path):
    (tmp_path / "core.bin").write_bytes(CODE)
    code, out, err = command("aie", "disasm", tmp_path / "core.bin", "--raw")
    assert (code, err) == (0, "")
    assert [line.split() for line in out.splitlines()] == [
        ["0:", "99", "34", "82", "10", "and", "r1,", "r2,", "r3"],
        ["4:", "01", "00", "nop"],
    ]


def test_disasm_checks_without_printing(command, tmp_path):
    (tmp_path / "core.bin").write_bytes(CODE)
    code, out, err = command("aie", "disasm", tmp_path / "core.bin", "--check", "--raw")
    assert (code, out) == (0, "")
    assert "2 bundles" in err
    # the switch of this command takes no value, unlike transcribe's
    assert command("aie", "disasm", "--check", "--raw", tmp_path / "core.bin")[0] == 0


def test_disasm_says_what_is_wrong_with_a_file(command, tmp_path):
    (tmp_path / "core.bin").write_bytes(CODE[:-3])
    code, out, err = command("aie", "disasm", tmp_path / "core.bin")
    assert (code, out) == (1, "")
    assert err.endswith("core.bin: this is no 32-bit little-endian ELF file.\n")
    code, _, err = command("aie", "disasm", tmp_path / "core.bin", "--check", "--raw")
    assert code == 1
    assert "core.bin: at address 0x0 a bundle of 4 bytes is cut off after 3." in err
    assert command("aie", "disasm", tmp_path / "absent")[0] == 2
