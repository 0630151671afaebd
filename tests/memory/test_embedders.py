"""The embedders: MiniLM for real, Ollama and OpenAI through their own clients against the stand-in."""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from memory import embedders
from memory.embedders import minilm
from memory.embedders.base import Embedder, EmbedFailed
from memory.embedders.wordpiece import WordPiece
from rauskuclaw import errors
from tests.modelserver import ModelServer, Refusal

Configure = Callable[..., Any]
LIKE, UNLIKE = ("How do I reset my password?", "I forgot my login credentials."), "The cat sleeps on the sofa."


def configured() -> Embedder:
    return embedders.embedder(*embedders.wanted())


@pytest.fixture(scope="module")
def network() -> minilm.Network:
    return minilm.Network(minilm._folder())


# MiniLM


def test_minilm_is_the_default_and_finds_what_means_the_same(configure: Configure) -> None:
    configure()

    one, other, unlike = configured().embed([*LIKE, UNLIKE])

    assert embedders.wanted() == ("minilm", "all-MiniLM-L6-v2")
    assert one.shape == (384,)
    assert float(one @ other) > 0.5 > 0.2 > float(one @ unlike)


def test_minilm_gives_the_published_models_numbers(network: minilm.Network) -> None:
    # As sentence-transformers/all-MiniLM-L6-v2 is published with.
    (vector,) = network.encode(["This is an example sentence"])

    assert np.allclose(vector[:4], [0.0676569, 0.0634959, 0.0487131, 0.0793049], atol=2e-6)
    assert np.isclose(np.linalg.norm(vector), 1, atol=1e-6)


def test_a_text_has_one_vector_whatever_it_is_batched_with(network: minilm.Network) -> None:
    texts = ["short", "a rather longer text about the same thing, " * 8, "", "ünïcödé 北京 \U0001f600", "x" * 300]

    together = network.encode(texts, batch=4)

    assert np.allclose(together, np.concatenate([network.encode([text]) for text in texts]), atol=1e-5)


def test_what_is_beyond_its_window_is_not_read(network: minilm.Network) -> None:
    a, b, c = network.encode(["word " * 254, "word " * 254 + "and more", "word " * 200])

    assert np.allclose(a, b, atol=1e-6)
    assert not np.allclose(a, c, atol=1e-4)


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("Hello, World!", ["hello", ",", "world", "!"]),
        ("unaffordable café", ["una", "##ff", "##ord", "##able", "cafe"]),
        ("北京 x\u200by", ["北", "京", "x", "##y"]),
        ("a" * 101, ["[UNK]"]),
        ("\x00\ufffd \t\n", []),
    ],
    ids=["punctuation", "pieces and accents", "ideographs and controls", "too long", "nothing"],
)
def test_it_is_tokenized_as_bert_does(text: str, tokens: list[str]) -> None:
    vocabulary = minilm._folder() / "vocab.txt"
    names = vocabulary.read_text("utf-8").split("\n")

    ids = WordPiece(vocabulary)(text, 64)

    assert [names[number] for number in ids] == ["[CLS]", *tokens, "[SEP]"]


def test_other_weights_than_the_pinned_ones_are_refused(monkeypatch: pytest.MonkeyPatch, configure: Configure) -> None:
    configure(LEASE_SEC=16)  # so that it is loaded anew
    monkeypatch.setitem(minilm.SHA_256, "vocab.txt", hashlib.sha256(b"").hexdigest())

    with pytest.raises(EmbedFailed, match="not the file that is pinned") as failed:
        configured().embed(["x"])
    assert failed.value.code is errors.MEMORY_VECTOR_CONFIG
    assert not failed.value.retryable


def test_without_the_package_it_says_what_is_missing(monkeypatch: pytest.MonkeyPatch, configure: Configure) -> None:
    configure(LEASE_SEC=17)
    monkeypatch.setattr(minilm, "PACKAGE", "no_such_package")

    with pytest.raises(EmbedFailed, match="not installed"):
        configured().embed(["x"])


def test_the_weights_stay_in_the_file(network: minilm.Network) -> None:
    assert isinstance(network._words.base, np.ndarray)
    mapped = Path("/proc/self/maps").read_text("utf-8")
    assert "model.safetensors" in mapped


# Servers


@pytest.fixture(params=["ollama", "openai"])
def server(request: pytest.FixtureRequest, configure: Configure, models: ModelServer) -> ModelServer:
    configure(
        MEMORY_EMBEDDER=request.param, OLLAMA_BASE_URL=models.base_url, MEMORY_OPENAI_API_KEY=models.key,
        MEMORY_OPENAI_BASE_URL=f"{models.base_url}/v1", OLLAMA_EMBED_MODEL="m", MEMORY_OPENAI_MODEL="m",
        OLLAMA_EMBED_TIMEOUT_MS=20_000,
    )  # fmt: skip
    return models


def test_a_server_embeds_many_texts_in_one_request(server: ModelServer) -> None:
    vectors = configured().embed(["red fish", "red fish", "blue sky"])

    assert vectors.shape == (3, 768)
    assert np.allclose(vectors[0], vectors[1])
    assert not np.allclose(vectors[0], vectors[2])
    (call,) = server.calls
    assert call.body["input"] == ["red fish", "red fish", "blue sky"]
    assert call.body["model"] == "m"


@pytest.mark.parametrize(
    ("status", "code", "retryable"),
    [
        (400, "MEMORY_EMBED_INPUT", False), (401, "MEMORY_EMBED_HTTP", False), (404, "MEMORY_EMBED_HTTP", False),
        (429, "MEMORY_EMBED_HTTP", True), (500, "MEMORY_EMBED_HTTP", True), (503, "MEMORY_EMBED_HTTP", True),
    ],
)  # fmt: skip
def test_an_error_of_the_server_has_a_code(server: ModelServer, status: int, code: str, retryable: bool) -> None:
    server.answer_embeddings(Refusal(status, f"bad {server.key}" if status == 401 else "bad"))

    with pytest.raises(EmbedFailed) as failed:
        configured().embed(["x"])

    assert (failed.value.code.name, failed.value.retryable) == (code, retryable)
    assert failed.value.details == {"status": status}
    assert server.key not in failed.value.message


@pytest.mark.parametrize(
    "body",
    [
        b"<html>",
        b"{}",
        b'{"data": [], "embeddings": []}',
        b'{"data": [{"index": 0, "embedding": [0, 0]}], "embeddings": [[0, 0]]}',
    ],
    ids=["no JSON", "nothing", "none", "no direction"],
)
def test_an_answer_without_usable_vectors_is_refused(server: ModelServer, body: bytes) -> None:
    server.answer_embeddings(Refusal(200, body=body))

    with pytest.raises(EmbedFailed) as failed:
        configured().embed(["x"])
    assert failed.value.code is errors.MEMORY_EMBED_RESPONSE


@pytest.mark.parametrize("provider", ["ollama", "openai"])
def test_a_server_that_is_away_or_silent_has_a_code(configure: Configure, provider: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        addresses = {"OLLAMA_BASE_URL": address, "MEMORY_OPENAI_BASE_URL": address}
        configure(MEMORY_EMBEDDER=provider, OLLAMA_EMBED_TIMEOUT_MS=200, **addresses)
        with pytest.raises(EmbedFailed) as slow:
            configured().embed(["x"])
    with pytest.raises(EmbedFailed) as away:
        configured().embed(["x"])

    assert (slow.value.code, slow.value.retryable) == (errors.MEMORY_EMBED_TIMEOUT, True)
    assert (away.value.code, away.value.retryable) == (errors.MEMORY_EMBED_NETWORK, True)
