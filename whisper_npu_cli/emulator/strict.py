"""What the emulator refuses because silicon would punish it, with the sentence shown for each.

Faults of the compiled loop are numbers, with an agent and two numbers that fill the sentence;
`sentence` writes it. Refusals that arise while registers are written are raised where they are
found, through `refuse`. The source of each rule stands beside it.
"""

from __future__ import annotations

from whisper_npu_cli.emulator.fault import EmulationError

# Found by the step loop --------------------------------------------------------------------------

(
    BD_NOT_VALID, BD_EMPTY, BD_COMPRESSED, BD_LOCK, BD_NEIGHBOUR, BD_BOUNDS, BD_NO_BUFFER,
    LOCK_OVERFLOW, UNWRITTEN, NO_ROUTE, CONTROL_PACKET, TO_LOGIC, PADDING,
) = range(1, 14)  # fmt: skip

# {agent}: the channel or core; {a}, {b}: the fault's two numbers
SENTENCES = {
    # AM025: the channel stops with Error_BD_Invalid
    BD_NOT_VALID: "{agent} starts BD {a}, whose valid bit is not set; write the BD first.",
    # AM025: lengths count words from 1
    BD_EMPTY: "{agent} starts BD {a}, whose length is 0; a transfer has at least one word.",
    BD_COMPRESSED: "{agent} starts BD {a} with compression, which is not modelled.",
    # AM025: memtile BDs name 0 to 191, and the outermost columns lack a neighbour
    BD_LOCK: "{agent} starts BD {a}, which names a lock of a tile that does not exist.",
    # AM020: memtile channels 4 and 5 reach only their own tile
    BD_NEIGHBOUR: "{agent} starts BD {a}, which uses a neighbour; only channels 0 to 3 may.",
    BD_BOUNDS: "{agent}: BD {a} goes past the end of its memory of {b} bytes.",
    BD_NO_BUFFER: "{agent} starts BD {a}, whose address lies in no buffer of the host.",
    # AM025: the overflow flag is set and the value is lost
    LOCK_OVERFLOW: "{agent} changes {lock} to {b}; a lock holds 0 to 63.",
    # the memory's content after power-up is undefined
    UNWRITTEN: "{agent}: BD {a} reads byte {b:#x} of its memory, which nothing has written.",
    NO_ROUTE: "{agent} sends, and no stream route leads on{packet}; the stream stalls for ever.",
    CONTROL_PACKET: "{agent} sends to a tile's control port; control packets are not modelled.",
    TO_LOGIC: "{agent} sends to a shim port that leads to no DMA; on this device nothing is there.",
    # aie-rt xaie_dma_aieml.c: no zeros behind, and none above, a dimension without a wrap
    PADDING: "{agent} starts BD {a} with zero padding at or above a dimension without a wrap.",
}  # fmt: skip


def sentence(code: int, agent: str, a: int, b: int, lock: str = "") -> str:
    """The sentence of a fault of the step loop; `lock` is the name of lock `a`."""
    packet = f" for packet id {b}" if b >= 0 else ""
    return SENTENCES[code].format(agent=agent, a=a, b=b, lock=lock, packet=packet)


# Found while registers are written ---------------------------------------------------------------

# {tile}, and the numbers named
REFUSALS = {
    "no tile": "{address:#010x} addresses column {column}, row {row}; the partition has {columns} "
    "columns and 6 rows.",
    "unknown register": "{tile}: there is no register at {offset:#x}.",
    # firmware owns clocks, resets and isolation; the rest of the table has no effect here
    "not modelled": "{tile}: writing {name} ({offset:#x}) is not modelled.",
    "read only": "{tile}: {name} ({offset:#x}) is a status register and cannot be written.",
    "reserved bits": "{tile}: {value:#010x} sets bits of {name} that do not exist.",
    # AM025: the task is lost and the sticky overflow bit set
    "queue full": "{tile}: a task for {channel} is lost, its queue holds {depth} already; wait for "
    "one to end first.",
    "no bd": "{tile}: {channel} cannot use BD {bd}; it may use {first} to {last}.",
    "bd in flight": "{tile}: BD {bd} is written while {channel} still uses it; wait for its task.",
    "mode": "{tile}: {name} of {channel} is not modelled.",
    "program end": "{tile}: {offset:#x} is past the program memory of 16 KiB.",
    "running program": "{tile}: program memory is written while the core runs.",
    "connection": "{tile}: the switch cannot connect {slave} to {master}.",
    "no slave": "{tile}: master {master} names slave port {index}, which does not exist.",
    "slave off": "{tile}: master {master} is fed by {slave}, which is not enabled.",
    "two slots": "{tile}: packet id {packet} matches two slots of {slave}.",
    "switch in use": "{agent} is sending while a stream switch is written; wait for the end of "
    "its task.",
    "loop": "{tile}: a stream route runs in a circle through {slave}.",
    # found while a launch runs
    "token": "{tile}: the completion token of {channel} (controller id {packet}) finds no route to "
    "the shim's South0; add the token route.",
    "patch": "{tile}: an address patch at {offset:#x} is not at word 1 of a BD.",
    "argument": "the sequence patches the address of buffer {argument}, which the launch lacks.",
    "sync": "the sequence waits for a token of {channel} of {tile}, which does not exist.",
    "columns": "the sequence was made for {columns} columns, the partition has {partition}.",
    "patch range": "the sequence patches offset {offset} of buffer {argument}, which has {size} "
    "bytes.",
}  # fmt: skip


def refuse(rule: str, **numbers: object) -> EmulationError:
    """The error for a rule of REFUSALS."""
    return EmulationError(REFUSALS[rule].format(**numbers))
