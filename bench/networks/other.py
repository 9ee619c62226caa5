"""Faces, people, points, games, sound: what belongs to no larger family."""

from __future__ import annotations

from .catalogue import BATCH, Input, add
from .cnn import images


def inception_resnet_v1():
    """FaceNet's network at 160x160, an embedding of 512."""
    import torch
    from torch import nn

    from .layers import conv

    class Joined(nn.Module):
        def __init__(self, *ways):
            super().__init__()
            self.ways = nn.ModuleList(ways)

        def forward(self, x):
            return torch.cat([way(x) for way in self.ways], 1)

    class Scaled(nn.Module):
        def __init__(self, joined, width, channels, scale, act=True):
            super().__init__()
            self.body = nn.Sequential(joined, nn.Conv2d(width, channels, 1))
            self.scale, self.act = scale, nn.ReLU() if act else nn.Identity()

        def forward(self, x):
            return self.act(x + self.scale * self.body(x))

    def chain(*layers):
        return nn.Sequential(*layers)

    def a():
        third = chain(conv(256, 32, 1), conv(32, 32), conv(32, 32))
        return Scaled(Joined(conv(256, 32, 1), chain(conv(256, 32, 1), conv(32, 32)), third), 96, 256, 0.17)

    def b():
        second = chain(conv(896, 128, 1), conv(128, 128, (1, 7)), conv(128, 128, (7, 1)))
        return Scaled(Joined(conv(896, 128, 1), second), 256, 896, 0.10)

    def c(scale=0.2, act=True):
        second = chain(conv(1792, 192, 1), conv(192, 192, (1, 3)), conv(192, 192, (3, 1)))
        return Scaled(Joined(conv(1792, 192, 1), second), 384, 1792, scale, act)

    def down(*ways):
        return Joined(*ways, nn.MaxPool2d(3, 2))

    def last(inputs, outputs):
        return conv(inputs, outputs, 3, 2, 0)

    stem = [conv(3, 32, 3, 2, 0), conv(32, 32, 3, 1, 0), conv(32, 64), nn.MaxPool2d(3, 2), conv(64, 80, 1)]
    stem += [conv(80, 192, 3, 1, 0), conv(192, 256, 3, 2, 0)]
    first = down(last(256, 384), chain(conv(256, 192, 1), conv(192, 192), last(192, 256)))
    second = down(chain(conv(896, 256, 1), last(256, 384)), chain(conv(896, 256, 1), last(256, 256)),
                  chain(conv(896, 256, 1), conv(256, 256), last(256, 256)))
    tail = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1792, 512, bias=False), nn.BatchNorm1d(512)]
    return chain(*stem, *(a() for _ in range(5)), first, *(b() for _ in range(10)), second,
                 *(c() for _ in range(5)), c(1.0, False), *tail)


def aligned_reid():
    """ResNet-50 with one feature of the whole and one of each row."""
    import torch
    from torch import nn

    from .layers import conv, resnet_stages

    class AlignedReid(nn.Module):
        def __init__(self):
            super().__init__()
            self.backbone, self.local = resnet_stages(50, (4,)), conv(2048, 128, 1)

        def forward(self, x):
            x = self.backbone(x)[0]
            return x.mean((2, 3)), torch.amax(self.local(x), 3)

    return AlignedReid()


def pointnet_part(widths):
    """Shared layers over the points of a group, the largest over them."""

    def make():
        import torch
        from torch import nn

        from .layers import conv

        class Part(nn.Module):
            def __init__(self):
                super().__init__()
                self.body = nn.Sequential(*(conv(a, b, 1) for a, b in zip(widths, widths[1:])))

            def forward(self, points):
                return torch.amax(self.body(points), 2)

        return Part()

    return make


def pointnet_tail():
    """The second level of groups, then all points as one, then three dense layers to 40 classes."""
    import torch
    from torch import nn

    from .layers import conv

    def dense(a, b):
        return [nn.Linear(a, b), nn.BatchNorm1d(b), nn.ReLU()]

    class Tail(nn.Module):
        def __init__(self):
            super().__init__()
            self.second = nn.Sequential(conv(131, 128, 1), conv(128, 128, 1), conv(128, 256, 1))
            self.whole = nn.Sequential(conv(259, 256, 1), conv(256, 512, 1), conv(512, 1024, 1))
            self.out = nn.Sequential(*dense(1024, 512), *dense(512, 256), nn.Linear(256, 40), nn.LogSoftmax(1))

        def forward(self, centres, points):
            features = torch.amax(self.second(points), 2)
            x = torch.cat([centres, features], 1).unsqueeze(3)
            return self.out(torch.amax(self.whole(x), (2, 3)))

    return Tail()


