"""Ways to damage a file: its bytes, and the texts and numbers in its headers, with checksums made right again."""

import json
from collections.abc import Callable
from random import Random
from typing import Any

__all__ = ["BYTES", "mutate_bytes", "mutate_json", "mutate_text"]

NUMBERS = (
    0, 1, 2, 3, 7, 8, 15, 16, 63, 64, 127, 128, 255, 256, 4095, 4096, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1,
    2**32, 400 * 10**9, 2**62, 2**63 - 1, 2**63, 2**64 - 1, 2**64, 10**30,
)  # fmt: skip


def place(rng: Random, data: bytes) -> int:
    """Choose a byte; the ends of a file, where its headers are, more often."""
    if rng.random() < 0.4:
        near = rng.randrange(min(len(data), 120) or 1)
        return near if rng.random() < 0.5 else max(len(data) - 1 - near, 0)
    return rng.randrange(len(data) or 1)


def span(rng: Random, data: bytes) -> tuple[int, int]:
    start = place(rng, data)
    return start, min(len(data), start + rng.choice((1, 2, 4, 8, 16, 64, 500, rng.randrange(1, len(data) + 2))))


def flip_bits(rng: Random, data: bytes, other: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        if changed:
            changed[place(rng, data)] ^= 1 << rng.randrange(8)
    return bytes(changed)


def set_bytes(rng: Random, data: bytes, other: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8))):
        if changed:
            changed[place(rng, data)] = rng.choice((0, 1, 0x20, 0x7F, 0x80, 0xFF, rng.randrange(256)))
    return bytes(changed)


def set_number(rng: Random, data: bytes, other: bytes) -> bytes:
    start, width = place(rng, data), rng.choice((2, 4, 8))
    number = rng.choice(NUMBERS) % 256**width
    return data[:start] + number.to_bytes(width, rng.choice(("little", "big"))) + data[start + width :]


def add_to_number(rng: Random, data: bytes, other: bytes) -> bytes:
    start, width = place(rng, data), rng.choice((1, 2, 4, 8))
    number = int.from_bytes(data[start : start + width], "little") + rng.choice((-64, -8, -1, 1, 2, 8, 64, 4096))
    return data[:start] + (number % 256**width).to_bytes(width, "little") + data[start + width :]


def zeros(rng: Random, data: bytes, other: bytes) -> bytes:
    start, end = span(rng, data)
    return data[:start] + bytes(end - start) + data[end:]


def cut(rng: Random, data: bytes, other: bytes) -> bytes:
    at = place(rng, data)
    return data[:at] if rng.random() < 0.8 else data[at:]


def remove(rng: Random, data: bytes, other: bytes) -> bytes:
    start, end = span(rng, data)
    return data[:start] + data[end:]


def insert(rng: Random, data: bytes, other: bytes) -> bytes:
    start = place(rng, data)
    return data[:start] + rng.randbytes(rng.choice((1, 2, 4, 8, 100))) + data[start:]


def duplicate(rng: Random, data: bytes, other: bytes) -> bytes:
    start, end = span(rng, data)
    at = rng.choice((end, place(rng, data)))
    return data[:at] + data[start:end] + data[at:]


def move(rng: Random, data: bytes, other: bytes) -> bytes:
    start, end = span(rng, data)
    rest = data[:start] + data[end:]
    at = place(rng, rest)
    return rest[:at] + data[start:end] + rest[at:]


def splice(rng: Random, data: bytes, other: bytes) -> bytes:
    """Put the end of another file, or a piece of it, into this one."""
    if rng.random() < 0.5:
        return data[: place(rng, data)] + other[place(rng, other) :]
    start, end = span(rng, other)
    at = rng.choice((start, place(rng, data)))
    return data[:at] + other[start:end] + data[at + end - start :]


def append(rng: Random, data: bytes, other: bytes) -> bytes:
    return data + rng.choice((b"\0", b"\n", data, other, rng.randbytes(30), bytes(100_000)))


