"""Blocks that many networks share: convolution with normalisation, residual blocks, feature pyramids."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn


class Swish(nn.Module):
    def forward(self, x):
        return x * torch.sigmoid(x)


def activation(kind):
    made = {"relu": nn.ReLU, "relu6": nn.ReLU6, "prelu": None, "swish": Swish, "sigmoid": nn.Sigmoid, "tanh": nn.Tanh}
    made |= {"hswish": nn.Hardswish, "hsigmoid": nn.Hardsigmoid, "mish": nn.Mish, "gelu": nn.GELU}
    return nn.LeakyReLU(0.1) if kind == "leaky" else made[kind]()


def conv(inputs, outputs, kernel=3, stride=1, padding=None, groups=1, dilation=1, act="relu", norm=True, bias=None):
    """Convolution, batch normalisation, activation: the exporter folds the normalisation away."""
    if padding is None:
        padding = dilation * (kernel - 1) // 2 if isinstance(kernel, int) else tuple((k - 1) // 2 for k in kernel)
    bias = not norm if bias is None else bias
    parts = [nn.Conv2d(inputs, outputs, kernel, stride, padding, dilation, groups, bias)]
    if norm:
        parts.append(nn.BatchNorm2d(outputs))
    if act == "prelu":
        parts.append(nn.PReLU(outputs))
    elif act:
        parts.append(activation(act))
    return nn.Sequential(*parts)


def plain(inputs, outputs, kernel=3, stride=1, padding=None, act="relu", **rest):
    """Convolution with a bias and without normalisation."""
    return conv(inputs, outputs, kernel, stride, padding, act=act, norm=False, **rest)


def depthwise(inputs, outputs, stride=1, act="relu", kernel=3, dilation=1):
    return nn.Sequential(
        conv(inputs, inputs, kernel, stride, groups=inputs, dilation=dilation, act=act), conv(inputs, outputs, 1, act=act)
    )


class Add(nn.Module):
    """x + body(x), with a projection of x where given."""

    def __init__(self, body, shortcut=None, act=None):
        super().__init__()
        self.body, self.shortcut, self.act = body, shortcut or nn.Identity(), activation(act) if act else nn.Identity()

    def forward(self, x):
        return self.act(self.body(x) + self.shortcut(x))


class SqueezeExcite(nn.Module):
    def __init__(self, channels, reduced, act="relu", gate="sigmoid"):
        super().__init__()
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), plain(channels, reduced, 1, act=act), plain(reduced, channels, 1, act=gate)
        )

    def forward(self, x):
        return x * self.gate(x)


def upsample(x, size, mode="nearest"):
    aligned = {} if mode == "nearest" else {"align_corners": False}
    return F.interpolate(x, size=size, mode=mode, **aligned)


def sizes(x):
    return int(x.shape[2]), int(x.shape[3])


class Stages(nn.Module):
    """The outputs of some of a chain of stages."""

    def __init__(self, stages, taken):
        super().__init__()
        self.stages, self.taken = nn.ModuleList(stages), tuple(taken)

    def forward(self, x):
        found = []
        for n, stage in enumerate(self.stages):
            x = stage(x)
            if n in self.taken:
                found.append(x)
        return found


def resnet_stages(depth, taken=(1, 2, 3, 4), strides=None, **options):
    """C1 (stem and pooling) to C5 of a torchvision ResNet."""
    from torchvision import models

    net = models.get_model(f"resnet{depth}" if isinstance(depth, int) else depth, weights=None, **options)
    stem = nn.Sequential(net.conv1, net.bn1, net.relu, net.maxpool)
    return Stages([stem, net.layer1, net.layer2, net.layer3, net.layer4], taken)


class PyramidNeck(nn.Module):
    """FPN: laterals, top-down sums, 3x3 outputs, and `extra` smaller levels ("pool" or "conv")."""

    def __init__(self, inputs, outputs=256, extra="pool", levels=5):
        super().__init__()
        self.lateral = nn.ModuleList(plain(c, outputs, 1, act=None) for c in inputs)
        self.smooth = nn.ModuleList(plain(outputs, outputs, act=None) for _ in inputs)
        more = levels - len(inputs)
        if extra == "conv":
            first = [plain(inputs[-1], outputs, stride=2, act=None)] if more else []
            self.more = nn.ModuleList(first + [plain(outputs, outputs, stride=2, act=None) for _ in range(more - 1)])
        else:
            self.more = nn.ModuleList(nn.MaxPool2d(1, 2) for _ in range(more))
        self.extra = extra

    def forward(self, features):
        levels = [lateral(f) for lateral, f in zip(self.lateral, features)]
        for n in range(len(levels) - 1, 0, -1):
            levels[n - 1] = levels[n - 1] + upsample(levels[n], sizes(levels[n - 1]))
        outs = [smooth(level) for smooth, level in zip(self.smooth, levels)]
        for n, more in enumerate(self.more):
            outs.append(more(features[-1] if self.extra == "conv" and n == 0 else outs[-1]))
        return outs


class Chain(nn.Module):
    """Backbone, neck, head one after the other."""

    def __init__(self, *parts):
        super().__init__()
        self.parts = nn.ModuleList(parts)

    def forward(self, x):
        for part in self.parts:
            x = part(x)
        return tuple(x) if isinstance(x, list) else x


class Heads(nn.Module):
    """One head for every level of a pyramid; `shared` uses the same one for all."""

    def __init__(self, heads, shared=False):
        super().__init__()
        self.heads, self.shared = nn.ModuleList(heads), shared

    def forward(self, levels):
        outs = []
        for n, level in enumerate(levels):
            for head in self.heads if self.shared else [self.heads[n]]:
                outs.append(head(level))
        return outs


class Reshape(nn.Module):
    """To these sizes behind the batch."""

    def __init__(self, *shape):
        super().__init__()
        self.shape = shape

    def forward(self, x):
        return x.reshape(-1, *self.shape)


def repeated(block, count):
    return nn.Sequential(*(block() for _ in range(count)))
