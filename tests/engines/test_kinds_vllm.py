"""What vLLM makes of kinds of checkpoints that a third held-out set showed, each beside a near miss."""

from __future__ import annotations

import pytest

from tests.accuracy.corpus import corpus
from tests.accuracy.verdicts import rows

_R = "reported"
#: Checkpoint of the corpus -> the verdict on it.
KINDS = {
    # A list that names a part of what latent attention loads as one, and lists that name both or mean none.
    f"{_R}/served-list/latent/one/ct": "refuses",
    f"{_R}/served-list/latent/both/ct": "loads",
    f"{_R}/served-list/latent/one/quark": "silently wrong",
    f"{_R}/merged-parts/one/deepseek-v3-fp8": "refuses",
    f"{_R}/merged-parts/one/deepseek-v3-ct": "refuses",
}


@pytest.mark.parametrize(("name", "verdict"), KINDS.items(), ids=list(KINDS))
def test_verdicts_on_kinds(name: str, verdict: str) -> None:
    assert rows(corpus()[name].make())["vllm"].verdict == verdict
