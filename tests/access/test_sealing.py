"""Sealed values open for their purpose, under a known key, unchanged; else not at all."""

from __future__ import annotations

import base64
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from access import sealing
from access.sealing import Unsealable, seal, unseal
from rauskuclaw import config, logs
from rauskuclaw.own_secret import own_secret

OLD, NEW = sealing.new_key(), sealing.new_key()
PURPOSE = "secret:openai"
SECRET = "sk-a-value-that-nobody-may-see ä"


@pytest.fixture(autouse=True)
def _master_key(configure: Callable[..., Any]) -> None:
    configure(SECRETS_KEY=OLD)


def test_a_value_comes_back() -> None:
    sealed = seal(SECRET, purpose=PURPOSE)

    assert sealed.startswith("enc:1:")
    assert SECRET not in sealed
    assert unseal(sealed, purpose=PURPOSE) == SECRET


def test_the_same_value_never_looks_the_same() -> None:
    assert seal(SECRET, purpose=PURPOSE) != seal(SECRET, purpose=PURPOSE)


def test_it_opens_for_no_other_purpose() -> None:
    with pytest.raises(Unsealable, match="another purpose"):
        unseal(seal(SECRET, purpose=PURPOSE), purpose="secret:other")


@pytest.mark.parametrize("place", range(0, 60, 4))
def test_no_changed_bit_goes_unnoticed(place: int) -> None:
    head, _, data = seal(SECRET, purpose=PURPOSE).rpartition(":")
    raw = bytearray(base64.urlsafe_b64decode(data))
    raw[place % len(raw)] ^= 1

    with pytest.raises(Unsealable):
        unseal(f"{head}:{base64.urlsafe_b64encode(raw).decode()}", purpose=PURPOSE)


@pytest.mark.parametrize(
    "text", ["", "enc:", "enc:1", "enc:1:00000000:AAAA", "enc:2:{key}:AAAA", "enc:1:{key}:", "enc:1:{key}:ä", "plain"]
)
def test_what_is_no_sealed_value_is_told_apart(text: str) -> None:
    with pytest.raises(Unsealable):
        unseal(text.format(key=sealing.key_name(sealing.current_key())), purpose=PURPOSE)


def test_an_old_key_opens_until_it_is_taken_away(configure: Callable[..., Any]) -> None:
    sealed = seal(SECRET, purpose=PURPOSE)

    configure(SECRETS_KEY=NEW, SECRETS_OLD_KEYS=OLD)
    assert unseal(sealed, purpose=PURPOSE) == SECRET
    assert sealing.sealed_by(seal(SECRET, purpose=PURPOSE)) != sealing.sealed_by(sealed)

    configure(SECRETS_KEY=NEW, SECRETS_OLD_KEYS="")
    with pytest.raises(Unsealable, match="SECRETS_OLD_KEYS"):
        unseal(sealed, purpose=PURPOSE)


@pytest.mark.parametrize("key", ["short", "é" * 32, base64.b64encode(b"x" * 31).decode(), "zz" * 32])
def test_a_key_that_is_none_stops_the_process_and_is_not_shown(key: str, configure: Callable[..., Any]) -> None:
    with pytest.raises(config.ConfigError) as caught:
        configure(SECRETS_KEY=key)

    assert "SECRETS_KEY: it must be 32 bytes in base64" in str(caught.value)
    assert key not in str(caught.value)


def test_a_key_may_be_written_in_hex(configure: Callable[..., Any]) -> None:
    sealed = seal(SECRET, purpose=PURPOSE)

    configure(SECRETS_KEY=base64.b64decode(OLD).hex())

    assert unseal(sealed, purpose=PURPOSE) == SECRET


def test_without_a_configured_key_one_is_made_and_kept(configure: Callable[..., Any], tmp_path: Path) -> None:
    configure(SECRETS_KEY="", VAR_DIR=str(tmp_path))

    sealed = seal(SECRET, purpose=PURPOSE)

    kept = tmp_path / "secrets" / "sealing"
    assert kept.stat().st_mode & 0o777 == 0o600
    configure(SECRETS_KEY=kept.read_text())
    assert unseal(sealed, purpose=PURPOSE) == SECRET


def test_of_processes_that_start_at_once_all_get_the_same_key(tmp_path: Path) -> None:
    barrier, found = threading.Barrier(8), []

    def start(mine: int) -> None:
        barrier.wait()
        found.append(own_secret(tmp_path / "secrets" / "one", lambda: f"made by {mine}"))

    threads = [threading.Thread(target=start, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(found) == 8
    assert len(set(found)) == 1
    assert [path.name for path in (tmp_path / "secrets").iterdir()] == ["one"]


def test_the_log_hides_what_was_opened_and_what_is_sealed() -> None:
    sealed = seal("plain words without a shape", purpose=PURPOSE)
    unseal(sealed, purpose=PURPOSE)

    shown = logs.redacted_text(f"it said: plain words without a shape; the row held {sealed}; the key is {OLD}")

    assert shown == "it said: [redacted]; the row held enc:[redacted]; the key is [redacted]"
