"""How near the made pictures come to the truth.

    datasets    what is in a folder                clips       windows of two pictures and the truth
    reading     pictures as 8-bit RGB              metrics     PSNR, SSIM, interpolation error
    methods     networks, as they are measured     rivals      what they are measured against
    run         every method on every window       report      tables, JSON, CSV
    worst       the sheet of worst cases

For a score while something else runs (training, a notebook):

    dataset = open_dataset("middlebury_other")
    scores = score_method(method, dataset, limit=12)      # scores.psnr, .ssim, .ie, .count

``method(first, second, timesteps)`` returns one 8-bit RGB picture per timestep.
"""

from __future__ import annotations

from slomo_cli.evaluate.clips import Window
from slomo_cli.evaluate.datasets import Dataset, open_dataset
from slomo_cli.evaluate.methods import Method
from slomo_cli.evaluate.run import Scores, evaluate, score_method

__all__ = ["Dataset", "Method", "Scores", "Window", "evaluate", "open_dataset", "score_method"]
