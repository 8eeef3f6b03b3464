"""`dz backends`: what is installed, and whether it works here."""

from argparse import Namespace

from ..backend import BackendInfo, describe_backends, explain_backend
from ..errors import BackendError

__all__ = ["backends"]


def backends(arguments: Namespace) -> int:
    """Print a line for every backend; the default is marked. The status is 1 if none can be used."""
    infos = describe_backends()
    default, reason = None, ""
    try:
        default, reason = explain_backend()
    except BackendError as error:
        reason = f"There is no default: {' '.join(str(error).split())}"
    if infos:
        mark = type(default).name if default is not None else None
        rows = [_row(info, is_default=info.name == mark and info.usable) for info in infos]
        print(_table([("", "name", "from", "usable", "devices", "made fast"), *rows]))
    print(f"* is the default, {default}: {reason}" if default is not None else reason)
    return 0 if any(info.usable for info in infos) else 1


def _row(info: BackendInfo, is_default: bool) -> tuple[str, ...]:
    return (
        "*" if is_default else "",
        info.name,
        f"{info.distribution} {info.version}" if info.distribution else "register_backend",
        "yes" if info.usable else f"no: {' '.join((info.reason or '').split())}",
        ", ".join(info.devices) or "-",
        ", ".join(info.capabilities) or "-",
    )


def _table(rows: list[tuple[str, ...]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)
