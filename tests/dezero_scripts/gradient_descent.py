"""The lowest point of the Rosenbrock function by gradient descent, and of a quartic by Newton's method."""

import numpy as np

from dzcore import Variable


def rosenbrock(x0, x1):
    y = 100 * (x1 - x0**2) ** 2 + (x0 - 1) ** 2
    return y


x0 = Variable(np.array(0.0))
x1 = Variable(np.array(2.0))
y = rosenbrock(x0, x1)
y.backward()
print(x0.grad, x1.grad)
assert (x0.grad.data, x1.grad.data) == (-2.0, 400.0)

lr = 0.001
iters = 3000
for i in range(iters):
    y = rosenbrock(x0, x1)

    x0.cleargrad()
    x1.cleargrad()
    y.backward()

    x0.data -= lr * x0.grad.data
    x1.data -= lr * x1.grad.data
print(x0, x1)
assert abs(x0.data - 1) < 0.2
assert abs(x1.data - 1) < 0.4


def f(x):
    y = x**4 - 2 * x**2
    return y


x = Variable(np.array(2.0))
iters = 10
for i in range(iters):
    y = f(x)
    x.cleargrad()
    y.backward(create_graph=True)

    gx = x.grad
    x.cleargrad()
    gx.backward()
    gx2 = x.grad

    x.data -= gx.data / gx2.data
print(x)
assert abs(x.data - 1) < 1e-9
