"""What every driver shares: the conversation with the test process, and how tensors are described.

A driver answers in JSON lines on stdout. Given folders on its command line it answers once; given none it
serves requests from stdin, one JSON line each, because importing these libraries takes 6 to 17 seconds and a
test session asks many questions. The libraries chat on stdout, so the real stdout is kept aside for answers
and file descriptor 1 is pointed at stderr, which also catches what C code prints.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

#: What a driver says about one folder.
Answer = dict[str, Any]
Examine = Callable[[Path, Mapping[str, Any]], Answer]

#: How many token ids every forward pass gets: more than any calibration or block boundary needs, still fast.
PROMPT_LENGTH = 48

#: Some libraries put every parameter name of a model into a message.
MESSAGE_LENGTH = 400


class StageError(Exception):
    """Wraps a library's exception with the step in which it happened (the cause is the original)."""

    def __init__(self, stage: str) -> None:
        super().__init__(stage)
        self.stage = stage


@contextlib.contextmanager
def stage(name: str) -> Iterator[None]:
    """Name the step that what is raised inside belongs to."""
    try:
        yield
    except Exception as error:
        raise StageError(name) from error


def main(examine: Examine, prepare: Callable[[], None] | None = None) -> None:
    """Answer for the folders on the command line, or serve requests from stdin until it closes.

    ``prepare`` is called once, when stdout is out of the libraries' reach.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("folders", nargs="*", type=Path)
    parser.add_argument("--options", type=json.loads, default={}, help="the driver's options, as JSON")
    parser.add_argument("--out", type=Path, help="write the document here instead of stdout")
    arguments = parser.parse_args()
    with _claim_stdout() as answers:
        if prepare is not None:
            prepare()
        if arguments.folders:
            document = json.dumps(_examine_all(examine, arguments.folders, arguments.options), indent=1)
            if arguments.out:
                arguments.out.write_text(document, encoding="utf-8")
            else:
                print(document, file=answers)
            return
        for line in sys.stdin:
            request = json.loads(line)
            folders = [Path(folder) for folder in request["folders"]]
            print(json.dumps(_examine_all(examine, folders, request["options"])), file=answers, flush=True)


def _claim_stdout() -> TextIO:
    """Keep the real stdout for answers and send everything else written to it to stderr."""
    private = os.dup(1)
    os.dup2(2, 1)
    return os.fdopen(private, "w", encoding="utf-8")


def _examine_all(examine: Examine, folders: list[Path], options: Mapping[str, Any]) -> list[Answer]:
    return [_examine_safely(examine, folder, options) for folder in folders]


def _examine_safely(examine: Examine, folder: Path, options: Mapping[str, Any]) -> Answer:
    """A library that refuses a checkpoint is an answer, not a failure of the driver."""
    try:
        return {"error": None, **examine(folder, options)}
    except Exception as error:
        traceback.print_exc()
        return {"error": describe_error(error)}


def describe_error(error: BaseException) -> Answer:
    """The type and the beginning of what was raised, and in which step where the driver has several."""
    stage = None
    if isinstance(error, StageError) and error.__cause__ is not None:
        stage, error = error.stage, error.__cause__
    return {"type": type(error).__name__, "message": str(error).strip()[:MESSAGE_LENGTH], "stage": stage}


def read_config(folder: Path) -> dict[str, Any]:
    config: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return config


def model_class(folder: Path) -> Any:
    """The class of transformers that users load a folder with, by what it has classes for."""
    import transformers
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES,
    )

    config = read_config(folder)
    kind = config.get("model_type")
    seeing = kind in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES
    if seeing and ("vision_config" in config or kind not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES):
        return transformers.AutoModelForImageTextToText
    return transformers.AutoModelForCausalLM


def prompt_ids(vocabulary: int) -> list[int]:
    """The token ids every driver feeds to a model with this vocabulary; the first four are special tokens."""
    return [4 + (31 * position + 7) % (vocabulary - 4) for position in range(PROMPT_LENGTH)]


def run_prompt(model: Any) -> Answer:
    """The logits of the fixed prompt as ``{"logits": ...}``, or the error of the forward pass.

    An error here does not take away what the driver learned while loading.
    """
    import torch

    try:
        with torch.no_grad():
            vocabulary = model.config.get_text_config().vocab_size
            logits = model(torch.tensor([prompt_ids(vocabulary)])).logits[0]
    except Exception as error:
        traceback.print_exc()
        return {"error": {**describe_error(error), "stage": "forward"}}
    return {"logits": {**describe_tensor(logits), "path": keep_array(logits)}}


def describe_tensor(tensor: Any) -> Answer:
    """dtype, shape and hash of the bytes; a single value also as a float, to read in a failed assertion.

    ``values_sha256`` hashes the values as float32, so that two libraries that compute the same numbers in
    different dtypes compare equal (every bf16, f16 and fp8 value is a float32).
    """
    import torch

    flat = tensor.detach().cpu().contiguous().reshape(-1)
    answer: Answer = {
        "dtype": str(tensor.dtype).removeprefix("torch."),
        "shape": list(tensor.shape),
        "sha256": hashlib.sha256(flat.view(torch.uint8).numpy().tobytes()).hexdigest(),
        "values_sha256": hashlib.sha256(flat.float().numpy().tobytes()).hexdigest(),
    }
    if flat.numel() == 1:
        answer["value"] = float(flat.float()[0])
    return answer


def keep_array(tensor: Any) -> str:
    """Save values as a float32 ``.npy`` file for the test process, which reads and deletes it."""
    import numpy

    handle, path = tempfile.mkstemp(prefix="ckptkit-interop-", suffix=".npy")
    with os.fdopen(handle, "wb") as file:
        numpy.save(file, tensor.detach().float().cpu().numpy())
    return path
