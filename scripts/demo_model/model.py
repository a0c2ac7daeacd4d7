"""Whisper in PyTorch with Hugging Face's parameter names, for any number of mel frames.

transformers' own class insists on 30-second windows; training starts on shorter ones.
The published file is loaded back with transformers' class in `evaluate.py`.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

D_MODEL, HEADS, FFN = 192, 3, 768
ENCODER_LAYERS, DECODER_LAYERS = 4, 2
N_MELS, POSITIONS, MAX_TOKENS = 80, 1500, 448


def sinusoids(length: int, channels: int) -> Tensor:
    """Whisper's fixed encoder positions, [length, channels] (openai/whisper model.py)."""
    step = math.log(10000) / (channels // 2 - 1)
    angle = torch.arange(length)[:, None] * torch.exp(-step * torch.arange(channels // 2))
    return torch.cat([angle.sin(), angle.cos()], 1)


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.k_proj = nn.Linear(D_MODEL, D_MODEL, bias=False)
        self.v_proj = nn.Linear(D_MODEL, D_MODEL)
        self.q_proj = nn.Linear(D_MODEL, D_MODEL)
        self.out_proj = nn.Linear(D_MODEL, D_MODEL)

    def forward(self, x: Tensor, memory: Tensor, causal: bool = False) -> Tensor:
        def heads(y: Tensor) -> Tensor:
            return y.unflatten(-1, (HEADS, -1)).transpose(1, 2)

        q, k, v = heads(self.q_proj(x)), heads(self.k_proj(memory)), heads(self.v_proj(memory))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=causal)
        return self.out_proj(y.transpose(1, 2).flatten(2))


def watch_neighbours(attention: Attention) -> None:
    """Start self-attention with heads that look near by: one close, one farther, one anywhere.

    The product of two sinusoid vectors is a kernel in their distance. Each head gets the sines and
    cosines of one third of the frequencies, the first head the highest and so the narrowest kernel.
    From random weights the CTC loss stays for thousands of steps where it ignores the sound.
    """
    half, width = D_MODEL // 2, D_MODEL // 2 // HEADS
    rows = [
        offset + head * width + i
        for head in range(HEADS)
        for offset in (0, half)
        for i in range(width)
    ]
    with torch.no_grad():
        for projection in (attention.q_proj, attention.k_proj):
            projection.weight.mul_(0.3).add_(torch.eye(D_MODEL)[rows])


class Layer(nn.Module):
    def __init__(self, cross: bool) -> None:
        super().__init__()
        self.self_attn = Attention()
        self.self_attn_layer_norm = nn.LayerNorm(D_MODEL)
        if cross:
            self.encoder_attn = Attention()
            self.encoder_attn_layer_norm = nn.LayerNorm(D_MODEL)
        self.fc1 = nn.Linear(D_MODEL, FFN)
        self.fc2 = nn.Linear(FFN, D_MODEL)
        self.final_layer_norm = nn.LayerNorm(D_MODEL)

    def forward(self, x: Tensor, memory: Tensor | None = None) -> Tensor:
        y = self.self_attn_layer_norm(x)
        x = x + self.self_attn(y, y, causal=memory is not None)
        if memory is not None:
            x = x + self.encoder_attn(self.encoder_attn_layer_norm(x), memory)
        return x + self.fc2(F.gelu(self.fc1(self.final_layer_norm(x))))


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(N_MELS, D_MODEL, 3, padding=1)
        self.conv2 = nn.Conv1d(D_MODEL, D_MODEL, 3, stride=2, padding=1)
        self.embed_positions = nn.Embedding.from_pretrained(sinusoids(POSITIONS, D_MODEL))
        self.layers = nn.ModuleList(Layer(cross=False) for _ in range(ENCODER_LAYERS))
        self.layer_norm = nn.LayerNorm(D_MODEL)
        for layer in self.layers:
            watch_neighbours(layer.self_attn)
        with torch.no_grad():  # or the positions would drown the sound
            self.conv1.weight.mul_(2.0)
            self.conv2.weight.mul_(3.0)

    def forward(self, mel: Tensor) -> Tensor:
        x = F.gelu(self.conv2(F.gelu(self.conv1(mel)))).transpose(1, 2)
        x = x + self.embed_positions.weight[: x.shape[1]]
        for layer in self.layers:
            x = layer(x)
        return self.layer_norm(x)


class Decoder(nn.Module):
    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(vocabulary, D_MODEL)
        self.embed_positions = nn.Embedding(MAX_TOKENS, D_MODEL)
        self.layers = nn.ModuleList(Layer(cross=True) for _ in range(DECODER_LAYERS))
        self.layer_norm = nn.LayerNorm(D_MODEL)

    def forward(self, tokens: Tensor, memory: Tensor) -> Tensor:
        x = self.embed_tokens(tokens) + self.embed_positions.weight[: tokens.shape[1]]
        for layer in self.layers:
            x = layer(x, memory)
        return self.layer_norm(x) @ self.embed_tokens.weight.T


class Whisper(nn.Module):
    """Encoder and decoder under the name `model`, plus a CTC head that is not published."""

    def __init__(self, vocabulary: int, timestamp_begin: int, letters: int) -> None:
        super().__init__()
        self.model = nn.ModuleDict({"encoder": Encoder(), "decoder": Decoder(vocabulary)})
        self.ctc = nn.Linear(D_MODEL, letters)
        decoder = self.model["decoder"]
        nn.init.normal_(decoder.embed_tokens.weight, std=0.02)
        nn.init.normal_(decoder.embed_positions.weight, std=0.02)
        # neighbouring timestamps start out alike, as encoder positions are: they have to be copied
        times = vocabulary - timestamp_begin
        with torch.no_grad():
            decoder.embed_tokens.weight[timestamp_begin:] += 0.03 * sinusoids(times, D_MODEL)

    def encode(self, mel: Tensor) -> Tensor:
        """[batch, 80, frames] log-mel to [batch, frames / 2, d_model]."""
        return self.model["encoder"](mel)

    def decode(self, tokens: Tensor, memory: Tensor) -> Tensor:
        """[batch, n] token ids to [batch, n, vocabulary] logits."""
        return self.model["decoder"](tokens, memory)
