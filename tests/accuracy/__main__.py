"""Measure verdicts: ``python -m tests.accuracy vllm-0.32.0 [--only WORD ...]`` loads what is not recorded yet.

Without names of engines only our own verdicts are taken anew; ``--first`` judges held-out checkpoints that were not
judged before, for ever.
"""

from __future__ import annotations

import argparse

from tests.accuracy import first
from tests.accuracy.corpus import corpus
from tests.accuracy.measure import JUDGES, measure
from tests.accuracy.records import records
from tests.accuracy.verdicts import say


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("judges", nargs="*", choices=[[], *JUDGES], help="whom to ask")
    parser.add_argument("--only", nargs="*", default=[], help="words that ids hold")
    parser.add_argument("--again", action="store_true", help="also what is recorded already")
    parser.add_argument("--first", action="store_true", help="judge held-out checkpoints that were not judged before")
    arguments = parser.parse_args()
    if arguments.first:
        return first.take()
    wanted = [e for e in corpus().values() if not arguments.only or any(word in e.id for word in arguments.only)]
    for name in arguments.judges:
        measure(JUDGES[name], wanted, again=arguments.again)
    if not arguments.judges:
        say(records())


if __name__ == "__main__":
    main()
