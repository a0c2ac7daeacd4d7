"""Twelve designs that mlir-aie compiled: describing them here gives the same register writes."""

from __future__ import annotations

import recorded_arrays
from recorded_arrays import every_golden

from whisper_npu_cli.aie.array.lower import lower
from whisper_npu_cli.aie.array.place import place
from whisper_npu_cli.aie.array.route import route


def configuration(name: str, routes=None):
    placed = place(recorded_arrays.design(name))
    switches = routes or route(placed.design)
    return lower(placed, switches, recorded_arrays.programs(name))


@every_golden
def test_same_writes_in_the_same_order(name: str) -> None:
    ours = [
        op for phase in configuration(name, recorded_arrays.routes(name)).phases for op in phase
    ]
    assert ours == recorded_arrays.recorded(name)
