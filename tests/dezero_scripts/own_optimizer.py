"""An Optimizer of one's own, hooks, and a network for three arms of a spiral."""

import math

import numpy as np

import dzcore.datasets
import dzcore.functions as F
from dzcore import Parameter, Variable, no_grad, optimizers
from dzcore.dataloaders import DataLoader
from dzcore.models import MLP
from dzcore.optimizers import ClipGrad, Optimizer, WeightDecay


class Descent(Optimizer):
    def __init__(self, lr=0.01):
        super().__init__()
        self.lr = lr

    def update_one(self, param):
        param.data -= self.lr * param.grad.data


p = Parameter(np.array([3.0, 4.0]))
optimizer = Descent(0.1).setup(dzcore.Layer())
optimizer.target.p = p
optimizer.add_hook(WeightDecay(0.5))
optimizer.add_hook(ClipGrad(1.0))
p.grad = Variable(np.array([1.5, 2.0]))
optimizer.update()
print(p)
assert np.allclose(p.data, [2.94, 3.92], atol=1e-4)

train_set = dzcore.datasets.Spiral(train=True)
test_set = dzcore.datasets.Spiral(train=False)
train_loader = DataLoader(train_set, 30)
test_loader = DataLoader(test_set, 30, shuffle=False)

model = MLP((30, 3))
optimizer = Descent(1.0).setup(model)
assert len(train_loader.dataset) == 300

for epoch in range(120):
    sum_loss, sum_acc = 0, 0

    for x, t in train_loader:
        y = model(x)
        loss = F.softmax_cross_entropy(y, t)
        acc = F.accuracy(y, t)
        model.cleargrads()
        loss.backward()
        optimizer.update()

        sum_loss += float(loss.data) * len(t)
        sum_acc += float(acc.data) * len(t)

    if (epoch + 1) % 40 == 0:
        print("epoch: {}".format(epoch + 1))
        print("train loss: {:.4f}, accuracy: {:.4f}".format(sum_loss / len(train_set), sum_acc / len(train_set)))

sum_loss, sum_acc = 0, 0
with no_grad():
    for x, t in test_loader:
        y = model(x)
        loss = F.softmax_cross_entropy(y, t)
        sum_loss += float(loss.data) * len(t)
        sum_acc += float(F.accuracy(y, t).data) * len(t)
print("test loss: {:.4f}, accuracy: {:.4f}".format(sum_loss / len(test_set), sum_acc / len(test_set)))
assert sum_acc / len(test_set) > 0.6
assert math.ceil(len(test_set) / 30) == test_loader.max_iter

adam = optimizers.Adam(alpha=0.01).setup(model)
adam.update()
