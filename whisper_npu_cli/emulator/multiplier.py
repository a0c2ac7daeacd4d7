"""The multiplier's two stages: products at issue, sums with accumulators two cycles later."""

from __future__ import annotations

from whisper_npu_cli.emulator import micro as m
from whisper_npu_cli.emulator.core_state import (
    ACCUMULATE,
    MACS,
    PRODUCT,
    PRODUCT_WORDS,
    PRODUCTS,
    SLOTS,
)
from whisper_npu_cli.emulator.handle import Handle, view
from whisper_npu_cli.emulator.jit import inline, inner
from whisper_npu_cli.emulator.landing import ALL, check, fail, land
from whisper_npu_cli.emulator.multiply import (
    FORM_FIRST,
    FORM_PRODUCT,
    INT64,
    ZERO_ACCUMULATOR,
    add_up_float,
    add_up_int32,
    add_up_int64,
    bit,
    float_products,
    integer_products,
    shape_of,
)

STAGE = 2  # cycles from issue to the stage that reads the accumulators
CONTROL_WORD = 32  # of a product


@inline
def issue_multiply(h: Handle, kind: int, row: int, step: int) -> None:
    """Form the products and ask for the accumulator stage."""
    v = view(h)
    product = PRODUCT + ((step + STAGE) & (PRODUCTS - 1)) * PRODUCT_WORDS
    control = int(v.w[v.u[row + m.C]])
    v.w[product + CONTROL_WORD] = control
    v.w[ACCUMULATE + ((step + STAGE) & (SLOTS - 1))] = row + 1
    if v.u[row + m.N1] & FORM_PRODUCT:
        a, b = int(v.u[row + m.A]), int(v.u[row + m.B])
        if kind == m.MULTIPLY:
            count = integer_products(h, control, a, b, product)
        else:
            count = float_products(h, control, a, b, product)
        if count < 0:
            fail(h, m.BAD_CONTROL_WORD, row, control)
        v.d[MACS] += count


@inline
def add_up(h: Handle, row: int, step: int) -> None:
    """The accumulator stage of an integer multiplication."""
    v = view(h)
    product = PRODUCT + (step & (PRODUCTS - 1)) * PRODUCT_WORDS
    control = int(v.w[product + CONTROL_WORD])
    form = int(v.u[row + m.N1])
    check_accumulators(h, row, form, control)
    first, second = int(v.u[row + m.N2]), int(v.u[row + m.N3])
    out = land(h, step, int(v.u[row + m.LATENCY]), int(v.u[row + m.DST]), 32, ALL, 1)
    if shape_of(control) & 3 == INT64:
        add_up_int64(h, form, control, product, first, second, out)
    else:
        add_up_int32(h, form, control, product, first, second, out)


@inner
def add_up_floating(h: Handle, row: int, step: int) -> None:
    """The accumulator stage of a floating-point multiplication."""
    v = view(h)
    product = PRODUCT + (step & (PRODUCTS - 1)) * PRODUCT_WORDS
    control = int(v.w[product + CONTROL_WORD])
    form = int(v.u[row + m.N1])
    check_accumulators(h, row, form, control)
    first, second = int(v.u[row + m.N2]), int(v.u[row + m.N3])
    out = land(h, step, int(v.u[row + m.LATENCY]), int(v.u[row + m.DST]), 16, ALL, 0)
    add_up_float(h, form, control, product, first, second, out)


@inline
def check_accumulators(h: Handle, row: int, form: int, control: int) -> None:
    """Stop at an unknown accumulator; one that the control word makes zero may be unknown."""
    v = view(h)
    start, count = int(v.u[row + m.CHECK_LATE]), int(v.u[row + m.CHECKS_LATE])
    if form & FORM_FIRST and bit(control, ZERO_ACCUMULATOR):
        skipped = int(v.u[row + m.SIZE]) // 8
        start += skipped
        count -= skipped
    check(h, row, start, count)
