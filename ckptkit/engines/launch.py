"""How the command is written that runs an engine on a checkpoint."""

from __future__ import annotations

from ckptkit.record import record


@record
class Launch:
    """How an engine is made to serve a checkpoint: the words before its path, and options that checkpoints ask for.

    ``tensor_parallel`` and ``revision`` take a value; ``kv_cache`` switches an FP8 KV cache on; ``remote_code`` lets
    the checkpoint's own Python run; ``eager`` runs without CUDA graphs; ``remote`` reads from the Hub. What is empty
    the engine does not have. A converter serves nothing itself: ``output`` is the option before the file that it
    writes, ``ending`` how that is called, and ``then`` the words before it that start what serves it.
    """

    command: tuple[str, ...]
    tensor_parallel: str = ""
    kv_cache: tuple[str, ...] = ()
    remote_code: str = ""
    revision: str = ""
    eager: tuple[str, ...] = ()
    remote: str = ""
    output: str = ""
    ending: str = ""
    then: tuple[str, ...] = ()
