"""What is different on an accelerator, whose values nobody reads in a training step."""

from math import isnan

import pytest

import dzcore
import dzcore.functions as F
from dzcore import Variable
from dzcore.backend import Backend
from dzcore.testing import values
from tests.elsewhere import empty_registry as empty_registry
from tests.elsewhere import gpu as gpu
from tests.elsewhere import only_numpy as only_numpy


@pytest.mark.parametrize("wrong", [-1, 2])
@pytest.mark.parametrize("create_graph", [False, True])
def test_a_class_that_does_not_exist_makes_loss_and_gradient_nan(wrong: int, create_graph: bool, gpu: Backend) -> None:
    x = Variable([[1.0, 2.0], [3.0, 4.0]], backend=gpu)
    loss = F.softmax_cross_entropy(x, Variable([0, wrong], backend=gpu))
    (gx,) = dzcore.grad(loss, x, create_graph=create_graph)
    assert isnan(float(loss))
    assert [isnan(g) for g in values(gx)] == [False, False, True, True]
