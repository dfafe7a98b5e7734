"""The tests of the network compute with one thread."""

import pytest


@pytest.fixture(autouse=True)
def with_one_thread(one_thread: None) -> None:
    pass
