"""The example in docs/array.md runs as it stands there."""

from __future__ import annotations

import re
from pathlib import Path

from dataflow import Array, core

from whisper_npu_cli.aie.array.access import linear
from whisper_npu_cli.aie.array.design import Design, End, Program
from whisper_npu_cli.aie.array.lower import lower
from whisper_npu_cli.aie.array.place import place
from whisper_npu_cli.aie.array.route import route
from whisper_npu_cli.aie.array.transfers import Launch, Piece

PAGE = Path(__file__).parents[3] / "docs" / "array.md"


def test_the_example_passes_data_through() -> None:
    (example,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)
    names = {
        f.__name__: f for f in (Design, End, Program, linear, lower, place, route, Launch, Piece)
    }
    known: dict = {**names, "text": b""}
    exec(example, known)  # the page's own words
    array = Array([op for phase in known["config"].phases for op in phase], seed=1)
    view, tile, placed = known["view"], known["core"], known["placed"]
    array.running.append(core(array, tile, view.fifo("b"), view.fifo("c"), lambda words: words))
    array.feed(placed.host("a").tile, placed.host("a").channel, range(1024))
    port = placed.host("c")
    assert array.run(port.tile, port.channel, 1024) == list(range(1024))
    assert len(known["ops"]) == 1 + 1 + 3 + 4 + 1
