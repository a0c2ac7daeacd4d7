"""Words on the move: a channel's access pattern, and the FIFOs between channels, compiled.

Every word carries the cycle from which it can be taken, every slot the cycle at which it was freed.
So both ends of a stream may be stepped in any order, in bursts, and times come out exactly as if
they had been stepped cycle by cycle. Memory is protected by locks; a program that reads a buffer
while a channel writes it sees the burst at once.
"""

from __future__ import annotations

from typing import Any

from whisper_npu_cli.emulator.jit import inner
from whisper_npu_cli.emulator.state import (
    CORE_BLOCKED,
    CORE_GET,
    CORE_PUT,
    HEADER_DATA,
    HEADER_OWN,
    MOVE,
    NO_HEADER,
    RING,
    State,
)

WRITTEN = 0x01010101  # the `known` bytes of a word that was written as a whole


@inner
def locate(channel: Any) -> None:
    """Set `row` and `inside` for the counters p1 to p3: the row's place, whether it is data."""
    q1, q2 = channel["p1"] - channel["b1"], channel["p2"] - channel["b2"]
    inside = 0 <= q1 < channel["w1"] and 0 <= q2 < channel["w2"]
    channel["inside"] = 1 if inside else 0
    channel["row"] = (
        channel["base"]
        + q1 * channel["s1"]
        + q2 * channel["s2"]
        + channel["p3"] * channel["s3"]
        - channel["b0"] * channel["s0"]
    )


@inner
def next_row(channel: Any) -> None:
    """Count on in the dimensions above the first."""
    channel["p0"] = 0
    channel["p1"] += 1
    if channel["p1"] == channel["b1"] + channel["w1"] + channel["e1"]:
        channel["p1"] = 0
        channel["p2"] += 1
        if channel["p2"] == channel["b2"] + channel["w2"] + channel["e2"]:
            channel["p2"] = 0
            channel["p3"] += 1
    locate(channel)


@inner
def wake_reader(s: State, to: int) -> None:
    """Let the reader of a FIFO go on: its first word is there."""
    fifo = s.fifos[to]
    fifo["reader"] = 0
    ready = s.fifo_time[to, fifo["tail"] & (RING - 1)]
    channels = s.channels.shape[0]
    if to < channels:
        s.channels[to]["phase"] = MOVE
        s.when[to] = max(ready, s.channels[to]["clock"])
    else:
        s.cores[to - channels]["phase"] = CORE_GET
        s.when[to] = max(ready, s.cores[to - channels]["cycle"])


@inner
def wake_writer(s: State, to: int, cycle: int) -> None:
    """Let the source that waits for room in a FIFO go on."""
    writer = s.fifos[to]["writer"]
    s.fifos[to]["writer"] = -1
    channels = s.channels.shape[0]
    if writer < channels:
        s.channels[writer]["phase"] = MOVE
        s.when[writer] = max(cycle, s.channels[writer]["clock"])
    elif s.cores[writer - channels]["phase"] == CORE_BLOCKED:
        s.cores[writer - channels]["phase"] = CORE_PUT
        s.when[writer] = max(cycle, s.cores[writer - channels]["cycle"])


@inner
def room(s: State, agent: int, path: int) -> int:
    """How many words all destinations of a path can take; registers `agent` where it is none."""
    least = RING
    for i in range(s.paths[path]["count"]):
        fifo = s.fifos[s.path_to[path, i]]
        free = fifo["capacity"] - (fifo["head"] - fifo["tail"])
        if free <= 0:
            fifo["writer"] = agent
            return 0
        least = min(least, free)
    return least


@inner
def push(s: State, path: int, word: Any, cycle: int, last: int, header: bool) -> int:
    """Put a word on a path, not before `cycle`; there is room. Returns the cycle it left in."""
    count = s.paths[path]["count"]
    for i in range(count):
        to = s.path_to[path, i]
        before = s.fifos[to]["head"] - s.fifos[to]["capacity"]  # whose place this word takes
        if before >= 0:
            cycle = max(cycle, s.fifo_freed[to, before & (RING - 1)])
    for i in range(count):
        if header and s.path_drop[path, i]:
            continue
        to = s.path_to[path, i]
        fifo = s.fifos[to]
        slot = fifo["head"] & (RING - 1)
        s.fifo_word[to, slot] = word
        s.fifo_last[to, slot] = last
        s.fifo_time[to, slot] = cycle + s.path_latency[path, i]
        fifo["head"] += 1
        if fifo["reader"]:
            wake_reader(s, to)
    return cycle


