"""A program that the emulator traces: it runs things one by one, each after a line `== name`."""

import sys


def main() -> None:
    import dzcore
    import dzcore.functions as F
    from dzcore import optimizers

    backend = dzcore.get_backend("cupy")
    dzcore.set_default_backend(backend)
    xp = backend.xp
    dzcore.random.seed(0)
    x = dzcore.Variable(xp.ones((40, 10), dtype=xp.float32))
    t = xp.zeros(40, dtype=xp.int64)
    columns = xp.ones((2, 3, 3, 4, 4), dtype=xp.float32)
    index, rows = xp.zeros(5, dtype=xp.int64), xp.ones((5, 3), dtype=xp.float32)
    gy = xp.ones((), dtype=xp.float32)

    def update(rule):
        parameter = dzcore.Parameter(xp.ones((7, 5), dtype=xp.float32))
        parameter.grad = dzcore.Variable(xp.ones((7, 5), dtype=xp.float32)).detach()
        optimizer = rule().setup([parameter])
        optimizer.update()  # makes the state
        return optimizer.update

    whole = dzcore.Variable(xp.ones((40, 10), dtype=xp.float32) * 0.4)
    ones = xp.ones_like(whole.data)

    def forward_and_backward(name, function):
        y = function(whole)
        pull, saved = y.node.plan.pull, y.node.saved
        return {name: lambda: function(whole), f"{name} gradient": lambda: pull(backend.ops, ones, saved)}

    rules = ("SGD", "MomentumSGD", "AdaGrad", "AdaDelta", "Adam", "AdamW")
    cases = {
        "random_bits": lambda: backend.random_bits(1, 3, 1000),
        "cross_entropy": lambda: backend.cross_entropy(x.data, t),
        "cross_entropy_gradient": lambda: backend.cross_entropy_gradient(gy, x.data, t),
        "loss": lambda: F.softmax_cross_entropy(x, t),
        "dropout": lambda: F.dropout(x, 0.5),
        "windows": lambda: backend.windows(x.data, (3, 3), (1, 1), (1, 1)),
        "windows_adjoint": lambda: backend.windows_adjoint(columns, (6, 6), (3, 3), (1, 1), (1, 1)),
        "index_add": lambda: backend.index_add(4, index, rows),
        **{
            key: case
            for name, function in elementwise(F, whole).items()
            for key, case in forward_and_backward(name, function).items()
        },
        **{name: update(getattr(optimizers, name)) for name in rules},
    }
    for name, case in cases.items():
        case()  # compiles
        mark(name)
        case()
        mark("between")


def elementwise(F, x):
    """Return what is one kernel forward, and one backward."""
    names = ("sigmoid", "relu", "leaky_relu", "softplus", "elu", "silu", "gelu", "tanh", "exp", "log", "asin", "atanh")
    t, row = x.detach(), x[0]
    return {
        **{name: getattr(F, name) for name in names},
        "cube": lambda x: x**3,
        "clip": lambda x: F.clip(x, 0.0),
        "huber": lambda x: F.huber_loss(x, t, reduction="none"),
        "sigmoid losses": lambda x: F.sigmoid_cross_entropy(x, t, reduction="none"),
        "binary losses": lambda x: F.binary_cross_entropy(x, t, reduction="none"),
        "scale and shift": lambda x: F.norm._scale_and_shift(x, row, row),
    }


def mark(name: str) -> None:
    """Say what begins, in the stream of the trace."""
    print(f"== {name}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    import cupyemu  # noqa: F401

    main()
