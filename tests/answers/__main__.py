"""Record answers anew: ``python -m tests.answers [words that names hold]``. Read what differs before you keep it."""

from __future__ import annotations

import sys

from tests.answers.corpora import every, listing
from tests.answers.test_answers import RECORDED

wanted = sys.argv[1:]
known = dict(every())
for name, answers in known.items():
    if not wanted or any(word in name for word in wanted):
        (RECORDED / f"{name}.txt").write_text(listing(answers()), encoding="utf-8")
for path in RECORDED.glob("*.txt"):
    if path.stem not in known:
        path.unlink()
