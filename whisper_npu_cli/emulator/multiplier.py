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
from whisper_npu_cli.emulator.jit import inline, inner, merged
from whisper_npu_cli.emulator.landing import ALL, fail, land, units_known
from whisper_npu_cli.emulator.multiply import (
    FORM_FIRST,
    FORM_PRODUCT,
    FORM_SECOND,
    INT64,
    SUM,
    ZERO_ACCUMULATOR,
    add_up_float,
    add_up_int32,
    add_up_int64,
    bit,
    float_products,
    integer_products,
    plain_form,
    product_known,
    shape_of,
)
from whisper_npu_cli.emulator.vectors import add_float, add_int32, round_float

STAGE = 2  # cycles from issue to the stage that reads the accumulators
CONTROL_WORD, KNOWN, PLAIN = 32, 33, 34  # words of a product, behind its 32 lanes
"""PLAIN: 1 where product and first accumulator are added up, 2 for the product alone, else 0."""


@merged
def issue_multiply(h: Handle, kind: int, row: int, step: int) -> None:
    """Form the products and ask for the accumulator stage."""
    v = view(h)
    product = PRODUCT + ((step + STAGE) & (PRODUCTS - 1)) * PRODUCT_WORDS
    control = int(v.w[v.u[row + m.C]])
    v.w[product + CONTROL_WORD] = control
    v.w[product + PLAIN] = plain_form(int(v.u[row + m.N1]), control)
    v.w[ACCUMULATE + ((step + STAGE) & (SLOTS - 1))] = row + 1
    if v.u[row + m.N1] & FORM_PRODUCT:
        a, b = int(v.u[row + m.A]), int(v.u[row + m.B])
        if kind == m.MULTIPLY:
            count = integer_products(h, control, a, b, product)
        else:
            count = float_products(h, control, a, b, product)
        if count < 0:
            fail(h, m.BAD_CONTROL_WORD, row, control)
            return
        v.w[product + KNOWN] = product_known(h, shape_of(control), a, b)
        v.d[MACS] += count


@merged
def add_up(h: Handle, row: int, step: int) -> None:
    """The accumulator stage of an integer multiplication."""
    v = view(h)
    product = PRODUCT + (step & (PRODUCTS - 1)) * PRODUCT_WORDS
    if v.w[product + PLAIN] == SUM and shape_of(int(v.w[product + CONTROL_WORD])) & 3 != INT64:
        first = int(v.u[row + m.N2])
        known = int(v.w[product + KNOWN]) & units_known(h, first, 32)
        out = land(h, step, int(v.u[row + m.LATENCY]), int(v.u[row + m.DST]), 32, known, 1)
        add_int32(h, product, first, out)
    else:
        add_up_signed(h, row, step, product)


@inner
def add_up_signed(h: Handle, row: int, step: int, product: int) -> None:
    """The same with any signs, terms and lanes."""
    v = view(h)
    control = int(v.w[product + CONTROL_WORD])
    form = int(v.u[row + m.N1])
    first, second = int(v.u[row + m.N2]), int(v.u[row + m.N3])
    known = sum_known(h, form, control, int(v.w[product + KNOWN]), first, second, 32)
    out = land(h, step, int(v.u[row + m.LATENCY]), int(v.u[row + m.DST]), 32, known, 1)
    if shape_of(control) & 3 == INT64:
        add_up_int64(h, form, control, product, first, second, out)
    else:
        add_up_int32(h, form, control, product, first, second, out)


@merged
def add_up_floating(h: Handle, row: int, step: int) -> None:
    """The accumulator stage of a floating-point multiplication."""
    v = view(h)
    product = PRODUCT + (step & (PRODUCTS - 1)) * PRODUCT_WORDS
    plain, known = int(v.w[product + PLAIN]), int(v.w[product + KNOWN])
    if plain != 0:
        first = int(v.u[row + m.N2])
        if plain == SUM:
            known &= units_known(h, first, 16)
        out = land(h, step, int(v.u[row + m.LATENCY]), int(v.u[row + m.DST]), 16, known, 0)
        if plain == SUM:
            add_float(h, product, first, out)
        else:
            round_float(h, product, out)
    else:
        add_up_floating_signed(h, row, step, product)


@inner
def add_up_floating_signed(h: Handle, row: int, step: int, product: int) -> None:
    """The same with any signs and terms."""
    v = view(h)
    control = int(v.w[product + CONTROL_WORD])
    form = int(v.u[row + m.N1])
    first, second = int(v.u[row + m.N2]), int(v.u[row + m.N3])
    known = sum_known(h, form, control, int(v.w[product + KNOWN]), first, second, 16)
    out = land(h, step, int(v.u[row + m.LATENCY]), int(v.u[row + m.DST]), 16, known, 0)
    add_up_float(h, form, control, product, first, second, out)


@inline
def sum_known(
    h: Handle, form: int, control: int, product: int, first: int, second: int, size: int
) -> int:
    """Which units of a sum are known: those whose terms are; one made zero counts as known."""
    known = ALL
    if form & FORM_PRODUCT:
        known = product
    if form & FORM_FIRST and not bit(control, ZERO_ACCUMULATOR):
        known &= units_known(h, first, size)
    if form & FORM_SECOND:
        known &= units_known(h, second, size)
    return known
