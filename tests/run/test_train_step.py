"""A training step on forked ranks: gradients and weights of one process, bytes of the plan."""

import json
from dataclasses import replace

import pytest
import torch
import yaml

from moewright.case.case import Case
from moewright.case.catalogue.hardware_catalogue import load_cluster
from moewright.case.model import DenseFfn, LatentAttention, Layer, ModelSpec, MoeFfn, SoftmaxAttention
from moewright.case.train.train_strategy import ContextExchange, Dispatcher, Schedule, Sharding, TrainStrategy
from moewright.case.train.train_workload import Training
from moewright.case.train.tuning import PARTS, Lora, Tuning
from moewright.case.workload import Kind, Workload
from moewright.report.training.step_page import step_report
from moewright.run.run_error import RunError
from moewright.run.train import sharded_step
from moewright.run.train.operations import context_exchange
from moewright.run.train.plain import drawn, loss_of
from moewright.run.train.train_rank import StepJob
from moewright.run.train.verify_step import TOLERANCE, run_step, verify_step
from moewright.training.stages.step_memory import step_memory
from moewright.training.stages.step_traffic import step_traffic
from training.command import invoke

ATTENTION = SoftmaxAttention(4, 2, 8)
MOE = MoeFfn(8, 2, 16, shared_width=16)
MODEL = ModelSpec("tiny", 32, (Layer(ATTENTION, DenseFfn(24)), *(Layer(ATTENTION, MOE),) * 3), 64)
TRAINING = Training(8, 16)


MLA = LatentAttention(4, 12, 8, 6, 4, 6)
LATENT = ModelSpec("latent", 32, (Layer(MLA, DenseFfn(24)), *(Layer(MLA, MOE),) * 3), 64)
LORA = Tuning((), 0, Lora(4, ("attention", "experts", "shared_experts", "dense")))


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Models are small: threads would wait for each other longer than they work."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def strategy(**sizes):
    plain = dict.fromkeys(("dp", "cp", "tp", "pp", "virtual", "ep", "etp", "micro_batch"), 1)
    if sizes.get("virtual", 1) > 1:
        plain["schedule"] = Schedule.INTERLEAVED
    for name, kind in (("cp_comm_type", ContextExchange), ("dispatcher", Dispatcher)):
        if name in sizes:
            sizes = {**sizes, name: kind(sizes[name])}
    return TrainStrategy(**(plain | sizes))


