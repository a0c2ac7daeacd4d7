"""The multiplier's commonest work as vector instructions of the machine that the emulator runs on.

Written out with llvmlite, since numba's loops over single lanes take four times as long. Each
function takes words of a core's state. Under WHISPER_NPU_UNCOMPILED=1 numpy does the same.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from whisper_npu_cli.emulator.handle import Handle, view
from whisper_npu_cli.emulator.jit import COMPILED, inline

SMALLEST_NORMAL = 2.0**-126
EXPONENT = 0x7F80  # of a bfloat16; 0 for zero and for denormal numbers

if COMPILED:
    from llvmlite import ir
    from numba import types
    from numba.extending import intrinsic

    _BYTE, _SHORT, _WORD = ir.IntType(8), ir.IntType(16), ir.IntType(32)
    _FLOAT, _DOUBLE = ir.FloatType(), ir.DoubleType()

    def _vectors(build: Callable[..., None]) -> Any:
        """A compiled function of three addresses, from one that emits its instructions."""

        def function(_: Any, x: Any, y: Any, out: Any) -> Any:
            def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
                build(builder, *arguments)
                return context.get_dummy_value()

            return types.void(types.int64, types.int64, types.int64), generate

        return intrinsic(function)

    def _load(b: Any, address: Any, element: Any, lanes: int) -> Any:
        return b.load(b.inttoptr(address, ir.VectorType(element, lanes).as_pointer()), align=4)

    def _store(b: Any, value: Any, address: Any) -> None:
        b.store(value, b.inttoptr(address, value.type.as_pointer()), align=4)

    def _chosen(b: Any, vector: Any, lanes: list[int]) -> Any:
        mask = ir.Constant(ir.VectorType(_WORD, len(lanes)), lanes)
        return b.shuffle_vector(vector, ir.Constant(vector.type, ir.Undefined), mask)

    def _same(value: Any, like: Any) -> Any:
        return ir.Constant(like.type, [value] * like.type.count)

    def _widened(b: Any, address: Any) -> Any:
        """32 bfloat16 as float64, denormal ones as zero."""
        bits = _load(b, address, _SHORT, 32)
        normal = b.icmp_unsigned("!=", b.and_(bits, _same(EXPONENT, bits)), _same(0, bits))
        wide = b.zext(b.select(normal, bits, _same(0, bits)), ir.VectorType(_WORD, 32))
        single = b.bitcast(b.shl(wide, _same(16, wide)), ir.VectorType(_FLOAT, 32))
        return b.fpext(single, ir.VectorType(_DOUBLE, 32))

    def _flushed(b: Any, value: Any) -> Any:
        """Floating-point lanes, zero for denormal ones."""
        small = b.and_(
            b.fcmp_ordered("<", value, _same(SMALLEST_NORMAL, value)),
            b.fcmp_ordered(">", value, _same(-SMALLEST_NORMAL, value)),
        )
        return b.select(small, _same(0.0, value), value)

    @_vectors
    def _dot_int8(b: Any, x: Any, y: Any, out: Any) -> None:
        left = b.sext(_load(b, x, _BYTE, 32), ir.VectorType(_SHORT, 32))
        right = b.sext(_load(b, y, _BYTE, 64), ir.VectorType(_SHORT, 64))
        total = None
        for k in range(8):
            rows = _chosen(b, left, [8 * row + k for row in range(4) for _ in range(8)])
            columns = _chosen(b, right, [8 * k + column for _ in range(4) for column in range(8)])
            product = b.sext(b.mul(rows, columns), ir.VectorType(_WORD, 32))
            total = product if total is None else b.add(total, product)
        _store(b, total, out)

    @_vectors
    def _dot_bfloat16(b: Any, x: Any, y: Any, out: Any) -> None:
        left, right = _widened(b, x), _widened(b, y)
        total = None
        for k in range(8):
            rows = _chosen(b, left, [8 * row + k for row in range(4) for _ in range(4)])
            columns = _chosen(b, right, [4 * k + column for _ in range(4) for column in range(4)])
            product = b.fmul(rows, columns)
            total = product if total is None else b.fadd(total, product)
        _store(b, total, out)

    @_vectors
    def _lanes_bfloat16(b: Any, x: Any, y: Any, out: Any) -> None:
        product = b.fmul(_widened(b, x), _widened(b, y))
        low, high = (_chosen(b, product, [*range(n, n + 16)]) for n in (0, 16))
        _store(b, b.fadd(low, high), out)

    @_vectors
    def _add_int32(b: Any, product: Any, a: Any, out: Any) -> None:
        _store(b, b.add(_load(b, product, _WORD, 32), _load(b, a, _WORD, 32)), out)

    @_vectors
    def _add_float(b: Any, product: Any, a: Any, out: Any) -> None:
        accumulator = _flushed(b, _load(b, a, _FLOAT, 16))
        terms = _load(b, product, _DOUBLE, 16)
        total = b.fadd(terms, b.fpext(accumulator, terms.type))
        _store(b, _flushed(b, b.fptrunc(total, accumulator.type)), out)

    @_vectors
    def _round_float(b: Any, product: Any, _: Any, out: Any) -> None:
        terms = _load(b, product, _DOUBLE, 16)
        _store(b, _flushed(b, b.fptrunc(terms, ir.VectorType(_FLOAT, 16))), out)

    @_vectors
    def _copy(b: Any, source: Any, target: Any, out: Any) -> None:
        distance = b.mul(out, ir.Constant(out.type, 32))
        _store(b, _load(b, b.add(source, distance), _WORD, 8), b.add(target, distance))

    @inline
    def copy_unit(h: Handle, source: int, target: int, unit: int) -> None:
        """One of the units of 256 bits of a register or result."""
        _copy(h.state + 4 * source, h.state + 4 * target, unit)

    @inline
    def load_unit(h: Handle, at: int, target: int) -> None:
        """256 bits from a byte of memory."""
        _copy(h.memory + at, h.state + 4 * target, 0)

    @inline
    def store_unit(h: Handle, source: int, at: int) -> None:
        """256 bits to a byte of memory."""
        _copy(h.state + 4 * source, h.memory + at, 0)

    @inline
    def dot_int8(h: Handle, x: int, y: int, out: int) -> None:
        """4 x 8 times 8 x 8 signed bytes into 32 lanes of 32 bits."""
        _dot_int8(h.state + 4 * x, h.state + 4 * y, h.state + 4 * out)

    @inline
    def dot_bfloat16(h: Handle, x: int, y: int, out: int) -> None:
        """4 x 8 times 8 x 4 bfloat16 into 16 float64, added up in order."""
        _dot_bfloat16(h.state + 4 * x, h.state + 4 * y, h.state + 4 * out)

    @inline
    def lanes_bfloat16(h: Handle, x: int, y: int, out: int) -> None:
        """16 float64, each the sum of two products of bfloat16 that lie 16 lanes apart."""
        _lanes_bfloat16(h.state + 4 * x, h.state + 4 * y, h.state + 4 * out)

    @inline
    def add_int32(h: Handle, product: int, a: int, out: int) -> None:
        """32 sums of 32 bits."""
        _add_int32(h.state + 4 * product, h.state + 4 * a, h.state + 4 * out)

    @inline
    def add_float(h: Handle, product: int, a: int, out: int) -> None:
        """16 sums of a float64 and a float32, rounded to float32; denormal ones count as zero."""
        _add_float(h.state + 4 * product, h.state + 4 * a, h.state + 4 * out)

    @inline
    def round_float(h: Handle, product: int, out: int) -> None:
        """16 float64 rounded to float32; denormal results become zero."""
        _round_float(h.state + 4 * product, 0, h.state + 4 * out)


else:
    Lanes = np.ndarray[Any, Any]

    def _widened_lanes(h: Handle, at: int) -> Lanes:
        bits = view(h).h[2 * at : 2 * at + 32].view(np.uint16).astype(np.uint32)
        bits[bits & EXPONENT == 0] = 0
        return (bits << 16).view(np.float32).astype(np.float64)

    def _flushed_lanes(values: Lanes) -> Lanes:
        return np.where(abs(values) < SMALLEST_NORMAL, values.dtype.type(0), values)

    def copy_unit(h: Handle, source: int, target: int, unit: int) -> None:
        """One of the units of 256 bits of a register or result."""
        words, distance = view(h).w, 8 * unit
        words[target + distance :][:8] = words[source + distance :][:8]

    def load_unit(h: Handle, at: int, target: int) -> None:
        """256 bits from a byte of memory."""
        view(h).w[target : target + 8] = view(h).mw[at // 4 : at // 4 + 8]

    def store_unit(h: Handle, source: int, at: int) -> None:
        """256 bits to a byte of memory."""
        view(h).mw[at // 4 : at // 4 + 8] = view(h).w[source : source + 8]

    def dot_int8(h: Handle, x: int, y: int, out: int) -> None:
        """4 x 8 times 8 x 8 signed bytes into 32 lanes of 32 bits."""
        left = view(h).b[4 * x : 4 * x + 32].reshape(4, 8).astype(np.int32)
        right = view(h).b[4 * y : 4 * y + 64].reshape(8, 8).astype(np.int32)
        view(h).w[out : out + 32] = (left @ right).ravel()

    def dot_bfloat16(h: Handle, x: int, y: int, out: int) -> None:
        """4 x 8 times 8 x 4 bfloat16 into 16 float64, added up in order."""
        left, right = _widened_lanes(h, x).reshape(4, 8), _widened_lanes(h, y).reshape(8, 4)
        total = np.outer(left[:, 0], right[0])
        for k in range(1, 8):
            total = total + np.outer(left[:, k], right[k])
        view(h).g[out // 2 : out // 2 + 16] = total.ravel()

    def lanes_bfloat16(h: Handle, x: int, y: int, out: int) -> None:
        """16 float64, each the sum of two products of bfloat16 that lie 16 lanes apart."""
        product = _widened_lanes(h, x) * _widened_lanes(h, y)
        view(h).g[out // 2 : out // 2 + 16] = product[:16] + product[16:]

    def add_int32(h: Handle, product: int, a: int, out: int) -> None:
        """32 sums of 32 bits."""
        words = view(h).w
        words[out : out + 32] = words[product : product + 32] + words[a : a + 32]

    def add_float(h: Handle, product: int, a: int, out: int) -> None:
        """16 sums of a float64 and a float32, rounded to float32; denormal ones count as zero."""
        accumulator = _flushed_lanes(view(h).f[a : a + 16]).astype(np.float64)
        total = view(h).g[product // 2 : product // 2 + 16] + accumulator
        view(h).f[out : out + 16] = _flushed_lanes(total.astype(np.float32))

    def round_float(h: Handle, product: int, out: int) -> None:
        """16 float64 rounded to float32; denormal results become zero."""
        total = view(h).g[product // 2 : product // 2 + 16].astype(np.float32)
        view(h).f[out : out + 16] = _flushed_lanes(total)
