"""Two processes train as one."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
from train_helpers import CPU, TinyNet, moving_clip, photo, tiny_settings

from slomo_cli.train.data import _shares
from slomo_cli.train.loop import Run, rate_at
from slomo_cli.train.parallel import Team, join
from slomo_cli.train.run import Request
from slomo_cli.train.synthetic import SyntheticSampler
from slomo_cli.train.windows import WindowSampler

STEPS = 3
MAIN = """
import json, sys, torch
torch.set_num_threads(1)
from pathlib import Path
from test_parallel import make
from slomo_cli.train.parallel import join
team, device = join("cpu")
out = Path(sys.argv[1])
run = make(out, team, seed=team.rank)
run.train()
numbers = [float(v.double().sum()) for v in run.stepper.net.state_dict().values()]
lone, empty = (torch.nn.Parameter(torch.zeros(2, 3)) for _ in range(2))
lone.grad = torch.arange(6.0).view(2, 3) * (1 + 2 * team.rank)
team.average_gradients([empty, lone])
(out / f"rank{team.rank}.json").write_text(
    json.dumps([team.size, run.record["windows"], numbers, lone.grad.flatten().tolist()])
)
team.leave()
names = [(task / "comm").read_text().strip() for task in Path("/proc/self/task").glob("*")]
assert not [name for name in names if "gloo" in name], names  # one still at work as Python ends aborts the process
"""


def make(out: Path, team: Team, seed: int = 0) -> Run:
    settings = tiny_settings(steps=STEPS, batch=6, log_every=1)
    torch.manual_seed(seed)  # each process begins elsewhere: the leader's weights count
    real = WindowSampler([moving_clip(), moving_clip(speed=-3.0)], settings.windows, CPU)
    synthetic = SyntheticSampler([photo()], settings.windows.crop, 1, CPU, layers=1)
    return Run(TinyNet(), [(real, 2), (synthetic, 1)], settings, out, CPU, team=team, report=lambda line: None)


def test_every_process_draws_synthetic_windows_where_any_are_asked_for() -> None:
    pair = Team()
    pair.size = 2
    for batch, share, each in (
        (6, 0.17, (2, 1)),
        (8, 0.5, (2, 2)),
        (2, 0.5, (1, 0)),
        (4, 0.0, (2, 0)),
        (4, 1.0, (0, 2)),
    ):
        given = Request(Path(), tiny_settings(batch=batch, synthetic=share), (Path("videos"),), (Path("photos"),))
        assert _shares(given, pair) == each


def test_two_processes_make_the_step_of_their_mean_gradient(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {**os.environ, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    here = Path(__file__).parent
    path = os.pathsep.join([str(here), str(here.parents[1]), common.get("PYTHONPATH", "")])
    common |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": path}
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", MAIN, str(tmp_path)], env=common | {"RANK": str(rank), "LOCAL_RANK": str(rank)}
        )
        for rank in range(2)
    ]
    try:
        assert [worker.wait(timeout=200) for worker in workers] == [0, 0]
    finally:
        for worker in workers:
            worker.kill()
    size, windows, first, mean = json.loads((tmp_path / "rank0.json").read_text())
    _, _, second, same = json.loads((tmp_path / "rank1.json").read_text())
    assert (size, windows) == (2, 6 * STEPS)
    assert first == second and mean == same == [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]  # which Adam cannot tell from a sum

    # The same by hand: the gradients of both processes' batches, averaged.
    alone = make(tmp_path / "alone", Team())
    stepper = alone.stepper
    for step in range(STEPS):
        grads: list[torch.Tensor] = []
        for rank in range(2):
            batch = alone._draw(np.random.default_rng([alone.settings.seed, rank, step]))
            stepper._gradients(batch, 1)
            mine = [p.grad.clone() for p in stepper.net.parameters() if p.grad is not None]
            grads = mine if not grads else [(a + b) / 2 for a, b in zip(grads, mine, strict=True)]
        for p, grad in zip(stepper.net.parameters(), grads, strict=True):
            p.grad = grad
        torch.nn.utils.clip_grad_norm_(stepper.net.parameters(), alone.settings.clip_norm)
        for group in stepper.optimizer.param_groups:
            group["lr"] = rate_at(alone.settings, step, step / STEPS)
        stepper.optimizer.step()
    expected = [float(v.double().sum()) for v in stepper.net.state_dict().values()]
    assert np.allclose(first, expected, rtol=1e-5, atol=1e-6)


def test_alone_a_process_needs_nobody() -> None:
    team, device = join("cpu")

    assert team.leads and team.size == 1 and device.type == "cpu"
    assert team.agree([1.5, 2.0]) == [1.5, 2.0]
    team.wait()
    team.leave()
