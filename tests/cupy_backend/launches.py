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
        **{name: update(getattr(optimizers, name)) for name in rules},
    }
    for name, case in cases.items():
        case()  # compiles
        mark(name)
        case()
        mark("between")


def mark(name: str) -> None:
    """Say what begins, in the stream of the trace."""
    print(f"== {name}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    import cupyemu  # noqa: F401

    main()
