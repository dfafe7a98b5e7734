"""slomo: slow motion and frame rate conversion by Super SloMo (Jiang et al., CVPR 2018).

The public Python API, loaded lazily so that ``import slomo_cli`` costs nothing:

    convert(source, output, *, factor=..., rate=..., ...) -> Summary
    probe(path) -> VideoInfo
    Interpolator(...)   two pictures and any timesteps -> the pictures between

The rooms. ``pipeline.convert``, read top to bottom, is the program:

    pipeline     the straight line, from file to   timeline     which pair and which t makes each frame
                 file                              times        exact numbers, and maps of time
    cuts         where shots begin                 repeats      frames that show nothing new
    cadence      their rhythm, made even           painter      what each output frame shows
    interpolate  two pictures and times -> those   arrays       planes as tensors, and back
                 between                           devices      where the network runs, and in which numbers
    media        files in and out                  net          the networks
    pace         the factor that motion allows     stills       two still pictures
    pairs        neighbouring pictures, for        preview      and one such pair on a sheet
    compare      before and after                  picture      sheets, plots, PNG files
    evaluate     scores                            bench        speed
    train        training                          doctor       what works on this machine
    cli          one file per command              progress     what is told meanwhile
    values       what crosses walls                errors       the errors and their exit codes
    text         values as words                   whole        files that appear complete or not at all
    threads      cores, and idle threads           tasks        work that waits for other work
    settings     values out of what Python gives

Who may import whom stands in ``setup.cfg``, and is tested.
"""

from __future__ import annotations

TYPE_CHECKING = False  # as in typing, which takes longer to load than all of this
if TYPE_CHECKING:
    from typing import Any

    from slomo_cli.interpolate import Interpolator
    from slomo_cli.media.read.probe import probe
    from slomo_cli.pipeline import convert

__version__ = "0.1.0"
__all__ = ["Interpolator", "__version__", "convert", "probe"]

_HOME = {
    "Interpolator": "slomo_cli.interpolate",
    "convert": "slomo_cli.pipeline",
    "probe": "slomo_cli.media.read.probe",
}


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'slomo_cli' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOME[name]), name)
