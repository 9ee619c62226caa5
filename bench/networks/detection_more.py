"""More detectors: SSD, EfficientDet, YOLACT, FaceBoxes, edges, and swin or MiT segmentation by transformers."""

from __future__ import annotations

from .catalogue import add
from .cnn import images


def ssd(stages, extras, anchors, classes):
    """A backbone's maps and ever smaller ones, two convolutions on each, joined over places and anchors."""
    import torch
    from torch import nn

    from .layers import plain

    class Ssd(nn.Module):
        def __init__(self):
            super().__init__()
            self.backbone, self.extras = stages[0], nn.ModuleList(extras)
            channels = stages[1]
            self.boxes = nn.ModuleList(plain(c, 4 * n, act=None) for c, n in zip(channels, anchors))
            self.scores = nn.ModuleList(plain(c, classes * n, act=None) for c, n in zip(channels, anchors))

        def forward(self, x):
            found = list(self.backbone(x))
            for extra in self.extras:
                found.append(extra(found[-1]))
            boxes = [h(f).reshape(f.shape[0], 4, -1) for h, f in zip(self.boxes, found)]
            scores = [h(f).reshape(f.shape[0], classes, -1) for h, f in zip(self.scores, found)]
            return torch.cat(boxes, 2), torch.cat(scores, 2)

    return Ssd()


def shrinking(plan):
    from torch import nn

    from .layers import plain

    return [nn.Sequential(plain(a, m, 1), plain(m, b, 3, stride, padding)) for a, m, b, stride, padding in plan]


def ssd_vgg():
    """SSD300 of VGG-16 for 81 classes."""
    from torch import nn
    from torchvision import models

    from .layers import Stages, plain

    layers = list(models.vgg16(weights=None).features)
    layers[16] = nn.MaxPool2d(2, 2, ceil_mode=True)
    tail = [*layers[23:30], nn.MaxPool2d(3, 1, 1), plain(512, 1024, padding=6, dilation=6), plain(1024, 1024, 1)]
    backbone = Stages([nn.Sequential(*layers[:23]), nn.Sequential(*tail)], (0, 1))
    plan = ((1024, 256, 512, 2, 1), (512, 128, 256, 2, 1), (256, 128, 256, 1, 0), (256, 128, 256, 1, 0))
    return ssd((backbone, (512, 1024, 512, 256, 256, 256)), shrinking(plan), (4, 6, 6, 6, 4, 4), 81)


def ssd_resnet34():
    """The small detector of MLPerf: ResNet-34 without its last stage, the third not striding."""
    from torch import nn

    from .layers import Stages, resnet_stages

    body = resnet_stages(34).stages
    for layer in (body[3][0].conv1, body[3][0].downsample[0]):
        layer.stride = (1, 1)
    plan = ((256, 256, 512, 2, 1), (512, 256, 512, 2, 1), (512, 128, 256, 2, 1), (256, 128, 256, 1, 0), (256, 128, 256, 1, 0))
    backbone = Stages([nn.Sequential(*body[:4])], (0,))
    return ssd((backbone, (256, 512, 512, 256, 256, 256)), shrinking(plan), (4, 6, 6, 6, 4, 4), 81)


def efficientdet(name):
    def make():
        from effdet import EfficientDet, get_efficientdet_config

        return EfficientDet(get_efficientdet_config(name), pretrained_backbone=False)

    return make


def yolact(depth, classes=81):
    """FPN of 256, a head shared by five levels, prototypes at a quarter of the size."""

    return lambda: yolact_of(depth, classes)


def yolact_of(depth, classes):
    import torch
    from torch import nn

    from .layers import PyramidNeck, plain, repeated, resnet_stages, sizes, upsample

    class Yolact(nn.Module):
        def __init__(self):
            super().__init__()
            self.backbone, self.neck = resnet_stages(depth, (2, 3, 4)), PyramidNeck((512, 1024, 2048), 256)
            self.neck.more = nn.ModuleList(plain(256, 256, stride=2, act=None) for _ in range(2))
            self.first, self.second = repeated(lambda: plain(256, 256), 3), nn.Sequential(plain(256, 256), plain(256, 32, 1))
            self.head = plain(256, 256)
            self.outs = nn.ModuleList(plain(256, 3 * n, act=None) for n in (4, classes, 32))

        def forward(self, x):
            levels = self.neck(self.backbone(x))
            masks = self.first(levels[0])
            masks = self.second(upsample(masks, tuple(2 * s for s in sizes(masks)), "bilinear")).permute(0, 2, 3, 1)
            found = [[], [], []]
            for level in levels:
                level = self.head(level)
                for n, (out, width) in enumerate(zip(self.outs, (4, classes, 32))):
                    found[n].append(out(level).permute(0, 2, 3, 1).reshape(level.shape[0], -1, width))
            boxes, scores, weights = (torch.cat(f, 1) for f in found)
            return boxes, scores.softmax(2), weights.tanh(), masks

    return Yolact()


