"""Timing of the product on a GPU: contenders, inputs that do not sit in the cache, rooflines.

The clock is a parameter, so that everything but the GPU's own clock is tested without one. Host times are never
figures: a result says which clock it was read from.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from typing import Any, Protocol

from ckptkit.errors import UsageError
from ckptkit.kernels import quantize, scaled_mm
from ckptkit.kernels.build import Toolkit, toolkit
from ckptkit.kernels.configs import ACCUMULATE, Config
from ckptkit.kernels.scaled_mm import Operands
from ckptkit.kernels.scaling import GROUP_BLOCK, TENSOR_TENSOR, TOKEN_CHANNEL, Scaling
from ckptkit.record import record

#: The H200's datasheet: dense FP8 operations and bytes per second.
PEAK_FLOPS, PEAK_BYTES = 1979e12, 4.8e12
#: Inputs are rotated over copies that together are this many times the L2 cache.
_CACHE_TIMES = 3
_MAX_COPIES = 64
#: A matmul as the Triton tutorial writes it: pointers, one tile for each program.
PLAIN = Config("portable", 128, 128, 128, 8, 3)

Call = Callable[[int], Any]


class Clock(Protocol):
    """Times a function of the number of the input copy to use."""

    @property
    def name(self) -> str:
        """What the times are read from."""

    @property
    def repetitions(self) -> int:
        """How often each contender is timed."""

    def prepare(self, call: Call, copies: int) -> Callable[[], float]:
        """Warm up, and return a function that times once: seconds per call."""


@record
class HostClock:
    """Wall time of single calls: for testing the harness, never for figures."""

    repetitions: int = 1
    name: str = "host"

    def prepare(self, call: Call, copies: int) -> Callable[[], float]:
        """A function that makes one call and gives its seconds of wall time."""

        def once() -> float:
            start = time.perf_counter()
            call(copies - 1)
            return time.perf_counter() - start

        return once


@record
class GraphClock:
    """Device events around replays of a CUDA graph of many calls, which walk over the copies: no launch gaps."""

    repetitions: int = 25
    target: float = 2e-3
    name: str = "device events"

    def prepare(self, call: Call, copies: int) -> Callable[[], float]:
        """A function that replays recorded calls, over all copies, and gives the device seconds of one."""
        torch = toolkit().torch
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for copy in range(copies):
                call(copy)  # compiles, and fills the allocator
        torch.cuda.current_stream().wait_stream(stream)
        start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))

        def timed(work: Callable[[], Any]) -> float:
            start.record()
            work()
            stop.record()
            stop.synchronize()
            seconds: float = start.elapsed_time(stop) * 1e-3
            return seconds

        calls = copies * max(1, round(self.target / max(timed(lambda: call(0)), 1e-6) / copies))
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            for number in range(calls):
                call(number % copies)
        for _ in range(3):
            graph.replay()
        return lambda: timed(graph.replay) / calls


@record
class Timing:
    """Seconds of one contender: median and spread."""

    contender: str
    median: float
    p10: float
    p90: float
    config: str | None = None

    @classmethod
    def of(cls, contender: str, times: Sequence[float], config: str | None) -> Timing:
        """The median and the tenths at both ends of ``times``, in seconds."""
        ordered = sorted(times)
        low, high = ordered[len(ordered) // 10], ordered[-1 - len(ordered) // 10]
        return cls(contender, statistics.median(ordered), low, high, config)


@record
class Measurement:
    """All contenders at one shape. ``clock`` is "device events" on a GPU; anything else is no figure."""

    shape: tuple[int, int, int]
    clock: str
    copies: int
    timings: tuple[Timing, ...]
    failures: Mapping[str, str] = field(default_factory=dict)

    def seconds(self, contender: str) -> float | None:
        """The median of a contender in seconds; None if it did not run."""
        return next((timing.median for timing in self.timings if timing.contender == contender), None)

    @property
    def best_torch(self) -> float | None:
        """The faster of torch's fast and slow accumulation, rowwise."""
        found = [t.median for t in self.timings if t.contender.startswith("torch rowwise")]
        return min(found, default=None)

    def to_json(self) -> dict[str, Any]:
        """The row as ``golden bench --json`` prints it."""
        m, n, k = self.shape
        rows = {
            t.contender: {
                "median_us": t.median * 1e6,
                "p10_us": t.p10 * 1e6,
                "p90_us": t.p90 * 1e6,
                "tflops": 2 * m * n * k / t.median / 1e12,
                "weight_tb_s": n * k / t.median / 1e12,
                "config": t.config,
            }
            for t in self.timings
        }
        return {
            "shape": list(self.shape),
            "clock": self.clock,
            "copies": self.copies,
            "roofline_us": roofline(*self.shape) * 1e6,
            "contenders": rows,
            "failures": dict(self.failures),
        }


