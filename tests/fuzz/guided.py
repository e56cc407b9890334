"""One target under a coverage-guided fuzzer: ``python -m tests.fuzz.guided TARGET RUNS CORPUS``.

The fuzzer is atheris, which is libFuzzer for Python: it is kept by Google, has wheels for the Pythons that we support,
and lets us mutate by our own knowledge of the format while it keeps what reaches new code. It ends the process at the
first finding, whose input it writes beside the corpus.
"""

from __future__ import annotations

import random
import resource
import sys

#: Seconds after which an input is a hang, bytes of address space that all of it may take.
PATIENCE, MEMORY = 5, 4 << 30


def main() -> None:
    """Fuzz; libFuzzer ends the process."""
    import atheris  # not installed by those who do not fuzz

    with atheris.instrument_imports(include=["ckptkit"]):
        from tests.fuzz.targets import TARGETS, judged

    name, runs, corpus = sys.argv[1:4]
    target = TARGETS[name]

    def test(data: bytes) -> None:
        judged(name, data)

    def mutate(data: bytes, most: int, seed: int) -> bytes:
        """By our own mutator, and now and then by libFuzzer's, which knows which bytes were compared with what."""
        generator = random.Random(seed)
        if generator.randrange(4) == 0:
            return atheris.Mutate(data, most)
        for _ in range(1 + generator.randrange(3)):
            data = target.mutate(data, lambda n: generator.randrange(n))
        return data[:most]

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    longest = 2 * max(map(len, target.seeds())) + 1024
    options = [f"-runs={runs}", f"-timeout={PATIENCE}", "-rss_limit_mb=2048", f"-max_len={longest}", "-seed=1"]
    options += [f"-artifact_prefix={corpus}/../{name}-", "-print_final_stats=1", "-verbosity=0", *sys.argv[4:]]
    atheris.Setup([sys.argv[0], corpus, *options], test, custom_mutator=mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
