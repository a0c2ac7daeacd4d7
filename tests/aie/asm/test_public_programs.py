"""Programs that another compiler built: every one must decode and encode to the same bytes.

And our rules of timing must be those that their scheduler kept: docs/scheduling.md has the table.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from public_builds import public_programs

from whisper_npu_cli.aie.asm.assemble import assemble, parse
from whisper_npu_cli.aie.asm.decode import decode
from whisper_npu_cli.aie.asm.hazards import Survey, Way, survey
from whisper_npu_cli.aie.asm.listing import check

DOCUMENT = Path(__file__).parents[3] / "docs" / "scheduling.md"

REPLACED = ("vbcst.16 x2", "mov p3, p0")
"""Results that nobody reads: the upper half of a broadcast whose upper half is written next, in two
places; and a copy in the prologue of a pipelined loop that only later iterations need."""

NEVER_TIGHT = {(2, 3, False), (9, 3, False)}
"""Ways on which no public program goes to the limit, so that the rule may be stricter than due."""


@pytest.fixture(scope="module")
def programs():
    found = public_programs()
    if not found:
        pytest.skip("WHISPER_NPU_PUBLIC_BUILDS names no checkout of public builds")
    return found


@pytest.fixture(scope="module")
def surveyed(programs) -> Survey:
    found = Survey()
    for code in {code.data: code for code in programs}.values():
        found.add(survey([(i.address, i.bundle) for i in decode(code.data, code.address)]))
    return found


def test_they_encode_to_the_same_bytes(programs):
    bundles = sum(check(code.data, code.address) for code in programs)
    print(f"{len(programs)} programs, {bundles} bundles")
    assert bundles > 0


def test_their_text_assembles_to_the_same_bytes(programs):
    done = set()
    for code in programs:
        for item in decode(code.data, code.address):
            if item.bundle not in done and not any(i.spare for i in item.bundle.instructions):
                done.add(item.bundle)
                assert assemble(parse(str(item.bundle))).code == item.bundle.encode()
    print(f"{len(done)} different bundles")


def test_they_break_no_rule_of_ours(surveyed):
    assert surveyed.faults == []
    assert surveyed.loops > 80
    assert [u for u in surveyed.unread if not any(r in u for r in REPLACED)] == []
    assert len(surveyed.unread) == 3
    assert min(slack for counts in surveyed.order.values() for slack in counts) == 0


def test_they_use_our_rules_to_the_cycle(surveyed):
    loose = {way for way, counts in surveyed.slack.items() if not counts[0]}
    assert loose == NEVER_TIGHT
    for kind in ("lock to access", "access to lock", "store to load"):
        assert surveyed.order[kind][0], kind


def test_the_document_has_the_table(surveyed):
    text = DOCUMENT.read_text()
    table = text.partition("<!-- public timing -->\n")[2].partition("<!-- end -->")[0]
    assert table == written(surveyed)


def written(found: Survey) -> str:
    """The table of the document."""

    def latency(way: Way) -> int:
        return way[0] - way[1] + 1 - way[2]

    rows = [
        (f"result in stage {way[0]}, read in {way[1]}{', bypass' * way[2]}", latency(way), counts)
        for way, counts in sorted(found.slack.items(), key=lambda item: (latency(item[0]), item))
    ]
    rows += [(f"{kind}", "", counts) for kind, counts in sorted(found.order.items())]
    lines = ["| rule | cycles | pairs | at the limit | least beyond it |", "|---|---|---|---|---|"]
    for name, cycles, counts in rows:
        total = sum(counts.values())
        lines.append(f"| {name} | {cycles} | {total} | {counts[0]} | {min(counts)} |")
    return "\n".join(lines) + "\n"