BYTES: tuple[Callable[[Random, bytes, bytes], bytes], ...] = (
    flip_bits, flip_bits, set_bytes, set_number, add_to_number, zeros, cut, remove, insert, duplicate, move, splice,
    append,
)  # fmt: skip


def mutate_bytes(rng: Random, data: bytes, other: bytes) -> tuple[str, bytes]:
    """Return the name of a random mutation, and what it made of the data; pieces of `other` may come in."""
    mutation = rng.choice(BYTES)
    return mutation.__name__, mutation(rng, data, other)


def mutate_text(rng: Random, text: str) -> str:
    """Change a text that a program will parse: its numbers, brackets, words."""
    import re

    numbers = list(re.finditer(r"-?\d+", text))
    if numbers and rng.random() < 0.6:
        found = rng.choice(numbers)
        return text[: found.start()] + str(rng.choice((-1, *NUMBERS, "1e999", "1.5", "", "0x10"))) + text[found.end() :]
    start = rng.randrange(len(text) + 1)
    kind = rng.randrange(4)
    if kind == 0:
        return text[:start] + rng.choice("[](){}',:\"\\ \0\n-0a\u00e9" + "\U0001f600") + text[start:]
    if kind == 1:
        return text[:start] + text[start + rng.choice((1, 1, 2, 5)) :]
    if kind == 2:
        return text[:start] + rng.choice("([{-") * rng.choice((3, 200, 9000)) + text[start:]
    return text[:start] + text[rng.randrange(len(text) + 1) :]


def mutate_json(rng: Random, value: Any) -> Any:
    """Return a copy of what JSON holds with one thing changed somewhere; keys and values keep to what JSON can say."""
    copied = json.loads(json.dumps(value))
    places = list(_places(copied))
    if not places:
        return _another(rng, copied)
    container, key = rng.choice(places)
    kind = rng.randrange(10)
    if kind < 6:
        container[key] = _another(rng, container[key])
    elif kind == 6:
        del container[key]
    elif kind == 7:
        other, its_key = rng.choice(places)
        container[key], other[its_key] = other[its_key], container[key]
        try:
            json.dumps(copied)
        except (ValueError, RecursionError):  # one was within the other
            return None
    elif isinstance(container, dict):
        container[rng.choice(("", "../x", "/etc/x", "a\0b", f"{key}~2", f"{key}x", "\u00e9" * 300))] = container[key]
        if kind == 8:
            del container[key]
    else:
        container.insert(rng.randrange(len(container) + 1), container[key])
    return copied


def _places(value: Any) -> Any:
    """Yield every (container, key) in nested containers."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield value, key
        yield from _places(inner)


def _another(rng: Random, value: Any) -> Any:
    if isinstance(value, bool) or value is None or rng.random() < 0.2:
        return rng.choice((None, True, False, 0, -1, 1.5, "", "x", [], {}, [[]], {"array": "0"}, [1] * 70, 1e308))
    if isinstance(value, int):
        return rng.choice((value + 1, value - 1, -value, value * 2, value ^ 1 << rng.randrange(64), *NUMBERS))
    if isinstance(value, float):
        return rng.choice((-value, value + 1, 0.0, 1e308))
    if isinstance(value, str):
        return rng.choice((
            value + "x", value[:-1], value.upper(), "../" + value, "/" + value, value + "\0", "\u00e9" + value,
            value[::-1], "0" * 64, mutate_text(rng, value), "float64", "arrays-0000.bin", "arrays-0001.bin", "F64",
        ))  # fmt: skip
    if isinstance(value, list):
        return rng.choice(
            ([], value[:-1], value * 2, value[::-1], [value], [0, *value], dict.fromkeys(map(str, value)))
        )
    return rng.choice(({}, list(value), [value], {"dict": value}, {"list": [value]}, {"tuple": list(value.values())}))
