"""Premises, what the user adds, and stated assumptions → a Case, and the strategies the document may mean."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

import yaml

from moewright.audit.reading.premises import Premise
from moewright.audit.reading.workload_sizes import OF_PART
from moewright.case.case import Case
from moewright.case.catalogue.model_catalogue import find_model, load_model
from moewright.case.file.load import case_of, load
from moewright.case.precision import FORMATS
from moewright.case.strategy import Dispatch, Overlap, StrategySpec
from moewright.errors import InfeasibleError, SpecError

#: what is assumed where neither document nor user says, and why
DEFAULTS: Final[dict[str, tuple[Any, str]]] = {
    "cluster.gpus_per_node": (8, "a usual node"),
    "cluster.device.mfu": (0.6, "large matrix products reach about that"),
    "cluster.device.bandwidth_utilization": (0.8, "streaming kernels reach about that"),
    "cluster.network.node.bandwidth": ("450 GB/s", "NVLink 4, per GPU and direction"),
    "cluster.network.node.latency": ("2 us", "NVLink"),
    "cluster.network.fabric.bandwidth": ("50 GB/s", "one 400 Gb/s port a GPU"),
    "cluster.network.fabric.latency": ("5 us", "InfiniBand or RoCE"),
    "model.experts.top_k": (2, "the least usual"),
    "model.experts.gated": (False, "two matrices an expert; say gated or SwiGLU for three"),
    "model.vocab_size": (0, "neither embedding nor head is mentioned"),
    "model.precision": ("bf16", "the usual format"),
    "workload.causal": (True, "a language model's mask"),
    "workload.kind": ("forward", "a pass over whole sequences"),
}
#: stand-ins that let the rest be checked; no verdict is given that needs one of them
MISSING: Final[dict[str, Any]] = {
    "cluster.gpus": 8,
    "cluster.device.flops": 1e15,
    "cluster.device.memory": 1e15,
    "cluster.device.memory_bandwidth": 1e12,
    "model.layers": 2,
    "model.hidden_size": 256,
    "model.attention.heads": 2,
    "model.experts.count": 8,
    "model.experts.intermediate_size": 256,
    "workload.batch": 256,
    "workload.sequence": 128,
}
SIZES: Final = ("ep", "etp", "tp", "dp", "pp", "cp", "replicas")
STRATEGY: Final = (*SIZES, "micro_batches", "redundant", "broadcast")
FIELDS: Final = (
    *DEFAULTS,
    *MISSING,
    "model.name",
    "model.attention.kv_heads",
    "model.attention.head_dim",
    "cluster.device.name",
    *(f"strategy.{name}" for name in STRATEGY),
)
#: fields that are whole numbers
WHOLE: Final = frozenset(
    (
        *(f"strategy.{name}" for name in STRATEGY[:-1]),
        *("model.layers", "model.hidden_size", "model.vocab_size", "model.attention.heads"),
        *("model.attention.kv_heads", "model.attention.head_dim", "model.experts.count", "model.experts.top_k"),
        *("model.experts.intermediate_size", "workload.batch", "workload.sequence", "cluster.gpus"),
        "cluster.gpus_per_node",
    )
)


@dataclass(frozen=True, slots=True)
class Assumption:
    """A field that the document does not give: ``source`` is the user (--assume), a spec file, the catalogue, or
    a default with its reason."""

    field: str
    value: Any
    source: str


@dataclass(frozen=True, slots=True)
class Setting:
    """The case, fields given by the document, assumptions, and what is missing and was not assumed."""

    case: Case
    given: dict[str, Premise]
    assumed: dict[str, Assumption]
    missing: tuple[str, ...]
    from_spec: bool = False


def parse_assume(texts: Iterable[str]) -> dict[str, Any]:
    """``KEY=VALUE`` texts → field → value; a key may be the last part of a field's name. Raises SpecError."""
    found: dict[str, Any] = {}
    for text in texts:
        key, sign, value = text.partition("=")
        key = key.strip()
        fields = [f for f in FIELDS if f == key] or [f for f in FIELDS if f.endswith(f".{key}")]
        if not sign or len(fields) != 1:
            which = f"{key!r} is {' or '.join(fields)}" if len(fields) > 1 else f"got {text[:60]!r}"
            raise SpecError(f"{which}; expected KEY=VALUE with a key of {', '.join(FIELDS)}", field="--assume")
        try:
            found[fields[0]] = yaml.safe_load(value)
        except yaml.YAMLError:
            found[fields[0]] = value
        if found[fields[0]] is None:
            raise SpecError(f"got {text[:60]!r}, without a value; expected KEY=VALUE", field="--assume")
    return found


