"""The tests of training compute with one thread."""

import pytest


@pytest.fixture(autouse=True)
def with_one_thread(one_thread: None) -> None:
    pass
