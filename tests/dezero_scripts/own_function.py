"""A Function of one's own, its graph, and a sine from its Taylor series."""

import math

import numpy as np

import dzcore
from dzcore import Function, Variable
from dzcore.utils import get_dot_graph


class Sin(Function):
    def forward(self, x):
        y = np.sin(x)
        return y

    def backward(self, gy):
        x = self.inputs[0]
        gx = gy * dzcore.functions.cos(x)
        return gx


class Square(Function):
    def forward(self, x):
        self.x = x
        return x**2

    def backward(self, gy):
        (x,) = self.inputs
        return 2 * x * gy


def sin(x):
    return Sin()(x)


def taylor_sin(x, threshold=0.0001):
    y = 0
    for i in range(100000):
        c = (-1) ** i / math.factorial(2 * i + 1)
        t = c * x ** (2 * i + 1)
        y = y + t
        if abs(t.data) < threshold:
            break
    return y


x = Variable(np.array(np.pi / 4))
y = sin(x)
y.backward()
print(y.data, x.grad.data)
assert abs(y.data - 0.70710678) < 1e-6
assert abs(x.grad.data - 0.70710678) < 1e-6

x.cleargrad()
y = taylor_sin(x, threshold=1e-150)
y.backward()
print(y, x.grad)
assert abs(x.grad.data - 0.70710678) < 1e-6

x = Variable(np.array(2.0), name="x")
a = Square()(x)
y = Square()(a) + Square()(a)
y.name = "y"
y.backward()
assert x.grad.data == 64.0
assert a.creator.x == 2.0
assert (x.generation, a.generation, y.generation) == (0, 1, 3)
text = get_dot_graph(y, verbose=False)
assert text.count("Square") == 3
assert "x" in text
print(y)
