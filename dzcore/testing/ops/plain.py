"""What has no gradient."""

from .table import B, I, P, R, op

# Without a gradient -----------------------------------------------------------------------------------------------

for _name in ("ceil", "floor", "round", "trunc", "sign", "signbit", "isfinite", "isinf", "isnan"):
    op(_name, R(3, 4), order=0, elementwise=True)
for _name in ("equal", "not_equal", "less", "less_equal", "greater", "greater_equal"):
    op(_name, I(3, 4), I(3, 4), order=0, elementwise=True)
    op(_name, R(3, 4), R(4), order=0, label="reals", elementwise=True)
for _name in ("logical_and", "logical_or", "logical_xor"):
    op(_name, B(3, 4), B(4), order=0, elementwise=True)
op("logical_not", B(3, 4), order=0, elementwise=True)
for _name in ("bitwise_and", "bitwise_or", "bitwise_xor", "bitwise_left_shift", "bitwise_right_shift"):
    op(_name, I(3, 4, high=50), I(3, 4, high=4), order=0, elementwise=True)
op("bitwise_invert", I(3, 4), order=0, elementwise=True)
op("floor_divide", R(3, 4), P(3, 4), order=0, elementwise=True)
op("nextafter", R(3, 4), R(3, 4), order=0, elementwise=True)
for _name in ("all", "any"):
    op(_name, B(3, 4), order=0)
    op(_name, B(3, 4), order=0, axis=1, keepdims=True)
for _name in ("argmax", "argmin"):
    op(_name, R(3, 4), order=0)
    op(_name, R(3, 4), order=0, axis=-1)
op("argsort", R(3, 4), order=0, axis=0)
op("count_nonzero", I(3, 4), order=0, axis=1)
op("nonzero", B(3, 4), order=0)
op("isin", I(3, 4, high=6), I(3, high=6), order=0)
op("searchsorted", I(4), R(5, low=-1.0, high=4.0), order=0,
   call=lambda xp, a, v: xp.searchsorted(xp.sort(xp.astype(a, v.dtype)), v))  # fmt: skip
for _name in ("unique_all", "unique_counts", "unique_inverse"):
    op(_name, I(9, high=4), order=0)
op("unique_values", I(9, high=4), order=0, call=lambda xp, x: xp.sort(xp.unique_values(x)))
op("broadcast_shapes", order=0, call=lambda xp: xp.broadcast_shapes((3, 1), (4,), (1, 1, 1)))

# Creation ---------------------------------------------------------------------------------------------------------

op("arange", order=0, call=lambda xp: xp.arange(2, 9, 3))
op("arange", order=0, call=lambda xp: xp.arange(4.0), label="float")
op("linspace", order=0, call=lambda xp: xp.linspace(-1.0, 1.0, 5))
op("linspace", order=0, call=lambda xp: xp.linspace(-1.0, 1.0, 4, endpoint=False), label="open")
op("eye", order=0, call=lambda xp: xp.eye(3, 4, k=1))
op("zeros", order=0, call=lambda xp: xp.zeros((2, 3)))
op("ones", order=0, call=lambda xp: xp.ones(3))
op("full", order=0, call=lambda xp: xp.full((2, 3), 2.5))
op("empty", order=0, call=lambda xp: xp.empty((2, 3)) * 0 == 1, reference=lambda xp: xp.zeros((2, 3)) == 1)
op("asarray", order=0, call=lambda xp: xp.asarray([[1, 2], [3, 4]]))
op("zeros_like", R(3, 4), order=0)
op("ones_like", R(3, 4), order=0)
op("full_like", R(3, 4), order=0, call=lambda xp, x: xp.full_like(x, 2.5))
op("empty_like", R(3, 4), order=0, call=lambda xp, x: xp.empty_like(x).shape[0] * xp.ones_like(x))
