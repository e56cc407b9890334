"""Questions about what is read by one format only, and about folders that no format reads: what they are called."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from ckptkit.formats.known import FOLDERS, METHODS
from ckptkit.formats.reading import read
from ckptkit.views.inventory import inventory
from tests.answers.common import Answers, opened, refusal
from tests.answers.damage_json import damaged
from tests.damage import BLOCK, CONFIG, MutableCheckpoint, load, plain_fp8
from tests.formats.fp8_files import groups_of_32
from tests.raw import RawTensor, checkpoint_files

SIDE_FILE = "hf_quant_config.json"
_SHARD = "model.safetensors"
#: What configs of other quantizers say of the width of an element, sound or not.
_WIDTHS: dict[str, dict[str, Any]] = {
    "nothing": {},
    "bits 4": {"bits": 4},
    "bits 16": {"bits": 16},
    "bits 17": {"bits": 17},
    "bits 0": {"bits": 0},
    "bits true": {"bits": True},
    "bits in words": {"bits": "4"},
    "w_bit 8": {"w_bit": 8},
    "both": {"bits": 3, "w_bit": 8},
    "load_in_4bit": {"load_in_4bit": True},
    "load_in_8bit": {"load_in_8bit": True},
    "load_in_4bit 1": {"load_in_4bit": 1},
    "nbits 3": {"quant_config": {"weight_quant_params": {"nbits": 3}}},
    "nbits without weights": {"quant_config": {}},
    "a group of 4": {"config_groups": {"a": {"weights": {"num_bits": 4}}}},
    "groups of 4 and 4": {"config_groups": {"a": {"weights": {"num_bits": 4}}, "b": {"weights": {"num_bits": 4}}}},
    "groups of 4 and 8": {"config_groups": {"a": {"weights": {"num_bits": 4}}, "b": {"weights": {"num_bits": 8}}}},
    "a group of nothing": {"config_groups": {"a": {}}},
    "NVFP4": {"quant_algo": "NVFP4"},
    "W4A16": {"quant_algo": "w4a16_awq"},
    "INT4": {"quant_algo": "INT4_AWQ"},
    "INT8": {"quant_algo": "INT8_SQ"},
    "dtype int4": {"global_quant_config": {"weight": {"dtype": "int4"}}},
    "dtype uint8": {"global_quant_config": {"weight": {"dtype": "uint8"}}},
    "dtype int4 and layers": {"global_quant_config": {"weight": {"dtype": "int4"}}, "layer_quant_config": {"a": {}}},
    "a mode of MLX": {"bits": 4, "group_size": 64},
    "modules of MLX": {"bits": 4, "group_size": 64, "lm_head": {"bits": 8}},
}
_PLAIN = {
    "model.embed_tokens.weight": RawTensor("BF16", (8, 4), bytes(64)),
    "model.norm.weight": RawTensor("BF16", (4,), bytes(8)),
    "model.layers.0.self_attn.k_proj.bias": RawTensor("F32", (2,), bytes(8)),
    "model.layers.0.mlp.gate.weight": RawTensor("F32", (2, 4), bytes(32)),
    "model.layers.0.mlp.experts.1.up_proj.weight": RawTensor("BF16", (2, 4), bytes(16)),
    "model.layers.0.mlp.experts.down_proj": RawTensor("BF16", (3, 2, 4), bytes(48)),
    "model.rotary.inv_freq": RawTensor("F32", (2,), bytes(8)),
    "lm_head.weight": RawTensor("F16", (8, 4), bytes(64)),
}


def _counted(files: dict[str, bytes]) -> str:
    """What a folder is, and what it holds."""

    def answer() -> str:
        container = opened(files)
        document = inventory(container, read(container)).to_json()
        said = {
            key: document[key] for key in ("what", "quantization", "architecture", "tensors", "parameters", "notes")
        }
        kinds = [" ".join(map(str, kind.values())) for kind in document["kinds"]]
        parts = [json.dumps(part) for part in document["parts"]]
        return "\n".join([json.dumps(said), *kinds, f"dtypes {document['tensors_by_dtype']}", *parts])

    return refusal(answer)


def _stored(ends: tuple[str, ...], dtype: str) -> dict[str, RawTensor]:
    """A tensor for each end of a name that a method has."""
    owner = "model.layers.0.self_attn.q_proj"
    names = [f"{owner}{end}" if end.startswith("_") else f"{owner}.{end}" for end in ends]
    return {name: RawTensor(dtype, (2, 4), bytes(32 if dtype == "I32" else 16)) for name in names}


def recognised() -> Answers:
    """Checkpoints of every other quantizer that is known, with what its configs say of the width of an element."""
    for name, method in METHODS.items():
        tensors = {**_PLAIN, **_stored(method.packed, "I32"), **_stored(method.scales, "F16")}
        for said, block in _WIDTHS.items():
            config = {"architectures": ["A"], "quantization_config": {"quant_method": name, **block}}
            yield f"{name}: {said}", _counted(checkpoint_files({_SHARD: tensors}, config))
        yield f"{name}: undeclared", _counted(checkpoint_files({_SHARD: tensors}, {}))
    for said, block in _WIDTHS.items():
        for key in ("quantization", "quantization_config"):
            tensors = {**_PLAIN, **_stored(("scales", "biases"), "F16")}
            yield f"{key}: {said}", _counted(checkpoint_files({_SHARD: tensors}, {key: block}))
    yield "not quantized", _counted(checkpoint_files({_SHARD: _PLAIN}, {"architectures": ["A"]}))
    yield "without a config", _counted(checkpoint_files({_SHARD: _PLAIN}))


_FOLDERS: dict[str, dict[str, Any]] = {
    "adapter_config.json": {"peft_type": "LORA", "r": 8, "base_model_name_or_path": "org/base"},
    "config.json": {"_class_name": "FluxTransformer2DModel", "_diffusers_version": "0.36.0"},
    "params.json": {"dim": 4, "quantization": {"qformat_weight": "fp8_e4m3", "qscheme_act": "TENSOR"}},
    "model_index.json": {"_class_name": "FluxPipeline"},
    "config_sentence_transformers.json": {"similarity_fn_name": "cosine"},
}


def folders() -> Answers:
    """Folders that a file of theirs tells, with every place of that file damaged, and files of other frameworks."""
    for kind in FOLDERS:
        shard = f"{kind.shards or 'model'}.safetensors"
        files = checkpoint_files({shard: _PLAIN})
        for name, document in (("as it is", _FOLDERS[kind.file]), *damaged(_FOLDERS[kind.file])):
            yield f"{kind.file}: {name}", _counted({**files, kind.file: json.dumps(document).encode()})
        for name, text in (("no JSON", b"{"), ("a list", b"[]"), ("empty", b"")):
            yield f"{kind.file}: {name}", _counted({**files, kind.file: text})
        other = checkpoint_files({_SHARD: _PLAIN, f"{kind.shards}2.safetensors": {}})
        yield f"{kind.file}: shards of two kinds", _counted({**other, kind.file: b"{}"})
    for files in (("a.gguf",), ("a.bin", "b.pt"), ("a.onnx", "b.onnx", "c.h5"), ("below/a.bin",)):
        beside = dict.fromkeys(files, bytes(7))
        yield f"beside it {', '.join(files)}", _counted({**checkpoint_files({_SHARD: _PLAIN}, {}), **beside})


def _modules(checkpoint: MutableCheckpoint) -> list[str]:
    return [name.removesuffix(".weight_scale") for name in checkpoint.names(r".*\.weight_scale")]


def one_format(reading: Callable[[dict[str, bytes]], str]) -> Answers:
    """Configs of formats of which there is no export, and a side file, with every place damaged."""
    blocks = load(BLOCK)
    plain_fp8(blocks)
    groups = load(BLOCK)
    groups_of_32(groups, ["lm_head"])
    for name, checkpoint in (("fp8 blocks", blocks), ("mxfp8", groups)):
        files = checkpoint.to_files()
        yield f"{name}: as it is", reading(files)
        for change, block in damaged(checkpoint.block):
            config = {**checkpoint.config, "quantization_config": block}
            yield f"{name}: {change}", reading({**files, CONFIG: json.dumps(config).encode()})
    fp8 = load("llama/modelopt-fp8")
    bare = {key: value for key, value in fp8.block.items() if key != "config_groups"}
    some, every = ["model.layers.0.mlp.up_proj"], _modules(fp8)
    for name, layers in (("none", []), ("some", some), ("all", every)):
        for algorithm in ("FP8", "fp8", "NVFP4", None, 8):
            listed = {module: {"quant_algo": algorithm} for module in layers}
            mixed = {**bare, "quant_algo": "MIXED_PRECISION", "quantized_layers": listed}
            files = {**fp8.to_files(), CONFIG: json.dumps({**fp8.config, "quantization_config": mixed}).encode()}
            del files[SIDE_FILE]
            yield f"modelopt mixed, {name}: {algorithm}", reading(files)
    for fixture in ("llama/modelopt-fp8-kv", "llama-block-aligned/modelopt-nvfp4"):
        checkpoint = load(fixture)
        files = checkpoint.to_files()
        bare = {key: value for key, value in checkpoint.config.items() if key != "quantization_config"}
        alone = {**files, CONFIG: json.dumps(bare).encode()}
        for where, around in (("beside its config", files), ("alone", alone)):
            for change, document in damaged(json.loads(files[SIDE_FILE])):
                yield (
                    f"{fixture}, the side file {where}: {change}",
                    reading({**around, SIDE_FILE: json.dumps(document).encode()}),
                )
