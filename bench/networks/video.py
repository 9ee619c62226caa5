"""Networks over clips of video."""

from __future__ import annotations

from .catalogue import add
from .cnn import images


def c3d(classes=101):
    """Eight convolutions of 3x3x3; one sample is ten clips whose scores are averaged."""
    from torch import nn

    def unit(a, b):
        return [nn.Conv3d(a, b, 3, padding=1), nn.ReLU()]

    class C3d(nn.Module):
        def __init__(self):
            super().__init__()
            layers = [*unit(3, 64), nn.MaxPool3d((1, 2, 2)), *unit(64, 128), nn.MaxPool3d(2)]
            layers += [*unit(128, 256), *unit(256, 256), nn.MaxPool3d(2), *unit(256, 512), *unit(512, 512), nn.MaxPool3d(2)]
            layers += [*unit(512, 512), *unit(512, 512), nn.MaxPool3d(2, padding=(0, 1, 1)), nn.Flatten()]
            dense = [nn.Linear(8192, 4096), nn.ReLU(), nn.Linear(4096, 4096), nn.ReLU(), nn.Linear(4096, classes)]
            self.body = nn.Sequential(*layers, *dense)

        def forward(self, x):
            clips = int(x.shape[1])
            scores = self.body(x.flatten(0, 1))
            return scores.reshape(-1, clips, classes).softmax(2).mean(1)

    return C3d()


