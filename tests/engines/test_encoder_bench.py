"""The costs of the encoder's operations."""

from dataclasses import replace
from itertools import pairwise

import pytest

from whisper_npu_cli.engines import encoder_bench
from whisper_npu_cli.engines.encoder_bench import Cost, kind
from whisper_npu_cli.engines.geometry import PUBLISHED
from whisper_npu_cli.engines.npu_encoder import EncoderPlan
from whisper_npu_cli.errors import ModelError
from whisper_npu_cli.kernels.streams import traffic

SMALL = replace(PUBLISHED["tiny"], d_model=64, encoder_heads=1, encoder_ffn=64, encoder_layers=9)
IN_A_LAYER = {
    "self_attn_layer_norm", "self_attn.qkv", "attention", "self_attn.out_proj", "final_layer_norm",
    "fc1", "fc2",
}  # fmt: skip


def test_needed_multiplications():
    """Of base, by hand: convolutions, projections, the feed-forward layer, attention."""
    d = 512
    convolutions = 3000 * 3 * 80 * d + 1500 * 3 * d * d
    layer = 1500 * 4 * d * d + 1500 * 2 * d * 2048 + 2 * 1500 * 1500 * d
    assert PUBLISHED["base"].encoder_macs == convolutions + 6 * layer


@pytest.mark.parametrize("name", ["tiny", "base", "large-v3-turbo"])
def test_a_plan_does_all_multiplications_and_little_more(name):
    sizes = replace(PUBLISHED[name], encoder_layers=2)
    stages = [stage for launch in EncoderPlan(sizes).launches for stage in launch.stages]
    done = sum(encoder_bench._macs(packed) for stage in stages for packed in stage)
    assert sizes.encoder_macs <= done < 1.35 * sizes.encoder_macs
    assert {kind(stage) for stage in stages} == IN_A_LAYER | {"conv1", "conv2", "layer_norm"}


def test_traffic_is_at_least_what_a_stage_reads_and_writes():
    plan = EncoderPlan(replace(SMALL, encoder_layers=1))
    norm = plan.launches[0].stages[2]
    assert kind(norm) == "self_attn_layer_norm"
    made = norm[0].operation
    moved = traffic([made.transfers()])
    rows = made.source.rows * 64 * 64 * 2  # one column of tiles
    assert 2 * rows < moved < 4 * (made.source.size + made.result.size)


def test_every_stage_leaves_its_last_result_in_the_activations():
    plan = EncoderPlan(replace(PUBLISHED["base"], encoder_layers=1))
    for stage in plan.launches[0].stages:
        transfers = [t for packed in stage for t in packed.operation.transfers()]
        offset, size = encoder_bench._last_written(transfers)
        assert offset % 4096 == 0 and 0 < size <= 4096 and offset + size <= plan.bytes[0]


def test_no_launch_leaves_its_result_where_it_read():
    """Else the mark that proves a launch would lie in its input, and come back from there."""
    launches = EncoderPlan(replace(PUBLISHED["base"], encoder_layers=12)).launches
    places = [launch.output.offset for launch in launches]
    assert all(a != b for a, b in pairwise(places))


def test_shares():
    cost = Cost("fc1", 1, 1000, 1_024_000, 5, 250)
    assert (cost.mac_utilisation, cost.dispatch_share) == (0.5, 0.25)
    assert cost.times(3) == Cost("fc1", 3, 3000, 3_072_000, 15, 750)


def test_sizes_by_name():
    assert encoder_bench._geometry("turbo") == PUBLISHED["large-v3-turbo"]
    assert encoder_bench._geometry("demo").d_model == 192
    with pytest.raises(ModelError):
        encoder_bench._geometry("distil-small.en")


@pytest.mark.slow
def test_costs_on_the_emulated_npu(monkeypatch):
    monkeypatch.setattr(encoder_bench, "_geometry", lambda model: SMALL)
    told = []
    found = encoder_bench.measure("small", "emulator", told.append)
    assert told[:3] == ["launch 1 of 3", "launch 2 of 3", "launch 3 of 3"]
    assert (found["layers"], found["layers_run"], found["launches"]) == (9, 5, 5)
    counts = {each["name"]: each["count"] for each in found["operations"]}
    assert counts == dict.fromkeys(IN_A_LAYER, 9) | {"conv1": 1, "conv2": 1, "layer_norm": 1}
    window, operations = found["window"], found["operations"]
    for name in ("macs", "bytes"):
        assert sum(each[name] for each in operations) == window[name]
    alone = sum(each["cycles"] for each in operations)
    launches = sum(counts.values())
    assert window["cycles"] < alone < window["cycles"] + launches * 60_000
    assert all(0 < each["dispatch_share"] <= 1 for each in operations)
