"""The processes' log: its two formats, what a line knows, and that no secret of the corpus gets through."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from access import keyformat
from rauskuclaw import logs
from rauskuclaw.config import Config

Configure = Callable[..., Config]


@pytest.fixture(autouse=True)
def nothing_bound() -> Iterator[None]:
    logs.unbind()
    yield
    logs.unbind()


@pytest.fixture
def written(configure: Configure) -> Callable[..., str]:
    """`written("json", lambda logger: …)`: what comes out in a format."""

    def write(log_format: str, say: Callable[[logging.Logger], object], **environment: Any) -> str:
        configure(LOG_FORMAT=log_format, **environment)
        out = io.StringIO()
        handler = logging.StreamHandler(out)
        handler.setFormatter(logs.formatter())
        logger = logging.Logger("jobs.test")
        logger.addHandler(handler)
        say(logger)
        return out.getvalue()

    return write


def test_a_json_line_knows_the_attempt_it_is_of(written: Callable[..., str]) -> None:
    logs.bind_attempt(job="1b2c", attempt=3, queue="gpu", worker="box")

    line = json.loads(written("json", lambda logger: logger.warning("lost %d", 2, extra={"reason": "gone"})))

    assert line.pop("time").endswith("Z")
    assert line == {
        "event": "lost 2", "level": "warning", "logger": "jobs.test", "job": "1b2c", "attempt": 3, "queue": "gpu",
        "worker": "box", "reason": "gone",
    }  # fmt: skip


def test_a_request_and_an_attempt_do_not_mix(written: Callable[..., str]) -> None:
    logs.bind_attempt(job="1b2c", attempt=3, queue="gpu", worker="box")
    logs.bind_request("r-1")

    line = json.loads(written("json", lambda logger: logger.info("hello")))

    assert (line["request_id"], "job" in line) == ("r-1", False)


def test_a_line_of_text_is_short(written: Callable[..., str]) -> None:
    assert written("text", lambda logger: logger.info("hello")) == "INFO jobs.test hello\n"

    logs.bind_attempt(job="1b2c", attempt=3, queue="gpu", worker="box")

    shown = written("text", lambda logger: logger.info("hello"))
    assert shown == "INFO jobs.test hello [job=1b2c attempt=3 queue=gpu worker=box]\n"


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_a_traceback_is_part_of_its_record(written: Callable[..., str], log_format: str) -> None:
    def say(logger: logging.Logger) -> None:
        try:
            raise ValueError("password=hunter2hunter2")
        except ValueError:
            logger.exception("it broke")

    shown = written(log_format, say)

    assert "Traceback" in shown
    assert "test_logs.py" in shown
    assert "hunter2" not in shown
    assert len(shown.splitlines()) == 1 or log_format == "text"


SECRET = "hunter2-" + "x" * 24
CORPUS = {
    "bearer": f"sent Authorization: Bearer {SECRET}",
    "bearer alone": f"header is 'Bearer {SECRET}'",
    "basic": f"Authorization: Basic {SECRET}",
    "proxy": f"proxy-authorization={SECRET}",
    "headers": f"{{'authorization': 'ApiKey {SECRET}', 'accept': '*/*'}}",
    "cookie": f"Cookie: sessionid={SECRET}; csrftoken={SECRET}",
    "set-cookie": f"set-cookie: sessionid={SECRET}; HttpOnly",
    "key header": f"x-api-key: {SECRET}",
    "postgres": f"cannot reach postgresql://anna:{SECRET}@db:5432/jobs",
    "redis": f"redis://:{SECRET}@cache:6379/0 is away",
    "smtp": f"smtp://ops%40example.org:{SECRET}@mail",
    "query": f"GET /v1/jobs?stream_token={SECRET}&limit=5",
    "query key": f"GET /v1/jobs?a=1&key={SECRET}",
    "api_key": f"https://h.example/?api_key={SECRET}",
    "json": json.dumps({"password": SECRET, "user": "anna"}),
    "keyword": f"connect(user='anna', password='{SECRET}')",
    "environment": f"OPENAI_API_KEY={SECRET} CALLBACK_SIGNING_SECRET={SECRET}",
    "sealed": f"row holds enc:v1:{SECRET}",
    "provider": f"key sk-{SECRET} was refused",
    "github": "token ghp_" + SECRET.replace("-", ""),
    "pem": f"-----BEGIN RSA PRIVATE KEY-----\n{SECRET}\n-----END RSA PRIVATE KEY-----",
}


@pytest.mark.parametrize("log_format", ["text", "json"])
@pytest.mark.parametrize("name", CORPUS)
def test_no_secret_of_the_corpus_is_written(written: Callable[..., str], name: str, log_format: str) -> None:
    text = CORPUS[name]

    shown = written(log_format, lambda logger: logger.error("%s", text))

    assert "hunter2" not in shown
    assert logs.HIDDEN in shown


@pytest.mark.parametrize(
    "fields",
    [
        {"authorization": SECRET}, {"headers": {"X-Api-Key": SECRET, "Accept": "*/*"}}, {"db_password": SECRET},
        {"stream_token": SECRET}, {"cookies": [{"cookie": SECRET}]}, {"openai-api-key": SECRET},
        {"url": f"https://u:{SECRET}@h/"}, {"error": ValueError(f"token={SECRET}")},
    ],
    ids=lambda fields: next(iter(fields)),
)  # fmt: skip
def test_no_secret_in_a_field_is_written(written: Callable[..., str], fields: dict[str, Any]) -> None:
    shown = written("json", lambda logger: logger.error("it broke", extra=fields))

    assert "hunter2" not in shown
    assert logs.HIDDEN in shown


def test_a_key_of_ours_keeps_the_part_that_names_it(written: Callable[..., str]) -> None:
    key = keyformat.generate()

    shown = written("text", lambda logger: logger.error("refused %s", key))

    assert shown == f"ERROR jobs.test refused {key[:11]}_{logs.HIDDEN}\n"


def test_secrets_of_the_configuration_are_known_by_value(written: Callable[..., str]) -> None:
    shown = written(
        "text",
        lambda logger: logger.error("odd: %s, %s and %s", "plainly-here-1", "plainly-here-2", "plainly-here-3"),
        CALLBACK_SIGNING_SECRET="plainly-here-1", SMTP_PASSWORD="plainly-here-2",
        API_KEYS_JSON=json.dumps([{"key": "plainly-here-3", "name": "ci"}]),
    )  # fmt: skip

    assert shown == f"ERROR jobs.test odd: {logs.HIDDEN}, {logs.HIDDEN} and {logs.HIDDEN}\n"


@pytest.mark.parametrize(
    "text",
    [
        "GET /v1/jobs?limit=5 200 1.2 ms [r1]", "job 1b2c (tool.exec): handler builtin:tool.exec raised",
        "republished 3 jobs that Redis no longer held, queue job:default", "https://example.org/a:b/c is not allowed",
        "the key is unknown", "token bucket is empty", "see /v1/keys/ and https://docs.example/keys#basic",
    ],
)  # fmt: skip
def test_what_is_no_secret_is_left_alone(written: Callable[..., str], text: str) -> None:
    assert written("text", lambda logger: logger.error("%s", text)) == f"ERROR jobs.test {text}\n"
