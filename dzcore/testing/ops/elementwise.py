"""Elementwise functions of the array API."""

from .table import B, P, R, op

# Elementwise, one input -------------------------------------------------------------------------------------------

for _name in ("cos", "cosh", "exp", "expm1", "negative", "sin", "sinh", "square", "tanh", "asinh", "atan"):
    op(_name, R(3, 4), elementwise=True)
for _name in ("log", "log10", "log2", "reciprocal", "sqrt"):
    op(_name, P(3, 4), elementwise=True)
for _name in ("acos", "asin", "atanh"):
    op(_name, R(3, 4, low=-0.8, high=0.8), elementwise=True)
op("tan", R(3, 4, low=-1.2, high=1.2), elementwise=True)
op("acosh", R(3, 4, low=1.3, high=3.0), elementwise=True)
op("log1p", R(3, 4, low=-0.7, high=2.0), elementwise=True)
op("abs", R(3, 4), elementwise=True)
op("positive", R(3, 4), elementwise=True)

# Elementwise, two inputs and more -----------------------------------------------------------------------------------

for _name in ("add", "subtract", "multiply", "atan2", "hypot", "logaddexp", "maximum", "minimum", "copysign"):
    op(_name, R(3, 4), R(3, 4), elementwise=True)
    op(_name, R(3, 1), R(4), label="broadcast", elementwise=True)
for _name in ("divide", "remainder"):
    op(_name, R(3, 4), P(3, 4), elementwise=True)
    op(_name, R(3, 1), R(4), label="broadcast", elementwise=True)
op("pow", P(3, 4), R(3, 4), elementwise=True)
op("pow", P(3, 1), R(4), label="broadcast", elementwise=True)
for _exponent in (0, 1, 2, 3, -2, 0.5, 2.5):
    _base = R(3, 4) if isinstance(_exponent, int) and _exponent >= 0 else P(3, 4)
    op("pow", _base, call=lambda xp, x, n=_exponent: x**n, label=f"{_exponent}", elementwise=True)
op("pow", R(3, 4), call=lambda xp, x: 2.5**x, label="of-a-number", elementwise=True)
op("add", R(3, 4), call=lambda xp, x: 2.0 + x + 1, label="numbers", elementwise=True)
op("subtract", R(3, 4), call=lambda xp, x: 2.0 - x - 1, label="numbers", elementwise=True)
op("multiply", R(3, 4), call=lambda xp, x: 2.0 * x * 3, label="numbers", elementwise=True)
op("divide", P(3, 4), call=lambda xp, x: 2.0 / x / 3, label="numbers", elementwise=True)
op("remainder", R(3, 4, low=0.72, high=0.98), call=lambda xp, x: 2.0 % x + x % 0.7, label="numbers", elementwise=True)
op("maximum", R(3, 4), call=lambda xp, x: xp.maximum(x, 0.5), label="number", elementwise=True)
op("atan2", R(3, 4), call=lambda xp, x: xp.atan2(1.5, x), label="number", elementwise=True)
op("hypot", R(3, 4), call=lambda xp, x: xp.hypot(x, 1.5), label="number", elementwise=True)
op("copysign", R(3, 4), call=lambda xp, x: xp.copysign(x, -1.0), label="number", elementwise=True)
op("where", B(3, 4), R(3, 4), R(3, 4), elementwise=True)
op("where", B(3, 1), R(4), R(3, 4), label="broadcast", elementwise=True)
op("where", B(3, 4), R(3, 4), call=lambda xp, c, x: xp.where(c, x, 1.5), label="number", elementwise=True)
op("clip", R(3, 4), call=lambda xp, x: xp.clip(x, -1.0, 0.9), label="both", elementwise=True)
op("clip", R(3, 4), call=lambda xp, x: xp.clip(x, -1.0, None), label="low", elementwise=True)
op("clip", R(3, 4), call=lambda xp, x: xp.clip(x, None, 1.0), label="high", elementwise=True)
op("clip", R(3, 4), R(3, 4, low=-1.5, high=-0.5), R(4, low=0.5, high=1.5), label="arrays", elementwise=True)