def r2plus1d_34(classes=101, clips=3):
    """ResNet-34 of pairs: 1x3x3 in space, then 3x1x1 in time, widths so that a pair has a 3x3x3's weights."""
    from torch import nn

    from .layers import Add

    def pair(a, b, stride=1, kernel=3, time=3, middle=None):
        middle = middle or (27 * a * b) // (9 * a + 3 * b)
        space = nn.Conv3d(a, middle, (1, kernel, kernel), (1, stride, stride), (0, kernel // 2, kernel // 2), bias=False)
        after = nn.Conv3d(middle, b, (time, 1, 1), (stride if stride > 1 and kernel == 3 else 1, 1, 1), (time // 2, 0, 0), bias=False)
        return [space, nn.BatchNorm3d(middle), nn.ReLU(), after, nn.BatchNorm3d(b)]

    class R2plus1d(nn.Module):
        def __init__(self):
            super().__init__()
            layers, inputs = [*pair(3, 64, 2, 7, 3, 45), nn.ReLU(), nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1))], 64
            for n, (width, count) in enumerate(((64, 3), (128, 4), (256, 6), (512, 3))):
                for k in range(count):
                    stride = 2 if k == 0 and n else 1
                    body = nn.Sequential(*pair(inputs, width, stride), nn.ReLU(), *pair(width, width))
                    way = None
                    if inputs != width:
                        way = nn.Sequential(nn.Conv3d(inputs, width, 1, stride, bias=False), nn.BatchNorm3d(width))
                    layers.append(Add(body, way, "relu"))
                    inputs = width
            self.body = nn.Sequential(*layers, nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(512, classes))

        def forward(self, x):
            return self.body(x.flatten(0, 1)).reshape(-1, clips, classes).softmax(2).mean(1)

    return R2plus1d()


def tsm(segments, classes, crops=1):
    """ResNet-50 over frames; before each block an eighth of the channels is shifted each way in time."""

    def make():
        import torch
        from torch import nn
        from torchvision import models

        class Shift(nn.Module):
            def __init__(self, conv):
                super().__init__()
                self.conv = conv

            def forward(self, x):
                frames, channels, height, width = (int(s) for s in x.shape)
                fold = channels // 8
                x = x.reshape(-1, segments, channels, height, width)
                left = torch.cat([x[:, 1:, :fold], torch.zeros_like(x[:, :1, :fold])], 1)
                right = torch.cat([torch.zeros_like(x[:, :1, fold : 2 * fold]), x[:, :-1, fold : 2 * fold]], 1)
                x = torch.cat([left, right, x[:, :, 2 * fold :]], 2)
                return self.conv(x.reshape(-1, channels, height, width))

        class Tsm(nn.Module):
            def __init__(self):
                super().__init__()
                net = models.resnet50(weights=None, num_classes=classes)
                for stage in (net.layer1, net.layer2, net.layer3, net.layer4):
                    for block in stage:
                        block.conv1 = Shift(block.conv1)
                self.net = net

            def forward(self, x):
                scores = self.net(x.flatten(0, 1))
                return scores.reshape(-1, segments * crops, classes).mean(1)

        return Tsm()

    return make


def x3d_s(classes=400):
    """X3D-S: inverted bottlenecks of depthwise 3x3x3, squeeze and excitation in every second one."""
    from torch import nn

    from .layers import Swish

    class Gate(nn.Module):
        def __init__(self, channels):
            super().__init__()
            reduced = max(8, int(channels / 16 + 4) // 8 * 8)
            layers = [nn.AdaptiveAvgPool3d(1), nn.Conv3d(channels, reduced, 1), nn.ReLU(), nn.Conv3d(reduced, channels, 1)]
            self.gate = nn.Sequential(*layers, nn.Sigmoid())

        def forward(self, x):
            return x * self.gate(x)

    class Block(nn.Module):
        def __init__(self, inputs, width, stride, excite):
            super().__init__()
            grown = int(width * 2.25)
            strides = (1, stride, stride)
            layers = [nn.Conv3d(inputs, grown, 1, bias=False), nn.BatchNorm3d(grown), nn.ReLU()]
            layers += [nn.Conv3d(grown, grown, 3, strides, 1, groups=grown, bias=False), nn.BatchNorm3d(grown)]
            layers += [Gate(grown)] if excite else []
            layers += [Swish(), nn.Conv3d(grown, width, 1, bias=False), nn.BatchNorm3d(width)]
            self.body, self.way, self.act = nn.Sequential(*layers), nn.Identity(), nn.ReLU()
            if stride > 1 or inputs != width:
                self.way = nn.Sequential(nn.Conv3d(inputs, width, 1, strides, bias=False), nn.BatchNorm3d(width))

        def forward(self, x):
            return self.act(self.body(x) + self.way(x))

    layers = [nn.Conv3d(3, 24, (1, 3, 3), (1, 2, 2), (0, 1, 1), bias=False)]
    layers += [nn.Conv3d(24, 24, (5, 1, 1), 1, (2, 0, 0), groups=24, bias=False), nn.BatchNorm3d(24), nn.ReLU()]
    inputs = 24
    for width, count in ((24, 3), (48, 5), (96, 11), (192, 7)):
        for n in range(count):
            layers.append(Block(inputs, width, 2 if n == 0 else 1, n % 2 == 0))
            inputs = width
    layers += [nn.Conv3d(192, 432, 1, bias=False), nn.BatchNorm3d(432), nn.ReLU(), nn.AdaptiveAvgPool3d(1)]
    layers += [nn.Conv3d(432, 2048, 1, bias=False), nn.ReLU(), nn.Flatten(), nn.Linear(2048, classes)]
    return nn.Sequential(*layers)


def pose_c3d(classes=60, clips=20):
    """SlowOnly-50 of half the width over heat maps of 17 joints: three stages, time convolved in the last two."""
    from torch import nn

    from .layers import Add

    def unit(a, b, kernel, stride=(1, 1, 1), act=True):
        pad = tuple(k // 2 for k in kernel)
        return [nn.Conv3d(a, b, kernel, stride, pad, bias=False), nn.BatchNorm3d(b)] + ([nn.ReLU()] if act else [])

    class PoseC3d(nn.Module):
        def __init__(self):
            super().__init__()
            layers, inputs = unit(17, 32, (1, 7, 7)), 32
            for width, count, time in ((32, 4, 1), (64, 6, 3), (128, 3, 3)):
                for n in range(count):
                    stride = (1, 2, 2) if n == 0 else (1, 1, 1)
                    body = unit(inputs, width, (time, 1, 1)) + unit(width, width, (1, 3, 3), stride)
                    body = nn.Sequential(*body, *unit(width, 4 * width, (1, 1, 1), act=False))
                    way = nn.Sequential(*unit(inputs, 4 * width, (1, 1, 1), stride, False)) if n == 0 else None
                    layers.append(Add(body, way, "relu"))
                    inputs = 4 * width
            self.body = nn.Sequential(*layers, nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(512, classes))

        def forward(self, x):
            return self.body(x.flatten(0, 1)).reshape(-1, clips, classes).softmax(2).mean(1)

    return PoseC3d()


def flavr():
    """A frame between four: a residual encoder of 3x3x3 convolutions with gates, a decoder back up, one 7x7."""
    import torch
    from torch import nn

    class Gate(nn.Module):
        def __init__(self, channels):
            super().__init__()
            self.gate = nn.Sequential(nn.AdaptiveAvgPool3d(1), nn.Conv3d(channels, channels, 1), nn.Sigmoid())

        def forward(self, x):
            return x * self.gate(x)

    class Block(nn.Module):
        def __init__(self, a, b, stride):
            super().__init__()
            self.body = nn.Sequential(nn.Conv3d(a, b, 3, (1, stride, stride), 1), nn.ReLU(), nn.Conv3d(b, b, 3, 1, 1), Gate(b))
            self.way = nn.Conv3d(a, b, 1, (1, stride, stride)) if a != b else nn.Identity()

        def forward(self, x):
            return torch.relu(self.body(x) + self.way(x))

    def stage(a, b, stride):
        return nn.Sequential(Block(a, b, stride), Block(b, b, 1))

    def up(a, b):
        return nn.Sequential(nn.ConvTranspose3d(a, b, (3, 4, 4), (1, 2, 2), 1), Gate(b), nn.LeakyReLU(0.2))

    def same(a, b):
        return nn.Sequential(nn.Conv3d(a, b, 3, 1, 1), Gate(b), nn.LeakyReLU(0.2))

    class Flavr(nn.Module):
        def __init__(self):
            super().__init__()
            stem = nn.Sequential(nn.Conv3d(3, 64, (3, 7, 7), (1, 2, 2), (1, 3, 3)), nn.ReLU())
            self.down = nn.ModuleList([stem, stage(64, 64, 1), stage(64, 128, 2), stage(128, 256, 2), stage(256, 512, 1)])
            self.up = nn.ModuleList([same(512, 256), up(512, 128), up(256, 64), same(128, 64), up(128, 64)])
            self.fuse = nn.Sequential(nn.Conv2d(256, 64, 1, bias=False), nn.LeakyReLU(0.2))
            self.out = nn.Sequential(nn.ReflectionPad2d(3), nn.Conv2d(64, 3, 7))

        def forward(self, *frames):
            x = torch.stack(frames, 2)
            mean = x.mean((2, 3, 4), keepdim=True)
            kept, x = [], x - mean
            for stage in self.down:
                x = stage(x)
                kept.append(x)
            for n, layer in enumerate(self.up):
                x = layer(x)
                if n < 4:
                    x = torch.cat([x, kept[3 - n]], 1)
            x = torch.cat(x.unbind(2), 1)
            return self.out(self.fuse(x)) + mean.squeeze(2)

    return Flavr()


add("pose_c3d_20x48x56", pose_c3d, (20, 17, 48, 56, 56), group="pose_c3d", gmacs=318)
add("flavr_4x224", flavr, *(images(224) for _ in range(4)), group="flavr")
add("c3d_10x16x112", c3d, (10, 3, 16, 112, 112), group="c3d", gmacs=385)
add("r2plus1d_34_3x8x256", r2plus1d_34, (3, 3, 8, 256, 256), group="r2plus1d_34")
add("tsm_r50_8x224", tsm(8, 101), (8, 3, 224, 224), group="tsm", gmacs=32.9)
add("tsm_r50_48x256", tsm(16, 174, 3), (48, 3, 256, 256), group="tsm", gmacs=257)
add("x3d_s_13x182", x3d_s, (3, 13, 182, 182), group="x3d", gmacs=2.54)
