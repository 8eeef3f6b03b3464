"""Derivatives of tanh, one of the other; and a gradient inside a loss."""

import numpy as np

import dzcore.functions as F
from dzcore import Variable, no_grad, using_config

x = Variable(np.array(1.0))
y = F.tanh(x)
x.name = "x"
y.name = "y"
y.backward(create_graph=True)

iters = 5
found = [x.grad.data]
for i in range(iters):
    gx = x.grad
    x.cleargrad()
    gx.backward(create_graph=True)
    found.append(x.grad.data)
gx = x.grad
gx.name = "gx" + str(iters + 1)
print([float(g) for g in found])

t = np.tanh(1.0)
assert abs(found[0] - (1 - t**2)) < 1e-9
assert abs(found[1] - (-2 * t * (1 - t**2))) < 1e-9
assert abs(found[2] - (1 - t**2) * (6 * t**2 - 2)) < 1e-9
x.cleargrad()

x = Variable(np.array(2.0))
y = x**2
y.backward(create_graph=True)
gx = x.grad
x.cleargrad()
z = gx**3 + y
z.backward()
print(x.grad)
assert x.grad.data == 100.0

x = Variable(np.array([1.0, 2.0, 3.0]))
v = Variable(np.array([4.0, 5.0, 6.0]))
y = F.sum(x**3)
y.backward(create_graph=True)
z = F.matmul(v, x.grad)
x.cleargrad()
z.backward()
assert x.grad.data.tolist() == [24.0, 60.0, 108.0]

with using_config("enable_backprop", False):
    y = x**2
with no_grad():
    z = x**2
assert y.creator is None
assert z.creator is None
