"""The command line: arguments, exit codes and rendering, nothing else."""

from __future__ import annotations

import gc

#: New objects between two looks for garbage in cycles. A command makes hundreds of thousands of tensors and modules,
#: none of them garbage before it ends; nor is anything that its modules make while they are imported after this one.
COLLECT_EVERY = 200_000

gc.set_threshold(COLLECT_EVERY)
