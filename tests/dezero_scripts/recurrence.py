"""An RNN, and an LSTM in batches, that learn where a sine goes next."""

import numpy as np

import dzcore
import dzcore.functions as F
import dzcore.layers as L
from dzcore import Model
from dzcore.dataloaders import SeqDataLoader

rnn = L.RNN(10)
x = np.random.rand(1, 1)
h = rnn(x)
print(h.shape)
assert h.shape == (1, 10)


class SimpleRNN(Model):
    def __init__(self, hidden_size, out_size):
        super().__init__()
        self.rnn = L.RNN(hidden_size)
        self.fc = L.Linear(out_size)

    def reset_state(self):
        self.rnn.reset_state()

    def forward(self, x):
        h = self.rnn(x)
        y = self.fc(h)
        return y


class BetterRNN(Model):
    def __init__(self, hidden_size, out_size):
        super().__init__()
        self.rnn = L.LSTM(hidden_size)
        self.fc = L.Linear(out_size)

    def reset_state(self):
        self.rnn.reset_state()

    def __call__(self, x):
        y = self.rnn(x)
        y = self.fc(y)
        return y


train_set = dzcore.datasets.SinCurve(train=True)
seqlen = len(train_set)
bptt_length = 30
model = SimpleRNN(20, 1)
optimizer = dzcore.optimizers.Adam().setup(model)
for epoch in range(6):
    model.reset_state()
    loss, count, total = 0, 0, 0
    for x, t in train_set:
        x = x.reshape(1, 1)
        y = model(x)
        loss += F.mean_squared_error(y, t)
        count += 1
        if count % bptt_length == 0 or count == seqlen:
            model.cleargrads()
            loss.backward()
            loss.unchain_backward()
            optimizer.update()
            total += float(loss.data)
            loss = 0
    print("| epoch %d | loss %f" % (epoch + 1, total / count))
assert total / count < 0.1

batch_size = 30
dataloader = SeqDataLoader(train_set, batch_size=batch_size)
model = BetterRNN(20, 1)
optimizer = dzcore.optimizers.Adam(0.01).setup(model)
for epoch in range(10):
    model.reset_state()
    loss, count = 0, 0
    for x, t in dataloader:
        y = model(x)
        loss += F.mean_squared_error(y, t)
        count += 1
        if count % bptt_length == 0 or count == dataloader.max_iter:
            model.cleargrads()
            loss.backward()
            loss.unchain_backward()
            optimizer.update()
            avg_loss = float(loss.data) / bptt_length
            loss = 0
print(avg_loss)
assert avg_loss < 0.05

cos = np.cos(np.linspace(0, 4 * np.pi, 200))
model.reset_state()
with dzcore.no_grad():
    pred = [float(model(np.array(x).reshape(1, 1)).data[0, 0]) for x in cos]
error = np.mean((np.array(pred[20:-1]) - cos[21:]) ** 2)
print(error)
assert error < 0.1