@inner
def cycle_of_next(channel: Any) -> int:
    """Earliest cycle of the channel's next word."""
    cycle = channel["clock"] + 1
    if channel["slip"]:
        channel["slipped"] += 1
        if channel["slipped"] >= channel["slip"]:
            channel["slipped"] = 0
            cycle += 1
    return cycle


@inner
def is_data(channel: Any) -> bool:
    """Whether the channel's place is in memory; else it is padding."""
    return channel["inside"] and 0 <= channel["p0"] - channel["b0"] < channel["w0"]


@inner
def fetch(s: State, channel: Any) -> tuple[int, bool]:
    """The word at the channel's place, and whether it was ever written."""
    if not is_data(channel):
        return 0, True
    at = channel["row"] + channel["p0"] * channel["s0"]
    if channel["host"]:
        return s.host[at], True
    return s.words[at], s.known[at] == WRITTEN


@inner
def alike(channel: Any) -> int:
    """How many words from the channel's place to the end of the row are all data or all padding."""
    first, last = channel["b0"], channel["b0"] + channel["w0"]
    if channel["inside"] and channel["p0"] < first:
        return int(first - channel["p0"])
    if channel["inside"] and channel["p0"] < last:
        return int(last - channel["p0"])
    return int(last + channel["e0"] - channel["p0"])


@inner
def step(channel: Any, count: int) -> None:
    """Go on in the access pattern by words of one row."""
    channel["left"] -= count
    channel["words"] += count
    channel["p0"] += count
    if channel["p0"] == channel["b0"] + channel["w0"] + channel["e0"]:
        next_row(channel)


@inner
def send(s: State, agent: int) -> int:
    """Move words from memory to the stream until the descriptor ends or there is no room.

    Returns the place of a word that was never written, plus 1, or 0.
    """
    channel = s.channels[agent]
    path = channel["path"]
    free = room(s, agent, path)
    if free and channel["heading"] == HEADER_OWN:
        channel["clock"] = push(s, path, channel["header"], cycle_of_next(channel), 0, True)
        channel["heading"] = NO_HEADER
        free -= 1
    count = min(free, channel["left"])
    if count and channel["heading"] == HEADER_DATA:
        word, written = fetch(s, channel)
        if not written:
            return int(channel["row"] + channel["p0"] * channel["s0"]) + 1
        last = channel["left"] == 1 and channel["tlast"]
        earliest = cycle_of_next(channel)
        channel["clock"] = push(s, path, word, earliest, last, True)
        channel["stall_stream"] += channel["clock"] - earliest
        channel["heading"] = NO_HEADER
        step(channel, 1)
        count -= 1
    while count > 0:
        wanted = min(count, alike(channel))
        found = read(s, channel, wanted)
        depart(s, channel, path, found)
        if found < wanted:
            return int(channel["row"] + channel["p0"] * channel["s0"]) + 1
        count -= found
    return 0


@inner
def read(s: State, channel: Any, count: int) -> int:
    """Put words of one row into `burst_word`; how many, up to one that was never written."""
    burst, step0 = s.burst_word, channel["s0"]
    at = channel["row"] + channel["p0"] * step0
    if not is_data(channel):
        burst[:count] = 0
    elif channel["host"]:
        host = s.host
        for i in range(count):
            burst[i] = host[at + i * step0]
    else:
        words, known = s.words, s.known
        for i in range(count):
            if known[at + i * step0] != WRITTEN:
                return i
            burst[i] = words[at + i * step0]
    return count


