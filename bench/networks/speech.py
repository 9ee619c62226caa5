"""Sound: features of a waveform, recognition, synthesis."""

from __future__ import annotations

from .catalogue import BATCH, Input, add


def plain_weights(module):
    """Weight normalisation folded, as an export of a trained network has it."""
    from torch import nn

    for part in module.modules():
        if isinstance(part, nn.Conv1d) and hasattr(part, "weight_g"):
            nn.utils.remove_weight_norm(part)
    return module


def wav2vec2():
    from transformers import Wav2Vec2Config, Wav2Vec2ForCTC

    return plain_weights(Wav2Vec2ForCTC(Wav2Vec2Config(return_dict=False)))


def hubert():
    from transformers import HubertConfig, HubertForCTC

    config = HubertConfig(
        hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, intermediate_size=4096, return_dict=False,
        feat_extract_norm="layer", do_stable_layer_norm=True, conv_bias=True,
    )
    return plain_weights(HubertForCTC(config))


def waveglow(width=256, flows=12, layers=8, group=8):
    """Twelve flows backwards: a WaveNet of eight dilated layers gives scale and shift, a 1x1 mixes channels."""
    import torch
    from torch import nn

    class WaveNet(nn.Module):
        def __init__(self, channels):
            super().__init__()
            self.first = nn.Conv1d(channels, width, 1)
            self.condition = nn.Conv1d(80 * group, 2 * width * layers, 1)
            self.dilated = nn.ModuleList(nn.Conv1d(width, 2 * width, 3, padding=1 << n, dilation=1 << n) for n in range(layers))
            self.mixed = nn.ModuleList(nn.Conv1d(width, 2 * width if n < layers - 1 else width, 1) for n in range(layers))
            self.last = nn.Conv1d(width, 2 * channels, 1)

        def forward(self, x, mel):
            x, mel, out = self.first(x), self.condition(mel), None
            for n, (dilated, mixed) in enumerate(zip(self.dilated, self.mixed)):
                both = dilated(x) + mel[:, 2 * width * n : 2 * width * (n + 1)]
                made = mixed(torch.tanh(both[:, :width]) * torch.sigmoid(both[:, width:]))
                if n < layers - 1:
                    x, made = x + made[:, :width], made[:, width:]
                out = made if out is None else out + made
            return self.last(out)

    class WaveGlow(nn.Module):
        def __init__(self):
            super().__init__()
            self.upsample = nn.ConvTranspose1d(80, 80, 1024, 256)
            channels = [group - 2 * (n // 4) for n in range(flows)]
            self.nets = nn.ModuleList(WaveNet(c // 2) for c in channels)
            self.mixes = nn.ModuleList(nn.Conv1d(c, c, 1, bias=False) for c in channels)

        def forward(self, mel):
            mel = self.upsample(mel)[:, :, :-768]  # 256 samples a frame
            mel = mel.reshape(1, 80, -1, group).permute(0, 1, 3, 2).reshape(1, 80 * group, -1)
            audio = 0.6 * mel[:, :4]  # where the noise would be
            for n in reversed(range(flows)):
                half = int(audio.shape[1]) // 2
                first, second = audio[:, :half], audio[:, half:]
                found = self.nets[n](first, mel)
                second = (second - found[:, :half]) * torch.exp(-found[:, half:])
                audio = self.mixes[n](torch.cat([first, second], 1))
                if n % 4 == 0 and n:
                    audio = torch.cat([0.6 * mel[:, 4 + n : 6 + n], audio], 1)
            return audio.permute(0, 2, 1).reshape(1, -1)

    return WaveGlow()


def deepspeech2(width=1024, layers=5, classes=29):
    """Two convolutions over the spectrogram, five bidirectional LSTMs whose directions are added."""
    from torch import nn

    class DeepSpeech(nn.Module):
        def __init__(self):
            super().__init__()
            act = nn.Hardtanh(0, 20)
            first = [nn.Conv2d(1, 32, (41, 11), (2, 2), (20, 5)), nn.BatchNorm2d(32), act]
            self.convs = nn.Sequential(*first, nn.Conv2d(32, 32, (21, 11), (2, 1), (10, 5)), nn.BatchNorm2d(32), act)
            inputs = [32 * 41] + [width] * (layers - 1)
            self.lstms = nn.ModuleList(nn.LSTM(i, width, bidirectional=True) for i in inputs)
            self.norms = nn.ModuleList(nn.BatchNorm1d(width) for _ in range(layers - 1))
            self.out = nn.Sequential(nn.BatchNorm1d(width), nn.Linear(width, classes, bias=False))

        def forward(self, x):
            x = self.convs(x).flatten(1, 2).permute(2, 0, 1)
            for n, lstm in enumerate(self.lstms):
                if n:
                    x = self.norms[n - 1](x.permute(1, 2, 0)).permute(2, 0, 1)
                x = lstm(x)[0]
                x = x[..., :width] + x[..., width:]
            return self.out[1](self.out[0](x.permute(1, 2, 0)).permute(0, 2, 1)).softmax(2)

    return DeepSpeech()


def wenet_chunk(width=256, heads=4, blocks=12, kept=64, classes=4233):
    """A streaming conformer: 16 frames at a time, keys and values of the 64 before, seven columns before a convolution."""
    import torch
    from torch import nn

    from .layers import Swish

    def perceptron():
        return nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 2048), Swish(), nn.Linear(2048, width))

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.before, self.after = perceptron(), perceptron()
            self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(4))
            self.q, self.k, self.v, self.out = (nn.Linear(width, width) for _ in range(4))
            self.places = nn.Linear(width, width, bias=False)
            self.biases = nn.Parameter(torch.zeros(2, heads, 1, width // heads))
            self.wide, self.narrow = nn.Conv1d(width, 2 * width, 1), nn.Conv1d(width, width, 1)
            self.along = nn.Conv1d(width, width, 8, groups=width)

        def attention(self, x, places, cache):
            def split(y):
                return y.reshape(-1, int(y.shape[1]), heads, width // heads).transpose(1, 2)

            q, k, v = split(self.q(x)), split(self.k(x)), split(self.v(x))
            half = width // heads
            k, v = torch.cat([cache[..., :half], k], 2), torch.cat([cache[..., half:], v], 2)
            scores = (q + self.biases[0]) @ k.transpose(2, 3)
            scores = scores + (q + self.biases[1]) @ split(self.places(places)).transpose(2, 3)
            mixed = (scores * half**-0.5).softmax(3) @ v
            return self.out(mixed.transpose(1, 2).reshape(-1, int(x.shape[1]), width)), torch.cat([k, v], 3)

        def convolution(self, x, cache):
            x = torch.cat([cache, x.transpose(1, 2)], 2)
            y = self.along(nn.functional.glu(self.wide(x), 1)).transpose(1, 2)
            y = self.norms[3](y)
            return self.narrow((y * torch.sigmoid(y)).transpose(1, 2)).transpose(1, 2), x[:, :, -7:]

        def forward(self, x, places, cache, columns):
            x = x + 0.5 * self.before(x)
            mixed, cache = self.attention(self.norms[0](x), places, cache)
            x = x + mixed
            mixed, columns = self.convolution(self.norms[1](x), columns)
            x = x + mixed
            return self.norms[2](x + 0.5 * self.after(x)), cache, columns

    class Wenet(nn.Module):
        def __init__(self):
            super().__init__()
            self.convs = nn.Sequential(nn.Conv2d(1, width, 3, 2), nn.ReLU(), nn.Conv2d(width, width, 3, 2), nn.ReLU())
            self.project, self.blocks = nn.Linear(19 * width, width), nn.ModuleList(Block() for _ in range(blocks))
            self.norm, self.out = nn.LayerNorm(width), nn.Linear(width, classes)
            self.register_buffer("places", torch.rand(1, kept + 16, width))

        def forward(self, x, keys, columns):
            x = self.convs(x.unsqueeze(1)).transpose(1, 2).flatten(2)
            x, kept_keys, kept_columns = self.project(x), [], []
            for n, block in enumerate(self.blocks):
                x, key, column = block(x, self.places, keys[:, n], columns[:, n])
                kept_keys.append(key[:, :, 16:])
                kept_columns.append(column)
            scores = self.out(self.norm(x)).log_softmax(2)
            return scores, torch.stack(kept_keys, 1), torch.stack(kept_columns, 1)

    return Wenet()


add("wenet_u2_chunk16", wenet_chunk, Input("chunk", (BATCH, 67, 80)), Input("keys", (BATCH, 12, 4, 64, 128)),
    Input("columns", (BATCH, 12, 256, 7)), group="wenet_u2")
add("wav2vec2_base_100000", wav2vec2, Input("input", (BATCH, 100000)), group="wav2vec2_base")
add("hubert_large_580000", hubert, Input("input", (1, 580000)), group="hubert_large", dynamic=False,
    small=((1, 16000),))
for frames in (154, 164, 443, 490, 651, 699, 723, 760, 832, 833):
    add(f"waveglow_{frames}", waveglow, Input("mel", (1, 80, frames)), group="waveglow", dynamic=False,
        small=((1, 80, 16),))
add("deepspeech2_621", deepspeech2, (1, 161, 621), group="deepspeech2")
