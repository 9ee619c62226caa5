"""Reading text: where it is (detection of regions) and what it says (recognition)."""

from __future__ import annotations

from .catalogue import add
from .cnn import images


def crnn(classes=37):
    """Seven convolutions down to one row, two bidirectional LSTMs along it."""
    from torch import nn

    from .layers import conv, plain

    class Crnn(nn.Module):
        def __init__(self):
            super().__init__()
            self.convs = nn.Sequential(
                plain(1, 64), nn.MaxPool2d(2), plain(64, 128), nn.MaxPool2d(2), conv(128, 256), plain(256, 256),
                nn.MaxPool2d(2, (2, 1), (0, 1)), conv(256, 512), plain(512, 512), nn.MaxPool2d(2, (2, 1), (0, 1)),
                conv(512, 512, 2, padding=0),
            )
            self.first, self.middle = nn.LSTM(512, 256, bidirectional=True), nn.Linear(512, 256)
            self.second, self.out = nn.LSTM(256, 256, bidirectional=True), nn.Linear(512, classes)

        def forward(self, x):
            x = self.convs(x).squeeze(2).permute(2, 0, 1)
            x = self.middle(self.first(x)[0])
            return self.out(self.second(x)[0])

    return Crnn()


def mobilenet_v3(scale=0.5, squeeze=True):
    """MobileNetV3-large as PaddleOCR has it for detection: features at 4, 8, 16 and 32."""
    from torch import nn

    from .layers import Add, SqueezeExcite, Stages, conv

    def sized(channels):
        wide = max(8, int(channels * scale + 4) // 8 * 8)
        return wide + 8 if wide < 0.9 * channels * scale else wide

    def block(inputs, kernel, grown, outputs, excite, act, stride):
        body = [conv(inputs, grown, 1, act=act), conv(grown, grown, kernel, stride, groups=grown, act=act)]
        body += [SqueezeExcite(grown, grown // 4, gate="hsigmoid")] if excite and squeeze else []
        body = nn.Sequential(*body, conv(grown, outputs, 1, act=None))
        return Add(body) if stride == 1 and inputs == outputs else body

    plan = [(3, 16, 16, False, "relu", 1), (3, 64, 24, False, "relu", 2), (3, 72, 24, False, "relu", 1),
            (5, 72, 40, True, "relu", 2), (5, 120, 40, True, "relu", 1), (5, 120, 40, True, "relu", 1),
            (3, 240, 80, False, "hswish", 2), (3, 200, 80, False, "hswish", 1), (3, 184, 80, False, "hswish", 1),
            (3, 184, 80, False, "hswish", 1), (3, 480, 112, True, "hswish", 1), (3, 672, 112, True, "hswish", 1),
            (5, 672, 160, True, "hswish", 2), (5, 960, 160, True, "hswish", 1), (5, 960, 160, True, "hswish", 1)]
    stages, inputs = [[conv(3, sized(16), stride=2, act="hswish")]], sized(16)
    for kernel, grown, outputs, excite, act, stride in plan:
        if stride == 2:
            stages.append([])
        stages[-1].append(block(inputs, kernel, sized(grown), sized(outputs), excite, act, stride))
        inputs = sized(outputs)
    stages[-1].append(conv(inputs, sized(960), 1, act="hswish"))
    return Stages([nn.Sequential(*s) for s in stages], (1, 2, 3, 4)), [sized(c) for c in (24, 40, 112, 960)]


def db_neck(inputs, width, residual=False):
    """Laterals, sums, a quarter of the width for each level, joined at a quarter of the size."""
    import torch
    from torch import nn

    from .layers import SqueezeExcite, plain, sizes, upsample

    class Excited(nn.Module):
        def __init__(self, a, b, kernel):
            super().__init__()
            self.conv, self.gate = nn.Conv2d(a, b, kernel, padding=kernel // 2, bias=False), SqueezeExcite(b, b // 4, gate="hsigmoid")

        def forward(self, x):
            x = self.conv(x)
            return x + self.gate(x)

    def layer(a, b, kernel):
        return Excited(a, b, kernel) if residual else plain(a, b, kernel, act=None, bias=False)

    class Neck(nn.Module):
        def __init__(self):
            super().__init__()
            self.lateral = nn.ModuleList(layer(c, width, 1) for c in inputs)
            self.smooth = nn.ModuleList(layer(width, width // 4, 3) for _ in inputs)

        def forward(self, features):
            levels = [way(f) for way, f in zip(self.lateral, features)]
            for n in range(len(levels) - 1, 0, -1):
                levels[n - 1] = levels[n - 1] + upsample(levels[n], sizes(levels[n - 1]))
            outs = [smooth(level) for smooth, level in zip(self.smooth, levels)]
            return torch.cat([upsample(o, sizes(outs[0])) if n else o for n, o in reversed(list(enumerate(outs)))], 1)

    return Neck()


def db_head(inputs):
    from torch import nn

    from .layers import conv

    quarter = inputs // 4
    first = nn.Sequential(nn.ConvTranspose2d(quarter, quarter, 2, 2), nn.BatchNorm2d(quarter), nn.ReLU())
    return nn.Sequential(conv(inputs, quarter), first, nn.ConvTranspose2d(quarter, 1, 2, 2), nn.Sigmoid())


def db_mobilenet(width, residual, squeeze):
    def make():
        from .layers import Chain

        backbone, channels = mobilenet_v3(0.5, squeeze)
        return Chain(backbone, db_neck(channels, width, residual), db_head(width))

    return make


def vgg_stages():
    """VGG-16's convolutions by resolution: after each of the last four pools."""
    from torch import nn
    from torchvision import models

    from .layers import Stages

    layers = list(models.vgg16(weights=None).features)
    cuts = [0, 10, 17, 24, 31]
    return Stages([nn.Sequential(*layers[a:b]) for a, b in zip(cuts, cuts[1:])], (0, 1, 2, 3)), (128, 256, 512, 512)


def merging(backbone, channels, widths=(128, 64, 32), outputs=(1, 4, 1)):
    """EAST: features joined upwards, then maps of scores, distances and angles at a quarter of the size."""
    import torch
    from torch import nn

    from .layers import conv, plain, sizes, upsample

    class East(nn.Module):
        def __init__(self):
            super().__init__()
            self.backbone, carried, stages = backbone, channels[-1], []
            for way, width in zip(reversed(channels[:-1]), widths):
                stages.append(nn.Sequential(conv(carried + way, width, 1), conv(width, width)))
                carried = width
            self.stages, self.last = nn.ModuleList(stages), conv(carried, carried)
            self.heads = nn.ModuleList(plain(carried, n, 1, act="sigmoid") for n in outputs)

        def forward(self, x):
            features = self.backbone(x)
            x = features[-1]
            for stage, way in zip(self.stages, reversed(features[:-1])):
                x = stage(torch.cat([upsample(x, sizes(way), "bilinear"), way], 1))
            x = self.last(x)
            return torch.cat([head(x) for head in self.heads], 1)

    return East()


def advanced_east():
    return merging(*vgg_stages(), outputs=(1, 2, 4))


def east_mobilenet():
    return merging(*mobilenet_v3(0.5))


def fots():
    from .layers import resnet_stages

    return merging(resnet_stages(50), (256, 512, 1024, 2048))


def psenet(kernels=7):
    """FPN over ResNet-50, its four levels joined, seven maps enlarged to the input's size."""
    import torch
    from torch import nn

    from .layers import PyramidNeck, conv, plain, resnet_stages, sizes, upsample

    class PseNet(nn.Module):
        def __init__(self):
            super().__init__()
            self.backbone, self.neck = resnet_stages(50), PyramidNeck((256, 512, 1024, 2048), 256, levels=4)
            self.head = nn.Sequential(conv(1024, 256), plain(256, kernels, 1, act=None))

        def forward(self, x):
            levels = self.neck(self.backbone(x))
            joined = torch.cat([upsample(p, sizes(levels[0]), "bilinear") if n else p for n, p in enumerate(levels)], 1)
            return upsample(self.head(joined), sizes(x), "bilinear")

    return PseNet()


def fcenet():
    """FPN over C3 to C5, one convolution each for scores and for Fourier coefficients."""
    from .layers import Chain, Heads, PyramidNeck, plain, resnet_stages

    heads = [plain(256, 4, act=None), plain(256, 22, act=None)]
    neck = PyramidNeck((512, 1024, 2048), 256, levels=3)
    return Chain(resnet_stages(50, (2, 3, 4)), neck, Heads(heads, shared=True))


def resnet_vd(counts, first_stride=None):
    """PaddleOCR's ResNet-vd of basic blocks: three layers as stem, pooling before the shortcut's projection."""
    from torch import nn

    from .layers import Add, conv

    def shortcut(inputs, outputs, stride):
        pool = [nn.AvgPool2d(stride, stride, ceil_mode=True)] if stride != (1, 1) else []
        return nn.Sequential(*pool, conv(inputs, outputs, 1, act=None))

    stages, inputs = [], 64
    for n, (width, count) in enumerate(zip((64, 128, 256, 512), counts)):
        blocks = []
        for k in range(count):
            stride = (first_stride or (2, 2)) if k == 0 and n else (1, 1)
            body = nn.Sequential(conv(inputs, width, stride=stride), conv(width, width, act=None))
            blocks.append(Add(body, shortcut(inputs, width, stride) if k == 0 else None, "relu"))
            inputs = width
        stages.append(nn.Sequential(*blocks))
    return stages


def server_det():
    from torch import nn

    from .layers import Chain, Stages, conv

    stem = nn.Sequential(conv(3, 32, stride=2), conv(32, 32), conv(32, 64), nn.MaxPool2d(3, 2, 1))
    backbone = Stages([stem, *resnet_vd((2, 2, 2, 2))], (1, 2, 3, 4))
    return Chain(backbone, db_neck((64, 128, 256, 512), 256), db_head(256))


def server_rec(classes=6625):
    """ResNet-34-vd that keeps the width, two bidirectional LSTMs of 256."""
    from torch import nn

    from .layers import conv

    class ServerRec(nn.Module):
        def __init__(self):
            super().__init__()
            stem = [conv(3, 32), conv(32, 32), conv(32, 64), nn.MaxPool2d(3, 2, 1)]
            self.convs = nn.Sequential(*stem, *resnet_vd((3, 4, 6, 3), (2, 1)), nn.MaxPool2d(2, 2))
            self.lstm = nn.LSTM(512, 256, 2, bidirectional=True)
            self.out = nn.Linear(512, classes)

        def forward(self, x):
            return self.out(self.lstm(self.convs(x).squeeze(2).permute(2, 0, 1))[0]).softmax(2)

    return ServerRec()


def starnet(classes=37, points=20, size=(32, 100)):
    """A thin-plate spline straightens the line, ResNet-34-vd and two bidirectional LSTMs read it."""
    import torch
    from torch import nn

    from .layers import conv

    class Starnet(nn.Module):
        def __init__(self):
            super().__init__()
            layers, inputs = [], 3
            for n, width in enumerate((16, 32, 64, 128)):
                layers += [conv(inputs, width), nn.MaxPool2d(2) if n < 3 else nn.AdaptiveAvgPool2d(1)]
                inputs = width
            self.places = nn.Sequential(*layers, nn.Flatten(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 2 * points))
            self.register_buffer("inverse", torch.eye(points + 3))
            self.register_buffer("grid", torch.rand(size[0] * size[1], points + 3))
            stem = [conv(3, 32), conv(32, 32), conv(32, 64), nn.MaxPool2d(3, 2, 1)]
            self.convs = nn.Sequential(*stem, *resnet_vd((3, 4, 6, 3), (2, 1)), nn.MaxPool2d(2, 2))
            self.lstm, self.out = nn.LSTM(512, 256, 2, bidirectional=True), nn.Linear(512, classes)

        def forward(self, x):
            where = self.places(x).reshape(-1, points, 2)
            where = torch.cat([where, 0 * where[:, :3]], 1)
            grid = (self.grid @ (self.inverse @ where)).reshape(-1, *size, 2)
            x = nn.functional.grid_sample(x, grid, align_corners=True)
            return self.out(self.lstm(self.convs(x).squeeze(2).permute(2, 0, 1))[0]).softmax(2)

    return Starnet()


add("starnet_r34_32x100", starnet, (3, 32, 100), group="starnet", opset=16)
add("crnn_32x100", crnn, (1, 32, 100), group="crnn")
add("crnn_32x160", crnn, (1, 32, 160), group="crnn")
add("dbnet_mobilenet_v3_736x1280", db_mobilenet(256, False, True), (3, 736, 1280), group="dbnet_mobilenet_v3")
add("ppocr_v3_det_736x992", db_mobilenet(96, True, False), (3, 736, 992), group="ppocr_v3_det")
add("ppocr_server_det_736x992", server_det, (3, 736, 992), group="ppocr_server_det")
add("ppocr_server_rec_32x320", server_rec, (3, 32, 320), group="ppocr_server_rec")
add("advanced_east_736", advanced_east, images(736), group="advanced_east")
add("east_mobilenet_v3_704x1280", east_mobilenet, (3, 704, 1280), group="east_mobilenet_v3")
add("fots_1248x2240", fots, (3, 1248, 2240), group="fots")
add("psenet_704x1216", psenet, (3, 704, 1216), group="psenet")
add("fcenet_1280x2272", fcenet, (3, 1280, 2272), group="fcenet")
