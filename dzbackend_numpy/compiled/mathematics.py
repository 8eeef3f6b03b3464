"""Transcendental functions without branches, so that the compiler makes vector instructions of them.

Arguments are reduced as Cody and Waite do (Software Manual for the Elementary Functions, 1980). What remains is small
enough for the series of the textbooks, with no table of coefficients to believe in. The exception is tanh in float32,
a quotient of two polynomials. `tests/backend/test_compiled_mathematics.py` measures the errors: at most 2.5 units in
the last place, and 5.5 for that tanh.
"""

from collections.abc import Sequence
from fractions import Fraction
from math import factorial
from typing import Any, NamedTuple

import numpy as np

from .emit import CannotEmitError, Term
from .native import compiler

__all__ = [
    "copysign", "exp", "expm1", "log", "log1p", "logaddexp", "maximum", "minimum", "power", "sign", "sqrt", "tanh"
]  # fmt: skip

OWN_ROOTS = 1 << 4 * 2 | 1 << 4 * 5  #: a table of VFIXUPIMMPS: what is 0 (2) or infinity (5) is taken itself (1)
LN2 = Fraction("0.693147180559945309417232121458176568075500134360255254120680009")


class Format(NamedTuple):
    """What the functions have to know of a floating-point format."""

    integer: Any  #: the dtype of as many bits
    fraction: int  #: how many bits there are behind the point
    bias: int  #: of the exponent
    lowest: float  #: where exp is 0 from there on
    highest: float  #: where it is infinite
    exp_terms: int  #: of its series, for |x| <= ln 2 / 2
    log_terms: int  #: of the series of artanh, for |x| <= 0.172
    half: int  #: sqrt(0.5) as bits

    @property
    def ln2(self) -> tuple[float, float]:
        """Log 2 as a number with so few digits that its multiples by exponents are exact, and the rest."""
        digits = 2 ** (self.fraction - 11)
        high = Fraction(round(LN2 * digits), digits)
        return float(high), float(LN2 - high)

    @property
    def magic(self) -> float:
        """A number whose last digit is that of the ones: adding it rounds, and has the integer in its last bits."""
        return float(3 << (self.fraction - 1))


FORMATS = {
    "f": Format(np.int32, 23, 127, -104.0, 89.0, 7, 5, 0x3F3504F3),
    "d": Format(np.int64, 52, 1023, -746.0, 710.0, 13, 11, 0x3FE6A09E667F3BCD),
}


def format_of(x: Term) -> Format:
    """Return the format of a term; the functions have none for integers."""
    try:
        return FORMATS[x.dtype.char]
    except KeyError:
        raise CannotEmitError(f"no mathematics in {x.dtype}") from None


def series(x: Term, coefficients: Sequence[Fraction | float]) -> Term:
    """Return Σ cₖ xᵏ."""
    *rest, last = map(float, coefficients)
    total = x.like(last)
    for c in reversed(rest):
        total = total.fma(x, c)
    return total


# Exponents -----------------------------------------------------------------------------------------------------------


def power_of_2(n: Term, f: Format) -> Term:
    """Return 2ⁿ for an integer n within the range of normal numbers."""
    return ((n + f.bias) << f.fraction).bits_as(f"f{n.dtype.itemsize}")


def reduced(x: Term, f: Format) -> tuple[Term, Term]:
    """Return n and r with x = n log 2 + r and |r| <= log 2 / 2."""
    high, low = f.ln2
    shifted = x.fma(float(1 / LN2), f.magic)
    n = shifted - f.magic
    r = n.fma(-low, n.fma(-high, x))
    return shifted.bits_as(f.integer) - x.like(f.magic).bits_as(f.integer), r


def bounded(x: Term, low: float, high: float) -> Term:
    """Return x within bounds; NaN stays."""
    x = (x < low).where(low, x)
    return (x > high).where(high, x)


def exp(x: Term) -> Term:
    """Calculate eˣ = 2ⁿ eʳ; by two factors, for 2ⁿ may be a subnormal number or too large."""
    f = format_of(x)
    n, r = reduced(bounded(x, f.lowest, f.highest), f)
    y = series(r, [Fraction(1, factorial(k)) for k in range(f.exp_terms + 1)])
    half = n >> 1
    return y * power_of_2(half, f) * power_of_2(n - half, f)


