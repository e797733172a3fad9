"""What no strategy beats: the FLOPs of the model, and the bytes that must be read."""

from __future__ import annotations

from moewright.case.case import Case
from moewright.case.model import Attention, MoeFfn
from moewright.case.tensors.layer_tensors import layer_tensors, vocabulary_tensors
from moewright.case.workload import Kind
from moewright.cost.arrays import array
from moewright.cost.attention import cache_bytes, cached_tokens, decode_keys, score_flops
from moewright.cost.prices.roofline import unit_of
from moewright.cost.routing import spread
from moewright.errors import InfeasibleError


def check_units(case: Case) -> None:
    """Raises InfeasibleError where the device has no matrix unit for a precision of the model."""
    for kind in ("attention", "experts", "shared_experts", "dense", "router", "vocabulary", "attention_scores"):
        try:
            unit_of(case.model.precision, kind, case.cluster.device)
        except KeyError as error:
            device = case.cluster.device
            formats = ", ".join(device.flops)
            raise InfeasibleError(
                f"device {device.name} has no matrix unit for {kind} in "
                f"{case.model.precision.weight(kind)} ({error.args[0]}); it has {formats}"
            ) from None


def model_flops(case: Case, batch: int) -> dict[str, float]:
    """Kind of tensor → FLOPs of one pass of the unsharded model over ``batch`` sequences."""
    w, model = case.workload, case.model
    tokens = float(batch * (1 if w.kind is Kind.DECODE else w.sequence))
    flops: dict[str, float] = {"attention_scores": 0.0}
    for layer, positions in model.layer_kinds():
        flops["attention_scores"] += score_flops(layer.attention, w) * batch * len(positions)
        for tensor in layer_tensors(layer, model.hidden_size):
            if tensor.gemm:
                ffn = layer.ffn
                share = ffn.working / ffn.experts if tensor.shard == "experts" and isinstance(ffn, MoeFfn) else 1.0
                work = 2.0 * tensor.parameters * share * tokens * len(positions)
                flops[tensor.kind] = flops.get(tensor.kind, 0.0) + work
    if model.vocab_size:
        logits = tokens if w.kind is Kind.FORWARD else float(batch)
        flops["vocabulary"] = 2.0 * logits * model.vocab_size * model.hidden_size
    return flops


def bound_seconds(case: Case, batch: int) -> tuple[float, str]:
    """The time no strategy beats, and why: all FLOPs at all GPUs' delivered rate, or the bytes that some
    GPU must read at least once (each active weight, each cached key) at all GPUs' delivered bandwidth."""
    device, gpus, model, w = case.cluster.device, case.cluster.gpus, case.model, case.workload
    compute = sum(
        value / (device.flops[unit_of(model.precision, kind, device)] * device.mfu * gpus)
        for kind, value in model_flops(case, batch).items()
    )
    tokens = batch * (1 if w.kind is Kind.DECODE else w.sequence)
    read = 0.0
    for layer, positions in model.layer_kinds():
        for tensor in layer_tensors(layer, model.hidden_size):
            share = 1.0
            if tensor.shard == "experts" and isinstance(layer.ffn, MoeFfn):
                share = float(spread.active_share(tokens, layer.ffn.experts, layer.ffn.top_k)[0])
            read += model.precision.tensor_bytes(tensor) * share * len(positions)
        if w.kind is Kind.DECODE:
            per_token, per_sequence = cache_bytes(layer.attention, model.precision, array(1))
            kept = _read_tokens(case, layer.attention)
            read += batch * (float(per_token[0]) * kept + float(per_sequence[0])) * len(positions)
    for tensor in vocabulary_tensors(model):
        if tensor.name == "head" or (tensor.name == "embedding" and model.tied_embeddings):
            read += model.precision.tensor_bytes(tensor)
    moved = read / (device.memory_bandwidth * device.bandwidth_utilization * gpus)
    if compute >= moved:
        return compute, "FLOPs at the delivered rate of all GPUs"
    return moved, "bytes read once at the delivered memory bandwidth of all GPUs"


def _read_tokens(case: Case, attention: Attention) -> float:
    kept = cached_tokens(attention, case.workload.sequence)
    return min(float(kept), float(decode_keys(attention, array(case.workload.sequence))[0]))
