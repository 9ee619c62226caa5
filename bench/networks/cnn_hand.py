"""Image classifiers that neither torchvision nor timm has, from their papers."""

from __future__ import annotations

from .catalogue import add
from .cnn import images


def mobilenet_v1():
    from torch import nn

    from .layers import conv, depthwise

    widths = [(32, 64, 1), (64, 128, 2), (128, 128, 1), (128, 256, 2), (256, 256, 1), (256, 512, 2)]
    widths += [(512, 512, 1)] * 5 + [(512, 1024, 2), (1024, 1024, 1)]
    blocks = [depthwise(a, b, stride) for a, b, stride in widths]
    return nn.Sequential(conv(3, 32, stride=2), *blocks, nn.AvgPool2d(7), nn.Flatten(), nn.Linear(1024, 1000))


def scnet50_v1d():
    """ResNet-50-D whose 3x3 convolutions are split in two, one half gated at a quarter of the resolution."""
    import torch
    from torch import nn

    from .layers import Add, conv, sizes, upsample

    class SelfCalibrated(nn.Module):
        def __init__(self, width, stride):
            super().__init__()
            self.k2 = nn.Sequential(nn.AvgPool2d(4, 4), conv(width, width, act=None))
            self.k3, self.k4 = conv(width, width, act=None), conv(width, width, stride=stride)

        def forward(self, x):
            gate = torch.sigmoid(x + upsample(self.k2(x), sizes(x)))
            return self.k4(self.k3(x) * gate)

    class Body(nn.Module):
        def __init__(self, inputs, width, stride):
            super().__init__()
            half = width // 2
            self.a = nn.Sequential(conv(inputs, half, 1), conv(half, half, stride=1), pool(stride))
            self.b = nn.Sequential(conv(inputs, half, 1), SelfCalibrated(half, 1), pool(stride))
            self.c = conv(width, width * 4, 1, act=None)

        def forward(self, x):
            return self.c(torch.cat([self.a(x), self.b(x)], 1))

    def pool(stride):
        return nn.AvgPool2d(3, stride, 1) if stride > 1 else nn.Identity()

    def shortcut(inputs, outputs, stride):
        return nn.Sequential(nn.AvgPool2d(stride, stride, ceil_mode=True), conv(inputs, outputs, 1, act=None))

    stages, inputs = [], 64
    for width, count, stride in ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)):
        for n in range(count):
            first = n == 0
            way = shortcut(inputs, width * 4, stride) if first else None
            stages.append(Add(Body(inputs, width, stride if first else 1), way, "relu"))
            inputs = width * 4
    stem = [conv(3, 32, stride=2), conv(32, 32), conv(32, 64), nn.MaxPool2d(3, 2, 1)]
    return nn.Sequential(*stem, *stages, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2048, 1000))


def iresnet(counts=(3, 13, 30, 3)):
    """The face networks of ArcFace: batch normalisation first, PReLU, 112x112 kept until the first block."""

    def make():
        from torch import nn

        from .layers import Add, conv

        def block(inputs, outputs, stride):
            body = nn.Sequential(
                nn.BatchNorm2d(inputs), conv(inputs, outputs, act="prelu"), conv(outputs, outputs, stride=stride, act=None)
            )
            return Add(body, conv(inputs, outputs, 1, stride, act=None) if stride > 1 else None)

        layers, inputs = [conv(3, 64, act="prelu")], 64
        for width, count in zip((64, 128, 256, 512), counts):
            for n in range(count):
                layers.append(block(inputs, width, 2 if n == 0 else 1))
                inputs = width
        tail = [nn.BatchNorm2d(512), nn.Flatten(), nn.Linear(512 * 7 * 7, 512), nn.BatchNorm1d(512)]
        return nn.Sequential(*layers, *tail)

    return make


add("mobilenet_v1", mobilenet_v1, images(224), gmacs=0.57)
add("scnet50_v1d", scnet50_v1d, images(224), gmacs=4.7)
add("arcface_r100", iresnet(), images(112), gmacs=12.1)
