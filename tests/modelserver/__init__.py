"""A stand-in for model servers: see `server.py`. The fixture `models` of tests/conftest.py runs one."""

from tests.modelserver.script import (
    Cut,
    Garbage,
    Pause,
    Refusal,
    Reply,
    StreamError,
    ToolCall,
    Usage,
    Wait,
)
from tests.modelserver.server import Call, ModelServer, model_server

__all__ = [
    "Call",
    "Cut",
    "Garbage",
    "ModelServer",
    "Pause",
    "Refusal",
    "Reply",
    "StreamError",
    "ToolCall",
    "Usage",
    "Wait",
    "model_server",
]
