"""What an engine was seen to do with the damages of rules, as its environment records it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

from ckptkit.record import record


@record
class Seen:
    """What an engine was seen to do with a rule's damage: one word for each of the rule's cases, in their order.

    A word is ``error: TEXT`` (it raises, and says so), ``unset`` (it loads, and scales keep the value that they were
    allocated with), ``silent`` (it loads without a word), ``missing`` or ``unexpected`` (it lists such keys), ``nan``
    (its answer holds NaN), or None where it has nothing to say. ``exports`` are exporters' own work that shows it.
    """

    cases: tuple[str | None, ...] = ()
    exports: Mapping[str, str] = field(default_factory=dict)


#: Rule code -> what was seen.
Reproduced = Mapping[str, Seen]
