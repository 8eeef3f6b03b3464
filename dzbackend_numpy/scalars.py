"""Python numbers as arrays without axes, for operators that meet the same ones again and again."""

from typing import Any

import numpy as np

__all__ = ["scalars"]

#: How many numbers are kept.
MOST = 1024


class _Scalars(dict[tuple[float, Any], Any]):
    """By number and dtype, the array; the number itself where NumPy's own conversion may be another one."""

    def __missing__(self, key: tuple[float, Any]) -> Any:
        x, dtype = key
        if not x or x != x or dtype.kind != "f":  # 0.0 and -0.0 are one key, nan is none
            return x
        with np.errstate(all="ignore"):
            array = np.array(x, dtype)
        if np.isinf(array) and abs(x) != np.inf:  # NumPy warns of it at each operation
            return x
        array.flags.writeable = False
        if len(self) >= MOST:
            self.clear()
        self[key] = array
        return array


scalars = _Scalars()
