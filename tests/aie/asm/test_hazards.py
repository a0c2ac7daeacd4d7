"""The survey of machine code: what it must find, and that our own code gives it nothing to find."""

from __future__ import annotations

import pytest

from whisper_npu_cli.aie.asm.assemble import assemble, parse
from whisper_npu_cli.aie.asm.examples import EXAMPLES
from whisper_npu_cli.aie.asm.hazards import Survey, survey
from whisper_npu_cli.aie.asm.link import compile_program


def look(text: str) -> Survey:
    return survey(assemble(parse(text)).bundles)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("lda r0, [p0, #0]\nnop\nnop\nnop\nnop\nmul r0, r1, r2", "write r0 in one cycle"),
        ("st.s8 r0, [p0, #0]\nlda r1, [p0, #4]", "need PART_WORD_STORE in one cycle"),
        ("vmul.f bml0, x0, x2, r0\nnop\nnop\nnop\nvmov bml0, bml1", "write amlh0 in one cycle"),
    ],
)
def test_collisions(text: str, fault: str) -> None:
    found = look(text)
    assert len(found.faults) >= 1 and fault in found.faults[0]
    away = text.replace("\nmul", "\nnop\nmul").replace("\nlda r1", "\nnop" * 6 + "\nlda r1")
    assert look(away.replace("\nvmov", "\nnop\nvmov")).faults == []


@pytest.mark.parametrize("wait", [5, 6, 8])
def test_a_read_sees_the_result_that_has_arrived(wait: int) -> None:
    found = look("lda r0, [p0, #0]\n" + "nop\n" * wait + "add r1, r0, r0\nmovx r0, #1")
    late = wait - 6  # seven cycles from load to user
    assert dict(found.slack.get((7, 1, False), {})) == ({late: 2} if late >= 0 else {})
    assert len(found.unread) == (late < 0)


def test_a_store_of_a_byte_may_go_before_what_makes_it() -> None:
    found = look("st.s8 r0, [p0, #0]\nnop\nnop\nnop\nnop\nadd r0, r1, r1\nnop\nnop")
    assert dict(found.slack[1, 7, False]) == {0: 1}


def test_what_a_branch_may_need_is_not_unread() -> None:
    two = "movx r0, #1\n{}nop\nnop\nnop\nnop\nnop\nmovx r0, #2"
    assert len(look(two.format("")).unread) == 1
    assert look(two.format("jz r1, #0\n")).unread == []


def test_locks_and_addresses() -> None:
    found = look(
        "st r0, [p0, #4]\nlda r1, [p0, #4]\nlda r1, [p0, #8]\nacq #48, r0\nlda r2, [p1, #0]"
    )
    assert dict(found.order["store to load"]) == {0: 1}
    assert (
        min(found.order["access to lock"]) == 1 - 4 and min(found.order["lock to access"]) == 1 - 4
    )
    moved = look("st r0, [p0, #4]\npaddb [p0], m0\nlda r1, [p0, #4]")
    assert "store to load" not in moved.order


def test_badly_set_up_loops() -> None:
    full = "nopa; nopb; nopx; nopm; nops; nopv\n"
    text = "movxm ls, #0x10\nmovxm le, #{}\n.p2align 4\n" + full * 9
    assert look(text.format(0x80)).faults == []
    assert look(text.format(0x80)).loops == 1
    assert "0x60: a loop from 0x10" in look(text.format(0x60)).faults[0]


@pytest.mark.parametrize("name", EXAMPLES)
def test_our_own_code(name: str) -> None:
    found = survey(compile_program(EXAMPLES[name]()).assembly.bundles)
    assert (found.faults, found.unread, found.loops) == ([], [], 1)
