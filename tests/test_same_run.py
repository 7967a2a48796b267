"""Which changes of a config make another run of it."""

import json

from vidjax import configuration, same_run
from vidjax.configuration import load

EARLY = "configs/early_fusion.py"


def test_hash_and_differences_follow_the_content():
    first, same, other = load(EARLY), load(EARLY), load(EARLY, {"seed": 1})
    assert same_run.hash_of(first) == same_run.hash_of(same) != same_run.hash_of(other)
    old, new = (json.loads(configuration.to_json(config)) for config in (first, other))
    assert same_run.differences(old, new) == ["seed: 0 -> 1"]


def test_where_the_data_lie_is_judged_by_the_data():
    def changes(new):
        old = {"data": {"name": "ucf101", "root": "a", "splits": "s", "split": 2, "mirror": None, "stride": 1}}
        return same_run.differences_but_places(old, {"data": {**old["data"], **new}})

    assert changes({"root": "b", "splits": "t"}) == []
    assert changes({"root": "b", "split": 1}) == ["data.split: 2 -> 1"]
    assert changes({"name": "hmdb51"}) == ['data.name: "ucf101" -> "hmdb51"']
    assert changes({"name": "packed", "root": "p", "splits": None, "split": None}) == []
    assert changes({"name": "packed", "mirror": "forbidden"}) == ['data.mirror: null -> "forbidden"']
    assert changes({"name": "packed", "stride": 2}) == ["data.stride: 1 -> 2"]
