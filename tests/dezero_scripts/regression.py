"""A line, and a sine with a network: by hand, with Parameters, with Layers, and with a Model."""

import numpy as np

import dzcore.functions as F
import dzcore.layers as L
from dzcore import Layer, Model, Parameter, Variable, optimizers
from dzcore.models import MLP

np.random.seed(0)
x = np.random.rand(100, 1)
y = 5 + 2 * x + np.random.rand(100, 1)
W = Variable(np.zeros((1, 1)))
b = Variable(np.zeros(1))
for i in range(100):
    y_pred = F.matmul(x, W) + b
    loss = F.mean_squared_error(y, y_pred)
    W.cleargrad()
    b.cleargrad()
    loss.backward()
    W.data -= 0.1 * W.grad.data
    b.data -= 0.1 * b.grad.data
print(W, b, loss)
assert abs(W.data[0, 0] - 2.1) < 0.3
assert abs(b.data[0] - 5.5) < 0.3

y = np.sin(2 * np.pi * x) + np.random.rand(100, 1)


class Affine(Layer):
    def __init__(self, in_size, out_size):
        super().__init__()
        self.W = Parameter(np.random.randn(in_size, out_size), name="W")
        self.b = Parameter(np.zeros(out_size), name="b")

    def forward(self, x):
        return F.linear(x, self.W, self.b)


class TwoLayerNet(Model):
    def __init__(self, hidden_size, out_size):
        super().__init__()
        self.l1 = L.Linear(hidden_size)
        self.l2 = L.Linear(out_size)

    def forward(self, x):
        y = F.sigmoid(self.l1(x))
        y = self.l2(y)
        return y


model = Layer()
model.l1 = Affine(1, 10)
model.l2 = Affine(10, 1)
for i in range(1000):
    y_pred = model.l2(F.sigmoid(model.l1(x)))
    loss = F.mean_squared_error(y, y_pred)
    model.cleargrads()
    loss.backward()
    for p in model.params():
        p.data -= 0.2 * p.grad.data
first = loss
print(first)
assert first.data < 0.35

for model in (TwoLayerNet(10, 1), MLP((10, 1))):
    optimizer = optimizers.MomentumSGD(0.1)
    optimizer.setup(model)
    for i in range(1000):
        y_pred = model(x)
        loss = F.mean_squared_error(y, y_pred)
        model.cleargrads()
        loss.backward()
        optimizer.update()
    print(loss)
    assert loss.data < 0.25
