"""Nothing is left out: every layer, loss, activation, optimizer and model stands in a comparison beside this."""

import re
from pathlib import Path

import pytest

from dzcore import functions, layers, models, optimizers
from dzcore.functions import activation, loss, norm, pool

HERE = Path(__file__).parent
TEXT = "\n".join(path.read_text("utf-8") for path in sorted(HERE.glob("test_*.py")) if path.name != Path(__file__).name)

#: What computes nothing of its own, or has no counterpart.
BASES = {"Buffer", "Parameter", "Layer", "Model", "Sequential", "Optimizer", "FreezeParam", "accuracy", "Stacked"}
BASES |= {"Schedule"}
#: What stands there under another name: the function of a layer, the class of a family, or a name put together.
ALIASES = {"Dropout": r"F\.dropout\("} | {f"ResNet{n}": rf"ResNet\({n}|\b{n}, " for n in (18, 34, 50, 101, 152)}
ALIASES |= {f"{kind}conv{rank}d": rf"{kind}conv{{rank}}d" for kind in ("", "de") for rank in (1, 2, 3)}
CONVOLUTIONS = [name for name in functions.__all__ if re.fullmatch(r"(de)?conv[123]d", name)]
NAMES = sorted(
    {*layers.__all__, *models.__all__, *optimizers.__all__, *activation.__all__, *loss.__all__, *norm.__all__}
    | {*pool.__all__, *CONVOLUTIONS}
)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in BASES])
def test_is_compared(name: str) -> None:
    assert re.search(ALIASES.get(name, rf"\b{name}\b"), TEXT), f"{name} is in no comparison; add one to tests/pytorch"
