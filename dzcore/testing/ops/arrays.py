"""Reductions, shapes, indices and products."""

from .table import B, I, R, op

# Reductions -------------------------------------------------------------------------------------------------------

for _name in ("sum", "mean", "max", "min", "prod", "var", "std"):
    op(_name, R(2, 3, 4))
    op(_name, R(2, 3, 4), axis=1)
    op(_name, R(2, 3, 4), axis=-1, keepdims=True)
    op(_name, R(2, 3, 4), axis=(0, -1))
op("var", R(3, 4), axis=0, correction=1.0, reference=lambda xp, x: xp.var(x, axis=0, ddof=1))
op("std", R(3, 4), axis=0, correction=1.0, reference=lambda xp, x: xp.std(x, axis=0, ddof=1))
op("average", R(3, 4), axis=0)
op("logsumexp", R(3, 4), reference=lambda xp, x: xp.log(xp.sum(xp.exp(x))))
op("logsumexp", R(3, 4), axis=-1, keepdims=True,
   reference=lambda xp, x: xp.log(xp.sum(xp.exp(x), axis=-1, keepdims=True)))  # fmt: skip
op("logsumexp", R(2, 3, 4), axis=(0, 2), reference=lambda xp, x: xp.log(xp.sum(xp.exp(x), axis=(0, 2))))
for _name in ("cumulative_sum", "cumulative_prod"):
    op(_name, R(5))
    op(_name, R(3, 4), axis=0)
    op(_name, R(3, 4), axis=-1, include_initial=True)
op("diff", R(3, 4))
op("diff", R(5, 3), axis=0, n=2)

# Shapes -----------------------------------------------------------------------------------------------------------

op("reshape", R(3, 4), call=lambda xp, x: xp.reshape(x, (2, -1)))
op("flatten", R(2, 3, 4), reference=lambda xp, x: xp.reshape(x, (2, 12)))
op("expand_dims", R(3, 4), axis=-1)
op("expand_dims", R(3, 4), axis=1)
op("squeeze", R(3, 1, 4, 1), axis=(1, -1))
op("permute_dims", R(2, 3, 4), call=lambda xp, x: xp.permute_dims(x, (2, 0, 1)))
op("transpose", R(2, 3, 4))
op("transpose", R(2, 3, 4), axes=(1, -1, 0))
op("matrix_transpose", R(2, 3, 4))
op("moveaxis", R(2, 3, 4), call=lambda xp, x: xp.moveaxis(x, (0, -1), (1, 0)))
op("flip", R(3, 4))
op("flip", R(3, 4), axis=-1)
op("roll", R(3, 4), shift=5)
op("roll", R(3, 4), shift=(1, -2), axis=(0, 1))
op("sum_to", R(2, 3, 4), call=lambda xp, x: xp.sum_to(x, (3, 1)),
   reference=lambda xp, x: xp.sum(xp.sum(x, axis=0), axis=1, keepdims=True))  # fmt: skip
op("broadcast_to", R(3, 1), call=lambda xp, x: xp.broadcast_to(x, (2, 3, 4)))
op("broadcast_arrays", R(3, 1), R(4))
op("meshgrid", R(3), R(4), R(2))
op("meshgrid", R(3), R(4), indexing="ij")
op("concat", R(3, 2), R(3, 4), call=lambda xp, *xs: xp.concat(xs, axis=1))
op("concat", R(3, 2), R(4), call=lambda xp, *xs: xp.concat(xs, axis=None), label="flat")
op("stack", R(3, 2), R(3, 2), call=lambda xp, *xs: xp.stack(xs, axis=-1))
op("unstack", R(3, 4), axis=1)
op("split", R(6, 4), sections=3, reference=lambda xp, x: (x[:2], x[2:4], x[4:]))
op("split", R(2, 4, 3), sections=2, axis=1, reference=lambda xp, x: (x[:, :2], x[:, 2:]))
op("split", R(3, 4), sections=4, axis=-1, reference=lambda xp, x: tuple(x[:, i : i + 1] for i in range(4)))
op("split", R(3, 4), sections=1, reference=lambda xp, x: (x,))
op("repeat", R(3, 4), call=lambda xp, x: xp.repeat(x, 3, axis=1))
op("repeat", R(3, 4), call=lambda xp, x: xp.repeat(x, 2), label="flat")
op("tile", R(3, 4), call=lambda xp, x: xp.tile(x, (2, 1, 3)))
op("pad", R(3, 4), call=lambda xp, x: xp.pad(x, [(1, 0), (0, 2)], 1.5),
   reference=lambda xp, x: xp.pad(x, [(1, 0), (0, 2)], constant_values=1.5))  # fmt: skip
op("tril", R(2, 3, 4), k=1)
op("triu", R(3, 4), k=-1)
op("astype", R(3, 4), call=lambda xp, x: xp.astype(x, xp.float32), order=0)  # float32 is too coarse for differences

# Indexing ---------------------------------------------------------------------------------------------------------

op("get_item", R(3, 4), call=lambda xp, x: x[1:, ::2], label="slices")
op("get_item", R(3, 4), I(5), call=lambda xp, x, i: x[i], label="rows")
op("get_item", R(3, 4), I(5), I(2, 1, high=4), call=lambda xp, x, i, j: x[i, j], label="points")
op("get_item", R(3, 4), B(3, 4), call=lambda xp, x, m: x[m], label="mask")
op("take", R(3, 4), I(5), call=lambda xp, x, i: xp.take(x, i, axis=0), label="axis=0")
op("take", R(3, 4), I(2, 3), call=lambda xp, x, i: xp.take(x, i, axis=-1), label="axis=-1,2d")
op("take", R(4), I(6), call=lambda xp, x, i: xp.take(x, i), label="1d")
op("take_along_axis", R(3, 4), I(3, 2), axis=1)
op("take_along_axis", R(3, 4), I(5, 4), axis=0)
op("sort", R(3, 4))
op("sort", R(3, 4), axis=0, descending=True, reference=lambda xp, x: xp.flip(xp.sort(x, axis=0), axis=0))

# Products ---------------------------------------------------------------------------------------------------------

for _left, _right in (((3, 4), (4, 2)), ((4,), (4,)), ((4,), (4, 2)), ((3, 4), (4,)), ((2, 3, 4), (4, 2)),
                      ((2, 1, 3, 4), (5, 4, 2)), ((2, 3, 4), (4,)), ((4,), (2, 4, 3))):  # fmt: skip
    op("matmul", R(*_left), R(*_right), label=f"{_left}@{_right}".replace(" ", ""))
op("tensordot", R(2, 3, 4), R(3, 4, 5))
op("tensordot", R(2, 3, 4), R(4, 2), axes=((0, -1), (1, 0)))
op("tensordot", R(2, 3), R(4), axes=0)
op("vecdot", R(3, 4), R(3, 4))
op("vecdot", R(3, 4), R(3, 1), axis=0, reference=lambda xp, x1, x2: xp.sum(x1 * x2, axis=0))
op("linear", R(3, 4), R(4, 2), R(2), reference=lambda xp, x, W, b: x @ W + b)
op("linear", R(3, 4), R(4, 2), label="no-bias", reference=lambda xp, x, W: x @ W)
op("linear", R(5, 3, 4), R(4, 2), R(2), label="3d", reference=lambda xp, x, W, b: x @ W + b)