def setting_of(premises: list[Premise], assumed: dict[str, Any], spec: str | None, file: str) -> Setting:
    """The case that the premises make. Raises SpecError for values that no case has."""
    given: dict[str, Premise] = {}
    for p in premises:
        given.setdefault(p.field, p)
    if spec is not None:
        return _from_spec(load(spec), given, assumed, spec)
    values: dict[str, Any] = {f: p.value for f, p in given.items()}
    taken = {f: Assumption(f, v, "--assume") for f, v in assumed.items() if f not in given}
    values |= {f: a.value for f, a in taken.items()}
    if "cluster.gpus" not in values and "nodes" in values:
        per_node = values.get("cluster.gpus_per_node", 8)
        values["cluster.gpus"] = values["nodes"] * per_node
        given["cluster.gpus"] = replace(given["nodes"], field="cluster.gpus", value=values["cluster.gpus"])
    known = _from_catalogue(values, taken)
    _sum_parts(values, given)
    for field, (value, reason) in DEFAULTS.items():
        if field not in values and field not in known:
            taken[field] = Assumption(field, value, f"default: {reason}")
            values[field] = value
    missing = tuple(f for f in MISSING if f not in values and f not in known)
    values |= {f: MISSING[f] for f in missing}
    if "model.attention.heads" in missing and isinstance(values.get("model.attention.kv_heads"), int):
        values["model.attention.heads"] = values["model.attention.kv_heads"]
    if "workload.batch" in missing and isinstance(values["cluster.gpus"], int):
        values["workload.batch"] = 64 * min(values["cluster.gpus"], 4096)  # that any strategy can divide
    raw = _raw(values, known)
    # a partial node is one node
    gpus, node = raw["cluster"]["gpus"], raw["cluster"]["gpus_per_node"]
    if isinstance(gpus, int) and isinstance(node, int) and (gpus < node or gpus % node):
        raw["cluster"]["gpus_per_node"] = gpus if gpus < node else _common(gpus, node)
    return Setting(case_of(raw, file), given, taken, missing)