def faceboxes():
    """Rapid shrinking with doubled activations, three inceptions, anchors on three maps."""
    import torch
    from torch import nn

    from .layers import conv, plain

    class Doubled(nn.Module):
        def __init__(self, *given):
            super().__init__()
            self.conv = conv(*given, act=None)

        def forward(self, x):
            x = self.conv(x)
            return torch.relu(torch.cat([x, -x], 1))

    class Inception(nn.Module):
        def __init__(self):
            super().__init__()
            pooled = nn.Sequential(nn.AvgPool2d(3, 1, 1), conv(128, 32, 1))
            one = nn.Sequential(conv(128, 24, 1), conv(24, 32))
            two = nn.Sequential(conv(128, 24, 1), conv(24, 32), conv(32, 32))
            self.ways = nn.ModuleList([conv(128, 32, 1), pooled, one, two])

        def forward(self, x):
            return torch.cat([way(x) for way in self.ways], 1)

    class FaceBoxes(nn.Module):
        def __init__(self):
            super().__init__()
            start = [Doubled(3, 24, 7, 4), nn.MaxPool2d(3, 2, 1), Doubled(48, 64, 5, 2), nn.MaxPool2d(3, 2, 1)]
            self.first = nn.Sequential(*start, *(Inception() for _ in range(3)))
            self.more = nn.ModuleList(nn.Sequential(conv(c, 128, 1), conv(128, 256, stride=2)) for c in (128, 256))
            plan = ((128, 21), (256, 1), (256, 1))
            self.boxes = nn.ModuleList(plain(c, 4 * n, act=None) for c, n in plan)
            self.scores = nn.ModuleList(plain(c, 2 * n, act=None) for c, n in plan)

        def forward(self, x):
            found = [self.first(x)]
            for more in self.more:
                found.append(more(found[-1]))
            boxes = [h(f).permute(0, 2, 3, 1).flatten(1) for h, f in zip(self.boxes, found)]
            scores = [h(f).permute(0, 2, 3, 1).flatten(1) for h, f in zip(self.scores, found)]
            return torch.cat(boxes, 1).reshape(x.shape[0], -1, 4), torch.cat(scores, 1).reshape(x.shape[0], -1, 2).softmax(2)

    return FaceBoxes()


def m2det(levels=8, scales=6):
    """VGG-16, its two maps fused, eight thinned hourglasses of six scales, joined by scale."""
    import torch
    from torch import nn
    from torchvision import models

    from .layers import SqueezeExcite, Stages, conv, plain, sizes, upsample

    class Hourglass(nn.Module):
        def __init__(self):
            super().__init__()
            strides = [(2, 1)] * (scales - 2) + [(1, 0)]
            self.down = nn.ModuleList(conv(256, 256, 3, s, p) for s, p in strides)
            self.way = nn.ModuleList(conv(256, 256) for _ in range(scales))
            self.out = nn.ModuleList(conv(256, 128, 1) for _ in range(scales))

        def forward(self, x):
            found = [x]
            for layer in self.down:
                found.append(layer(found[-1]))
            carried, outs = self.way[0](found[-1]), []
            outs.append(self.out[0](carried))
            for n, level in enumerate(reversed(found[:-1]), 1):
                carried = self.way[n](upsample(carried, sizes(level)) + level)
                outs.append(self.out[n](carried))
            return outs  # smallest first

    class M2Det(nn.Module):
        def __init__(self):
            super().__init__()
            layers = list(models.vgg16(weights=None).features)
            tail = [*layers[23:30], nn.MaxPool2d(3, 1, 1), plain(512, 1024, padding=6, dilation=6), plain(1024, 1024, 1)]
            self.backbone = Stages([nn.Sequential(*layers[:23]), nn.Sequential(*tail)], (0, 1))
            self.low, self.high, self.base = conv(512, 256), conv(1024, 512, 1), conv(768, 128, 1)
            self.first = conv(768, 256, 1)
            self.nets = nn.ModuleList(Hourglass() for _ in range(levels))
            self.gates = nn.ModuleList(SqueezeExcite(128 * levels, 128 * levels // 16) for _ in range(scales))
            self.boxes = nn.ModuleList(plain(128 * levels, 24, act=None) for _ in range(scales))
            self.scores = nn.ModuleList(plain(128 * levels, 6 * 81, act=None) for _ in range(scales))

        def forward(self, x):
            low, high = self.backbone(x)
            base = torch.cat([self.low(low), upsample(self.high(high), sizes(low))], 1)
            outs = [self.nets[0](self.first(base))]
            for net in self.nets[1:]:
                outs.append(net(torch.cat([self.base(base), outs[-1][-1]], 1)))
            boxes, scores = [], []
            for n in range(scales):
                level = self.gates[n](torch.cat([o[n] for o in outs], 1))
                boxes.append(self.boxes[n](level).permute(0, 2, 3, 1).flatten(1))
                scores.append(self.scores[n](level).permute(0, 2, 3, 1).flatten(1))
            return torch.cat(boxes, 1), torch.cat(scores, 1).reshape(x.shape[0], -1, 81).softmax(2)

    return M2Det()


def rcf():
    """VGG-16 with a side output from every layer, five maps of edges and their sum."""
    import torch
    from torch import nn

    from .layers import plain, sizes, upsample

    class Rcf(nn.Module):
        def __init__(self):
            super().__init__()
            plan, inputs = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)), 3
            self.stages, self.sides, self.scores = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
            for width, count in plan:
                self.stages.append(nn.ModuleList(plain(inputs if n == 0 else width, width) for n in range(count)))
                self.sides.append(nn.ModuleList(plain(width, 21, 1, act=None) for _ in range(count)))
                self.scores.append(plain(21, 1, 1, act=None))
                inputs = width
            self.join = plain(5, 1, 1, act=None)

        def forward(self, x):
            whole, maps = sizes(x), []
            for n, (layers, sides, score) in enumerate(zip(self.stages, self.sides, self.scores)):
                if n:
                    x = nn.functional.max_pool2d(x, 2, 1 if n == 4 else 2, ceil_mode=True)
                total = None
                for layer, side in zip(layers, sides):
                    x = layer(x)
                    total = side(x) if total is None else total + side(x)
                maps.append(upsample(score(total), whole, "bilinear"))
            return torch.sigmoid(torch.cat([*maps, self.join(torch.cat(maps, 1))], 1))

    return Rcf()


