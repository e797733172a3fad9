"""Models and strategies that ``moewright run`` does not train."""

from __future__ import annotations

from moewright.case.model import LatentAttention, Layer, ModelSpec, MoeFfn, SoftmaxAttention
from moewright.case.train.train_strategy import ContextExchange, Sharding, TrainStrategy
from moewright.case.train.train_workload import Training
from moewright.run.run_error import RunError

MOST_RANKS = 128


def refuse_step(model: ModelSpec, s: TrainStrategy, t: Training) -> None:
    """Raises RunError, naming what it is, for a model or strategy that cannot be executed."""
    for layer in model.layers:
        _refuse_layer(model, layer, s)
    if not model.vocab_size or model.tied_embeddings or model.vocab_size % s.tp:
        raise RunError(f"{model.name}: run trains models with an untied vocabulary that tp {s.tp} divides")
    if s.sharding is Sharding.FULL and (s.pp > 1 or s.tp > 1 or not t.tuning.whole):
        raise RunError("strategy.sharding: got fsdp; run executes it with pp 1 and tp 1, and all parts trained")
    if t.prediction_layers or t.capacity is not None or t.optimizer.name != "adam":
        raise RunError("workload: multi-token prediction, a capacity and other optimizers than adam are not run")
    if t.sequence % (2 * s.cp) or t.sequence % (s.cp * s.tp) or s.gpus > MOST_RANKS:
        raise RunError(f"sequence {t.sequence} must divide over 2·cp and cp·tp, and ranks be {MOST_RANKS} at most")


def _refuse_layer(model: ModelSpec, layer: Layer, s: TrainStrategy) -> None:
    a, ffn = layer.attention, layer.ffn
    if isinstance(a, LatentAttention):
        if a.bias or a.indexer or a.extra:
            raise RunError(f"{model.name}: latent attention with biases or an index is not trained by run")
        if s.tp > 1:
            raise RunError(f"strategy.attention.tp: got {s.tp}; run trains latent attention with tp 1")
        if a.q_rank is None and "mla_up_proj" in s.recompute:
            raise RunError("workload.recompute: got mla_up_proj; run computes it again where queries are compressed")
    elif not (isinstance(a, SoftmaxAttention) and _plain(a)):
        raise RunError(f"{model.name}: attention of its kind is not trained by run; expected plain mha, gqa or mla")
    elif a.kv_heads % s.tp:
        raise RunError(f"strategy.attention.tp: got {s.tp}; run trains with a divisor of {a.kv_heads} KV heads")
    elif s.cp_comm_type is ContextExchange.ALL_TO_ALL and a.kv_heads % (s.tp * s.cp):
        raise RunError(f"strategy.attention.cp_comm_type: got all_to_all; {a.kv_heads} KV heads do not divide over cp")
    if not ffn.gated or ffn.bias:
        raise RunError(f"{model.name}: a feed-forward without gate or with biases is not trained by run")
    if isinstance(ffn, MoeFfn) and (ffn.groups > 1 or ffn.latent or ffn.shared_gate or ffn.zero_experts):
        raise RunError(f"{model.name}: routers with groups, latent or gated experts are not trained by run")


def _plain(a: SoftmaxAttention) -> bool:
    odd = (a.window, a.chunk, a.sinks, a.output_gate, a.indexer, a.qkv_bias, a.output_bias, a.extra)
    return not any(odd) and a.qk_norm == "none"