def expm1(x: Term) -> Term:
    """Calculate eˣ - 1 = 2ⁿ (eʳ - 1) + (2ⁿ - 1); all of it half as large at first, lest 2ⁿ be too large."""
    f = format_of(x)
    n, r = reduced(bounded(x, -(f.fraction + 2.0), f.highest), f)
    y = (r * r).fma(series(r, [Fraction(1, factorial(k)) for k in range(2, f.exp_terms + 1)]), r)
    scale = power_of_2(n - 1, f)
    y = scale.fma(y, scale - 0.5) * 2.0
    return (abs(x) < 2.0 ** -(f.fraction + 2)).where(x, y)


#: Of x² in numerator and denominator of tanh x / x for |x| <= 8.74, where tanh x is next to 1. Weighted least squares,
#: with weights that grow where the relative error is large until it is the same everywhere (Lawson, 1961): 1.6e-8.
TANH = (
    [9.99999984401e-1, 1.33978995885e-1, 3.51567977079e-3, 2.09425665147e-5, 1.38243759e-8],
    [1.0, 4.67312192777e-1, 2.59532784302e-2, 3.31860380664e-4, 7.96705400848e-7],
)


def tanh(x: Term) -> Term:
    """Calculate tanh |x| = e / (e + 2) of e = e²ˣ - 1, with the sign of x; in float32 a quotient of polynomials."""
    if x.dtype.char == "f":
        x = bounded(x, -9.0, 9.0)  # where the quotient is above 1
        above, below = (series(x * x, coefficients) for coefficients in TANH)
        return bounded(x * above / below, -1.0, 1.0)
    e = expm1(abs(bounded(x, -20.0, 20.0)) * 2.0)
    return copysign(e / (e + 2.0), x)


# Logarithms ----------------------------------------------------------------------------------------------------------


def parted(x: Term, f: Format) -> tuple[Term, Term]:
    """Return n and m with x = 2ⁿ m and m between √½ and √2, for a normal number x."""
    i = x.bits_as(f.integer) - f.half
    m = (i & ((1 << f.fraction) - 1)) + f.half
    return i >> f.fraction, m.bits_as(x.dtype)


def assembled(n: Term, d: Term, f: Format) -> Term:
    """Calculate n log 2 + log(1 + d); log(1 + d) = 2 artanh s = 2 s + s R = d - (d²/2 - s (d²/2 + R)), s = d / (2 + d).

    That is how FDLIBM adds it up (Sun Microsystems, 1993), so that the largest summand comes last.
    """
    high, low = f.ln2
    count = (n + d.like(f.magic).bits_as(f.integer)).bits_as(d.dtype) - f.magic
    s = d / (d + 2.0)
    z = s * s
    rest = series(z, [Fraction(2, 2 * k + 1) for k in range(1, f.log_terms)]) * z
    square = d * d * 0.5
    small = s.fma(square + rest, count * low)
    return count.fma(high, d - (square - small))


def log(x: Term) -> Term:
    """Calculate the natural logarithm: NaN below 0, -inf at it."""
    f = format_of(x)
    subnormal = x < 2.0 ** (1 - f.bias)
    n, m = parted(subnormal.where(x * 2.0**f.fraction, x), f)
    n = n - subnormal.where(n.like(f.fraction), 0)
    return at_the_ends(assembled(n, m - 1.0, f), x)


def log1p(x: Term) -> Term:
    """Calculate log(1 + x): of 1 + x = 2ⁿ (1 + d), d = x 2⁻ⁿ + (2⁻ⁿ - 1) is rounded once."""
    f = format_of(x)
    y = x + 1.0
    n, m = parted(y, f)
    scale = power_of_2(-n, f)
    d = (x > 2.0 ** (f.fraction + 3)).where(m - 1.0, x.fma(scale, scale - 1.0))
    result = at_the_ends(assembled(n, d, f), y)
    return (abs(x) < 2.0 ** -(f.fraction + 2)).where(x, result)


