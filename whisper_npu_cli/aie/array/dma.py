"""Buffer descriptors as words: fields by name, access patterns, locks, packets.

Field names and bits come from `facts/tile_registers.txt`. Which values mlir-aie leaves at zero was
learnt from its own test expectations (docs/array.md).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from whisper_npu_cli.aie.array.access import Access
from whisper_npu_cli.aie.array.design import Bd, DesignError, Packet
from whisper_npu_cli.aie.array.place import Placement
from whisper_npu_cli.aie.facts.tile_registers import bd_layout
from whisper_npu_cli.aie.facts.topology import FACTS, ITERATIONS, Direction, Tile, TileKind

Fields = dict[str, int]


def encode(kind: TileKind, fields: Mapping[str, int]) -> tuple[int, ...]:
    """Fields by name to the words of a descriptor; DesignError when a value does not fit."""
    words = [0] * FACTS[kind].bd_words
    for name, value in fields.items():
        if name not in bd_layout(kind):
            raise DesignError(f"a buffer descriptor of a {kind.value} tile has no field {name}.")
        word, field = bd_layout(kind)[name]
        try:
            words[word] |= field.insert(value)
        except ValueError as error:
            raise DesignError(f"buffer descriptor of a {kind.value} tile: {error}.") from None
    return tuple(words)


def decode(kind: TileKind, words: Sequence[int]) -> Fields:
    """The words of a descriptor to all its fields by name."""
    return {name: f.extract(words[word]) for name, (word, f) in bd_layout(kind).items()}


def pattern(tile: Tile, access: Access, iteration: tuple[int, int] | None = None) -> Fields:
    """Length, steps, wraps, padding and iteration of a pattern; the base address is not among them.

    `iteration` is (count, stride in elements of the pattern). AccessError or DesignError, naming
    the tile, when the pattern has too many dimensions or counts and steps that are too large.
    """
    kind, facts = tile.kind, FACTS[tile.kind]
    layout = bd_layout(kind)
    words = access.words().reduced(facts.dimensions)
    linear = words.strides == (1,) and not words.padded
    if not linear:
        words = words.fitted(facts.dimensions, layout["D0_Wrap"][1].range[1])
    dims = list(zip(words.sizes, words.strides, strict=True))[::-1]
    fields: Fields = {"Buffer_Length": words.bytes // words.element_bytes}
    if access.padded and kind is not TileKind.MEM:
        raise DesignError(f"{tile}: {access}: only a memtile pads.")
    if len(dims) > facts.dimensions:
        raise DesignError(
            f"{tile}: {access} ({access.picture()}) needs {len(dims)} dimensions; "
            f"a descriptor there has {facts.dimensions}."
        )
    if not linear:
        for d, (size, stride) in enumerate(dims):
            fields |= _dimension(f"D{d}", size, stride, words, d)
    if iteration:
        count, stride = iteration
        if not 1 <= count <= ITERATIONS or stride * access.element_bytes % 4:
            raise DesignError(f"{tile}: an iteration of {count} by {stride} elements is not there.")
        step = stride * access.element_bytes // 4
        fields |= {"Iteration_Wrap": count - 1, "Iteration_Stepsize": step - 1} if step else {}
    fields.pop(f"D{facts.dimensions - 1}_Wrap", None)  # the outermost one needs no counter
    for name, value in fields.items():
        least, most = layout[name][1].range if name in layout else (0, 0)
        if not least <= value <= most:
            raise DesignError(
                f"{tile}: {access} ({access.picture()}): {name} would be {value}; "
                f"it goes from {least} to {most}."
            )
    return {name: value for name, value in fields.items() if name in layout}


def _dimension(name: str, size: int, stride: int, words: Access, d: int) -> Fields:
    fields = {f"{name}_Stepsize": stride - 1 if size > 1 else 0, f"{name}_Wrap": size}
    if words.padded:
        before, after = words.zeros[-1 - d]
        fields |= {f"{name}_Zero_Before": before, f"{name}_Zero_After": after}
    return fields


def packet_fields(packet: Packet | None) -> Fields:
    """The header that is put before the data, if any."""
    if packet is None:
        return {}
    return {"Enable_Packet": 1, "Packet_ID": packet.id, "Packet_Type": packet.type}


def _locks(placement: Placement, bd: Bd) -> Fields:
    fields: Fields = {}
    base = FACTS[bd.buffer.tile.kind].dma_lock_base
    if bd.acquire:
        fields["Lock_Acq_Enable"] = 1
        fields["Lock_Acq_ID"] = base + placement.lock_ids[bd.acquire.lock]
        fields["Lock_Acq_Value"] = -bd.acquire.count  # negative: wait for at least so many
    if bd.release:
        fields["Lock_Rel_ID"] = base + placement.lock_ids[bd.release.lock]
        fields["Lock_Rel_Value"] = bd.release.count
    return fields


def words_of(
    placement: Placement, bd: Bd, direction: Direction, following: int | None
) -> tuple[int, ...]:
    """A descriptor of a core tile or memtile; `following` is the id of the next one, if any."""
    tile = bd.buffer.tile
    if bd.packet and direction is Direction.S2MM:
        raise DesignError(f"{tile}: only an MM2S channel puts a packet header before its data.")
    if bd.access.padded and direction is Direction.S2MM:
        raise DesignError(f"{tile}: {bd.access}: only an MM2S channel pads.")
    start = placement.addresses[bd.buffer] + bd.access.offset * bd.access.element_bytes
    fields = pattern(tile, bd.access, bd.iteration)
    fields |= {"Base_Address": (FACTS[tile.kind].dma_base + start) // 4, "Valid_BD": 1}
    fields |= _locks(placement, bd) | packet_fields(bd.packet)
    if following is not None:
        fields |= {"Next_BD": following, "Use_Next_BD": 1}
    return encode(tile.kind, fields)