def layers_of(s):
    return (4 // (s.pp * s.virtual),) * (s.pp * s.virtual)


STRATEGIES = [
    {},
    {"dp": 2, "sharding": Sharding.NONE},
    {"tp": 2},
    {"cp": 2},
    {"dp": 4, "ep": 2, "micro_batch": 2},
    {"tp": 2, "ep": 2},
    {"tp": 2, "etp": 2},
    {"dp": 2, "tp": 2, "ep": 2, "etp": 2},
    {"dp": 2, "etp": 2},
    {"pp": 2, "virtual": 2},
    {"pp": 4, "dp": 2, "ep": 2},
    {"pp": 2, "dp": 2, "tp": 2, "ep": 4, "recompute": ("full",)},
    {"dp": 2, "cp": 2, "tp": 2, "ep": 4},
]


#: what else is executed: sizes, model, what is trained
FURTHER = [
    ({"pp": 2, "tp": 2, "schedule": Schedule.ZERO_BUBBLE}, MODEL, LORA),
    ({"pp": 2, "virtual": 2, "dp": 2, "ep": 2, "schedule": Schedule.DUALPIPE_V}, MODEL, Tuning()),
    ({"dp": 2, "cp": 2, "ep": 2, "sharding": Sharding.FULL, "recompute": ("full",)}, MODEL, Tuning()),
    ({"tp": 2, "ep": 2, "recompute": ("layernorm", "mlp", "moe")}, MODEL, Tuning()),
    ({"cp": 2, "cp_comm_type": "ring", "recompute": ("layernorm", "moe_act", "core_attn")}, MODEL, Tuning()),
    ({"cp": 2, "cp_comm_type": "all_to_all", "recompute": ("shared_experts",)}, MODEL, Tuning()),
    ({"dp": 4, "ep": 2, "etp": 2, "dispatcher": "all_to_all"}, MODEL, Tuning()),
    ({"dp": 4, "ep": 2, "etp": 2, "dispatcher": "all_gather"}, MODEL, Tuning()),
    ({"pp": 2, "dp": 2, "ep": 2, "recompute": ("layernorm", "moe_act", "mla_up_proj")}, LATENT, Tuning()),
    ({"cp": 4, "cp_comm_type": "ring"}, LATENT, LORA),
    ({"pp": 2, "tp": 2, "recompute": ("full",)}, MODEL, Tuning(PARTS, 2)),
    ({"tp": 2, "ep": 2}, MODEL, Tuning(("router", "head"), 1, Lora(4, ("attention",)))),
    ({"tp": 2, "ep": 2}, MODEL, Tuning(("shared_experts",), 2)),
    ({"tp": 2, "recompute": ("layernorm", "mlp", "moe")}, MODEL, Tuning((), 0, Lora(4, ("attention",)))),
    ({"recompute": ("layernorm", "moe")}, MODEL, Tuning(("experts",), 2)),
]


@pytest.mark.parametrize("sizes", STRATEGIES, ids=str)
def test_gradients_weights_and_bytes_are_those_of_one_process_and_of_the_plan(sizes):
    check(sizes, MODEL, Tuning())


@pytest.mark.parametrize(("sizes", "model", "tuning"), FURTHER, ids=range(len(FURTHER)))
def test_so_are_those_of_other_schedules_exchanges_models_and_parts(sizes, model, tuning):
    check(sizes, model, tuning)


def check(sizes, model, tuning):
    s, training = strategy(**sizes), replace(TRAINING, tuning=tuning)
    report = verify_step(model, s, training, layers_of(s), timeout=300)
    assert report.loss == pytest.approx(report.reference_loss, rel=1e-5)
    assert report.gradient_error < TOLERANCE
    assert report.weight_error < TOLERANCE
    case = Case(model, load_cluster("h100-hgx", 8), Workload(Kind.FORWARD, (8,), 16), training=training)
    memory = step_memory(case, training, s, layers_of(s), report.copies)
    shown = step_report(report.to_dict(), step_traffic(case, training, s, layers_of(s)), memory, s.gpus // s.pp)
    assert {n: c for n, c in shown["memory"].items() if not c["equal"]} == {}
    assert [n for n, c in shown["collectives"].items() if not c["equal"]] == []
    assert shown["verified"]
    beside = {n.removesuffix("_gradient") for n in shown["not_predicted"]}
    assert beside <= {"loss_sums", "dispatch_shares", "expert_gather", "expert_gather_shares", "expert_reduce"}
    assert ("activations" in shown["memory"]) != (s.schedule in (Schedule.ZERO_BUBBLE, Schedule.DUALPIPE_V))


def test_a_tensor_that_is_kept_beside_is_seen(monkeypatch):
    """Attention whose output is kept twice: more is alive than the memory model counts."""
    plain = context_exchange.attended
    monkeypatch.setattr(sharded_step, "attended", lambda c, q, k, v: plain(c, q, k, v) * torch.ones(8))
    s = strategy()
    report = verify_step(MODEL, s, TRAINING, layers_of(s), timeout=300)
    case = Case(MODEL, load_cluster("h100-hgx", 8), Workload(Kind.FORWARD, (8,), 16), training=TRAINING)
    memory = step_memory(case, TRAINING, s, layers_of(s), report.copies)
    shown = step_report(report.to_dict(), step_traffic(case, TRAINING, s, layers_of(s)), memory, 1)
    assert report.equal
    assert not shown["memory"]["activations"]["equal"]
    assert not shown["verified"]
    # a fourth layer's output, 16 tokens of 4 heads of 8, and the ones
    assert report.alive["activations"][0] - memory["activations"][0] == 4 * (16 * 32 * 4 + 8 * 4)


def test_the_first_stage_keeps_as_many_micro_batches_as_there_are_stages():
    s = strategy(pp=4)
    assert verify_step(MODEL, s, TRAINING, layers_of(s)).kept == [4, 3, 2, 1]


@pytest.mark.parametrize(
    ("sizes", "skip"),
    [({"dp": 2}, "dense_gradients"), ({"dp": 4, "ep": 2}, "expert_gradients"), ({"tp": 2}, "replicated_gradients")],
)
def test_a_reduction_that_is_left_out_is_seen(sizes, skip):
    s = strategy(**sizes)
    ids = torch.randint(64, (8, 17), generator=torch.Generator().manual_seed(1))
    report = run_step(StepJob(MODEL, s, (0,) * 4, ids, skip=skip))
    assert report.gradient_error > 100 * TOLERANCE
    assert not report.equal


def same_loss_backward(w, model, peer):
    """The loss of some tokens is that of ``peer``; both go backward."""
    ids = torch.randint(64, (2, 17), generator=torch.Generator().manual_seed(1))
    ours, _ = loss_of(w, model, ids)
    logits = peer(ids[:, :-1]).logits
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), reduction="sum")
    assert float(loss.detach()) == pytest.approx(float(ours.detach()), rel=1e-5)
    ours.backward()
    loss.backward()