def c51(actions=6, atoms=51):
    from torch import nn

    from .layers import Reshape, plain

    convs = [plain(4, 32, 8, 4, 0), plain(32, 64, 4, 2, 0), plain(64, 64, 3, 1, 0), nn.Flatten()]
    dense = [nn.Linear(3136, 512), nn.ReLU(), nn.Linear(512, actions * atoms), Reshape(actions, atoms)]
    return nn.Sequential(*convs, *dense, nn.Softmax(2))


def attention92(classes=10):
    """Residual attention network 92 for images of 32 pixels: masks from small hourglasses in three stages."""
    import torch
    from torch import nn

    from .layers import sizes, upsample

    def unit(inputs, outputs, stride=1):
        width = outputs // 4
        layers = []
        for a, b, kernel, step in ((inputs, width, 1, 1), (width, width, 3, stride), (width, outputs, 1, 1)):
            layers += [nn.BatchNorm2d(a), nn.ReLU(), nn.Conv2d(a, b, kernel, step, kernel // 2, bias=False)]
        return Unit(nn.Sequential(*layers), inputs, outputs, stride)

    class Unit(nn.Module):
        def __init__(self, body, inputs, outputs, stride):
            super().__init__()
            same = inputs == outputs and stride == 1
            self.body, self.way = body, None if same else nn.Conv2d(inputs, outputs, 1, stride, bias=False)

        def forward(self, x):
            return self.body(x) + (x if self.way is None else self.way(x))

    class Hourglass(nn.Module):
        def __init__(self, channels, depth):
            super().__init__()
            self.down = nn.Sequential(nn.MaxPool2d(3, 2, 1), unit(channels, channels))
            self.inner = Hourglass(channels, depth - 1) if depth > 1 else unit(channels, channels)
            self.skip, self.after = unit(channels, channels), unit(channels, channels)

        def forward(self, x):
            inner = self.after(self.inner(self.down(x)))
            return upsample(inner, sizes(x), "bilinear") + self.skip(x)

    class Attention(nn.Module):
        def __init__(self, channels, depth):
            super().__init__()
            self.first = unit(channels, channels)
            self.trunk = nn.Sequential(unit(channels, channels), unit(channels, channels))
            self.mask = Hourglass(channels, depth) if depth else unit(channels, channels)
            tail = [nn.BatchNorm2d(channels), nn.ReLU(), nn.Conv2d(channels, channels, 1, bias=False)]
            self.gate, self.last = nn.Sequential(*tail, *tail[:2], nn.Conv2d(channels, channels, 1, bias=False), nn.Sigmoid()), unit(channels, channels)

        def forward(self, x):
            x = self.first(x)
            return self.last((1 + self.gate(self.mask(x))) * self.trunk(x))

    layers = [nn.Conv2d(3, 32, 3, 1, 1, bias=False), nn.BatchNorm2d(32), nn.ReLU(), unit(32, 128), Attention(128, 2)]
    layers += [unit(128, 256, 2), Attention(256, 1), Attention(256, 1), unit(256, 512, 2)]
    layers += [Attention(512, 0) for _ in range(3)] + [unit(512, 1024), unit(1024, 1024), unit(1024, 1024)]
    tail = [nn.BatchNorm2d(1024), nn.ReLU(), nn.AvgPool2d(8), nn.Flatten(), nn.Linear(1024, classes)]
    return nn.Sequential(*layers, *tail)


add("facenet_160", inception_resnet_v1, images(160), group="facenet", gmacs=1.43)
add("aligned_reid_256x128", aligned_reid, (3, 256, 128), group="aligned_reid")
add("pointnet2_part1", pointnet_part((3, 64, 64, 128)), (3, 32, 512), group="pointnet2")
add("pointnet2_part2", pointnet_tail, Input("centres", (BATCH, 3, 128)), Input("points", (BATCH, 131, 64, 128)),
    group="pointnet2")
add("c51", c51, (4, 84, 84))
add("attention92_32", attention92, images(32), group="attention92")
