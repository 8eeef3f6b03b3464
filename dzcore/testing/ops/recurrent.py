"""Parts of sequences and of gates."""

from .table import R, op

op("split", R(6, 4), sections=3, reference=lambda xp, x: (x[:2], x[2:4], x[4:]))
op("split", R(2, 4, 3), sections=2, axis=1, reference=lambda xp, x: (x[:, :2], x[:, 2:]))
op("split", R(3, 4), sections=4, axis=-1, reference=lambda xp, x: tuple(x[:, i : i + 1] for i in range(4)))
op("split", R(3, 4), sections=1, reference=lambda xp, x: (x,))
