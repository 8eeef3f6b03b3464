"""What the texts write into DeZero's Layer, as a layer of its own: the same files, and the same names in them."""

import os
from typing import Any

import numpy as np

from dzcore import Layer, Parameter
from dzcore.models import MLP


class Hand(MLP):
    """save_weights and load_weights written by hand on top of `_flatten_params`."""

    def save_weights(self, path: Any) -> None:
        self.to_cpu()

        params_dict: dict[str, Any] = {}
        self._flatten_params(params_dict)
        array_dict = {key: param.data for key, param in params_dict.items() if param is not None}

        try:
            np.savez_compressed(path, **array_dict)
        except (Exception, KeyboardInterrupt):
            if os.path.exists(path):
                os.remove(path)
            raise

    def load_weights(self, path: Any) -> None:
        npz = np.load(path)
        params_dict: dict[str, Any] = {}
        self._flatten_params(params_dict)
        for key, param in params_dict.items():
            param.data = npz[key]


def nested() -> Layer:
    """Three parameters, one of them in a layer inside the layer."""
    layer = Layer()

    l1 = Layer()
    l1.p1 = Parameter(np.array(1))

    layer.l1 = l1
    layer.p2 = Parameter(np.array(2))
    layer.p3 = Parameter(np.array(3))
    return layer


def assert_same_files(x: np.ndarray) -> None:
    """What is saved by hand is read by Layer.load_weights, and the other way round."""
    by_hand, by_layer, other = Hand((5, 3)), MLP((5, 3)), MLP((5, 3))
    y = by_hand(x)
    by_hand.save_weights("hand.npz")
    by_layer.load_weights("hand.npz")
    np.testing.assert_array_equal(by_layer(x).data, y.data)
    z = other(x)
    other.save_weights("layer.npz")
    by_hand.load_weights("layer.npz")
    np.testing.assert_array_equal(by_hand(x).data, z.data)
    assert set(np.load("hand.npz").files) == set(np.load("layer.npz").files) == {"l0/W", "l0/b", "l1/W", "l1/b"}
