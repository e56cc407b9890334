"""An engine's own parser of command lines: what it makes of the words that start it.

A folder holds ``words.json``, the words after the engine's command. The answer is what was understood of them: the
model, the type of the KV cache, the number of devices, the revision, whether the model's own code may run, and whether
CUDA graphs are off. Option: ``engine``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .common import Answer, main


def examine(folder: Path, options: Mapping[str, Any]) -> Answer:
    words = json.loads((folder / "words.json").read_text(encoding="utf-8"))
    return {"vllm": _vllm, "sglang": _sglang}[options["engine"]](words)


def _vllm(words: list[str]) -> Answer:
    from vllm.entrypoints.launchers.cli_args import make_arg_parser
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    found = make_arg_parser(FlexibleArgumentParser(prog="vllm serve")).parse_args(words)
    return {
        "model": found.model_tag,
        "kv_cache": found.kv_cache_dtype,
        "devices": found.tensor_parallel_size,
        "remote_code": found.trust_remote_code,
        "revision": found.revision,
        "eager": found.enforce_eager,
    }


def _sglang(words: list[str]) -> Answer:
    from . import sglang_stand_ins

    sglang_stand_ins.install()
    import argparse

    from sglang.srt.server_args import ServerArgs

    parser = argparse.ArgumentParser()
    ServerArgs.add_cli_args(parser)
    found = parser.parse_args(words)
    return {
        "model": found.model_path,
        "kv_cache": found.kv_cache_dtype,
        "devices": getattr(found, "tensor_parallel_size", None) or found.tp_size,
        "remote_code": found.trust_remote_code,
        "revision": found.revision,
        "eager": {found.cuda_graph_backend_decode, found.cuda_graph_backend_prefill} == {"disabled"},
    }


if __name__ == "__main__":
    main(examine)
