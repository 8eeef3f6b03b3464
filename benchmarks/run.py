"""Compare dzcore on NumPy with DeZero and PyTorch on the same CPU, in one run: `python benchmarks/run.py`."""

import argparse
import platform
from importlib.metadata import version

import numpy as np

if not hasattr(np, "int"):
    np.int = int  # DeZero 0.0.13 cannot be imported with NumPy 1.24 or later without it

import dezero  # noqa: F401  # imported here, while np.int is there
import networks
import operations
import torch
from harness import table

import dzcore


def main() -> None:
    """Run the parts that were asked for and print their tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", default=["operations", "networks", "epochs", "files"])
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--threads", type=int, default=2, help="of PyTorch; set OPENBLAS_NUM_THREADS for NumPy")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    dzcore.set_default_backend("numpy")
    print(
        f"Python {platform.python_version()}, NumPy {np.__version__}, PyTorch {torch.__version__} "
        f"({arguments.threads} threads), dzcore {dzcore.__version__}, DeZero {version('dezero')}\n"
    )
    if "operations" in arguments.parts:
        results, mean = operations.run(arguments.rounds)
        print("Microseconds per operation, forward and backward, 8 x 8 float32\n")
        print(table(results, "dzcore"))
        print(f"\nGeometric mean of dzcore / PyTorch: {mean:.2f}\n")
    if "networks" in arguments.parts:
        print("Microseconds per training step, batch of 100\n")
        print(table(networks.run(arguments.rounds), "dzcore"), "\n")
    if "epochs" in arguments.parts:
        import epochs  # wants the data folder: DZCORE_DATA

        print("Seconds per epoch over MNIST, 784-1000-10, sigmoid, SGD, batches of 100\n")
        rows = epochs.run(arguments.epochs)
        for name, seconds, loss in rows:
            print(f"{name}: {seconds:.2f} s, loss {loss:.4f} after {arguments.epochs} epochs")
        print(f"dzcore / DeZero: {rows[0][1] / rows[1][1]:.2f}\n")
    if "files" in arguments.parts:
        import files  # wants safetensors

        files.report(files.run(arguments.rounds))


if __name__ == "__main__":
    main()
