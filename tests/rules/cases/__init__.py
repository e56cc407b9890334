"""Every rule's cases, as data: what makes it fire, and the near miss that must not."""

from __future__ import annotations

from tests.rules.case import Case
from tests.rules.cases import config, dtypes, files, fused, groups, kv_cache, naming, shapes, sizes, skip_lists, values

CASES: tuple[Case, ...] = (
    *files.CASES,
    *naming.CASES,
    *shapes.CASES,
    *groups.CASES,
    *sizes.CASES,
    *dtypes.CASES,
    *values.CASES,
    *config.CASES,
    *skip_lists.CASES,
    *fused.CASES,
    *kv_cache.CASES,
)
