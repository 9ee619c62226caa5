"""Networks from image to image: denoising, enlarging, translation."""

from __future__ import annotations

from .catalogue import BATCH, add
from .cnn import images


def dncnn(depth=17, width=64):
    from torch import nn

    from .layers import conv, plain, repeated

    class DnCnn(nn.Module):
        def __init__(self):
            super().__init__()
            middle = repeated(lambda: conv(width, width), depth - 2)
            self.body = nn.Sequential(plain(1, width), middle, plain(width, 1, act=None))

        def forward(self, x):
            return x - self.body(x)

    return DnCnn()


def adnet(width=64):
    """Twelve layers of which four are dilated, four more, attention over the result."""
    import torch
    from torch import nn

    from .layers import conv, plain

    class AdNet(nn.Module):
        def __init__(self):
            super().__init__()
            dilated = (2, 5, 9, 12)
            layers = [conv(1 if n == 1 else width, width, dilation=2 if n in dilated else 1) for n in range(1, 13)]
            self.sparse = nn.Sequential(*layers)
            self.enhance = nn.Sequential(*(conv(width, width) for _ in range(3)), plain(width, 1, act=None))
            self.attention = plain(2, 1, 1, act=None)

        def forward(self, x):
            noise = torch.tanh(torch.cat([x, self.enhance(self.sparse(x))], 1))
            return x - self.attention(noise) * noise[:, :1]

    return AdNet()


def rcan(groups=10, blocks=20, width=64, scale=2):
    from torch import nn

    from .layers import Add, SqueezeExcite, plain

    def block():
        return Add(nn.Sequential(plain(width, width), plain(width, width, act=None), SqueezeExcite(width, width // 16)))

    def group():
        return Add(nn.Sequential(*(block() for _ in range(blocks)), plain(width, width, act=None)))

    body = Add(nn.Sequential(*(group() for _ in range(groups)), plain(width, width, act=None)))
    tail = [plain(width, width * scale * scale, act=None), nn.PixelShuffle(scale), plain(width, 3, act=None)]
    return nn.Sequential(plain(3, width, act=None), body, *tail)


def esrgan(blocks=23, width=64, grown=32):
    """Residual dense blocks in residual blocks, then twice twice the size."""
    import torch
    from torch import nn

    from .layers import plain

    class Dense(nn.Module):
        def __init__(self):
            super().__init__()
            self.convs = nn.ModuleList(plain(width + n * grown, grown, act="leaky") for n in range(4))
            self.last = plain(width + 4 * grown, width, act=None)

        def forward(self, x):
            found = [x]
            for layer in self.convs:
                found.append(layer(torch.cat(found, 1)))
            return x + 0.2 * self.last(torch.cat(found, 1))

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Sequential(Dense(), Dense(), Dense())

        def forward(self, x):
            return x + 0.2 * self.body(x)

    class Esrgan(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.after = plain(3, width, act=None), plain(width, width, act=None)
            self.body = nn.Sequential(*(Block() for _ in range(blocks)))
            double = [nn.Upsample(scale_factor=2), plain(width, width, act="leaky")]
            again = [nn.Upsample(scale_factor=2), plain(width, width, act="leaky")]
            self.tail = nn.Sequential(*double, *again, plain(width, width, act="leaky"), plain(width, 3, act=None))

        def forward(self, x):
            x = self.first(x)
            return self.tail(x + self.after(self.body(x)))

    return Esrgan()


def translator(inputs, downs, blocks, width=64, norm="batch"):
    """The generator of CycleGAN and of pix2pixHD: down, residual blocks, up."""

    def make():
        from torch import nn

        from .layers import Add

        def normalised(channels):
            return nn.InstanceNorm2d(channels) if norm == "instance" else nn.BatchNorm2d(channels)

        def block(channels):
            half = [nn.ReflectionPad2d(1), nn.Conv2d(channels, channels, 3), normalised(channels)]
            again = [nn.ReflectionPad2d(1), nn.Conv2d(channels, channels, 3), normalised(channels)]
            return Add(nn.Sequential(*half, nn.ReLU(), *again))

        layers = [nn.ReflectionPad2d(3), nn.Conv2d(inputs, width, 7), normalised(width), nn.ReLU()]
        for n in range(downs):
            a, b = width << n, width << (n + 1)
            layers += [nn.Conv2d(a, b, 3, 2, 1), normalised(b), nn.ReLU()]
        layers += [block(width << downs) for _ in range(blocks)]
        for n in range(downs, 0, -1):
            a, b = width << n, width << (n - 1)
            layers += [nn.ConvTranspose2d(a, b, 3, 2, 1, 1), normalised(b), nn.ReLU()]
        return nn.Sequential(*layers, nn.ReflectionPad2d(3), nn.Conv2d(width, 3, 7), nn.Tanh())

    return make


def superpoint():
    import torch
    from torch import nn

    from .layers import plain

    class SuperPoint(nn.Module):
        def __init__(self):
            super().__init__()
            layers, inputs = [], 1
            for n, width in enumerate((64, 64, 128, 128)):
                layers += [nn.MaxPool2d(2)] if n else []
                layers += [plain(inputs, width), plain(width, width)]
                inputs = width
            self.trunk = nn.Sequential(*layers)
            self.points = nn.Sequential(plain(128, 256), plain(256, 65, 1, act=None))
            self.descriptors = nn.Sequential(plain(128, 256), plain(256, 256, 1, act=None))

        def forward(self, x):
            x = self.trunk(x)
            found = self.descriptors(x)
            return self.points(x), found / torch.linalg.norm(found, dim=1, keepdim=True)

    return SuperPoint()


add("dncnn_481", dncnn, (1, 481, 481), group="dncnn", gmacs=128.6)
add("adnet_321x481", adnet, (1, 321, 481), group="adnet")
add("rcan_x2_256", rcan, images(256), group="rcan", small=((BATCH, 3, 32, 32),))
add("real_esrgan_64", esrgan, images(64), group="real_esrgan", gmacs=73)
add("cyclegan_256", translator(3, 2, 9, norm="instance"), images(256), group="cyclegan", gmacs=49.6)
add("pix2pixhd_1024x2048", translator(36, 4, 9, norm="instance"), (36, 1024, 2048), group="pix2pixhd",
    small=((BATCH, 36, 64, 64),))
add("superpoint_240x320", superpoint, (1, 240, 320), group="superpoint", gmacs=6.55)
