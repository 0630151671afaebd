from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.apiclient import KEYS, Api


@pytest.fixture
def api(db: None, configure: Callable[..., Any]) -> Api:
    """The API with the keys of tests/apiclient.py."""
    configure(API_KEYS_JSON=KEYS)
    return Api()
