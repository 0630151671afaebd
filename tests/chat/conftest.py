"""Chats whose answers a stand-in model server writes, through the real client library and real attempts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from chat import settling
from jobs.job_types import seed
from jobs.models import JobType
from tests.apiclient import Api
from tests.jobs.test_groups import run_all
from tests.modelserver import ModelServer

Json = dict[str, Any]


class Chat:
    """A thread as its user sees it."""

    def __init__(self, api: Api, models: ModelServer) -> None:
        self.api, self.models = api, models
        self.id = self.begin()["id"]

    def begin(self, **fields: Any) -> Json:
        return dict(self.api.post("/v1/chat/threads", fields).json["thread"])

    def set(self, **settings: Any) -> None:
        answer = self.api.patch(f"/v1/chat/threads/{self.id}", {"settings": settings})
        assert answer.status == 200, answer.text

    def post(self, text: str, **options: Any) -> Json:
        """The message and its answer, which nobody has written yet."""
        answer = self.api.post(f"/v1/chat/threads/{self.id}/messages", {"content": text}, **options)
        assert answer.status == 201, answer.text
        return dict(answer.json)

    def say(self, text: str, reply: Any = "Fine.") -> Json:
        """The answer, written."""
        self.models.answer(reply)
        said = self.post(text)
        run_all()
        return self.message(said["answer"]["id"])

    def message(self, id_: str) -> Json:
        return dict(self.api.get(f"/v1/chat/messages/{id_}").json["message"])

    def messages(self, query: str = "") -> list[Json]:
        return list(self.api.get(f"/v1/chat/threads/{self.id}/messages{query}").json["messages"])

    def texts(self) -> list[tuple[str, str]]:
        return [(it["role"], it["shown_text"]) for it in self.messages()]

    def decide(self, message: Json, **decision: Any) -> Any:
        return self.api.post(f"/v1/chat/messages/{message['id']}/suggestions", decision)

    def work(self) -> None:
        """Everything that can run runs, and what it came to comes back."""
        while run_all() or settling.settle():
            pass


@pytest.fixture
def chat(transactional_db: None, api: Api, models: ModelServer, configure: Callable[..., Any], tmp_path: Path) -> Chat:
    """An empty thread."""
    (tmp_path / "work").mkdir()
    configure(
        OPENAI_ENABLED=1, OPENAI_BASE_URL=models.base_url, OPENAI_API_KEY=models.key, OPENAI_MODEL="gpt-test",
        WORKSPACE_ROOT=tmp_path / "work", DATA_FILE_READ_ENABLED=1,
    )  # fmt: skip
    seed()
    JobType.objects.filter(name="ai.chat.generate").update(enabled=True)
    return Chat(api, models)
