"""Cases without a file: the same as the file's; what does not go together is refused by the option's name."""

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from moewright.case.file.load import case_of, load
from moewright.case.file.strategy_section import section_of, strategy_of
from moewright.case.file.strategy_text import parse_strategy
from moewright.case.options.commented_spec import commented_spec
from moewright.case.options.from_options import CaseOptions, case_from, case_from_options, document_of, is_spec
from moewright.case.strategy import Dispatch, Overlap, StrategySpec
from moewright.errors import SpecError

SERVED = {"model": "DeepSeek-V3", "cluster": "h200-hgx:32", "input": "4k", "output_tokens": "1Ki", "concurrency": "512"}


def test_options_make_the_case_of_the_file_that_they_stand_for(tmp_path):
    options = CaseOptions(**SERVED, engine="sglang", engine_version="0.5.5", tpot="50ms", strategy="dp8,ep8")
    file = tmp_path / "spec.yaml"
    file.write_text(
        "model: DeepSeek-V3\ncluster: {name: h200-hgx, gpus: 32}\nlimits: {tpot: 50 ms}\nstrategy: {attention: {dp: 8},"
        " experts: {ep: 8}}\nworkload: {kind: serving, input: 4000, output: 1024, concurrency: 512, engine: {name:"
        " sglang, version: '0.5.5'}}\n"
    )
    by_file, by_options = load(file), case_from_options(options)
    assert by_options.serving == by_file.serving
    assert (by_options.model, by_options.cluster, by_options.goal, by_options.strategy) == (
        by_file.model,
        by_file.cluster,
        by_file.goal,
        by_file.strategy,
    )


def test_a_pass_is_its_batch_and_sequence():
    case = case_from_options(CaseOptions("Mixtral-8x7B", "h100-hgx:8", kind="decode", batch="64,1k", sequence="8Ki"))
    assert (case.workload.kind, case.workload.batch, case.workload.sequence) == ("decode", (64, 1000), 8192)


def test_gpus_that_fill_no_whole_nodes_use_fewer_of_each():
    case = case_from_options(CaseOptions(**{**SERVED, "cluster": "h200-hgx:12"}))
    assert (case.cluster.gpus, case.cluster.gpus_per_node) == (12, 6)


@pytest.mark.parametrize(
    ("changed", "option"),
    [
        ({"cluster": None}, "--cluster"),
        ({"cluster": "h200"}, "--cluster"),
        ({"cluster": "h200-hgx:0"}, "--cluster"),
        ({"input": "4x"}, "--input"),
        ({"output_tokens": None}, "--output-tokens"),
        ({"concurrency": None}, "--concurrency"),
        ({"rate": 2.0}, "--concurrency"),
        ({"batch": "8"}, "--batch"),
        ({"engine": "vlm"}, "--engine"),
        ({"tpot": "fast"}, "--tpot"),
        ({"objective": "speed"}, "--objective"),
        ({"strategy": "dp8,xp2"}, "--strategy"),
        ({"routing": "skew"}, "--routing"),
        ({"precision": "fp7"}, "--precision"),
        ({"model": "DeepSeek-V9"}, "MODEL"),
        ({"engine_version": "new"}, "--engine-version"),
    ],
)
def test_what_is_wrong_is_told_by_the_name_of_the_option(changed, option):
    with pytest.raises(SpecError) as error:
        case_from_options(CaseOptions(**{**SERVED, **changed}))
    assert error.value.field == option
    assert error.value.file is None


def test_options_beside_a_spec_are_refused_by_name(tmp_path):
    file = tmp_path / "spec.yaml"
    file.write_text(
        "model: Mixtral-8x7B\ncluster: {name: h100-hgx}\nworkload: {kind: decode, batch: 8, sequence: 8k}\n"
    )
    assert case_from(CaseOptions(str(file))).workload.sequence == 8000
    with pytest.raises(SpecError, match=r"spec\.yaml says it itself") as error:
        case_from(CaseOptions(str(file), tpot="5ms"))
    assert error.value.field == "--tpot"
    assert case_from(CaseOptions(str(file), rate=3.0), own=("rate",)).model.name == "Mixtral-8x7B"


