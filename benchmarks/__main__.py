"""``python -m benchmarks``: build the checkpoints, run every contest, print one table for each.

Needs about 36 GB of disk at full size, in the cache folder (``CKPTKIT_BENCH_CACHE``, or the user's cache folder).
"""

from __future__ import annotations

import argparse
import datetime
import json
import math
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks import contests, models
from benchmarks.contests import Contest
from benchmarks.measure import describe_machine, file_system, interleave
from benchmarks.report import as_markdown, contest_to_json
from ckptkit import __version__

RESULTS = Path(__file__).resolve().parent / "results"
DOCUMENT = contests.ROOT / "docs" / "benchmarks.md"
_CONVERSIONS = (("llama-quark-tensor-kv", "quark→ct"), ("llama-ct-channel", "ct→quark"), ("llama-fp8-block", "fp8→ct"))
_REPLICAS = (("moe-replica", "ct→quark"), ("trillion-replica", "fp8→ct"))
_GROUPS = ("convert", "quantize", "dequantize", "diff", "headers", "start-up")
#: Groups whose contests move or read whole checkpoints.
_LONG = ("convert", "quantize", "dequantize", "mxfp4", "diff")
_INTRODUCTION = """\
# Benchmarks

Written by `python -m benchmarks --docs` from `benchmarks/results/{file}`; `make bench` measures again.

Everything is a whole process on files in the page cache. The ratios are what to look at: seconds belong to one
machine on one day, and single runs of a 4 GB copy differ by a quarter. `cp -r` is the limit for a conversion into a
new folder, `cat` for what only reads. Without `--no-fsync`, ckptkit makes its result durable before it gives it its
name; that is compared with `cp -r` followed by `sync` of what was copied. Peak memory is the resident set, and none can
be shown below the 18 MiB of the measuring process.

"""