def at_the_ends(y: Term, x: Term) -> Term:
    """Return the logarithm y of x where that is positive and finite, and what it is elsewhere."""
    y = (x > 0.0).where(y, float("nan"))
    y = x.compare("eq", 0.0).where(float("-inf"), y)
    return x.compare("eq", float("inf")).where(x, y)


def logaddexp(x: Term, y: Term) -> Term:
    """Calculate log(eˣ + eʸ) = max + log(1 + e⁻ᵈ), where d is the difference; infinities have none."""
    sum_ = maximum(x, y) + log1p(exp(-abs(x - y)))
    return x.compare("eq", y).where(x + float(LN2), sum_)


# What takes more than an instruction ---------------------------------------------------------------------------------


def sqrt(x: Term) -> Term:
    """Calculate √x; for vectors of float32, where AVX-512 has an estimate, by a step of Newton's from there.

    r is 1/√x to 14 bits, s = x r, and √x = s + s/2 (1 - s r). Zeros and infinity are their own roots. That takes half
    as long: the processor has one divider, which a quotient may need as well.
    """
    code, kind, llvm = x.code, x.type, compiler()
    if x.dtype.char != "f" or code.width not in (8, 16) or llvm is None or not llvm.masks:
        return x.call("sqrt")
    name, mask = f"ps.{32 * code.width}", f"i{code.width}"
    operands = [(kind, x.name), (kind, "zeroinitializer"), (mask, "-1")]
    r = code.term(x.dtype, code.call(f"x86.avx512.rsqrt14.{name}", kind, operands))
    s = x * r
    half = (s.bits_as(np.int32) - (1 << 23)).bits_as(x.dtype)  # one less in the exponent
    root = (-s).fma(r, 1.0).fma(half, s)
    table = x.code.constant(np.int32, OWN_ROOTS)
    operands = [(kind, root.name), (kind, x.name), (table.type, table.name), ("i32", "0"), (mask, "-1")]
    rounding = [("i32", "4")] if code.width == 16 else []  # as usual
    return code.term(x.dtype, code.call(f"x86.avx512.mask.fixupimm.{name}", kind, [*operands, *rounding]))


def maximum(x: Term, y: Term) -> Term:
    """Return the larger one; NaN where one of them is, and y where both are zero, as NumPy does."""
    larger = x.compare("gt", y).where(x, y)
    return x.is_nan().where(x, larger) if x.dtype.kind == "f" else larger


def minimum(x: Term, y: Term) -> Term:
    """Return the smaller one; NaN where one of them is, and y where both are zero, as NumPy does."""
    smaller = x.compare("lt", y).where(x, y)
    return x.is_nan().where(x, smaller) if x.dtype.kind == "f" else smaller


def sign(x: Term) -> Term:
    """Return -1, 0 or 1, and NaN for it."""
    y = x.compare("gt", 0).where(x.like(1), x.compare("lt", 0).where(x.like(-1) if x.dtype.kind != "u" else x, 0))
    return x.is_nan().where(x, y) if x.dtype.kind == "f" else y


def copysign(x: Term, y: Term) -> Term:
    """Return |x| with the sign of y."""
    return x.call("copysign", y)


def power(x: Term, exponent: float) -> Term:
    """Calculate xᵉ by multiplication, for e among 0, 1, -1, 2 and, in float32 by way of float64, to ±8."""
    f = format_of(x)
    if exponent != int(exponent) or abs(exponent) > (8 if f.fraction == 23 else 2):
        raise CannotEmitError(f"a power of {exponent}")
    whole = abs(int(exponent))
    if whole <= 2 and exponent != -2:
        y = [x.like(1.0), x, x * x][whole]
        return 1.0 / y if exponent < 0 else y
    if f.fraction != 23:
        raise CannotEmitError(f"a power of {exponent}")
    wide = _repeated(x.astype(np.float64), whole)
    return (1.0 / wide if exponent < 0 else wide).astype(x.dtype)


def _repeated(x: Term, exponent: int) -> Term:
    if exponent == 1:
        return x
    half = _repeated(x, exponent // 2)
    return half * half * x if exponent % 2 else half * half
