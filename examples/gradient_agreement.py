"""Train on 16 environments of one signal and many shortcuts with the AND-mask, in an ordinary loop."""

import torch
from torch import nn
from torch.nn import functional as F

from holdfast.gradients import AndMask, GradientEngine

torch.manual_seed(0)
environment = torch.arange(16).repeat_interleave(64)
y = torch.randint(0, 2, (1024,))
signal = (2.0 * y - 1)[:, None] + torch.randn(1024, 1)  # the same everywhere, with noise
shortcut = F.one_hot(environment, 16) * (2.0 * y - 1)[:, None]  # perfect, and another one in each environment
x = torch.cat([signal, shortcut], dim=1)

for aggregator in (None, AndMask(0.8)):
    model = nn.Sequential(nn.Linear(17, 32), nn.LeakyReLU(), nn.Linear(32, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    engine = GradientEngine(model)
    for _ in range(300):
        optimizer.zero_grad()
        losses = F.cross_entropy(model(x), y, reduction="none")
        engine.backward(losses, groups=environment, aggregator=aggregator)
        optimizer.step()
    elsewhere = torch.cat([signal, -shortcut], dim=1)  # where no shortcut holds
    accuracy = (model(elsewhere).argmax(1) == y).float().mean()
    print(f"{aggregator or 'plain mean'}: accuracy without the shortcuts {accuracy:.2f}")
print(engine.explain())