def main(arguments: list[str] | None = None) -> int:
    """Measure, or only write the document from results that are there."""
    options = _parse(arguments)
    if options.docs or options.check:
        return _document(check=options.check)
    results = RESULTS / f"{datetime.date.today()}-{options.what}.json" if options.json == "auto" else options.json
    document = measure(options)
    print(as_markdown(document))
    if results is not None:
        Path(results).write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
        _say(f"results are in {results}")
    return 0


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scale", type=float, default=1.0, help="size of the checkpoints, 1 is 4 GB and 100k tensors")
    parser.add_argument("--rounds", type=int, default=5, help="how often each command runs at most")
    parser.add_argument("--minutes", type=float, default=math.inf, help="all that it may take once there are models")
    parser.add_argument("--only", choices=_GROUPS, action="append", help="one group of contests; may be repeated")
    parser.add_argument("--no-peers", action="store_true", help="leave out what needs torch")
    parser.add_argument("--beside", metavar="CKPTKIT", help="the ckptkit command of another version, to run beside")
    parser.add_argument("--json", metavar="FILE", help="write the results; 'auto' names the file by date")
    parser.add_argument("--what", default="full", help="the word after the date in that name")
    parser.add_argument("--clean", action="store_true", help="remove the checkpoints afterwards")
    parser.add_argument("--docs", action="store_true", help="write docs/benchmarks.md from the newest full results")
    parser.add_argument("--check", action="store_true", help="only see whether docs/benchmarks.md is up to date")
    return parser.parse_args(arguments)


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Run the chosen contests and return the results."""
    cache = _cache_folder()
    groups: Sequence[str] = options.only or _GROUPS
    _require_room(cache, options.scale if set(_LONG) & set(groups) else 0)
    peer = contests.peer_interpreter() if "convert" in groups and not options.no_peers else None
    finished: list[Contest] = []
    with _work_folder(cache) as work:
        chosen = list(_contests(groups, options.scale, cache, work, peer, peers=not options.no_peers))
        end = time.monotonic() + 60 * options.minutes
        # What takes less time goes first: what it leaves is shared by the others.
        for number, contest in enumerate(reversed(chosen)):
            if options.beside:
                contest = contests.beside(contest, options.beside)
            _say(f"{contest.name}: {contest.title}")
            quick = options.rounds > 1 and not contest.name.startswith(_LONG)
            share = (end - time.monotonic()) / (len(chosen) - number)
            rounds = options.rounds * (3 if quick else 1)
            contest.contestants = interleave(contest.contestants, rounds, _say, share)
            finished.insert(0, contest)
    if options.clean:
        shutil.rmtree(cache)
    loads = [sample.load for contest in finished for entry in contest.contestants for sample in entry.samples]
    return {
        "date": str(datetime.date.today()),
        "scale": options.scale,
        "rounds": options.rounds,
        "machine": {**describe_machine(), "file_system": file_system(cache.parent)},
        "versions": {"ckptkit": __version__, **_peer_versions(peer)},
        "load": {"least": round(min(loads), 2), "most": round(max(loads), 2)},
        "contests": [contest_to_json(contest) for contest in finished],
    }


def _contests(
    groups: Sequence[str], scale: float, cache: Path, work: Path, peer: str | None, *, peers: bool
) -> Iterator[Contest]:
    if "convert" in groups:
        for name, direction in _CONVERSIONS:
            yield contests.conversion(models.build(name, cache, scale), work, direction, peer)
    if "diff" in groups:
        base, model = (models.build(name, cache, scale) for name in ("llama-bf16", "llama-ct-channel"))
        yield contests.difference(base, model)
    if "quantize" in groups:
        yield _quantization(cache, scale, work, peers=peers)
    if "dequantize" in groups:
        yield from _dequantization(cache, scale, work, peers=peers)
    if "headers" in groups:
        for name, direction in _REPLICAS:
            yield contests.headers(models.build(name, cache, scale), direction)
    if "start-up" in groups:
        yield contests.start_up(work)


def _quantization(cache: Path, scale: float, work: Path, *, peers: bool) -> Contest:
    scheme, peer = "FP8_DYNAMIC", None
    if peers:
        script = [contests.peer_interpreter("llmcompressor"), str(contests.PEERS / "model_free.py"), scheme]
        peer = "llm-compressor model_free_ptq", script
    choices = ["--to", "ct", "--scheme", scheme]
    model = models.build("llama-bf16", cache, scale)
    return contests.values(f"quantize-{scheme}", f"BF16 to {scheme}", model, work, choices, peer)


def _dequantization(cache: Path, scale: float, work: Path, *, peers: bool) -> Iterator[Contest]:
    peer = None
    if peers:
        script = [contests.peer_interpreter("quark"), str(contests.PEERS / "ct_dequantize.py")]
        peer = "compressed-tensors FP8BlockDequantizer", script
    blocks, groups = (models.build(name, cache, scale) for name in ("llama-fp8-block", "llama-ct-mxfp4"))
    yield contests.values("dequantize-blocks", "FP8 in blocks to BF16", blocks, work, ["--to", "bf16"], peer)
    yield contests.values("mxfp4-blocks", "MXFP4 to FP8 in blocks", groups, work, ["--to", "fp8"])


def _cache_folder() -> Path:
    base = os.environ.get("CKPTKIT_BENCH_CACHE")
    if base is None:
        base = str(Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ckptkit" / "benchmarks")
    folder = Path(base)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def _work_folder(cache: Path) -> Iterator[Path]:
    folder = cache / f"work-{os.getpid()}"
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _require_room(cache: Path, scale: float) -> None:
    """Two outputs, and the models where none is built yet, with some room to spare."""
    built = 0 if any(cache.glob("llama-*")) else 22e9
    needed, free = int((14e9 + built) * scale) + (1 << 28), shutil.disk_usage(cache).free
    if free < needed:
        sys.exit(f"{cache}: {needed / 1e9:.1f} GB are needed and {free / 1e9:.1f} GB are free; give a smaller --scale")


def _peer_versions(peer: str | None) -> dict[str, str]:
    if peer is None:
        return {}
    names = ("torch", "safetensors", "compressed-tensors")
    script = f"from importlib.metadata import version\nfor name in {names}: print(version(name))"
    found = subprocess.run([peer, "-c", script], check=True, capture_output=True, text=True).stdout.split()
    return dict(zip(names, found, strict=True))


def dated_results() -> list[Path]:
    """The results of this benchmark, the newest last; other benchmarks begin their files' names with a word."""
    return sorted(RESULTS.glob("[0-9]*.json"))


def _document(*, check: bool) -> int:
    """Write docs/benchmarks.md, or say whether it is what would be written."""
    full = [path for path in dated_results() if json.loads(path.read_text(encoding="utf-8"))["scale"] == 1]
    if not full:
        sys.exit(f"no results at full size in {RESULTS}; run: python -m benchmarks --json auto")
    text = _INTRODUCTION.format(file=full[-1].name) + as_markdown(json.loads(full[-1].read_text(encoding="utf-8")))
    if not check:
        DOCUMENT.parent.mkdir(exist_ok=True)
        DOCUMENT.write_text(text, encoding="utf-8")
    elif not DOCUMENT.exists() or DOCUMENT.read_text(encoding="utf-8") != text:
        print(f"{DOCUMENT} is not up to date; run: python -m benchmarks --docs", file=sys.stderr)
        return 1
    return 0


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
