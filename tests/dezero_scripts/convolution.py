"""im2col, conv2d, and a network with a convolution that tells bars from beams."""

import numpy as np

import dzcore.functions as F
import dzcore.layers as L
from dzcore import Model, Variable, optimizers, test_mode
from dzcore.models import VGG16
from dzcore.utils import get_conv_outsize, get_deconv_outsize, pair

x1 = np.random.rand(1, 3, 7, 7)
col1 = F.im2col(x1, kernel_size=5, stride=1, pad=0, to_matrix=True)
print(col1.shape)
assert col1.shape == (9, 75)
x2 = np.random.rand(10, 3, 7, 7)
kernel_size = (5, 5)
stride = (1, 1)
pad = (0, 0)
col2 = F.im2col(x2, kernel_size, stride, pad, to_matrix=True)
assert col2.shape == (90, 75)

N, C, H, W = 1, 5, 15, 15
OC, (KH, KW) = 8, (3, 3)
x = Variable(np.random.randn(N, C, H, W))
w = np.random.randn(OC, C, KH, KW)
y = F.conv2d(x, w, b=None, stride=1, pad=1)
y.backward()
print(y.shape)
print(x.grad.shape)
assert y.shape == (1, 8, 15, 15)
assert x.grad.shape == (1, 5, 15, 15)
assert get_conv_outsize(H, KH, 1, 1) == get_deconv_outsize(H, KH, 1, 1) == 15
assert pair(2) == (2, 2)


class Net(Model):
    def __init__(self):
        super().__init__()
        self.conv = L.Conv2d(4, kernel_size=3, stride=1, pad=1)
        self.fc = L.Linear(2)

    def forward(self, x):
        x = F.relu(self.conv(x))
        x = F.pooling(x, 2, 2)
        x = F.reshape(x, (x.shape[0], -1))
        x = F.dropout(x, 0.2)
        x = self.fc(x)
        return x


np.random.seed(0)
t = np.arange(60) % 2
images = 0.1 * np.random.randn(60, 1, 8, 8).astype(np.float32)
for image, kind in zip(images, t):
    k = np.random.randint(8)
    if kind:
        image[0, k, :] += 1
    else:
        image[0, :, k] += 1

model = Net()
optimizer = optimizers.Adam(0.01).setup(model)
for epoch in range(60):
    loss = F.softmax_cross_entropy(model(images), t)
    model.cleargrads()
    loss.backward()
    optimizer.update()
with test_mode():
    acc = F.accuracy(model(images), t)
print(acc)
assert acc.data > 0.9

model = VGG16(pretrained=False)
x = np.random.randn(1, 3, 32, 32).astype(np.float32)
with test_mode():
    y = model(x)
assert y.shape == (1, 1000)
