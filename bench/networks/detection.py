"""Detectors without what follows the network: decoding, selection, NMS."""

from __future__ import annotations

from .catalogue import add
from .cnn import images


def darknet53(taken=(2, 3, 4), act="leaky"):
    from torch import nn

    from .layers import Add, Stages, conv

    stages, inputs = [conv(3, 32, act=act)], 32
    for width, count in ((64, 1), (128, 2), (256, 8), (512, 8), (1024, 4)):
        blocks = [Add(nn.Sequential(conv(width, width // 2, 1, act=act), conv(width // 2, width, act=act))) for _ in range(count)]
        stages.append(nn.Sequential(conv(inputs, width, stride=2, act=act), *blocks))
        inputs = width
    stages = [nn.Sequential(stages[0], stages[1]), *stages[2:]]
    return Stages(stages, taken)


def yolov3(outputs=255):
    def make():
        import torch
        from torch import nn

        from .layers import conv, plain, sizes, upsample

        class YoloV3(nn.Module):
            def __init__(self):
                super().__init__()
                self.backbone = darknet53()
                self.five, self.last, self.ways = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
                for inputs, width in ((1024, 512), (768, 256), (384, 128)):
                    wide = [conv(inputs, width, 1, act="leaky")]
                    for _ in range(2):
                        wide += [conv(width, 2 * width, act="leaky"), conv(2 * width, width, 1, act="leaky")]
                    self.five.append(nn.Sequential(*wide))
                    self.last.append(nn.Sequential(conv(width, 2 * width, act="leaky"), plain(2 * width, outputs, 1, act=None)))
                    self.ways.append(conv(width, width // 2, 1, act="leaky"))

            def forward(self, x):
                levels, outs, carried = self.backbone(x), [], None
                for level, five, last, way in zip(reversed(levels), self.five, self.last, self.ways):
                    if carried is not None:
                        level = torch.cat([upsample(carried, sizes(level)), level], 1)
                    level = five(level)
                    outs.append(last(level))
                    carried = way(level)
                return tuple(outs)

        return YoloV3()

    return make


def csp_layer(inputs, outputs, count, act, shortcut=True, ratio=0.5, conv=None):
    """Two ways, one through bottlenecks, joined."""
    import torch
    from torch import nn

    from . import layers

    width = int(outputs * ratio)

    class CspLayer(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = layers.conv(inputs, width, 1, act=act), layers.conv(inputs, width, 1, act=act)
            blocks = [nn.Sequential(layers.conv(width, width, 1, act=act), layers.conv(width, width, act=act)) for _ in range(count)]
            self.blocks = nn.Sequential(*(layers.Add(b) if shortcut else b for b in blocks))
            self.out = layers.conv(2 * width, outputs, 1, act=act)

        def forward(self, x):
            return self.out(torch.cat([self.blocks(self.a(x)), self.b(x)], 1))

    return CspLayer()


def spatial_pyramid_pooling(inputs, outputs, act, kernels=(5, 9, 13)):
    import torch
    from torch import nn

    from .layers import conv

    class Spp(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.last = conv(inputs, inputs // 2, 1, act=act), conv(inputs * 2, outputs, 1, act=act)
            self.pools = nn.ModuleList(nn.MaxPool2d(k, 1, k // 2) for k in kernels)

        def forward(self, x):
            x = self.first(x)
            return self.last(torch.cat([x, *(pool(x) for pool in self.pools)], 1))

    return Spp()


def yolox(depth, width, classes=80):
    """CSPDarknet behind a slicing stem, a path aggregation neck, decoupled heads."""

    def make():
        import torch
        from torch import nn

        from .layers import conv, plain, sizes, upsample

        act, base, count = "swish", int(64 * width), max(round(3 * depth), 1)
        c3, c4, c5 = base * 4, base * 8, base * 16

        class Focus(nn.Module):
            def __init__(self):
                super().__init__()
                self.conv = conv(12, base, act=act)

            def forward(self, x):
                parts = [x[..., ::2, ::2], x[..., 1::2, ::2], x[..., ::2, 1::2], x[..., 1::2, 1::2]]
                return self.conv(torch.cat(parts, 1))

        class YoloX(nn.Module):
            def __init__(self):
                super().__init__()
                self.low = nn.Sequential(
                    Focus(), conv(base, base * 2, stride=2, act=act), csp_layer(base * 2, base * 2, count, act),
                    conv(base * 2, c3, stride=2, act=act), csp_layer(c3, c3, count * 3, act),
                )
                self.mid = nn.Sequential(conv(c3, c4, stride=2, act=act), csp_layer(c4, c4, count * 3, act))
                self.high = nn.Sequential(
                    conv(c4, c5, stride=2, act=act), spatial_pyramid_pooling(c5, c5, act), csp_layer(c5, c5, count, act, False)
                )
                self.way5, self.up4 = conv(c5, c4, 1, act=act), csp_layer(2 * c4, c4, count, act, False)
                self.way4, self.up3 = conv(c4, c3, 1, act=act), csp_layer(2 * c3, c3, count, act, False)
                self.down3, self.out4 = conv(c3, c3, stride=2, act=act), csp_layer(2 * c3, c4, count, act, False)
                self.down4, self.out5 = conv(c4, c4, stride=2, act=act), csp_layer(2 * c4, c5, count, act, False)
                wide = int(256 * width)
                self.stems = nn.ModuleList(conv(c, wide, 1, act=act) for c in (c3, c4, c5))
                self.ways = nn.ModuleList(
                    nn.ModuleList(nn.Sequential(conv(wide, wide, act=act), conv(wide, wide, act=act)) for _ in range(2)) for _ in range(3)
                )
                self.heads = nn.ModuleList(
                    nn.ModuleList(plain(wide, n, 1, act=None) for n in (classes, 4, 1)) for _ in range(3)
                )

            def forward(self, x):
                f3 = self.low(x)
                f4 = self.mid(f3)
                w5 = self.way5(self.high(f4))
                w4 = self.way4(self.up4(torch.cat([upsample(w5, sizes(f4)), f4], 1)))
                p3 = self.up3(torch.cat([upsample(w4, sizes(f3)), f3], 1))
                p4 = self.out4(torch.cat([self.down3(p3), w4], 1))
                p5 = self.out5(torch.cat([self.down4(p4), w5], 1))
                outs = []
                for p, stem, ways, heads in zip((p3, p4, p5), self.stems, self.ways, self.heads):
                    p = stem(p)
                    scores, boxes = ways[0](p), ways[1](p)
                    found = [heads[1](boxes), torch.sigmoid(heads[2](boxes)), torch.sigmoid(heads[0](scores))]
                    outs.append(torch.cat(found, 1).flatten(2))
                return torch.cat(outs, 2).transpose(1, 2)

        return YoloX()

    return make


def retina_head(width=256, anchors=9, classes=80, count=4):
    from torch import nn

    from .layers import Heads, plain, repeated

    scores = nn.Sequential(repeated(lambda: plain(width, width), count), plain(width, anchors * classes, act="sigmoid"))
    boxes = nn.Sequential(repeated(lambda: plain(width, width), count), plain(width, anchors * 4, act=None))
    return Heads([scores, boxes], shared=True)


def retinanet():
    from .layers import Chain, PyramidNeck, resnet_stages

    return Chain(resnet_stages(50, (2, 3, 4)), PyramidNeck((512, 1024, 2048), 256, "conv"), retina_head())


def yolof(backbone="resnet", anchors=5):
    """One level: a dilated encoder of four residual blocks, then two stacks of convolutions."""

    def make():
        from torch import nn

        from .layers import Add, Chain, Heads, conv, plain, repeated, resnet_stages

        def dilated(rate):
            return Add(nn.Sequential(conv(512, 128, 1), conv(128, 128, dilation=rate), conv(128, 512, 1)))

        class Last(nn.Module):
            def forward(self, levels):
                return [self.encoder(levels[-1])]

            def __init__(self, inputs, dilations):
                super().__init__()
                projected = [conv(inputs, 512, 1, act=None), conv(512, 512, act=None)]
                self.encoder = nn.Sequential(*projected, *(dilated(d) for d in dilations))

        scores = nn.Sequential(repeated(lambda: conv(512, 512), 2), plain(512, anchors * 80, act=None))
        boxes = nn.Sequential(repeated(lambda: conv(512, 512), 4), plain(512, anchors * 5, act=None))
        if backbone == "resnet":
            return Chain(resnet_stages(50, (4,)), Last(2048, (2, 4, 6, 8)), Heads([scores, boxes], shared=True))
        return Chain(csp_darknet53_dc5(), Last(1024, (1, 2, 3, 4, 5, 6, 7, 8)), Heads([scores, boxes], shared=True))

    return make


def csp_darknet53_dc5():
    from torch import nn

    from .layers import Stages, conv

    stages, inputs = [conv(3, 32, act="mish")], 32
    for width, count in ((64, 1), (128, 2), (256, 8), (512, 8), (1024, 4)):
        last = width == 1024
        down = conv(inputs, width, stride=1 if last else 2, dilation=2 if last else 1, act="mish")
        stages.append(nn.Sequential(down, csp_layer(width, width, count, "mish")))
        inputs = width
    return Stages(stages, (5,))


add("yolov3_416", yolov3(), images(416), group="yolov3", gmacs=32.8)
add("yolox_s_640", yolox(0.33, 0.5), images(640), group="yolox", gmacs=13.4)
add("yolox_x_640", yolox(1.33, 1.25), images(640), group="yolox", gmacs=141)
add("retinanet_r50_1216", retinanet, images(1216), group="retinanet_r50")
add("retinanet_r50_1344", retinanet, images(1344), group="retinanet_r50")
add("yolof_r50_640", yolof(), images(640), group="yolof")
add("yolof_csp_608", yolof("csp"), images(608), group="yolof_csp")