@inner
def depart(s: State, channel: Any, path: int, count: int) -> None:
    """Put the words of `burst_word` on a path that has room, each in its cycle."""
    if count == 0:
        return
    times, freed = s.burst_time, s.fifo_freed
    times[:count] = 0
    for d in range(s.paths[path]["count"]):
        to = s.path_to[path, d]
        before = s.fifos[to]["head"] - s.fifos[to]["capacity"]  # whose place the first word takes
        for i in range(max(0, -before), count):
            times[i] = max(times[i], freed[to, (before + i) & (RING - 1)])
    clock, stalled = channel["clock"], 0
    for i in range(count):
        channel["clock"] = clock
        earliest = cycle_of_next(channel)
        clock = max(earliest, times[i])
        stalled += clock - earliest
        times[i] = clock
    channel["clock"] = clock
    channel["stall_stream"] += stalled
    last = 1 if channel["left"] == count and channel["tlast"] else 0
    for d in range(s.paths[path]["count"]):
        arrive(s, s.path_to[path, d], s.path_latency[path, d], count, last)
    step(channel, count)


@inner
def arrive(s: State, to: int, latency: int, count: int, last: int) -> None:
    """Put the words of `burst_word` into the FIFO of a destination."""
    fifo, word, time, is_last = s.fifos[to], s.fifo_word, s.fifo_time, s.fifo_last
    words, times, head = s.burst_word, s.burst_time, fifo["head"]
    for i in range(count):
        slot = (head + i) & (RING - 1)
        word[to, slot] = words[i]
        time[to, slot] = times[i] + latency
        is_last[to, slot] = 0
    fifo["head"] = head + count
    is_last[to, (head + count - 1) & (RING - 1)] = last
    if fifo["reader"]:
        wake_reader(s, to)


@inner
def take(s: State, agent: int, earliest: int) -> tuple[Any, int, int]:
    """Remove the first word that waits for `agent`: word, last flag, cycle from `earliest` on."""
    fifo = s.fifos[agent]
    slot = fifo["tail"] & (RING - 1)
    cycle = max(earliest, s.fifo_time[agent, slot])
    s.fifo_freed[agent, slot] = cycle
    fifo["tail"] += 1
    return s.fifo_word[agent, slot], s.fifo_last[agent, slot], cycle


@inner
def receive(s: State, agent: int) -> None:
    """Move words from the stream to memory until the descriptor ends or no word is left."""
    channel, fifo = s.channels[agent], s.fifos[agent]
    count = min(channel["left"], fifo["head"] - fifo["tail"])
    if count <= 0:
        return
    first = max(channel["clock"] + 1, s.fifo_time[agent, fifo["tail"] & (RING - 1)])
    while count > 0:
        wanted = min(count, alike(channel))
        unload(s, agent, wanted)
        write(s, channel, wanted)
        step(channel, wanted)
        count -= wanted
    if fifo["writer"] >= 0:
        wake_writer(s, agent, first)


@inner
def unload(s: State, agent: int, count: int) -> None:
    """Take words from a channel's FIFO into `burst_word`."""
    channel, fifo = s.channels[agent], s.fifos[agent]
    burst, word, time, freed = s.burst_word, s.fifo_word, s.fifo_time, s.fifo_freed
    clock, tail, stalled = channel["clock"], fifo["tail"], 0
    for i in range(count):
        slot = (tail + i) & (RING - 1)
        stalled += max(0, time[agent, slot] - clock - 1)
        clock = max(clock + 1, time[agent, slot])
        freed[agent, slot] = clock
        burst[i] = word[agent, slot]
    fifo["tail"] = tail + count
    channel["clock"] = clock
    channel["stall_stream"] += stalled


@inner
def write(s: State, channel: Any, count: int) -> None:
    """Put the words of `burst_word` into a row of memory."""
    burst, step0 = s.burst_word, channel["s0"]
    at = channel["row"] + channel["p0"] * step0
    if channel["host"]:
        host = s.host
        for i in range(count):
            host[at + i * step0] = burst[i]
    else:
        words, known = s.words, s.known
        for i in range(count):
            words[at + i * step0] = burst[i]
            known[at + i * step0] = WRITTEN
