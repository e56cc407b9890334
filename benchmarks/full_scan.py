"""``validate --level full`` against ``cat``: how long reading every weight byte takes, judged and not judged."""

from __future__ import annotations

import sys
from collections.abc import Callable

from benchmarks.contests import Contest, ckptkit
from benchmarks.measure import Contestant, warm
from benchmarks.models import Built

#: The scan alone, without headers, rules and rendering, with a chosen number of threads.
_SCAN = """
import sys
from ckptkit import api
from ckptkit.checks.full_scan import scan_weights
checkpoint = api.open(sys.argv[1])
scan_weights(checkpoint.container, checkpoint.modules.values(), workers=int(sys.argv[2]))
"""


def full_scan(model: Built) -> Contest:
    """Every weight byte judged, against every byte thrown away."""
    source = str(model.folder)
    shards = sorted(str(path) for path in model.folder.glob("*.safetensors"))
    cat = "cat *.safetensors"
    prepare: Callable[[], None] = lambda: warm(model.folder)  # noqa: E731
    contestants = [Contestant(cat, ["cat", *shards], cat, prepare)]
    for workers in (1, 2):
        command = [sys.executable, "-c", _SCAN, source, str(workers)]
        contestants.append(Contestant(f"scan_weights, {workers} threads", command, cat, prepare))
    validate = ckptkit("validate", "--level", "full", source)
    contestants.append(Contestant("ckptkit validate --level full", validate, cat, prepare))
    return Contest("full-scan", f"full scan, {model.data_bytes / 1e9:.3g} GB in {model.shards} shards", contestants)