def roofline(m: int, n: int, k: int) -> float:
    """The least seconds that the datasheet allows: operations, or bytes with a bf16 output.

    >>> round(roofline(1, 4096, 4096) * 1e6, 1), round(roofline(8192, 4096, 4096) * 1e6)
    (3.5, 139)
    """
    return max(2 * m * n * k / PEAK_FLOPS, (n * k + m * k + 2 * m * n) / PEAK_BYTES)


def parse_shape(text: str) -> tuple[int, int, int]:
    """
    >>> parse_shape("16,4096,4096")
    (16, 4096, 4096)
    """
    try:
        m, n, k = map(int, text.split(","))
    except ValueError:
        raise UsageError(f"not a shape: {text!r}", help="M,N,K, for example 16,4096,4096") from None
    return m, n, k


def copies_for(kit: Toolkit, m: int, n: int, k: int) -> int:
    """How many copies of the inputs outgrow the L2 cache."""
    if kit.interpreted:
        return 2
    cache = kit.torch.cuda.get_device_properties(kit.torch.cuda.current_device()).L2_cache_size
    return int(max(2, min(_MAX_COPIES, -(-_CACHE_TIMES * cache // (n * k + m * k)))))


def inputs(shape: tuple[int, int, int], copies: int, device: str) -> list[Operands]:
    """Random operands, quantized per token and per channel: constant data would run faster than any real model."""
    torch = toolkit().torch
    m, n, k = shape
    generator = torch.Generator(device=device).manual_seed(2024)
    found = []
    for _ in range(copies):
        x = torch.randn((m, k), generator=generator, device=device, dtype=torch.float32).to(torch.bfloat16)
        w = torch.randn((n, k), generator=generator, device=device, dtype=torch.float32).to(torch.bfloat16)
        codes, a_scale = quantize.per_token(x)
        weight, w_scale = quantize.per_token(w)
        found.append(scaled_mm.native(Operands(codes, weight, a_scale, w_scale, TOKEN_CHANNEL, None)))
    return found


def contenders(kit: Toolkit, sets: Sequence[Operands]) -> dict[str, tuple[Call, str | None]]:
    """Everything that is timed, by name: a call, and the config where it is one of ours."""
    torch = kit.torch
    m, n, k = sets[0].sizes
    device = sets[0].a.device
    one = torch.ones((), device=device)
    bf16 = torch.bfloat16
    found: dict[str, tuple[Call, str | None]] = {}

    def ours(name: str, scaling: Scaling, accumulate: Any, config: Config | None) -> None:
        # What scales are takes no time: ones will do for those that the sets do not have.
        ones = [torch.ones(shape, device=device) for shape in (scaling.a_shape(m, k), scaling.b_shape(n, k))]
        others = [Operands(s.a, s.weight, ones[0], ones[1], scaling, None) for s in sets]
        rows = list(sets) if scaling == TOKEN_CHANNEL else others
        chosen = config or scaled_mm.choose(rows[0], accumulate, bf16)
        found[name] = (lambda copy: scaled_mm.run(rows[copy], chosen, accumulate, bf16), chosen.name)

    def theirs(name: str, rowwise: bool, fast: bool) -> None:
        def call(copy: int) -> Any:
            s = sets[copy]
            a_scale, b_scale = (s.a_scale[:, None], s.weight_scale[None, :]) if rowwise else (one, one)
            return torch._scaled_mm(
                s.a, s.weight.T, scale_a=a_scale, scale_b=b_scale, out_dtype=bf16, use_fast_accum=fast
            )

        found[name] = (call, None)

    for accumulate in ACCUMULATE:
        ours(f"ckptkit rowwise {accumulate}", TOKEN_CHANNEL, accumulate, None)
        ours(f"ckptkit tensor {accumulate}", TENSOR_TENSOR, accumulate, None)
    ours("ckptkit block", GROUP_BLOCK, "promoted", None)  # scaled partial sums are promoted in both modes
    ours("plain triton rowwise", TOKEN_CHANNEL, "fast", PLAIN)
    for rowwise in (True, False):
        for fast in (True, False):
            theirs(f"torch {'rowwise' if rowwise else 'tensor'} {'fast' if fast else 'slow'}", rowwise, fast)
    return found


def measure(shape: tuple[int, int, int], clock: Clock | None = None, only: Sequence[str] | None = None) -> Measurement:
    """Time every contender at a shape; one that cannot run is named with its reason."""
    kit = toolkit()
    device = "cpu" if kit.interpreted else "cuda"
    clock = clock or GraphClock()
    copies = copies_for(kit, *shape)
    sets = inputs(shape, copies, device)
    failures: dict[str, str] = {}
    ready: dict[str, tuple[Callable[[], float], list[float], str | None]] = {}
    for name, (call, config) in contenders(kit, sets).items():
        if only is None or name in only:
            try:
                ready[name] = (clock.prepare(call, copies), [], config)
                ready[name][1].append(ready[name][0]())
            except Exception as error:  # torch refuses shapes and devices that ours takes, and the other way round
                ready.pop(name, None)
                failures[name] = f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error) else ''}"
    for _ in range(clock.repetitions - 1):  # interleaved, so that a drifting clock rate meets all alike
        for once, times, _config in ready.values():
            times.append(once())
    timings = tuple(Timing.of(name, times, config) for name, (_, times, config) in ready.items())
    return Measurement(shape, clock.name, copies, timings, failures)


def ceilings() -> dict[str, float]:
    """What this GPU reaches at best, measured: bytes per second of a large copy, operations per second of torch."""
    torch = toolkit().torch
    clock = GraphClock(repetitions=9, target=2e-2)
    buffers = [torch.empty(2 << 30, dtype=torch.uint8, device="cuda").random_() for _ in range(2)]
    copy = statistics.median(_repeat(clock, lambda _: buffers[0].copy_(buffers[1])))
    buffers.clear()
    side = 8192
    sets = inputs((side, side, side), 1, "cuda")
    call, _ = contenders(toolkit(), sets)["torch tensor fast"]
    product = statistics.median(_repeat(clock, call))
    return {"copy_bytes_s": (4 << 30) / copy, "fp8_flops": 2 * side**3 / product}


def _repeat(clock: Clock, call: Call) -> list[float]:
    once = clock.prepare(call, 1)
    return [once() for _ in range(clock.repetitions)]


def line(found: Measurement) -> str:
    """One shape on one line: our time, how it compares, how near the roofline it is."""
    seconds = found.seconds("ckptkit rowwise fast")
    if seconds is None:
        return f"{found.shape}: not run ({found.failures.get('ckptkit rowwise fast')})"
    m, n, k = found.shape
    text = f"M={m:<5} N={n:<6} K={k:<6} {seconds * 1e6:9.1f} us  {2 * m * n * k / seconds / 1e12:7.0f} TFLOP/s"
    text += f"  {n * k / seconds / 1e12:5.2f} TB/s  {roofline(m, n, k) / seconds:4.0%} of the roofline"
    best = found.best_torch
    return text + (f"  {best / seconds:.2f}x torch" if best else "")
