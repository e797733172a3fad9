"""The layout that an engine makes of its options: by the engine's own arithmetic, not by the strategy's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace

from moewright.case.strategy import AttentionParallel, Dispatch, ExpertParallel, Overlap, Strategy

#: destination of an option → its value, as the engine's parser would have it (what is not set is absent)
Values = Mapping[str, object]

#: all-to-all backends of SGLang that spread the experts over all of tp, whatever --ep-size says
#: (sglang 0.5.23, srt/arg_groups/overrides.py: _A2A_EP_SPANNING_BACKENDS)
SPANNING = ("deepep", "deepep_v2", "mooncake", "nixl", "mori", "flashinfer", "pplx", "megamoe", "flashinfer_megamoe",
            "ascend_fuseep")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Layout:
    """``world``: GPUs of one instance (of one rank group that shares a model); ``gpus_total``: of all replicas.
    ``attn_cp`` divides prompts, ``dcp`` the cache of decoding sequences, inside ``attn_tp``."""

    attn_tp: int
    attn_dp: int
    attn_cp: int
    dcp: int
    pp: int
    replicas: int
    ep: int
    etp: int
    world: int
    gpus_total: int

    def to_dict(self) -> dict[str, int]:
        return asdict(self)

    def replicated(self, count: int) -> Layout:
        """The same behind ``count`` servers."""
        return replace(self, replicas=self.replicas * count, gpus_total=self.gpus_total * count)

    def strategy(self, redundant: int = 0, two_batch: bool = False, all_to_all: bool | None = None) -> Strategy:
        """As a strategy; tokens are exchanged where attention ranks own different ones, or ``all_to_all`` says so."""
        exchanged = self.attn_dp * self.attn_cp > 1 or self.attn_tp == 1 if all_to_all is None else all_to_all
        return Strategy(
            replicas=self.replicas,
            pp=self.pp,
            overlap=Overlap.TWO_BATCH if two_batch else Overlap.NONE,
            attention=AttentionParallel(dp=self.attn_dp, cp=self.attn_cp, tp=self.attn_tp, dcp=self.dcp),
            experts=ExpertParallel(
                self.ep, self.etp, redundant, Dispatch.ALL_TO_ALL if exchanged else Dispatch.REPLICATED
            ),
        )


def strategy_layout(strategy: Strategy) -> Layout:
    """The layout that ``strategy`` means."""
    a, e = strategy.attention, strategy.experts
    world = strategy.pp * strategy.stage
    return Layout(a.tp, a.dp, a.cp, a.dcp, strategy.pp, strategy.replicas, e.ep, e.tp, world, world * strategy.replicas)


def engine_layout(engine: str, values: Values) -> Layout:
    """The layout that ``engine`` makes of ``values``. Raises KeyError for an engine without such arithmetic."""
    return _LAYOUTS[engine](values)


def _number(values: Values, name: str, default: int = 1) -> int:
    value = values.get(name)
    return default if value is None else int(str(value))


def _vllm(values: Values) -> Layout:
    """EP = TP·PCP·DP, or none; then the experts are cut TP·PCP·DP ways (FusedMoEParallelConfig.make)."""
    tp, pp, dp = (_number(values, f"{n}_parallel_size") for n in ("tensor", "pipeline", "data"))
    pcp, dcp = (_number(values, f"{n}_context_parallel_size") for n in ("prefill", "decode"))
    ranks = tp * pcp * dp
    ep = ranks if values.get("enable_expert_parallel") else 1
    world = ranks * pp
    return Layout(tp, dp, pcp, dcp, pp, 1, ep, ranks // ep, world, world)


def _sglang(values: Values) -> Layout:
    """tp-size is a stage's ranks, which attention dp and cp divide; dp-size counts replicas, but with the old
    --enable-dp-attention attention dp (srt/arg_groups/parallel_hook.py)."""
    tp, pp, replicas, dp = (_number(values, f"{n}_size") for n in ("tp", "pp", "dp", "attn_dp"))
    if values.get("enable_dp_attention") and dp == 1:
        dp, replicas = replicas, 1
    cp, dcp, moe_dp = (_number(values, f"{n}_size") for n in ("attn_cp", "dcp", "moe_dp"))
    ep = tp if values.get("moe_a2a_backend") in SPANNING else _number(values, "ep_size")
    return Layout(tp // (dp * cp), dp, cp, dcp, pp, replicas, ep, tp // (ep * moe_dp), tp * pp, tp * pp * replicas)


def _trtllm(values: Values) -> Layout:
    """Attention dp is all of tp, or none; moe_tp · moe_ep = tp · cp (tensorrt_llm/mapping.py)."""
    tp, pp, cp = (_number(values, f"{n}_parallel_size") for n in ("tensor", "pipeline", "context"))
    dp = tp if values.get("enable_attention_dp") else 1
    ep, etp = values.get("moe_expert_parallel_size"), values.get("moe_tensor_parallel_size")
    if ep is None:
        ep = tp * cp // int(str(etp)) if etp is not None else 1
    return Layout(tp // dp, dp, cp, 1, pp, 1, int(str(ep)), tp * cp // int(str(ep)), tp * cp * pp, tp * cp * pp)


def _megatron(values: Values) -> Layout:
    """An unset expert tensor size means TP; what is left of the world is data parallel, and counts as attention dp of
    as many ranks as the experts' groups need, and replicas beyond (megatron/core/parallel_state.py)."""
    tp, pp = (_number(values, f"{n}_model_parallel_size") for n in ("tensor", "pipeline"))
    cp, ep = _number(values, "context_parallel_size"), _number(values, "expert_model_parallel_size")
    etp = _number(values, "expert_tensor_parallel_size", tp)
    world = _number(values, "world_size", tp * cp * pp)
    stage = max(tp * cp, ep * etp)
    return Layout(tp, stage // (tp * cp), cp, 1, pp, world // (stage * pp), ep, etp, stage * pp, world)


_LAYOUTS: dict[str, Callable[[Values], Layout]] = {
    "vllm": _vllm,
    "sglang": _sglang,
    "trtllm": _trtllm,
    "megatron": _megatron,
}
