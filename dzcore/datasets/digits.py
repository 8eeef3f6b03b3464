"""Digits: a small set of handwritten digits that comes with dzcore."""

from collections import Counter
from pathlib import Path

from ..errors import DataError
from .pictures import Pictures

__all__ = ["Digits"]

FILE = Path(__file__).with_name("data") / "digits.csv.gz"


class Digits(Pictures):
    """Handwritten digits, 8×8 pixels of 0 … 16: 1,442 to train with, 355 to test.

    x is float32 (64,) in [0, 1], or (1, 8, 8) with `flat=False`. Every fifth picture of each digit is a test picture.
    Source: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning Repository, 1998,
    CC BY 4.0; see data/README.md.

    >>> len(Digits()), len(Digits(train=False))
    (1442, 355)
    """

    white = 16
    size = (8, 8)
    classes = tuple("0123456789")

    def prepare(self) -> None:
        """Read the file, and keep one part of it."""
        import gzip
        from zlib import error as ZlibError

        try:
            with gzip.open(FILE, "rb") as file:
                rows = [bytes(map(int, line.split(b","))) for line in file]
        except (OSError, EOFError, ValueError, ZlibError) as error:
            raise DataError(f"{str(FILE)!r} is damaged ({error}); install dzcore again") from error
        if any(len(row) != 65 or max(row[:64]) > self.white or row[64] > 9 for row in rows):
            raise DataError(f"{str(FILE)!r} is not the file that came with dzcore; install dzcore again")
        seen: Counter[int] = Counter()
        kept = []
        for row in rows:
            seen[row[64]] += 1
            if (seen[row[64]] % 5 == 0) != self.train:
                kept.append(row)
        self.fill(b"".join(row[:64] for row in kept), bytes(row[64] for row in kept))