def test_a_config_is_a_model_and_a_spec_is_not(tmp_path):
    config, spec = tmp_path / "config.json", tmp_path / "spec.json"
    config.write_text('{"model_type": "mixtral"}')
    spec.write_text('{"model": "Mixtral-8x7B"}')
    assert [is_spec(str(x)) for x in (config, spec, "a.yaml", "DeepSeek-V3", "org/Model-1.5")] == [
        False,
        True,
        True,
        False,
        False,
    ]


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("dp8,tp1,ep8", StrategySpec(dp=8, tp=1, ep=8)),
        ("dp8 ep8", StrategySpec(dp=8, ep=8)),
        ("r2,pp2,dp2,tp4,ep8", StrategySpec(replicas=2, pp=2, dp=2, tp=4, ep=8)),
        ("TP4 ETP4 two-batch", StrategySpec(tp=4, etp=4, overlap=Overlap.TWO_BATCH)),
        ("ep8, redundant16, replicated", StrategySpec(ep=8, redundant=16, dispatch=Dispatch.REPLICATED)),
        ("EP64×TP2", StrategySpec(tp=2, ep=64, etp=2)),
    ],
)
def test_short_strategies(text, spec):
    assert parse_strategy(text) == spec
    assert strategy_of(text) == spec


@given(
    st.builds(
        StrategySpec,
        **dict.fromkeys(("replicas", "pp", "dp", "tp", "dcp", "ep", "etp"), st.none() | st.integers(1, 64)),
    )
)
def test_a_section_there_and_back(spec):
    assert strategy_of(section_of(spec)) == spec
    sizes = {
        "r": spec.replicas,
        "pp": spec.pp,
        "dp": spec.dp,
        "tp": spec.tp,
        "dcp": spec.dcp,
        "ep": spec.ep,
        "etp": spec.etp,
    }
    short = ",".join(f"{name}{value}" for name, value in sizes.items() if value)
    assert not short or parse_strategy(short) == spec


COUNTS = st.integers(1, 4000).flatmap(lambda n: st.sampled_from([str(n), f"{n}k", f"{n}Ki"]))


@settings(max_examples=8)
@given(COUNTS, COUNTS, st.none() | st.sampled_from(["dp8 ep8", "tp8"]), st.none() | st.just("50 ms"))
def test_a_commented_spec_reads_as_what_it_was_made_of(inputs, outputs, strategy, tpot):
    options = CaseOptions(
        "DeepSeek-V3", "h200-hgx:8", "vllm", None, inputs, outputs, "64", strategy=strategy, tpot=tpot
    )
    document = document_of(options)
    text = commented_spec(document)
    assert yaml.safe_load(text) == document
    assert case_of(yaml.safe_load(text), "x.yaml").serving == case_from_options(options).serving
    assert all("#" in line for line in text.splitlines() if line.startswith(("model", "cluster", "strategy", "#")))


def test_counts_and_short_strategies_in_a_file():
    raw = {
        "model": "DeepSeek-V3",
        "cluster": {"name": "h200-hgx", "gpus": 16},
        "workload": {
            "kind": "serving",
            "input": "8k",
            "output": {"mean": "1Ki"},
            "concurrency": ["64", "1k"],
            "disaggregated": {
                "prefill": {"gpus": 8, "replicas": 1, "strategy": "dp8 ep8"},
                "decode": {"strategy": "tp8"},
            },
        },
    }
    s = case_of(raw, "spec.yaml").serving
    assert (s.input.nominal, s.output.nominal, s.concurrency) == (8000, 1024, (64, 1000))
    assert s.disaggregated.prefill.strategy == StrategySpec(dp=8, ep=8)
    raw["workload"]["disaggregated"]["decode"]["strategy"] = "xp8"
    with pytest.raises(SpecError, match=r"workload\.disaggregated\.decode\.strategy"):
        case_of(raw, "spec.yaml")
