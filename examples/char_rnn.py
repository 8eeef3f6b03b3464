"""A text, character by character: an LSTM learns to foretell the next one, and then writes on its own.

It reads the file that the environment variable TEXT names, or else the documentation of dzcore.
"""

import os
from math import log, log2
from pathlib import Path

from options import options

import dzcore
import dzcore.functions as F
import dzcore.layers as L
from dzcore import Variable, optimizers, random
from dzcore.datasets import Text

SIZE, HIDDEN, ROWS, STEPS, RATE, CLIP = 32, 192, 16, 32, 0.004, 0.25


def train(model: L.Stacked, data: Text, epochs: int) -> list[float]:
    """Read the text in ROWS places at once, STEPS characters at a time; return the bits per character."""
    n = len(data) // ROWS * ROWS
    xs, ts = (F.reshape(ids[:n], (ROWS, -1)).T for ids in (data.data, data.label))
    optimizer = optimizers.Adam(RATE).setup(model)
    optimizer.add_hook(optimizers.ClipGrad(CLIP))
    bits = []
    for epoch in range(1, epochs + 1):
        model.reset_state()
        total = Variable(0.0)
        for i in range(0, len(xs), STEPS):
            x, t = xs[i : i + STEPS], ts[i : i + STEPS]
            scores = model.sequence(x)
            loss = F.softmax_cross_entropy(scores.reshape(t.size, -1), t.reshape(-1))
            model.cleargrads()
            loss.backward()
            loss.unchain_backward()
            optimizer.update()
            total = total + loss.detach() * t.size
        bits.append(float(total) / n / log(2))
        print(f"epoch {epoch}: {bits[-1]:.2f} bits a character", flush=True)
    return bits


if __name__ == "__main__":
    args = options(__doc__)
    dzcore.set_default_backend(args.backend)
    random.seed(0)
    if "TEXT" in os.environ:
        text = Path(os.environ["TEXT"]).read_text("utf-8")
    else:
        root = Path(__file__).parents[1]
        text = "\n".join(path.read_text("utf-8") for path in [root / "README.md", *sorted(root.glob("docs/*.md"))])
    data = Text(text[:3000] if args.small else text)
    kinds = len(data.characters)
    print(f"{len(data)} characters, {kinds} different ones: {log2(kinds):.2f} bits each for who knows nothing")
    model = L.Stacked(L.EmbedID(kinds, SIZE), L.LSTM(HIDDEN), L.Linear(kinds))
    bits = train(model, data, epochs=2 if args.small else 40)
    start = text[:10]
    for temperature in (0.5, 1.0):
        print(f"\nat temperature {temperature}:\n{data.sample(model, start, 60 if args.small else 500, temperature)}")
    if args.picture:
        import matplotlib.pyplot as plt

        figure, axes = plt.subplots(figsize=(6, 3.5), layout="constrained")
        axes.plot(range(1, len(bits) + 1), bits)
        axes.set(xlabel="epoch", ylabel="bits a character", ylim=(0, None))
        figure.savefig(args.picture, dpi=100)