def test_the_unsharded_model_is_that_of_transformers():
    """Mixtral of transformers with the same weights: the same loss and gradients."""
    transformers = pytest.importorskip("transformers")
    moe = MoeFfn(4, 2, 16)
    model = ModelSpec("mixtral", 32, (Layer(ATTENTION, moe),) * 2, 64)
    w = {name: x.requires_grad_() for name, x in drawn(model, 0).items()}
    config = transformers.MixtralConfig(
        vocab_size=64,
        hidden_size=32,
        intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        num_local_experts=4,
        num_experts_per_tok=2,
        rope_theta=10000.0,
        rms_norm_eps=1e-5,
        sliding_window=None,
        attn_implementation="eager",
    )
    peer = transformers.MixtralForCausalLM(config).train()
    state = {"model.embed_tokens.weight": "embedding", "model.norm.weight": "final_norm", "lm_head.weight": "head"}
    for i in range(2):
        at = f"model.layers.{i}"
        state |= {f"{at}.input_layernorm.weight": f"{i}.norm1", f"{at}.post_attention_layernorm.weight": f"{i}.norm2"}
        state |= {f"{at}.self_attn.{n}_proj.weight": f"{i}.{n}" for n in "qkvo"}
        state |= {f"{at}.mlp.gate.weight": f"{i}.router"}
        state |= {
            f"{at}.mlp.experts.gate_up_proj": f"{i}.experts_up",
            f"{at}.mlp.experts.down_proj": f"{i}.experts_down",
        }
    theirs = dict(peer.named_parameters())
    assert set(state) == set(theirs)
    with torch.no_grad():
        for name, ours in state.items():
            theirs[name].copy_(w[ours].reshape(theirs[name].shape))
    same_loss_backward(w, model, peer)
    for name, own in state.items():
        wanted = theirs[name].grad
        assert float((w[own].grad.reshape(wanted.shape) - wanted).abs().max() / wanted.abs().max()) < TOLERANCE


REFUSED = [
    ({"sharding": Sharding.FULL, "tp": 2}, MODEL, TRAINING, "run executes it with pp 1 and tp 1"),
    ({"tp": 2}, LATENT, TRAINING, "run trains latent attention with tp 1"),
    ({"tp": 4}, MODEL, TRAINING, "a divisor of 2 KV heads"),
    ({}, MODEL, Training(8, 16, prediction_layers=1), "multi-token prediction"),
    (
        {},
        ModelSpec("sinks", 32, (Layer(SoftmaxAttention(4, 2, 8, sinks=True), MOE),), 64),
        TRAINING,
        "plain mha, gqa or mla",
    ),
]


@pytest.mark.parametrize(("sizes", "model", "training", "says"), REFUSED)
def test_what_is_not_executed_is_refused_by_name(sizes, model, training, says):
    with pytest.raises(RunError, match=says):
        verify_step(model, strategy(**sizes), training, (4,))


SPEC = {
    "model": {
        "layers": 2,
        "hidden_size": 32,
        "vocab_size": 64,
        "attention": {"kind": "gqa", "heads": 4, "kv_heads": 2, "head_dim": 8},
        "experts": {"count": 8, "top_k": 2, "intermediate_size": 16},
    },
    "cluster": {"name": "h100-hgx", "gpus": 4},
    "workload": {"kind": "train", "global_batch": 8, "sequence": 16, "recompute": "none"},
    "strategy": {"pp": 2, "attention": {"tp": 1}, "experts": {"ep": 2}, "sharding": "optimizer"},
}


