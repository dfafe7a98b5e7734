"""Fixtures of the tests of training."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import torch


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Tiny tensors on one thread: handing them to several costs more than the work, most of all on a busy machine."""
    usual = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(usual)


@pytest.fixture
def cuda() -> torch.device:
    """The GPU; without one the test is skipped, or fails where SLOMO_REQUIRE_GPU is set."""
    if not torch.cuda.is_available():
        assert not os.environ.get("SLOMO_REQUIRE_GPU"), "SLOMO_REQUIRE_GPU is set, but there is no CUDA device"
        pytest.skip("needs a CUDA device")
    return torch.device("cuda", 0)
