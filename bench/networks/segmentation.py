"""Semantic segmentation, up to the scores of every pixel."""

from __future__ import annotations

from .catalogue import add
from .cnn import images


def dilated_stages(depth, taken=(4,), stride=8):
    """A ResNet whose last stages widen instead of striding, as mmsegmentation has it: a stem of three layers."""
    from torch import nn
    from torchvision import models

    from .layers import Stages, conv

    net = models.get_model(f"resnet{depth}", weights=None, replace_stride_with_dilation=[False, stride == 8, True])
    stem = nn.Sequential(conv(3, 32, stride=2), conv(32, 32), conv(32, 64), nn.MaxPool2d(3, 2, 1))
    return Stages([stem, net.layer1, net.layer2, net.layer3, net.layer4], taken)


def resized(*parts, largest=False):
    """The parts one after the other, then scores enlarged to the input's size."""
    import torch
    from torch import nn

    from .layers import Chain, upsample

    class Whole(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = Chain(*parts)

        def forward(self, x):
            scores = upsample(self.body(x), (int(x.shape[2]), int(x.shape[3])), "bilinear")
            return torch.argmax(scores, 1) if largest else scores

    return Whole()


def last():
    from torch import nn

    class Last(nn.Module):
        def forward(self, features):
            return features[-1]

    return Last()


def fcn_d8(depth=50, classes=21):
    import torch
    from torch import nn

    from .layers import conv, plain

    class Head(nn.Module):
        def __init__(self):
            super().__init__()
            self.convs = nn.Sequential(conv(2048, 512), conv(512, 512))
            self.join, self.out = conv(2560, 512), plain(512, classes, 1, act=None)

        def forward(self, x):
            return self.out(self.join(torch.cat([x, self.convs(x)], 1)))

    return resized(dilated_stages(depth), last(), Head(), largest=True)


def pyramid_pooling(inputs=2048, width=512, scales=(1, 2, 3, 6)):
    import torch
    from torch import nn

    from .layers import conv, sizes, upsample

    class Pooling(nn.Module):
        def __init__(self):
            super().__init__()
            self.ways = nn.ModuleList(conv(inputs, width, 1) for _ in scales)
            self.join = conv(inputs + width * len(scales), width)

        def pooled(self, x, scale):
            # Adaptive pooling to a size that does not divide, as the pooling that the export put in its place.
            height, width = sizes(x)
            stride = (height // scale, width // scale)
            kernel = (height - (scale - 1) * stride[0], width - (scale - 1) * stride[1])
            return nn.functional.avg_pool2d(x, kernel, stride)

        def forward(self, x):
            found = [upsample(way(self.pooled(x, s)), sizes(x), "bilinear") for way, s in zip(self.ways, scales)]
            return self.join(torch.cat([x, *found], 1))

    return Pooling()


def pspnet_d8(depth=50, classes=21):
    from .layers import plain

    return resized(dilated_stages(depth), last(), pyramid_pooling(), plain(512, classes, 1, act=None), largest=True)


def atrous_pyramid(inputs, rates, width):
    import torch
    from torch import nn

    from .layers import conv, sizes, upsample

    class Atrous(nn.Module):
        def __init__(self):
            super().__init__()
            ways = [conv(inputs, width, 1)] + [conv(inputs, width, dilation=r) for r in rates]
            self.ways = nn.ModuleList(ways)
            self.whole = nn.Sequential(nn.AdaptiveAvgPool2d(1), conv(inputs, width, 1))
            self.join = conv(width * (len(rates) + 2), width, 1)

        def forward(self, x):
            found = [way(x) for way in self.ways]
            return self.join(torch.cat([*found, upsample(self.whole(x), sizes(x), "bilinear")], 1))

    return Atrous()


def deeplabv3_d8():
    from .layers import conv, plain

    return resized(dilated_stages(50), last(), atrous_pyramid(2048, (12, 24, 36), 512), conv(512, 512),
                   plain(512, 19, 1, act=None), largest=True)


def deeplabv3_plus(classes=21):
    """ResNet-101 at a sixteenth, the pyramid, joined with the first stage."""
    import torch
    from torch import nn

    from .layers import conv, plain, resnet_stages, sizes, upsample

    class Decoder(nn.Module):
        def __init__(self):
            super().__init__()
            self.pyramid, self.low = atrous_pyramid(2048, (6, 12, 18), 256), conv(256, 48, 1)
            self.out = nn.Sequential(conv(304, 256), conv(256, 256), plain(256, classes, 1, act=None))

        def forward(self, features):
            low, high = features
            high = upsample(self.pyramid(high), sizes(low), "bilinear")
            return self.out(torch.cat([high, self.low(low)], 1))

    backbone = resnet_stages(101, (1, 4), replace_stride_with_dilation=[False, False, True])
    return resized(backbone, Decoder())


def deeplabv2_multi():
    """ADVENT's: ResNet-101 at an eighth, two classifiers of four dilated convolutions each."""
    from torch import nn

    from .layers import plain, resnet_stages, upsample

    class Classifier(nn.Module):
        def __init__(self, inputs):
            super().__init__()
            self.ways = nn.ModuleList(plain(inputs, 19, dilation=r, act=None) for r in (6, 12, 18, 24))

        def forward(self, x):
            return sum(way(x) for way in self.ways)

    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.backbone = resnet_stages(101, (3, 4), replace_stride_with_dilation=[False, True, True])
            self.low, self.high = Classifier(1024), Classifier(2048)

        def forward(self, x):
            low, high = self.backbone(x)
            return self.low(low), self.high(high)

    return Both()


def unet(classes=2, width=64):
    """Padded convolutions, bilinear enlarging."""
    import torch
    from torch import nn

    from .layers import conv, sizes, upsample

    def double(inputs, outputs, middle=None):
        return nn.Sequential(conv(inputs, middle or outputs), conv(middle or outputs, outputs))

    class UNet(nn.Module):
        def __init__(self):
            super().__init__()
            w = [width, width * 2, width * 4, width * 8, width * 8]
            self.down = nn.ModuleList(double(a, b) for a, b in zip([3, *w], w))
            ups = ((1024, 256, 512), (512, 128, 256), (256, 64, 128), (128, 64, 64))
            self.up = nn.ModuleList(double(a, b, m) for a, b, m in ups)
            self.out = nn.Conv2d(64, classes, 1)

        def forward(self, x):
            kept = []
            for n, stage in enumerate(self.down):
                x = stage(nn.functional.max_pool2d(x, 2) if n else x)
                kept.append(x)
            for stage, way in zip(self.up, reversed(kept[:-1])):
                x = stage(torch.cat([way, upsample(x, sizes(way), "bilinear")], 1))
            return self.out(x)

    return UNet()


def ultra_fast_lane():
    """ResNet-18, eight channels, two dense layers to 101 cells of 56 rows for 4 lanes."""
    from torch import nn

    from .layers import Reshape, resnet_stages

    dense = [nn.Flatten(), nn.Linear(1800, 2048), nn.ReLU(), nn.Linear(2048, 101 * 56 * 4), Reshape(101, 56, 4)]
    return nn.Sequential(resnet_stages(18, (4,)), last(), nn.Conv2d(512, 8, 1), *dense)


def vnet(width=16):
    """Volumes: residual stages of 5x5x5 convolutions, down and up by convolutions of stride two."""
    import torch
    from torch import nn

    def unit(channels, kernel=5):
        return [nn.Conv3d(channels, channels, kernel, padding=kernel // 2), nn.BatchNorm3d(channels), nn.ELU()]

    class Stage(nn.Module):
        def __init__(self, channels, count):
            super().__init__()
            self.body = nn.Sequential(*(m for _ in range(count) for m in unit(channels)))
            self.act = nn.ELU()

        def forward(self, x):
            return self.act(self.body(x) + x)

    def down(a, b):
        return nn.Sequential(nn.Conv3d(a, b, 2, 2), nn.BatchNorm3d(b), nn.ELU())

    def up(a, b):
        return nn.Sequential(nn.ConvTranspose3d(a, b, 2, 2), nn.BatchNorm3d(b), nn.ELU())

    class VNet(nn.Module):
        def __init__(self):
            super().__init__()
            w = width
            self.first = nn.Sequential(nn.Conv3d(1, w, 5, padding=2), nn.BatchNorm3d(w))
            plan = ((w, 2 * w, 1), (2 * w, 4 * w, 2), (4 * w, 8 * w, 3), (8 * w, 16 * w, 2))
            self.down = nn.ModuleList(nn.Sequential(down(a, b), Stage(b, n)) for a, b, n in plan)
            ups = ((16 * w, 8 * w, 16 * w, 2), (16 * w, 4 * w, 8 * w, 2), (8 * w, 2 * w, 4 * w, 1), (4 * w, w, 2 * w, 1))
            self.up = nn.ModuleList(up(a, b) for a, b, _, _ in ups)
            self.after = nn.ModuleList(Stage(c, n) for _, _, c, n in ups)
            self.out = nn.Sequential(nn.Conv3d(2 * w, 2, 5, padding=2), nn.BatchNorm3d(2), nn.ELU(), nn.Conv3d(2, 2, 1))

        def forward(self, x):
            x = nn.functional.elu(self.first(x) + x)
            kept = [x]
            for stage in self.down:
                kept.append(stage(kept[-1]))
            x = kept.pop()
            for way, after in zip(self.up, self.after):
                x = after(torch.cat([way(x), kept.pop()], 1))
            return torch.softmax(self.out(x).permute(0, 2, 3, 4, 1).flatten(1, 3), 2)

    return VNet()


def ocrnet_w18(classes=19, width=512, keys=256):
    """HRNet-W18's four maps joined at a quarter; every pixel looks at the mean features of each class."""
    import torch
    from torch import nn

    from .layers import conv, plain, sizes, upsample

    class OcrNet(nn.Module):
        def __init__(self):
            super().__init__()
            import timm

            self.backbone = timm.create_model("hrnet_w18", features_only=True, feature_location="", out_indices=(1, 2, 3, 4))
            self.rough = nn.Sequential(conv(270, 270), plain(270, classes, 1, act=None))
            self.pixels = conv(270, width)
            self.query, self.key = (nn.Sequential(conv(width, keys, 1), conv(keys, keys, 1)) for _ in range(2))
            self.value, self.back = conv(width, keys, 1), conv(keys, width, 1)
            self.join, self.out = conv(2 * width, width, 1), plain(width, classes, 1, act=None)

        def forward(self, x):
            maps = self.backbone(x)
            size = sizes(maps[0])
            joined = torch.cat([upsample(m, size, "bilinear") if n else m for n, m in enumerate(maps)], 1)
            pixels = self.pixels(joined)
            weights = self.rough(joined).flatten(2).softmax(2)
            regions = (weights @ pixels.flatten(2).transpose(1, 2)).transpose(1, 2).unsqueeze(3)
            query = self.query(pixels).flatten(2).transpose(1, 2)
            near = (query @ self.key(regions).flatten(2) * keys**-0.5).softmax(2)
            context = near @ self.value(regions).flatten(2).transpose(1, 2)
            context = self.back(context.transpose(1, 2).reshape(-1, keys, *size))
            return self.out(self.join(torch.cat([context, pixels], 1)))

    return resized(OcrNet(), largest=True)


add("ocrnet_hrnet_w18_1024x2048", ocrnet_w18, (3, 1024, 2048), group="ocrnet")
add("fcn_r50_d8_500", fcn_d8, images(500), group="fcn_r50_d8")
add("pspnet_r50_d8_500", pspnet_d8, images(500), group="pspnet_r50_d8")
add("deeplabv3_r50_d8_1024x2048", deeplabv3_d8, (3, 1024, 2048), group="deeplabv3", dynamic=False)
add("deeplabv3_plus_r101_513", deeplabv3_plus, images(513), group="deeplabv3_plus")
add("deeplabv2_r101_512x1024", deeplabv2_multi, (3, 512, 1024), group="deeplabv2")
add("unet_572", unet, images(572), group="unet")
add("ultra_fast_lane_288x800", ultra_fast_lane, (3, 288, 800), group="ultra_fast_lane")
add("vnet_64x80x80", vnet, (1, 64, 80, 80), group="vnet")