def test_run_of_a_training_spec(tmp_path):
    file = tmp_path / "train.yaml"
    file.write_text(yaml.safe_dump(SPEC), encoding="utf-8")
    result = invoke(["run", str(file), "--json"])
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert report["verified"]
    assert report["strategy"]["pp"] == 2
    assert report["collectives"]["stage_transfer"]["equal"]
    assert "verified" in invoke(["run", str(file)]).stdout
    refused = invoke(["run", str(file), "--prompt-ids", "3"])
    assert refused.exit_code == 2
    assert "--prompt-ids: is of a pass; a training step has none" in refused.stderr


def test_latent_attention_is_that_of_transformers():
    """DeepSeek-V2 of transformers, whose rotary pairs are neighbours: the same loss and gradients."""
    transformers = pytest.importorskip("transformers")
    model = ModelSpec("latent", 32, (Layer(MLA, DenseFfn(24)),) * 2, 64)
    w = {name: x.requires_grad_() for name, x in drawn(model, 0).items()}
    config = transformers.DeepseekV2Config(
        vocab_size=64,
        hidden_size=32,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=4,
        q_lora_rank=MLA.q_rank,
        kv_lora_rank=MLA.kv_rank,
        qk_nope_head_dim=MLA.nope_dim,
        qk_rope_head_dim=MLA.rope_dim,
        v_head_dim=MLA.value_dim,
        first_k_dense_replace=2,
        rms_norm_eps=1e-5,
        rope_theta=10000.0,
        attn_implementation="eager",
        max_position_embeddings=64,
    )
    peer = transformers.DeepseekV2ForCausalLM(config).train()
    pairs = torch.arange(MLA.rope_dim).view(2, -1).T.flatten()  # ours are half the dimensions apart
    per_head = torch.cat((torch.arange(MLA.nope_dim), MLA.nope_dim + pairs))
    rows = {
        "q_b": torch.cat([h * (MLA.nope_dim + MLA.rope_dim) + per_head for h in range(MLA.heads)]),
        "kv_a": torch.cat((torch.arange(MLA.kv_rank), MLA.kv_rank + pairs)),
    }

    def theirs_of(name, x):
        kind = name.rpartition(".")[2]
        flat = x.flatten(1) if kind == "o" else x.reshape(-1, x.shape[-1]) if x.dim() > 1 else x
        return flat[rows[kind]] if kind in rows else flat

    kinds = {"q_a": "q_a_proj", "q_a_norm": "q_a_layernorm", "q_b": "q_b_proj", "kv_a": "kv_a_proj_with_mqa"}
    kinds |= {"kv_a_norm": "kv_a_layernorm", "kv_b": "kv_b_proj", "o": "o_proj"}
    ends = {"embedding": "model.embed_tokens", "final_norm": "model.norm", "head": "lm_head"}
    parameters = dict(peer.named_parameters())

    def pieces(name, x):
        """(their parameter, our values in its place)."""
        number, _, kind = name.partition(".")
        at = f"model.layers.{number}"
        if name in ends:
            return [(ends[name], x)]
        if kind == "dense_up":
            return [(f"{at}.mlp.gate_proj", x[0]), (f"{at}.mlp.up_proj", x[1])]
        others = {"dense_down": "mlp.down_proj", "norm1": "input_layernorm", "norm2": "post_attention_layernorm"}
        inside = others.get(kind) or f"self_attn.{kinds[kind]}"
        return [(f"{at}.{inside}", theirs_of(name, x))]

    with torch.no_grad():
        for name, x in w.items():
            for there, value in pieces(name, x):
                parameters[f"{there}.weight"].copy_(value)
    same_loss_backward(w, model, peer)
    for name, x in w.items():
        for there, value in pieces(name, x.grad):
            wanted = parameters[f"{there}.weight"].grad
            assert float((value - wanted).abs().max() / wanted.abs().max()) < TOLERANCE, name
