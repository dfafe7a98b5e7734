"""The Interpolator: images and frames in, pictures between out."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch

from slomo_cli.arrays import enlarged
from slomo_cli.devices import choose_device, choose_dtype
from slomo_cli.errors import DeviceError, UsageError, WeightsError
from slomo_cli.interpolate import Interpolator
from slomo_cli.net.fuse import fuse
from slomo_cli.net.runner import Automatic
from slomo_cli.values import ColorInfo, Frame, PixelLayout

YUV420 = PixelLayout("yuv420p", "yuv", 8, 1, 1)
YUV422_10 = PixelLayout("yuv422p10le", "yuv", 10, 1, 0)
GBRAP_16 = PixelLayout("gbrap16le", "rgb", 16, 0, 0, True)


@pytest.fixture(scope="module")
def net(weights: str) -> Iterator[Interpolator]:
    """The tiny network on the CPU, in float32, on two threads."""
    with Interpolator(weights, device="cpu", dtype="float32", threads=2) as interpolator:
        yield interpolator


def image(seed: int, shape: tuple[int, int] = (46, 62), dtype: type = np.uint8) -> np.ndarray:
    """A smooth random picture."""
    rng = np.random.default_rng(seed)
    coarse = rng.random((1, 3, 6, 8))
    smooth = torch.nn.functional.interpolate(torch.from_numpy(coarse), size=shape, mode="bicubic").clamp(0, 1)
    return (smooth[0].permute(1, 2, 0).numpy() * np.iinfo(dtype).max).astype(dtype)


def frame(seed: int, layout: PixelLayout, width: int = 62, height: int = 46) -> Frame:
    """A frame of random planes."""
    rng = np.random.default_rng(seed)
    dtype = np.uint8 if layout.bits == 8 else np.uint16
    planes = tuple(rng.integers(0, layout.peak + 1, s).astype(dtype) for s in layout.plane_shapes(width, height))
    return Frame(planes, layout, ColorInfo(), Fraction(0))


def test_images_keep_shape_and_type_and_ends_are_copies(net: Interpolator) -> None:
    """t = 0 and 1 give the images themselves; between them something else, of the same kind."""
    first, second = image(1), image(2)

    made = net.between(first, second, [0, Fraction(1, 3), 0.5, 1])

    assert [m.shape for m in made] == [(46, 62, 3)] * 4 and all(m.dtype == np.uint8 for m in made)
    assert np.array_equal(made[0], first) and made[0] is not first
    assert np.array_equal(made[3], second)
    assert not np.array_equal(made[1], made[2])


def test_deep_images_use_their_depth(net: Interpolator) -> None:
    """16-bit images come back with values no 8-bit path could give."""
    made = net.between(image(1, dtype=np.uint16), image(2, dtype=np.uint16), [0.5])[0]

    assert made.dtype == np.uint16
    assert len(np.unique(made % 257)) > 100


def test_equal_images_stay_as_they_are_without_flow(weights: str) -> None:
    """Zero motion and equal pictures: every sample survives warping and mixing."""
    flat = np.full((40, 50, 3), 77, np.uint8)
    with Interpolator(weights, device="cpu", dtype="float32") as net:
        for made in net.between(flat, flat, [0.25, 0.9]):
            assert np.array_equal(made, flat)


@pytest.mark.parametrize("layout", [YUV420, YUV422_10], ids=lambda x: x.name)
def test_result_does_not_depend_on_batch_or_threads(weights: str, layout: PixelLayout) -> None:
    """The same samples, however the timesteps are grouped and whichever thread makes them."""
    left, right = frame(1, layout), frame(2, layout)
    times = [Fraction(k, 8) for k in range(1, 8)]
    results = []
    for batch, threads in ((1, 1), (1, 3), (3, 2), (7, 1)):
        with Interpolator(weights, device="cpu", dtype="float32", batch=batch, threads=threads) as net:
            results.append(net.frames(left, right, times))
            assert net._tasks.submit(torch.get_num_threads).result() == 1, "each thread computes on itself alone"

    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            assert all(np.array_equal(p, q) for p, q in zip(a, b, strict=True))


@pytest.mark.parametrize("layout", [YUV420, YUV422_10, GBRAP_16], ids=lambda x: x.name)
@pytest.mark.parametrize("size", [(1, 40), (40, 1), (61, 47)], ids=str)
def test_the_way_of_a_gpu_leads_to_the_same_pictures(
    weights: str, layout: PixelLayout, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The plain network, many times at once, whole planes: to the rounding of float32."""
    left, right = (frame(seed, layout, *size) for seed in (1, 2))
    times = [Fraction(1, 1000), Fraction(1, 2), Fraction(999, 1000)]
    with Interpolator(weights, device="cpu", dtype="float32") as here:
        wanted = here.frames(left, right, times)
    monkeypatch.setattr("slomo_cli.interpolate.runner", Automatic)
    monkeypatch.setattr("slomo_cli.net.fuse._works_in_bands", lambda device: False)
    with Interpolator(weights, device="cpu", dtype="float32", threads=1, batch=16) as there:
        made = there.frames(left, right, times)

    for a, b in zip(made, wanted, strict=True):
        for p, q in zip(a, b, strict=True):
            assert np.abs(p.astype(int) - q).max() <= max(1, layout.peak // 1000)


def test_the_frames_beside_a_pair_bend_its_motion() -> None:
    """Not if motion is to be straight, nor if their interval tells nothing of it."""
    scene = image(5, (128, 192))

    def view(x: int) -> Frame:
        shown = np.ascontiguousarray(scene[20:84, x : x + 96, 0])
        return Frame((shown,), PixelLayout("gray", "gray", 8), ColorInfo(), Fraction(0))

    left, right, beside = view(20), view(26), view(44)
    made: dict[str, np.ndarray] = {}
    for motion in ("curved", "straight"):
        with Interpolator("fast", device="cpu", dtype="float32", motion=motion) as net:
            made[motion] = net.frames(left, right, [0.5], None, (beside, 1))[0][0]
            made[f"{motion} alone"] = net.frames(left, right, [0.5])[0][0]
            made[f"{motion} far"] = net.frames(left, right, [0.5], None, (beside, Fraction(9, 2)))[0][0]
    alone = made.pop("curved alone")
    assert not np.array_equal(made.pop("curved"), alone)
    assert all(np.array_equal(picture, alone) for picture in made.values())


@pytest.mark.parametrize("asked", [range(5), range(1, 5), (1, 3), (1, 4)], ids=str)
def test_a_walk_finds_each_flow_once(net: Interpolator, asked: Iterable[int]) -> None:
    """Though each pair is beside two others; wherever it begins, and where it shows nothing of some."""
    frames = [frame(seed, YUV420) for seed in range(6)]
    found = 0
    flow = net._net.pair

    def counted(first: Any, second: Any) -> Any:
        nonlocal found
        found += 1
        return flow(first, second)

    net._net.pair = counted  # type: ignore[method-assign]
    try:
        for k in asked:
            before = (frames[k - 1], 1) if k else None
            net.frames(frames[k], frames[k + 1], [0.25, 0.75], before, (frames[k + 2], 1) if k < 4 else None)
    finally:
        net._net.pair = flow  # type: ignore[method-assign]
    assert found == 5


def test_pictures_made_are_not_held(weights: str) -> None:
    """However many are asked of one pair: what was fetched is gone, though the pair is remembered."""
    with Interpolator(weights, device="cpu", dtype="float32", threads=1) as net:
        left, right = frame(1, YUV420), frame(2, YUV420)
        pending = net.request(left, right, [0.25, 0.5, 0.75])
        gone = [weakref.ref(one._future) for one in pending]
        for one in pending:
            one.planes()
        del pending, one
        assert net._states._held and [ref() for ref in gone] == [None] * 3


def test_neighbouring_pairs_share_their_frame(net: Interpolator) -> None:
    """A frame of two pairs is prepared once, and asking for a pair again does not compute its flow again."""
    a, b, c = (frame(seed, YUV420) for seed in (1, 2, 3))
    uploads: list[Frame] = []
    upload = net._upload

    def counted(item: Frame) -> object:
        uploads.append(item)
        return upload(item)

    net._upload = counted  # type: ignore[method-assign,assignment]
    try:
        first = net.frames(a, b, [0.5])
        net.frames(b, c, [0.5])
        # Two threads prepare them, in whatever order.
        assert sorted(id(item) for item in uploads) == sorted((id(a), id(b), id(c)))
        again = net.frames(a, b, [0.5])
    finally:
        net._upload = upload  # type: ignore[method-assign]
    assert all(np.array_equal(p, q) for p, q in zip(first[0], again[0], strict=True))


@pytest.mark.parametrize("works", [True, False])
def test_what_cannot_be_compiled_runs_as_it_is(weights: str, works: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """And a note says why; the pictures are the same."""
    compiled: list[str] = []

    def compiler(function: Any) -> Any:
        def call(*words: Any) -> Any:
            if not works:
                raise RuntimeError("no C++ compiler found\nand much more")
            compiled.append(function.__name__)
            return function(*words)

        return call

    monkeypatch.setattr(torch, "compile", compiler)
    made = []
    for compile in (False, True):
        with Interpolator(weights, device="cpu", dtype="float32", compile=compile) as net:
            made.append(net.between(image(1), image(2), [0.5])[0].astype(int))
        told = ["the network could not be compiled and runs as it is: no C++ compiler found"]
        assert net.notes == (told if compile and not works else [])

    assert np.abs(made[0] - made[1]).max() <= 1
    assert compiled == (["climb", "finish", "move"] * 2 if works else []), "once to try, once in earnest"


def test_bfloat16_stays_close(weights: str) -> None:
    """The short format changes rounding, not the picture."""
    first, second = image(1), image(2)
    made = []
    for dtype in ("float32", "bfloat16"):
        with Interpolator(weights, device="cpu", dtype=dtype) as net:
            made.append(net.between(first, second, [0.5])[0].astype(int))

    assert np.abs(made[0] - made[1]).mean() < 1.5


@pytest.mark.parametrize("layout", [YUV420, GBRAP_16], ids=lambda x: x.name)
@pytest.mark.parametrize("default", [torch.float64, torch.float16, torch.device("meta")], ids=str)
def test_the_defaults_of_a_program_around_it_change_nothing(weights: str, default: Any, layout: PixelLayout) -> None:
    """As ``torch.set_default_dtype`` and ``torch.set_default_device`` set them."""
    first, second = frame(1, layout), frame(2, layout)

    def made() -> list[Any]:
        with Interpolator(weights, device="cpu", dtype="float32") as net:
            return [plane for planes in net.frames(first, second, [0.3, 0.5]) for plane in planes]

    wanted = made()
    is_device = isinstance(default, torch.device)
    (torch.set_default_device if is_device else torch.set_default_dtype)(default)
    try:
        found = made()
    finally:
        torch.set_default_device(None)
        torch.set_default_dtype(torch.float32)
    assert all(np.array_equal(a, b) for a, b in zip(found, wanted, strict=True))


def test_motion_is_at_the_size_of_the_pictures(net: Interpolator) -> None:
    """Flow and visibility maps for looking at."""
    maps = net.motion(image(1), image(2), [0.25, 0.5])

    assert maps.flow_01.shape == (46, 62, 2) and maps.flow_t1.shape == (2, 46, 62, 2)
    assert maps.visibility.shape == (2, 46, 62)
    assert 0 <= maps.visibility.min() <= maps.visibility.max() <= 1
    assert np.abs(maps.flow_01).max() > 0.1


def test_a_device_short_of_memory_is_asked_for_less_at_a_time(
    net: Interpolator, weights: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """First for fewer pictures, then for bands of one; the pictures are the same, and none is lost. Finished ones are
    not put together again, which would take their memory twice."""
    cat = torch.cat

    def small_cat(tensors: Any, *words: Any, **more: Any) -> torch.Tensor:
        assert not any(one.dtype == torch.uint8 for one in tensors)
        return cat(tensors, *words, **more)

    asked: list[tuple[int, bool]] = []

    def short(*args: Any, **kwargs: Any) -> list[torch.Tensor]:
        asked.append((len(args[3]), kwargs["sparing"]))
        if asked[-1] != (1, True) and not (plainly and asked[-1] == (1, False)):
            raise torch.OutOfMemoryError
        return fuse(*args, **kwargs)

    times = [0.2, 0.4, 0.6, 0.8]
    first, second = frame(1, YUV420), frame(2, YUV420)
    wanted = net.frames(first, second, times)
    monkeypatch.setattr("slomo_cli.interpolate.fuse", short)
    monkeypatch.setattr(torch, "cat", small_cat)
    for plainly in (False, True):
        asked.clear()
        with Interpolator(weights, device="cpu", dtype="float32", threads=1, batch=4) as small:
            made = small.frames(first, second, times)
            before = len(asked)
            small.frames(second, first, times)
        assert asked[:2] == [(4, False), (2, False)] and asked[-1] == (1, not plainly)
        assert asked[before:] == [(1, not plainly)] * 4  # it has learned how much is too much
        for planes, expected in zip(made, wanted, strict=True):
            assert all(np.array_equal(a, b) for a, b in zip(planes, expected, strict=True))


def test_a_device_that_is_full_before_anything_is_on_it_says_so(weights: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where another program has taken the GPU."""

    said = "CUDA error: out of memory\nCUDA kernel errors might be reported asynchronously"

    def none(*args: Any) -> None:
        raise RuntimeError(said)

    monkeypatch.setattr("slomo_cli.interpolate.load", none)
    with pytest.raises(DeviceError, match=r"cpu has too little free memory for the network: end what else uses it$"):
        Interpolator(weights, device="cpu")
    said = "a bug"
    with pytest.raises(RuntimeError, match="a bug"):
        Interpolator(weights, device="cpu")


@pytest.mark.parametrize("where", ["fuse", "to_proxy", "SourcePlanes.of"])
@pytest.mark.parametrize(
    "full",
    [
        torch.OutOfMemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp:124] . DefaultCPUAllocator: can't allocate memory: you tried"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:121] . DefaultCPUAllocator: not enough memory: you tried"),
        RuntimeError("MPS backend out of memory (MPS allocated: 8.99 GiB, other allocations: 96.00 KiB"),
        RuntimeError("Invalid buffer size: 15.45 GiB"),
        RuntimeError("could not create a primitive"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    ],
)
def test_a_device_with_too_little_memory_says_so(
    weights: str, where: str, full: RuntimeError, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(*args: Any, **kwargs: Any) -> list[torch.Tensor]:
        raise full

    monkeypatch.setattr(f"slomo_cli.interpolate.{where}", none)
    with (
        Interpolator(weights, device="cpu", dtype="float32", threads=1) as small,
        pytest.raises(DeviceError, match="smaller --proxy"),
    ):
        small.frames(frame(1, YUV420), frame(2, YUV420), [0.5])


def test_maps_that_do_not_fit_are_told_as_that(net: Interpolator, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are as large as the pictures, where the network's own may have been smaller."""

    def none(*args: Any) -> None:
        raise torch.OutOfMemoryError

    monkeypatch.setattr("slomo_cli.interpolate.enlarged", none)
    with pytest.raises(DeviceError, match="smaller --proxy"):
        net.motion(image(1), image(2), [0.5])


def test_no_picture_is_lost_when_memory_runs_out_while_more_are_asked_for(
    weights: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is asked for together is halved by another thread."""
    with Interpolator(weights, device="cpu", dtype="float32", threads=1, batch=4) as net:
        after = net._after

        def halving(*args: Any) -> Any:
            net._batch = 2
            return after(*args)

        first, second = frame(1, YUV420), frame(2, YUV420)
        net._way(first, second, None, None).result()
        monkeypatch.setattr(net, "_after", halving)
        assert len(net.frames(first, second, [k / 9 for k in range(1, 9)])) == 8


def test_auto_trains_on_an_apple_gpu_only_where_it_can_go_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch could look pictures up there before it could derive that."""
    warp = torch.nn.functional.grid_sample

    def one_way(*args: Any, **kwargs: Any) -> torch.Tensor:
        found = warp(*args, **kwargs)
        if found.requires_grad:
            found.register_hook(derive)
        return found

    def derive(gradient: torch.Tensor) -> None:
        raise NotImplementedError("The operator 'aten::grid_sampler_2d_backward' is not currently implemented for MPS")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch, "zeros", lambda *size, device: torch.ones(size))
    assert choose_device("auto", training=True).type == "mps"
    monkeypatch.setattr("torch.nn.functional.grid_sample", one_way)
    assert choose_device("auto").type == "mps" and choose_device("auto", training=True).type == "cpu"
    with pytest.raises(DeviceError, match=r"cannot train on \(The operator 'aten::grid_sampler_2d_backward' is not"):
        choose_device("mps", training=True)


@pytest.mark.parametrize(("name", "chosen"), [("cuda", "cuda:1"), ("cuda:0", "cuda:0"), ("auto", "cuda:1")])
def test_a_gpu_is_always_one_by_number(name: str, chosen: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch knows no current device in a thread that begins: training waited for ever for its first batch."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    monkeypatch.setattr(torch, "zeros", lambda *size, device: torch.ones(size))
    assert choose_device(name) == torch.device(chosen)


def test_a_gpu_that_torch_was_not_built_for_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """As Pascal and Volta by newer torches: they are told as there, and fail at the first work they are given."""
    said = "CUDA error: no kernel image is available for execution on the device"

    def zeros(*size: int, device: torch.device) -> torch.Tensor:
        raise RuntimeError(f"{said}\nCUDA kernel errors might be asynchronously reported at some other API call")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr(torch, "zeros", zeros)
    assert choose_device("auto").type == "cpu"
    with pytest.raises(DeviceError, match=rf"expected cuda, found one that torch .* cannot compute on \({said}\): "):
        choose_device("cuda")
    with pytest.raises(DeviceError, match="mps device, found none"):
        choose_device("mps")
    said = "CUDA error: out of memory"  # that is said by what asks for the memory
    assert choose_device("auto").type == "cuda"


def test_auto_leaves_an_apple_gpu_that_cannot_warp(monkeypatch: pytest.MonkeyPatch) -> None:
    """As with every torch of some years: the CPU does it, and asking for the GPU says why not."""

    def unsupported(*args: Any, **kwargs: Any) -> None:
        raise RuntimeError("MPS: Unsupported Border padding mode")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch, "zeros", lambda *size, device: torch.ones(size))
    assert choose_device("auto").type == choose_device("mps").type == "mps"
    monkeypatch.setattr("torch.nn.functional.grid_sample", unsupported)
    assert choose_device("auto").type == "cpu"
    with pytest.raises(DeviceError, match=r"cannot warp pictures on \(MPS: Unsupported Border padding mode\)"):
        choose_device("mps")


@pytest.mark.parametrize(
    ("proxy", "wanted"), [("auto", [2, 1, 0.5]), ("full", [1, 1, 0.5]), ("540", [4, 2, 1]), (1080, [2, 1, 0.5])]
)
def test_the_short_side_decides_what_the_network_sees(weights: str, proxy: str, wanted: list[float]) -> None:
    """Samples to a pixel of the proxy: as many as bring the short side within it, or half a one where there is room."""
    with Interpolator(weights, device="cpu", proxy=proxy) as net:
        for (width, height), samples in zip([(3840, 2160), (1920, 1080), (960, 540)], wanted, strict=True):
            for scale in (net.proxy_scale(width, height), net.proxy_scale(height, width)):
                assert scale.divisor / scale.magnify == samples


def test_what_computes_is_told_with_its_threads(net: Interpolator) -> None:
    assert net.describe() == "cpu, float32, 2 threads"


def test_a_smaller_proxy_keeps_the_size_of_the_result(weights: str) -> None:
    """What the network sees is reduced; what it makes is not."""
    with Interpolator(weights, device="cpu", dtype="float32", proxy="32") as net:
        assert net.proxy_scale(62, 46) == (2, 1) and net.step(62, 46) == 4
        made = net.between(image(1), image(2), [0.5])[0]
    assert made.shape == (46, 62, 3)


@pytest.mark.parametrize(
    ("kwargs", "error", "words"),
    [
        ({"weights": "nonesuch"}, WeightsError, "nonesuch"),
        ({"device": "abacus"}, UsageError, "expected a device"),
        ({"device": "cuda:99"}, DeviceError, "expected cuda:99"),
        ({"dtype": "float8"}, UsageError, "number format"),
        ({"proxy": "small"}, UsageError, "expected a proxy"),
        ({"proxy": "3"}, UsageError, "32 pixels"),
        ({"proxy": 3}, UsageError, "32 pixels"),
        ({"motion": "wild"}, UsageError, "curved or straight"),
        ({"threads": -1}, UsageError, "threads to be 0"),
        ({"batch": 2.5}, UsageError, "batch to be 0"),
        ({"device": None}, UsageError, "expected a device"),
        ({"batch": -1}, UsageError, "batch to be 0"),
    ],
)
def test_refusals_say_what_was_expected(weights: str, kwargs: dict[str, Any], error: type, words: str) -> None:
    """One line each, before anything is computed."""
    with pytest.raises(error, match=words):
        Interpolator(**{"weights": weights, **kwargs})


@pytest.mark.parametrize("time", [-0.1, 1.5, float("nan"), None, "half"])
def test_times_outside_the_pair_are_refused(weights: str, time: Any) -> None:
    with Interpolator(weights, device="cpu") as net, pytest.raises(UsageError, match="timestep from 0 to 1"):
        net.between(image(1), image(2), [time])


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([[[0, 0, 0]]], "as a numpy array, found a list"),
        (np.zeros((46, 62), np.uint8), r"of shape \(H, W, 3\), uint8 or uint16, found shape \(46, 62\), uint8"),
        (np.zeros((46, 62, 4), np.uint8), r"found shape \(46, 62, 4\), uint8"),
        (np.zeros((0, 62, 3), np.uint8), r"found shape \(0, 62, 3\), uint8"),
        (np.zeros((46, 62, 3), np.float32), r"found shape \(46, 62, 3\), float32"),
        (
            np.zeros((46, 60, 3), np.uint8),
            r"of one shape and type, found \(46, 6\d, 3\) uint8 and",
        ),
        (np.zeros((46, 62, 3), np.uint16), r"of one shape and type, found \(46, 62, 3\) uint"),
    ],
)
def test_what_is_no_pair_of_images_is_refused(net: Interpolator, given: Any, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        net.between(given, image(1), [0.5])
    with pytest.raises(UsageError, match="found a list" if isinstance(given, list) else "of one shape and type"):
        net.between(image(1), given, [0.5])


def test_maps_are_enlarged_between_the_centres_of_cells() -> None:
    """A slope over cells of two pixels is one over the pixels, and the last cell is cut off with the picture."""
    like = frame(1, YUV420, 15, 9)
    field = torch.arange(8.0).expand(1, 1, 5, 8)

    assert np.allclose(enlarged(field, 2, like)[0, 0, :, 1:], (np.arange(1, 15) + 0.5) / 2 - 0.5)
    assert enlarged(field, 2, like).shape == (1, 1, 9, 15)
    assert np.array_equal(enlarged(field, 1, frame(1, YUV420, 7, 4))[0, 0], np.tile(np.arange(7.0), (4, 1)))


def test_a_closed_one_says_so(weights: str) -> None:
    with Interpolator(weights, device="cpu", proxy=480) as net:
        assert len(net.between(image(1), image(2), [0.5])) == 1
    with pytest.raises(UsageError, match="closed"):
        net.between(image(1), image(3), [0.5])


def test_whoever_waits_for_a_picture_that_closing_drops_is_told(weights: str) -> None:
    """Not left to wait for ever."""
    with Interpolator(weights, device="cpu", threads=1) as net:
        held = threading.Event()
        left, right = frame(1, YUV420), frame(2, YUV420)
        net._way(left, right, None, None).result()
        net._tasks.submit(held.wait)
        pending = net.request(left, right, [0.25, 0.5, 0.75])
        threading.Timer(0.2, held.set).start()
    for picture in pending:
        with pytest.raises(RuntimeError, match="closed before the picture was made"):
            picture._future.result(timeout=5)


def test_whoever_waits_for_a_picture_whose_flow_ends_after_closing_is_told(
    weights: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, held = threading.Event(), threading.Event()
    with Interpolator(weights, device="cpu", threads=1) as net:
        flow = net._net.pair

        def slow(*seen: Any) -> Any:
            begun.set()
            held.wait()
            return flow(*seen)

        monkeypatch.setattr(net._net, "pair", slow)
        pending = net.request(frame(1, YUV420), frame(2, YUV420), [0.5])
        begun.wait()
        threading.Timer(0.2, held.set).start()
    with pytest.raises(RuntimeError, match="closed before the picture was made"):
        pending[0]._future.result(timeout=5)


def test_images_that_do_not_match_are_refused(net: Interpolator) -> None:
    """Size, type and shape are named."""
    with pytest.raises(UsageError, match="one shape"):
        net.between(image(1), image(2, (40, 40)), [0.5])
    with pytest.raises(UsageError, match="uint8 or uint16"):
        net.between(np.zeros((0, 40, 3), np.uint8), np.zeros((0, 40, 3), np.uint8), [0.5])
    with pytest.raises(UsageError, match="uint8 or uint16"):
        net.between(image(1).astype(np.float32), image(2).astype(np.float32), [0.5])
    with pytest.raises(UsageError, match="from 0 to 1"):
        net.between(image(1), image(2), [1.5])
    with pytest.raises(UsageError, match="one size and format"):
        net.frames(frame(1, YUV420), frame(2, YUV422_10), [0.5])
    with pytest.raises(UsageError, match="numpy array, found a list"):
        net.between(image(1), image(2).tolist(), [0.5])  # type: ignore[arg-type]


@pytest.mark.parametrize("time", [0.5, None, np.array(0.5)])
def test_one_time_is_no_row_of_times(net: Interpolator, time: Any) -> None:
    with pytest.raises(UsageError, match=r"expected timesteps such as \[0.25, 0.5\], found"):
        net.between(image(1), image(2), time)


def test_times_may_come_from_anything_that_gives_them(net: Interpolator) -> None:
    """A generator, which can be read once, and an array."""
    first, second = image(1), image(2)
    expected = net.between(first, second, [0, 0.25, 0.5])

    for times in ((t for t in (0, 0.25, 0.5)), np.array([0, 0.25, 0.5], np.float32)):
        made = net.between(first, second, times)
        assert len(made) == 3 and all(np.array_equal(a, b) for a, b in zip(made, expected, strict=True))


@pytest.mark.parametrize("time", [float("nan"), -0.1, 2])
def test_no_motion_is_told_for_a_time_outside_the_pair(net: Interpolator, time: float) -> None:
    with pytest.raises(UsageError, match="from 0 to 1"):
        net.motion(image(1), image(2), [time])
    with pytest.raises(UsageError, match="from 0 to 1"):
        net.frames(frame(1, YUV420), frame(2, YUV420), [time])


def test_automatic_choices_are_ones_the_machine_has() -> None:
    """auto never names a device or format that is not there."""
    device = choose_device("auto")
    assert device.type in ("cpu", "cuda", "mps")
    assert choose_dtype("auto", torch.device("cpu")) in (torch.float32, torch.bfloat16)
    assert choose_dtype("float16", device) == torch.float16
