"""Convolution beside attention: Conformer, TransPose, UniFormer, text recognition by SVTR."""

from __future__ import annotations

from .catalogue import add
from .cnn import images


def encoder_block(width, heads, grown, act="gelu"):
    """Attention and a two-layer perceptron, each behind a normalisation."""
    import torch
    from torch import nn

    from .layers import activation

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
            self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
            self.mlp = nn.Sequential(nn.Linear(width, grown), activation(act), nn.Linear(grown, width))

        def attention(self, x):
            length = int(x.shape[1])
            q, k, v = self.qkv(x).reshape(-1, length, 3, heads, width // heads).permute(2, 0, 3, 1, 4).unbind(0)
            weights = (q @ k.transpose(2, 3) * (width // heads) ** -0.5).softmax(3)
            return self.out((weights @ v).transpose(1, 2).reshape(-1, length, width))

        def forward(self, x):
            x = x + self.attention(self.norms[0](x))
            return x + self.mlp(self.norms[1](x))

    return Block()


def conformer_tiny(width=384, heads=6):
    """Two branches that exchange: bottlenecks of convolutions, and a transformer over patches of 16."""
    import torch
    from torch import nn

    from .layers import conv, upsample

    class Convs(nn.Module):
        def __init__(self, a, b, stride=1, projected=False):
            super().__init__()
            self.one, self.two, self.three = conv(a, b // 4, 1), conv(b // 4, b // 4, stride=stride), conv(b // 4, b, 1, act=None)
            self.way = conv(a, b, 1, stride, act=None) if projected else nn.Identity()

        def forward(self, x, added=None):
            middle = self.one(x)
            middle = self.two(middle if added is None else middle + added)
            return torch.relu(self.three(middle) + self.way(x)), middle

    class Both(nn.Module):
        def __init__(self, a, b, stride, projected, shrink, last):
            super().__init__()
            self.convs, self.fused = Convs(a, b, stride, projected), Convs(b, b, 2 if last else 1, last)
            self.down, self.up = nn.Conv2d(b // 4, width, 1), conv(width, b // 4, 1)
            self.pool, self.norm = nn.AvgPool2d(shrink, shrink), nn.LayerNorm(width)
            self.block, self.shrink = encoder_block(width, heads, 4 * width), shrink

        def forward(self, x, tokens):
            x, middle = self.convs(x)
            local = nn.functional.gelu(self.norm(self.pool(self.down(middle)).flatten(2).transpose(1, 2)))
            tokens = self.block(tokens + torch.cat([tokens[:, :1], local], 1))
            side = int(middle.shape[2]) // self.shrink
            back = self.up(tokens[:, 1:].transpose(1, 2).reshape(-1, width, side, side))
            return self.fused(x, upsample(back, (side * self.shrink, side * self.shrink)))[0], tokens

    class Conformer(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem = nn.Sequential(conv(3, 64, 7, 2), nn.MaxPool2d(3, 2, 1))
            self.first, self.patches = Convs(64, 64, 1, True), nn.Conv2d(64, width, 4, 4)
            self.token, self.block = nn.Parameter(torch.zeros(1, 1, width)), encoder_block(width, heads, 4 * width)
            stages, inputs = [], 64
            for n, (channels, shrink) in enumerate(((64, 4), (128, 2), (256, 1))):
                for k in range(3 if n == 0 else 4):
                    new = k == 0 and n > 0
                    stages.append(Both(inputs, channels, 2 if new else 1, new, shrink, n == 2 and k == 3))
                    inputs = channels
            self.stages, self.norm = nn.ModuleList(stages), nn.LayerNorm(width)
            self.conv_out, self.token_out = nn.Linear(256, 1000), nn.Linear(width, 1000)

        def forward(self, x):
            x = self.first(self.stem(x))[0]
            tokens = self.patches(x).flatten(2).transpose(1, 2)
            # One token for each sample, without a batch in the graph.
            tokens = self.block(torch.cat([0 * tokens[:, :1] + self.token, tokens], 1))
            for stage in self.stages:
                x, tokens = stage(x, tokens)
            return self.conv_out(x.mean((2, 3))), self.token_out(self.norm(tokens)[:, 0])

    return Conformer()


def transpose_r_a3():
    """ResNet-50 to its second stage, three layers of attention over all places, heat maps at a quarter."""
    import torch
    from torch import nn

    from .layers import resnet_stages

    class TransPose(nn.Module):
        def __init__(self):
            super().__init__()
            self.backbone, self.reduce = resnet_stages(50, (2,)), nn.Conv2d(512, 256, 1, bias=False)
            self.places = nn.Parameter(torch.zeros(1, 768, 256))
            self.blocks = nn.Sequential(*(encoder_block(256, 8, 1024, "relu") for _ in range(3)))
            up = [nn.ConvTranspose2d(256, 256, 4, 2, 1, bias=False), nn.BatchNorm2d(256), nn.ReLU()]
            self.out = nn.Sequential(*up, nn.Conv2d(256, 17, 1))

        def forward(self, x):
            x = self.reduce(self.backbone(x)[0]).flatten(2).transpose(1, 2)
            x = self.blocks(x + self.places)
            return self.out(x.transpose(1, 2).reshape(-1, 256, 32, 24))

    return TransPose()


def uniformer_pose(depths=(3, 4, 8, 3), widths=(64, 128, 320, 512)):
    """UniFormer-S: depthwise 5x5 mixing in two stages, attention in two, three transposed convolutions."""
    from torch import nn

    from .layers import Add, sizes

    def positions(width):
        return Add(nn.Conv2d(width, width, 3, padding=1, groups=width))

    def mixing(width):
        mix = [nn.BatchNorm2d(width), nn.Conv2d(width, width, 1), nn.Conv2d(width, width, 5, padding=2, groups=width)]
        mlp = [nn.BatchNorm2d(width), nn.Conv2d(width, 4 * width, 1), nn.GELU(), nn.Conv2d(4 * width, width, 1)]
        return nn.Sequential(positions(width), Add(nn.Sequential(*mix, nn.Conv2d(width, width, 1))), Add(nn.Sequential(*mlp)))

    class Attention(nn.Module):
        def __init__(self, width):
            super().__init__()
            self.positions, self.block, self.width = positions(width), encoder_block(width, width // 64, 4 * width), width

        def forward(self, x):
            x = self.positions(x)
            tokens = self.block(x.flatten(2).transpose(1, 2))
            return tokens.transpose(1, 2).reshape(-1, self.width, *sizes(x))

    class Patches(nn.Module):
        def __init__(self, inputs, width, side):
            super().__init__()
            self.conv, self.norm, self.width = nn.Conv2d(inputs, width, side, side), nn.LayerNorm(width), width

        def forward(self, x):
            x = self.conv(x)
            return self.norm(x.flatten(2).transpose(1, 2)).transpose(1, 2).reshape(-1, self.width, *sizes(x))

    layers, inputs = [], 3
    for n, (depth, width) in enumerate(zip(depths, widths)):
        layers.append(Patches(inputs, width, 4 if n == 0 else 2))
        layers += [mixing(width) if n < 2 else Attention(width) for _ in range(depth)]
        inputs = width
    for n in range(3):
        layers += [nn.ConvTranspose2d(512 if n == 0 else 256, 256, 4, 2, 1, bias=False), nn.BatchNorm2d(256), nn.ReLU()]
    return nn.Sequential(*layers, nn.Conv2d(256, 17, 1))


def svtr_lcnet(classes):
    """PP-OCRv3's recogniser: MobileNetV1 at half the width, two blocks of attention along the line."""

    def make():
        import torch
        from torch import nn

        from .layers import SqueezeExcite, conv

        def separable(a, b, stride=1, kernel=3, excite=False):
            gate = [SqueezeExcite(a, a // 4, gate="hsigmoid")] if excite else []
            return nn.Sequential(conv(a, a, kernel, stride, groups=a, act="hswish"), *gate, conv(a, b, 1, act="hswish"))

        class SvtrLcNet(nn.Module):
            def __init__(self):
                super().__init__()
                layers = [conv(3, 16, stride=2, act="hswish"), separable(16, 32), separable(32, 64), separable(64, 64)]
                layers += [separable(64, 128, (2, 1)), separable(128, 128), separable(128, 256, (2, 1))]
                layers += [separable(256, 256, 1, 5) for _ in range(5)]
                layers += [separable(256, 512, (2, 1), 5, True), separable(512, 512, (1, 2), 5, True), nn.AvgPool2d(2, 2)]
                self.convs = nn.Sequential(*layers)
                self.before = nn.Sequential(conv(512, 64, act="swish"), conv(64, 120, 1, act="swish"))
                self.blocks, self.norm = nn.Sequential(*(encoder_block(120, 8, 240, "swish") for _ in range(2))), nn.LayerNorm(120)
                self.back, self.join = conv(120, 512, 1, act="swish"), nn.Sequential(conv(1024, 64, act="swish"), conv(64, 64, 1, act="swish"))
                self.out = nn.Linear(64, classes)

            def forward(self, x):
                x = self.convs(x)
                rows, columns = int(x.shape[2]), int(x.shape[3])
                line = self.norm(self.blocks(self.before(x).flatten(2).transpose(1, 2)))
                line = self.back(line.transpose(1, 2).reshape(-1, 120, rows, columns))
                x = self.join(torch.cat([x, line], 1))
                return self.out(x.squeeze(2).transpose(1, 2)).softmax(2)

        return SvtrLcNet()

    return make


def mspn(stages=2):
    """Hourglasses on ResNet-50, one after the other: each goes down, up in 256 channels, and hands both on."""
    import torch
    from torch import nn
    from torchvision import models

    from .layers import conv, sizes, upsample

    widths = (256, 512, 1024, 2048)

    class Stage(nn.Module):
        def __init__(self, last):
            super().__init__()
            net = models.resnet50(weights=None)
            self.down = nn.ModuleList([net.layer1, net.layer2, net.layer3, net.layer4])
            self.skip = nn.ModuleList(conv(c, 256, 1, act=None) for c in reversed(widths))
            self.up = nn.ModuleList(conv(256, 256, 1, act=None) for _ in range(3))
            self.maps = nn.ModuleList(nn.Sequential(conv(256, 256, 1), conv(256, 17, act=None)) for _ in range(4))
            self.last = last
            if not last:
                self.from_down = nn.ModuleList(conv(c, c, 1) for c in widths)
                self.from_up = nn.ModuleList(conv(256, c, 1) for c in widths)
                self.cross = conv(256, 64, 1)

        def forward(self, x, carried):
            levels = []
            for n, stage in enumerate(self.down):
                x = stage(x)
                if carried:
                    x = x + carried[n]
                levels.append(x)
            ups, up = [], None
            for n, (skip, level) in enumerate(zip(self.skip, reversed(levels))):
                found = skip(level)
                if up is not None:
                    found = found + self.up[n - 1](upsample(up, sizes(level), "bilinear"))
                up = torch.relu(found)
                ups.append(up)
            if self.last:
                return upsample(self.maps[3](ups[3]), (64, 48), "bilinear"), None
            handed = [a(l) + b(u) for a, b, l, u in zip(self.from_down, self.from_up, levels, reversed(ups))]
            return self.cross(ups[3]), handed

    class Mspn(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem = nn.Sequential(conv(3, 64, 7, 2), nn.MaxPool2d(3, 2, 1))
            self.stages = nn.ModuleList(Stage(n == stages - 1) for n in range(stages))

        def forward(self, x):
            x, carried = self.stem(x), None
            for stage in self.stages:
                x, carried = stage(x, carried)
            return x

    return Mspn()


add("mspn_2_256x192", mspn, (3, 256, 192), group="mspn")
add("conformer_ti", conformer_tiny, images(224), gmacs=5.2)
add("transpose_r_a3_256x192", transpose_r_a3, (3, 256, 192), group="transpose", gmacs=8.0)
add("uniformer_s_pose_256x192", uniformer_pose, (3, 256, 192), group="uniformer_pose", gmacs=4.7)
add("ppocr_v3_rec_en_48x320", svtr_lcnet(97), (3, 48, 320), group="ppocr_v3_rec")
add("ppocr_v3_rec_ch_48x320", svtr_lcnet(6625), (3, 48, 320), group="ppocr_v3_rec")
