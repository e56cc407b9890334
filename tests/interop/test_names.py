"""What SGLang's model classes do at names that no parameter has, asked of each of them."""

from __future__ import annotations

from pathlib import Path

from ckptkit.engines.cache_places import Place
from ckptkit.engines.sglang.architectures import ARCHITECTURES
from ckptkit.engines.sglang.cache import DROPS
from ckptkit.engines.sglang.classes import DEEPSEEKS, STOP_AT_UNKNOWN, STOP_BELOW_EXPERTS, STRICT
from tests.interop.runner import Drivers

#: Classes whose answers an object without sizes cannot give: they were seen to load, or to stop, with real models.
ASKED_OTHERWISE = frozenset({"Qwen2_5_VLForConditionalGeneration", "MistralModel"})
#: Where a name is asked about -> classes that stop there, beside those that stop at any.
PLACES: dict[str, tuple[str, ...]] = {
    "alone": (),
    "queries": STRICT,
    "gates": (*STRICT, *DEEPSEEKS),
    "experts": STOP_BELOW_EXPERTS,
}
#: Classes that merge no gates, or call experts otherwise: of these the table speaks of what they have.
NONE_THERE = frozenset({"Mixtral", "GraniteMoe", "OPTFor", "Phi4MMFor", "Starcoder2For"})
#: Classes that stop at any name but below experts.
LETS_EXPERTS_PASS = ("DeepseekForCausalLM", "DeepseekOCRFor", "UnlimitedOCRFor", "XverseMoeFor")


def test_classes_stop_where_their_table_says(tmp_path: Path) -> None:
    with Drivers() as drivers:
        (answer,) = drivers.run("sglang", "sglang_names", [tmp_path])
    classes = {name: said for name, said in answer["classes"].items() if name in ARCHITECTURES - ASKED_OTHERWISE}
    # What drafts for another model is never loaded by itself.
    classes = {name: said for name, said in classes.items() if not name.endswith(("MTP", "NextN", "DSpark"))}
    wrong = []
    asked = 0
    for name, said in classes.items():
        anywhere = name.startswith(STOP_AT_UNKNOWN)
        for place, stops in PLACES.items():
            if said[place] is None or (name.startswith(tuple(NONE_THERE)) and place != "queries"):
                continue
            if place == "experts" and name.startswith(LETS_EXPERTS_PASS):
                continue
            asked += 1
            if (said[place] == "stops") is not (anywhere or name.startswith(stops)):
                wrong.append((name, place, said[place]))
    assert wrong == []
    assert asked > 500


#: Where a scale of a cache is asked about -> what the table calls the place.
CACHE_PLACES = {
    "attention": Place.ATTENTION,
    "projection": Place.PROJECTION,
    "merged": Place.MERGED,
    "below": Place.INNER,
    "output": Place.OUTPUT,
    "both": Place.BOTH,
}
#: Classes whose attention is built in another file, without the config that makes parameters for such scales.
MADE_ELSEWHERE = ("Glm4vMoeFor", "Qwen3Model", "Qwen3ForReward", "Qwen3ForSequence", "Qwen3OmniMoeFor", "Qwen3VL")


def test_classes_drop_scales_of_a_cache_where_their_table_says(tmp_path: Path) -> None:
    with Drivers() as drivers:
        (answer,) = drivers.run("sglang", "sglang_cache_names", [tmp_path])
    wrong = []
    asked = 0
    for name, said in answer["classes"].items():
        if name.endswith(("Eagle3", "MTP", "NextN", "DSpark")) or name.startswith(MADE_ELSEWHERE):
            continue
        for kind, place in CACHE_PLACES.items():
            if said[kind] is not None and name.startswith(DROPS[place]):
                asked += 1
                if said[kind] != "drops" and said["made"] is not False:
                    wrong.append((name, kind, said[kind]))
    assert wrong == []
    assert asked > 300