def textsnake():
    """VGG-16 down to a thirty-second, up again by transposed convolutions, seven maps."""
    import torch
    from torch import nn
    from torchvision import models

    from .layers import Stages, plain

    class Up(nn.Module):
        def __init__(self, inputs, outputs):
            super().__init__()
            self.body = nn.Sequential(plain(inputs, outputs, 1), plain(outputs, outputs), nn.ConvTranspose2d(outputs, outputs, 4, 2, 1))

        def forward(self, x, way):
            return torch.relu(self.body(torch.cat([x, way], 1)))

    class TextSnake(nn.Module):
        def __init__(self):
            super().__init__()
            layers = list(models.vgg16(weights=None).features)
            cuts = [0, 5, 10, 17, 24, 31]
            self.down = Stages([nn.Sequential(*layers[a:b]) for a, b in zip(cuts, cuts[1:])], range(5))
            self.first = nn.ConvTranspose2d(512, 512, 4, 2, 1)
            self.up = nn.ModuleList([Up(1024, 256), Up(512, 128), Up(256, 64), Up(128, 32)])
            self.out = plain(32, 7, 1, act=None)

        def forward(self, x):
            c = self.down(x)
            x = torch.relu(self.first(c[4]))
            for up, way in zip(self.up, (c[3], c[2], c[1], c[0])):
                x = up(x, way)
            return self.out(x)

    return TextSnake()


def upernet_swin(width, depths, heads, side=16):
    def make():
        from torch import nn
        from transformers import SwinConfig, UperNetConfig, UperNetForSemanticSegmentation

        backbone = SwinConfig(
            image_size=512, embed_dim=width, depths=depths, num_heads=heads, window_size=7,
            out_features=["stage1", "stage2", "stage3", "stage4"],
        )
        config = UperNetConfig(backbone_config=backbone, num_labels=150, use_auxiliary_head=False, return_dict=False)
        net = UperNetForSemanticSegmentation(config)
        for child in net.modules():
            if isinstance(child, nn.AdaptiveAvgPool2d):  # pooling of fixed windows, as exports have it
                stride = side // child.output_size
                child.forward = nn.AvgPool2d(side - (child.output_size - 1) * stride, stride).forward
        return net

    return make


def segformer_b0():
    from transformers import SegformerConfig, SegformerForSemanticSegmentation

    return SegformerForSemanticSegmentation(SegformerConfig(num_labels=19, return_dict=False))


add("ssd_vgg16_300", ssd_vgg, images(300), group="ssd_vgg16", gmacs=34.4)
add("ssd_resnet34_300", ssd_resnet34, images(300), group="ssd_resnet34")
add("efficientdet_d0_512", efficientdet("tf_efficientdet_d0"), images(512), group="efficientdet", gmacs=2.5)
add("efficientdet_d7_1536", efficientdet("tf_efficientdet_d7"), images(1536), group="efficientdet", dynamic=False)
add("yolact_r101_550", yolact(101), images(550), group="yolact")
add("yolact_r50_550", yolact(50), images(550), group="yolact")
add("faceboxes_224", faceboxes, images(224), group="faceboxes")
add("m2det_vgg16_512", m2det, images(512), group="m2det")
add("rcf_321x481", rcf, (3, 321, 481), group="rcf")
add("textsnake_512", textsnake, images(512), group="textsnake")
add("upernet_swin_tiny_512", upernet_swin(96, [2, 2, 6, 2], [3, 6, 12, 24]), images(512), group="upernet_swin", gmacs=236)
add("upernet_swin_base_512", upernet_swin(128, [2, 2, 18, 2], [4, 8, 16, 32]), images(512), group="upernet_swin", gmacs=297)
add("segformer_b0_1024x2048", segformer_b0, (3, 1024, 2048), group="segformer")
