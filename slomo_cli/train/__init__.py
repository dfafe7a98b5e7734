"""Training: data, losses, checkpoints and the loop. Never imported by inference.

    settings    what a run is told                 cache       videos, decoded once into small pictures
    store       squares cut from many pictures     windows     which windows of video, and how they are augmented
    scene       exact moving layers                synthetic   random scenes of photographs
    spoil       noise, blocks ...                  captions    text and bars laid over film
    light       fades, shadows ...                 judge       scores and sample sheets
    losses      the paper's and more               perceptual  VGG16 features
    feed        batches ahead of their use         stepper     one update
    loop        a run: steps, signals, the end     interrupts  signals, held until a step is done
    log         what each step came to             checkpoint  all that a run goes on from
    parallel    several GPUs                       record      weights and how they were made
    lock        one process in a folder            find        videos and photos in folders
    data        these, shared out                  run         from a request to weights

On one's own video:

    slomo train --data videos/ --photos photos/ --preset fast --minutes 600 --out runs/mine
    slomo convert in.mp4 --factor 8 --weights runs/mine/weights.safetensors -o out.mp4

The same command again goes on where the last one stopped, bit for bit where clock and arithmetic allow it (``--steps``,
a CPU, the same number of processes). Several GPUs of one machine (``--batch`` counts windows over all of them):

    torchrun --nproc-per-node 8 -m slomo_cli train --data videos/ --preset superslomo --steps 300000 --out runs/a

On a GPU that is lent for minutes at a time, one schedule of 24 minutes in three calls; ``checkpoint.safetensors`` in
``--out`` carries everything between calls on that machine, its parts (at most 15 MB each) may be brought home, and what
is brought back in parts is joined before the run goes on (one H200 takes 800 windows of ``fast`` a second at a batch of
96 and a crop of 320, uncompiled):

    slomo train --data videos/ --photos photos/ --cache /tmp/frames --preset fast --batch 96 --crop 256 --targets 2 \\
        --minutes 24 --stop-after 8 --lr 1e-3 --compile --validate sets/middlebury_other --split-parts 15M --out runs/a
    slomo train --data videos/ --photos photos/ --cache /tmp/frames --preset superslomo --batch 48 --crop 256 \\
        --targets 2 --lr 3e-4 --minutes 24 --stop-after 8 --vgg vgg16.safetensors --split-parts 15M --out runs/b

``superslomo`` is 620 MB of checkpoint: bring home the weights alone, in half the bytes, and begin the next schedule
from them (parts are joined by ``cat``):

    slomo train --out runs/b --export runs/b/weights.safetensors --export-dtype float16 --split-parts 15M
    slomo train --init weights.safetensors --preset superslomo --data videos/ --minutes 24 --out runs/c

The coarse-to-fine, warping and smoothness losses lead a new network to the motion; one that has found it does better
without them (0.2 dB within minutes for ``fast``), as in a last schedule of its own. Light that changes contradicts them
too. By then the gradient of ``flow`` comes from the few windows whose motion is out of reach (it was five times as long
as that of ``decibel`` over ten batches, three quarters of it from three): ``fine_flow`` weighs what can still be
won:

    slomo train --init runs/a/weights.safetensors --data videos/ --photos photos/ --minutes 24 --lr 4e-4 --crop 320 \\
        --synthetic 0.4 --lengths 2,3,4,6,8 --spoiled 0.08 --captions 0.25 --relit 0.25 --loss warping=0 \\
        --loss smoothness=0 --loss ladder=0 --loss flow=0.02 --loss fine_flow=1 --loss visibility=1 \\
        --loss decibel=1.5 --loss laplacian=0.03 --loss reconstruction=0.3 --out runs/d

The paper's comparisons are the same command with equal ``--steps`` and one thing left out; each run's ``record.json``
holds its scores:

    slomo train --data videos/ --steps 20000 --out runs/x --no-flow-interpolation
    slomo train --data videos/ --steps 20000 --out runs/x --no-visibility
    slomo train --data videos/ --steps 20000 --out runs/x --loss perceptual=0
    slomo train --data videos/ --steps 20000 --out runs/x --loss warping=0
    slomo train --data videos/ --steps 20000 --out runs/x --loss smoothness=0
    slomo train --data videos/ --steps 20000 --out runs/x --lengths 8 --targets 3
    slomo train --data videos/ --steps 20000 --out runs/x --photos photos/ --synthetic 0
"""

from __future__ import annotations

import os
import sys

if "torch" not in sys.modules:
    # OpenMP threads that wait by spinning make torch ten times slower beside another busy process.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
