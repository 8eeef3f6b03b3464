"""Some batches of MNIST, on a GPU if there is one; saved, and loaded again."""

import os
import tempfile

import dzcore
import dzcore.functions as F
from dzcore import DataLoader, optimizers
from dzcore.models import MLP

max_epoch = 1
batch_size = 100
hidden_size = 100

train_set = dzcore.datasets.MNIST(train=True)
test_set = dzcore.datasets.MNIST(train=False)
train_loader = DataLoader(train_set, batch_size)
test_loader = DataLoader(test_set, batch_size, shuffle=False)

x, t = train_set[0]
print(type(x), x.shape, t)
assert x.shape == (784,)
assert t == 5

model = MLP((hidden_size, hidden_size, 10), activation=F.relu)
optimizer = optimizers.Adam().setup(model)
optimizer.add_hook(optimizers.WeightDecay(1e-4))

if dzcore.cuda.gpu_enable:
    train_loader.to_gpu()
    test_loader.to_gpu()
    model.to_gpu()

for epoch in range(max_epoch):
    for i, (x, t) in enumerate(train_loader):
        y = model(x)
        loss = F.softmax_cross_entropy(y, t)
        model.cleargrads()
        loss.backward()
        optimizer.update()
        if i == 100:
            break

sum_acc, n = 0, 0
with dzcore.no_grad(), dzcore.test_mode():
    for x, t in test_loader:
        acc = F.accuracy(model(x), t)
        sum_acc += float(acc.data) * len(t)
        n += len(t)
        if n == 2000:
            break
print("accuracy: {:.4f}".format(sum_acc / n))
assert sum_acc / n > 0.8

path = os.path.join(tempfile.mkdtemp(), "my_mlp.npz")
model.save_weights(path)
again = MLP((hidden_size, hidden_size, 10), activation=F.relu)
again.load_weights(path)
if dzcore.cuda.gpu_enable:
    again.to_gpu()
assert (again(x).data == model(x).data).all()
