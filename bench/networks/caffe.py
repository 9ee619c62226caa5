"""The Caffe models of the Cambricon measurements, after their published prototxt files."""

from __future__ import annotations

from .catalogue import BATCH, Input, add
from .cnn import images


def alexnet_bn():
    """AlexNet with two groups in three layers, every layer normalised."""
    from torch import nn

    from .layers import conv

    def dense(inputs, outputs):
        return [nn.Linear(inputs, outputs), nn.BatchNorm1d(outputs), nn.ReLU()]

    return nn.Sequential(
        conv(3, 96, 11, 4, 0), nn.MaxPool2d(3, 2), conv(96, 256, 5, groups=2), nn.MaxPool2d(3, 2),
        conv(256, 384), conv(384, 384, groups=2), conv(384, 256, groups=2), nn.MaxPool2d(3, 2),
        nn.Flatten(), *dense(9216, 4096), *dense(4096, 4096), nn.Linear(4096, 1000), nn.Softmax(1),
    )


def squeezenet():
    """Version 1.1 as Caffe computes it: no padding in the first layer, pools that round up."""
    from torch import nn
    from torchvision import models

    net = models.squeezenet1_1(weights=None)
    return nn.Sequential(net.features, net.classifier, nn.Flatten(), nn.Softmax(1))


def mobilenet_ssd():
    """MobileNet-SSD for 21 classes at 300x300, without the decoding of boxes."""
    import torch
    from torch import nn

    from .layers import conv, depthwise, plain

    class MobileNetSsd(nn.Module):
        def __init__(self):
            super().__init__()
            widths = [(32, 64, 1), (64, 128, 2), (128, 128, 1), (128, 256, 2), (256, 256, 1), (256, 512, 2)]
            blocks = [conv(3, 32, stride=2)] + [depthwise(a, b, s) for a, b, s in widths + [(512, 512, 1)] * 5]
            self.first = nn.Sequential(*blocks)
            self.more = nn.ModuleList([nn.Sequential(depthwise(512, 1024, 2), depthwise(1024, 1024))])
            for inputs, inner, outputs in ((1024, 256, 512), (512, 128, 256), (256, 128, 256), (256, 64, 128)):
                self.more.append(nn.Sequential(conv(inputs, inner, 1), conv(inner, outputs, stride=2)))
            taken = list(zip((512, 1024, 512, 256, 256, 128), (3, 6, 6, 6, 6, 6)))
            self.boxes = nn.ModuleList(plain(c, 4 * n, 1, act=None) for c, n in taken)
            self.scores = nn.ModuleList(plain(c, 21 * n, 1, act=None) for c, n in taken)

        def forward(self, x):
            found = [self.first(x)]
            for part in self.more:
                found.append(part(found[-1]))
            boxes = [h(f).permute(0, 2, 3, 1).flatten(1) for h, f in zip(self.boxes, found)]
            scores = [h(f).permute(0, 2, 3, 1).flatten(1) for h, f in zip(self.scores, found)]
            return torch.cat(boxes, 1), torch.softmax(torch.cat(scores, 1).reshape(x.shape[0], -1, 21), 2)

    return MobileNetSsd()


def segnet(classes=21):
    """VGG-16's convolutions, and their mirror image behind unpooling at the remembered places."""
    from torch import nn
    from torch.nn import functional as F

    from .layers import conv

    plan = ((3, 64, 2), (64, 128, 2), (128, 256, 3), (256, 512, 3), (512, 512, 3))

    class SegNet(nn.Module):
        def __init__(self):
            super().__init__()
            self.down, self.up = nn.ModuleList(), nn.ModuleList()
            for inputs, outputs, count in plan:
                self.down.append(nn.Sequential(conv(inputs, outputs), *(conv(outputs, outputs) for _ in range(count - 1))))
                last = conv(outputs, inputs) if inputs > 3 else nn.Conv2d(outputs, classes, 3, padding=1)
                self.up.insert(0, nn.Sequential(*(conv(outputs, outputs) for _ in range(count - 1)), last))

        def forward(self, x):
            places = []
            for stage in self.down:
                x = stage(x)
                x, index = F.max_pool2d(x, 2, return_indices=True)
                places.append(index)
            for stage, index in zip(self.up, reversed(places)):
                x = stage(F.max_unpool2d(x, index, 2))
            return F.softmax(x, 1)

    return SegNet()


def openpose_coco():
    """Ten layers of VGG-19, two more, then six stages of two branches each."""
    import torch
    from torch import nn

    from .layers import plain

    def first(outputs):
        return nn.Sequential(plain(128, 128), plain(128, 128), plain(128, 128), plain(128, 512, 1), plain(512, outputs, 1, act=None))

    def later(outputs):
        wide = [plain(185, 128, 7)] + [plain(128, 128, 7) for _ in range(4)]
        return nn.Sequential(*wide, plain(128, 128, 1), plain(128, outputs, 1, act=None))

    class OpenPose(nn.Module):
        def __init__(self):
            super().__init__()
            layers = [plain(3, 64), plain(64, 64), nn.MaxPool2d(2), plain(64, 128), plain(128, 128), nn.MaxPool2d(2)]
            layers += [plain(128, 256), *(plain(256, 256) for _ in range(3)), nn.MaxPool2d(2), plain(256, 512)]
            layers += [plain(512, 512), plain(512, 256), plain(256, 128)]
            self.trunk = nn.Sequential(*layers)
            self.limbs = nn.ModuleList([first(38)] + [later(38) for _ in range(5)])
            self.parts = nn.ModuleList([first(19)] + [later(19) for _ in range(5)])

        def forward(self, x):
            features = self.trunk(x)
            given = features
            for limbs, parts in zip(self.limbs, self.parts):
                a, b = limbs(given), parts(given)
                given = torch.cat([a, b, features], 1)
            return torch.cat([b, a], 1)

    return OpenPose()


def res3d_18():
    from torchvision.models import video

    return video.r3d_18(weights=None, num_classes=101)


add("alexnet_bn_caffe", alexnet_bn, images(227), group="alexnet", gmacs=0.727)
add("squeezenet_v1_1_caffe", squeezenet, images(227), group="squeezenet", gmacs=0.388)
add("mobilenet_ssd_caffe", mobilenet_ssd, images(300), gmacs=1.16)
add("segnet_caffe", segnet, images(224))
add("openpose_coco_caffe", openpose_coco, (3, 368, 656))
add("res3d18_8x112", res3d_18, Input("input", (BATCH, 3, 8, 112, 112)), gmacs=20.3)
