"""The options that every example has."""

from argparse import ArgumentParser, Namespace


def options(description: str | None) -> Namespace:
    """Read `--small`, `--picture` and `--backend` from the command line."""
    parser = ArgumentParser(description=description)
    parser.add_argument("--small", action="store_true", help="a few steps only, to see that it runs")
    parser.add_argument("--picture", metavar="FILE", help="draw the result, as a PNG or SVG file")
    parser.add_argument("--backend", metavar="NAME", help="what dz backends lists")
    return parser.parse_args()
