"""What a launch cost: cycles, stalls by cause, use of channels and of multipliers."""

from __future__ import annotations

from dataclasses import dataclass

from whisper_npu_cli.emulator.machine import Machine


@dataclass(frozen=True)
class ChannelUse:
    """A DMA channel since power-up: words moved, tasks ended, cycles stalled by cause."""

    name: str
    words: int
    tasks: int
    lock: int
    stream: int
    arbiter: int


@dataclass(frozen=True)
class CoreUse:
    """A core since power-up: bundles, stall cycles by cause, multiply-accumulates."""

    name: str
    bundles: int
    stalls: dict[str, int]
    macs: int


@dataclass(frozen=True)
class Use:
    """All that did anything, in the order of tiles."""

    channels: tuple[ChannelUse, ...]
    cores: tuple[CoreUse, ...]


def use_of(machine: Machine) -> Use:
    """Counts of a machine; channels that moved nothing and cores that never ran are left out."""
    layout = machine.layout
    channels = []
    for agent in range(len(layout.channels)):
        row = machine.state.channels[agent]
        if row["words"]:
            names = ("words", "tasks", "stall_lock", "stall_stream", "stall_arbiter")
            channels.append(ChannelUse(layout.agent_name(agent), *(int(row[n]) for n in names)))
    cores = []
    for tile in layout.cores:
        core = machine.cores.cores.get(tile)
        if core is not None and core.stats["bundles"]:
            stalls = {cause: int(core.stats[cause]) for cause in STALLS}
            cores.append(
                CoreUse(
                    layout.agent_name(layout.core_agent(tile)), int(core.stats["bundles"]), stalls,
                    int(core.stats["macs"]),
                )
            )  # fmt: skip
    return Use(tuple(channels), tuple(cores))


STALLS = ("lock", "stream", "cascade", "bank")
