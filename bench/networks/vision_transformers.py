"""Transformers over images: from timm, and by hand what it lacks."""

from __future__ import annotations

from .catalogue import add
from .cnn import images, timm_model


def lvvit_s():
    """LV-ViT-S: four convolutions for patches of 16, 16 layers of width 384, an MLP three times as wide."""
    from torch import nn

    from .layers import conv

    def make_net():
        from timm.models.vision_transformer import VisionTransformer

        net = VisionTransformer(embed_dim=384, depth=16, num_heads=6, mlp_ratio=3.0)

        class Patches(nn.Module):
            def __init__(self):
                super().__init__()
                first = [conv(3, 64, 7, 2), conv(64, 64), conv(64, 64)]
                self.body = nn.Sequential(*first, nn.Conv2d(64, 384, 8, 8))

            def forward(self, x):
                return self.body(x).flatten(2).transpose(1, 2)

        net.patch_embed = Patches()
        return net

    return make_net()


def timesformer():
    """Divided attention: along the 8 frames at each place, then within each frame, on ViT-B."""
    import torch
    from torch import nn

    class Attention(nn.Module):
        def __init__(self, width=768, heads=12):
            super().__init__()
            self.heads, self.qkv, self.out = heads, nn.Linear(width, 3 * width), nn.Linear(width, width)

        def forward(self, x):
            n, length, width = (int(s) for s in x.shape)
            qkv = self.qkv(x).reshape(n, length, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
            weights = torch.softmax(qkv[0] @ qkv[1].transpose(2, 3) * (width // self.heads) ** -0.5, -1)
            return self.out((weights @ qkv[2]).transpose(1, 2).reshape(n, length, width))

    class Block(nn.Module):
        def __init__(self, width=768):
            super().__init__()
            self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
            self.time, self.space, self.merge = Attention(), Attention(), nn.Linear(width, width)
            self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

        def forward(self, first, x):  # first: (views, 1, w); x: (views, frames, places, w)
            views, frames, places, width = (int(s) for s in x.shape)
            t = self.norms[0](x).transpose(1, 2).reshape(views * places, frames, width)
            x = x + self.merge(self.time(t)).reshape(views, places, frames, width).transpose(1, 2)
            s = torch.cat([first.unsqueeze(1).expand(views, frames, 1, width), x], 2)
            s = self.space(self.norms[1](s).reshape(views * frames, places + 1, width))
            s = s.reshape(views, frames, places + 1, width)
            first, x = first + s[:, :, 0].mean(1, keepdim=True), x + s[:, :, 1:]
            return first + self.mlp(self.norms[2](first)), x + self.mlp(self.norms[2](x))

    class TimeSformer(nn.Module):
        def __init__(self, width=768):
            super().__init__()
            self.patches = nn.Conv2d(3, width, 16, 16)
            self.first = nn.Parameter(torch.zeros(1, 1, width))
            self.places = nn.Parameter(torch.zeros(1, 1, 196, width))
            self.blocks = nn.ModuleList(Block() for _ in range(12))
            self.norm, self.out = nn.LayerNorm(width), nn.Linear(width, 400)

        def forward(self, x):  # (1, views, 3, frames, 224, 224)
            x = x[0].transpose(1, 2)
            views, frames = int(x.shape[0]), int(x.shape[1])
            x = self.patches(x.reshape(-1, 3, 224, 224)).flatten(2).transpose(1, 2)
            x = x.reshape(views, frames, 196, 768) + self.places
            first = self.first.expand(views, 1, 768)
            for block in self.blocks:
                first, x = block(first, x)
            return self.out(self.norm(first[:, 0])).mean(0)

    return TimeSformer()


def volo_d1():
    """timm's, with F.fold (which no ONNX of that time had) as the convolution that it is."""
    import torch
    from torch.nn import functional as F

    def fold(x, output_size, kernel_size, padding, stride):
        count, side = kernel_size * kernel_size, int(output_size[0])
        channels, steps = int(x.shape[1]) // count, (side + 2 * padding - kernel_size) // stride + 1
        weight = torch.eye(count).reshape(count, 1, kernel_size, kernel_size).repeat(channels, 1, 1, 1)
        x = x.reshape(-1, channels * count, steps, steps)
        extra = side - ((steps - 1) * stride - 2 * padding + kernel_size)
        return F.conv_transpose2d(x, weight, None, stride, padding, extra, channels)

    F.fold = fold
    return timm_model("volo_d1_224")()


add("deit_small", timm_model("deit_small_patch16_224"), images(224), gmacs=4.6)
add("swin_base_384", timm_model("swin_base_patch4_window12_384"), images(384), group="swin", gmacs=47.2)
add("swin_large_384", timm_model("swin_large_patch4_window12_384"), images(384), group="swin", gmacs=104.1)
add("swin_large_224", timm_model("swin_large_patch4_window7_224"), images(224), group="swin", gmacs=34.5)
add("volo_d1", volo_d1, images(224), gmacs=6.9)
add("xcit_small_12_p16", timm_model("xcit_small_12_p16_224"), images(224), gmacs=4.8)
add("lvvit_s", lvvit_s, images(224), gmacs=6.6)
add("timesformer_8x224", timesformer, (3, 3, 8, 224, 224), gmacs=590, dynamic=False)