def _sum_parts(values: dict[str, Any], given: dict[str, Premise]) -> None:
    """The batch of all GPUs, where a document gives that of each GPU, data-parallel rank, copy or node."""
    if "workload.batch" in values:
        return
    sizes = {name: values.get(f"strategy.{name}", 1) for name in ("tp", "pp", "cp")}
    gpus, node = values.get("cluster.gpus"), values.get("cluster.gpus_per_node")
    if not all(isinstance(x, int) and x > 0 for x in sizes.values()) or not isinstance(gpus, int):
        return
    group = sizes["tp"] * sizes["pp"] * sizes["cp"]
    dp = values.get("strategy.dp") or (gpus // group if "strategy.tp" in values else None)
    times = {
        "GPU": gpus if group == 1 else None,
        "rank": dp,
        "replica": values.get("strategy.replicas"),
        "node": gpus // node if isinstance(node, int) and node and gpus % node == 0 else None,
    }
    for part, field in OF_PART.items():
        many = times[part]
        if field in given and isinstance(many, int):
            values["workload.batch"] = given[field].value * many
            given["workload.batch"] = replace(given[field], field="workload.batch", value=values["workload.batch"])
            return


def _common(a: int, b: int) -> int:
    while b:
        a, b = b, a % b
    return a


def _from_spec(case: Case, given: dict[str, Premise], assumed: dict[str, Any], spec: str) -> Setting:
    """A spec file's case: what the document gives must agree with it (``premise`` claims say where not)."""
    if assumed:
        raise SpecError("contradicts --spec, which gives everything; leave one of them out", field="--assume")
    taken = {f: Assumption(f, "as in the spec file", spec) for f in (*DEFAULTS, *MISSING) if f not in given}
    if case.strategy is not None:
        for name in STRATEGY[:-1]:
            value = getattr(case.strategy, name)
            if value is not None and f"strategy.{name}" not in given:
                taken[f"strategy.{name}"] = Assumption(f"strategy.{name}", value, spec)
    return Setting(replace(case, strategy=None), given, taken, (), from_spec=True)


def _from_catalogue(values: dict[str, Any], taken: dict[str, Assumption]) -> set[str]:
    """Fields that a named model or device settles; the network of a device is that of its usual cluster."""
    from moewright.case.catalogue.hardware_catalogue import cluster_entry, cluster_names, load_cluster

    known: set[str] = set()
    if "model.name" in values:
        known |= {f for f in (*DEFAULTS, *MISSING) if f.startswith("model.")}
        taken["model"] = Assumption("model", values["model.name"], "the catalogue's, by its name")
    device = values.get("cluster.device.name")
    if device is None:
        return known
    known |= {f for f in (*DEFAULTS, *MISSING) if f.startswith("cluster.device.")}
    for name in cluster_names():
        entry = cluster_entry(name)
        if entry["device"] == device:
            tiers = load_cluster(name)
            figures = {
                "cluster.gpus_per_node": int(entry["gpus_per_node"]),
                "cluster.network.node.bandwidth": tiers.node.bandwidth,
                "cluster.network.node.latency": tiers.node.latency,
                "cluster.network.fabric.bandwidth": tiers.fabric.bandwidth,
                "cluster.network.fabric.latency": tiers.fabric.latency,
            }
            for field, figure in figures.items():
                if field not in values:
                    values[field] = figure
                    taken[field] = Assumption(field, figure, f"the catalogue's {name}")
            break
    for field in ("cluster.device.mfu", "cluster.device.bandwidth_utilization"):
        if field not in values:
            taken[field] = Assumption(field, "as in the catalogue", f"the catalogue's {device}")
    return known


def _raw(values: dict[str, Any], known: set[str]) -> dict[str, Any]:
    """The case as a spec file would write it."""

    def get(field: str) -> Any:
        return values.get(field)

    precision = get("model.precision")
    if get("model.name"):
        model: dict[str, Any] = {"name": get("model.name")}
        if precision and "model.precision" in values and not _of_checkpoint(str(get("model.name")), precision):
            model["precision"] = precision
    else:
        heads, hidden = get("model.attention.heads"), get("model.hidden_size")
        attention = {"kind": "mha", "heads": heads, "head_dim": get("model.attention.head_dim")}
        if attention["head_dim"] is None:
            attention["head_dim"] = max(1, hidden // heads) if isinstance(heads, int) and heads else 1
        kv = get("model.attention.kv_heads")
        if kv and kv != heads:
            attention |= {"kind": "gqa", "kv_heads": kv}
        experts = {name: get(f"model.experts.{name}") for name in ("count", "top_k", "intermediate_size", "gated")}
        model = {"name": "the document's model", "layers": get("model.layers"), "hidden_size": hidden}
        model |= {
            "attention": attention,
            "experts": experts,
            "vocab_size": get("model.vocab_size"),
            "precision": precision,
        }
    device: dict[str, Any] = {"name": get("cluster.device.name") or "the document's GPU"}
    for name in ("memory", "memory_bandwidth", "mfu", "bandwidth_utilization"):
        if get(f"cluster.device.{name}") is not None:
            device[name] = get(f"cluster.device.{name}")
    flops = get("cluster.device.flops")
    if flops is not None and "cluster.device.flops" not in known:
        device["flops"] = {_unit(precision): flops, "bf16": flops}  # no part of a model takes longer than so
    network = {
        tier: {part: get(f"cluster.network.{tier}.{part}") for part in ("bandwidth", "latency")}
        for tier in ("node", "fabric")
    }
    cluster = {"gpus": get("cluster.gpus"), "gpus_per_node": get("cluster.gpus_per_node"), "device": device}
    return {
        "model": model,
        "cluster": {**cluster, "network": network},
        "workload": {name: get(f"workload.{name}") for name in ("kind", "batch", "sequence", "causal")},
    }


def _of_checkpoint(name: str, precision: Any) -> bool:
    """Whether a format of few bits is the one that a model's own checkpoint has its experts in, and only those."""
    found = find_model(name)
    own = load_model(found).precision if found is not None and precision in _FEW_BITS else None
    return own is not None and own.weight("experts") == precision


#: formats that no checkpoint has all its weights in
_FEW_BITS: Final = ("mxfp4", "nvfp4", "int4")


def _unit(precision: Any) -> str:
    """The matrix unit that a stated peak is of: that of activations in the model's precision."""
    name = precision if isinstance(precision, str) and precision in FORMATS else "bf16"
    unit = FORMATS[name][1]
    return unit if unit in ("fp8", "int8", "fp16", "fp32") else "bf16"


def strategies(setting: Setting) -> tuple[dict[str, StrategySpec], str]:
    """The readings of the document's strategy by name (split: tokens divided among the groups; broadcast: every
    GPU of a stage holds all), and where there is none, why."""
    sizes: dict[str, int] = {}
    for name in STRATEGY[:-1]:
        field = f"strategy.{name}"
        found = setting.given.get(field) or setting.assumed.get(field)
        if found is not None:
            sizes[name] = found.value
    if not {"ep", "tp", "dp", "pp"} & set(sizes):
        return {}, "the document names no sizes of a strategy (EP, TP, DP or PP)"
    lacking = [f for f in setting.missing if f.startswith(("model.", "cluster.gpus"))]
    if lacking:
        return {}, f"the document gives no {', '.join(lacking)}"
    found_readings: dict[str, StrategySpec] = {}
    reason = ""
    for want in _candidates(setting, sizes):
        want = replace(want, redundant=sizes["redundant"]) if "redundant" in sizes else want
        try:
            found_readings["split"] = _legal(setting.case, want)
            break
        except (SpecError, InfeasibleError) as error:
            reason = reason or getattr(error, "problem", str(error))
    broadcast = "strategy.broadcast" in setting.given or "strategy.broadcast" in setting.assumed
    split = found_readings.get("split")
    if broadcast and split is not None:
        try:
            want = replace(
                split, dp=None, cp=None, repeated=(split.dp or 1) * (split.cp or 1), dispatch=Dispatch.REPLICATED
            )
            found_readings["broadcast"] = _legal(setting.case, want)
        except (SpecError, InfeasibleError):
            pass
    return found_readings, reason


def _candidates(setting: Setting, sizes: dict[str, int]) -> list[StrategySpec]:
    """Ways to fold the stated sizes over the GPUs: documents give EP and TP of one stage, a product of all, or
    count data parallelism as whole copies."""
    gpus = setting.case.cluster.gpus
    tp, pp, cp, ep = (sizes.get(name, 1) for name in ("tp", "pp", "cp", "ep"))
    micro = sizes.get("micro_batches", 1)
    found = []
    for replicas in dict.fromkeys((sizes.get("replicas", 1), *((sizes["dp"],) if "dp" in sizes else ()), 0)):
        outer = replicas or gpus // max(1, pp * ep * sizes.get("etp", tp)) if "ep" in sizes else replicas or 1
        if not outer or gpus % (outer * pp):
            continue
        stage = gpus // outer // pp
        copies = replicas == sizes.get("dp") != sizes.get("replicas", 1)
        dp = sizes["dp"] if "dp" in sizes and not copies else stage // (tp * cp)
        if stage != dp * tp * cp:
            continue
        widths = [sizes["etp"]] if "etp" in sizes else [tp, 1, stage // ep if stage % ep == 0 else 1]
        for etp in dict.fromkeys(widths):
            if "ep" in sizes and ep * etp != stage:
                continue
            size = ep if "ep" in sizes else None
            found.append(
                StrategySpec(
                    outer,
                    pp,
                    micro,
                    Overlap.NONE,
                    dp,
                    cp,
                    tp,
                    1,
                    size,
                    etp if size else sizes.get("etp"),
                    0,
                    Dispatch.ALL_TO_ALL,
                )
            )
    if not found and {"ep", "etp"} <= set(sizes):
        found += _expert_copies(gpus, sizes, micro)
    if not found:
        found.append(
            StrategySpec(
                replicas=sizes.get("replicas"),
                pp=pp,
                micro_batches=micro,
                overlap=Overlap.NONE,
                dp=sizes.get("dp"),
                tp=tp,
                cp=cp,
                ep=sizes.get("ep"),
                etp=sizes.get("etp"),
            )
        )
    return found


def _expert_copies(gpus: int, sizes: dict[str, int], micro: int) -> Iterator[StrategySpec]:
    """Experts that are copied over a part of the data-parallel ranks: to a GPU the same as that many replicas."""
    tp, pp, cp, ep, etp = (sizes.get(name, 1) for name in ("tp", "pp", "cp", "ep", "etp"))
    if gpus % (pp * ep * etp) or gpus % (pp * tp * cp):
        return
    copies, dp = gpus // pp // (ep * etp), gpus // pp // (tp * cp)
    if sizes.get("dp", dp) == dp and dp % copies == 0:
        yield StrategySpec(copies, pp, micro, Overlap.NONE, dp // copies, cp, tp, 1, ep, etp, 0, Dispatch.ALL_TO_ALL)


def _legal(case: Case, want: StrategySpec) -> StrategySpec:
    """``want`` completed. Raises SpecError or InfeasibleError where it is no legal strategy; one that does not fit in
    memory, or misses a limit, is legal."""
    from moewright.planning.bounds import check_units
    from moewright.planning.complete import complete
    from moewright.planning.space import space

    whole = complete(want, case)
    check_units(case)
    space(replace(case, strategy=whole))
    return whole
