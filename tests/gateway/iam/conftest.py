from __future__ import annotations

import pytest

from tests.support.iam_talk import Api


@pytest.fixture
def api() -> Api:
    return Api()
