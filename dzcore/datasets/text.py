"""Text as a data set: characters, by their numbers."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .. import random
from ..backend import Backend
from ..errors import DataError
from ..graph import Variable, as_variable, no_grad, test_mode
from .base import Dataset, Transform, numbers
from .store import locate

__all__ = ["Shakespear", "Shakespeare", "Text"]


class Text(Dataset):
    """The n + 1 characters of a text as n pairs in their order: x is the number of one, t that of the next (int64).

    A str is the text itself, a `pathlib.Path` a file in UTF-8. `characters` holds all that there are, by number:
    in the order of their first appearance, or as given. `char_to_id` and `id_to_char` are the same as dicts.

    >>> import dzcore
    >>> data = dzcore.datasets.Text("banana")
    >>> data.characters, [(int(x), t) for x, t in data]
    ('ban', [(0, 1), (1, 2), (2, 1), (1, 2), (2, 1)])

    Raises:
        DataError: the file cannot be read, or the text has a character that is not among the given ones.
    """

    def __init__(
        self,
        text: str | os.PathLike[str],
        characters: str | None = None,
        transform: Transform | None = None,
        target_transform: Transform | None = None,
        *,
        backend: str | Backend | None = None,
    ) -> None:
        super().__init__(True, transform, target_transform, backend=backend)
        text = _read(text)
        if len(text) < 2:
            raise ValueError(f"text={text!r} is too short; two characters are one pair")
        self.characters = "".join(dict.fromkeys(text)) if characters is None else characters
        self.id_to_char = dict(enumerate(self.characters))
        self.char_to_id = {character: i for i, character in self.id_to_char.items()}
        if len(self.char_to_id) < len(self.id_to_char):
            raise ValueError(f"characters={characters!r} has one of them twice")
        ids = self.encode(text)
        self.data, self.label = ids[:-1], ids[1:]

    def encode(self, text: str) -> Any:
        """Return the numbers of the characters of a text, an int64 array (n,) of this data set's backend."""
        try:
            return self.backend.asarray([self.char_to_id[character] for character in text], "int64")
        except KeyError as error:
            raise DataError(f"the character {error} is none of {self.characters!r}") from None

    def decode(self, ids: Any) -> str:
        """Return the text of numbers (n,): an array, a Variable or a sequence."""
        if hasattr(ids, "shape"):
            ids = as_variable(ids)
            ids = numbers(ids.data, ids.backend)
        return "".join([self.id_to_char[i] for i in ids])

    def sample(self, model: Callable[[Any], Any], start: str, length: int, temperature: float = 1.0) -> str:
        """Let a model continue `start` by `length` characters, and return both.

        `model` takes one character after the other, int64 (1,), and returns scores (1, characters). Its `reset_state`,
        if it has one, is called before and after. The next character is drawn with the probabilities
        softmax(scores / temperature), by dzcore.random; at temperature 0 it is the best one.
        """
        if not start:
            raise ValueError("start='' gives the model nothing to continue; let it have one character at least")
        if not temperature >= 0:
            raise ValueError(f"temperature={temperature} must be at least 0")
        reset = getattr(model, "reset_state", lambda: None)
        drawn: list[Any] = []
        reset()
        with no_grad(), test_mode():
            for character in start:
                scores = model(self.encode(character))
            for _ in range(length):
                drawn.append(_draw(as_variable(scores), temperature))
                scores = model(drawn[-1])
        reset()
        return start + "".join(map(self.decode, drawn))


def _read(text: str | os.PathLike[str]) -> str:
    if isinstance(text, str):
        if "\n" not in text and os.path.isfile(text):
            raise ValueError(f"text={text!r} is the name of a file; give pathlib.Path({text!r}) to read it")
        return text
    path = Path(text)
    try:
        return path.read_text("utf-8")
    except OSError as error:
        raise DataError(f"{str(path)!r} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise DataError(
            f"{str(path)!r} is no text in UTF-8 ({error}); convert it, or decode it and give a str"
        ) from error


def _draw(scores: Variable, temperature: float) -> Any:
    """Draw a number (1,) by scores (1, n), without reading them: how many running sums a random number passes."""
    own, xp = scores.backend, scores.backend.xp
    row = xp.astype(scores.data, own.dtype("float32"))[0, ...]
    if not temperature:
        return xp.reshape(xp.argmax(row), (1,))
    sums = xp.cumulative_sum(xp.exp((row - xp.max(row)) / temperature))
    passed = sums[:-1] <= random.uniform((1,), backend=own) * sums[-1:]
    return xp.sum(xp.astype(passed, own.dtype("int64")), keepdims=True)


class Shakespear(Text):
    """Works of Shakespeare, 1,115,394 characters, 65 different ones (A. Karpathy, char-rnn, 2015).

    The first nine tenths are there to train with, the rest to test; both number the characters as the whole text does.
    `input.txt` is looked for in the folder `root`, where it is given, and else in those that the environment variable
    DZCORE_DATA names (`$DZCORE_DATA/shakespeare` and `$DZCORE_DATA`) and in the cache folder, to which it is downloaded
    in the end (this needs dzcore[data]). The name is DeZero's; `Shakespeare` is the same.

    Raises:
        DataError: the file is missing or damaged.
    """

    mirrors = ("https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/",)
    checksum = "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"

    def __init__(
        self,
        train: bool = True,
        transform: Transform | None = None,
        target_transform: Transform | None = None,
        *,
        root: str | os.PathLike[str] | None = None,
        backend: str | Backend | None = None,
    ) -> None:
        (path,) = locate("shakespeare", {"input.txt": self.checksum}, self.mirrors, root, packed=False)
        text = _read(Path(path))
        cut = len(text) * 9 // 10
        part = text[:cut] if train else text[cut:]
        super().__init__(part, "".join(dict.fromkeys(text)), transform, target_transform, backend=backend)
        self.train = train


Shakespeare = Shakespear
