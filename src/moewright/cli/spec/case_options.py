"""What plan, serve, launch and others take in place of a spec file, and the values that a shell completes."""

from __future__ import annotations

from typing import Annotated

import typer


def complete_models(incomplete: str) -> list[str]:
    """Models of the catalogue that begin so."""
    from moewright.case.catalogue.model_catalogue import model_names

    return [n for n in model_names() if n.lower().startswith(incomplete.lower())]


def complete_clusters(incomplete: str) -> list[str]:
    """Clusters of the catalogue that begin so; after the colon sizes of whole nodes."""
    from moewright.case.catalogue.hardware_catalogue import cluster_names, find_cluster, load_cluster

    name, colon, _ = incomplete.partition(":")
    if not colon:
        return [n for n in cluster_names() if n.startswith(incomplete.lower())]
    known = find_cluster(name)
    if known is None:
        return []
    node = load_cluster(known).gpus_per_node
    return [f"{known}:{node << i}" for i in range(6)]


def complete_engines(incomplete: str) -> list[str]:
    """Engines that begin so."""
    from moewright.case.serving import ENGINES

    return [n for n in ENGINES if n.startswith(incomplete.lower())]


ModelOrSpec = Annotated[
    str,
    typer.Argument(
        metavar="MODEL_OR_SPEC",
        help="A spec file (.yaml, .toml, .json), or a model with the options below: a name, a config.json, its folder.",
        autocompletion=complete_models,
    ),
]
Cluster = Annotated[
    str | None,
    typer.Option(help="Of the catalogue, with GPUs: h200-hgx:32.", autocompletion=complete_clusters),
]
EngineName = Annotated[
    str | None, typer.Option(help="vllm, sglang or trtllm, with its defaults.", autocompletion=complete_engines)
]
EngineVersion = Annotated[str | None, typer.Option(help="The engine's version, whose memory rule holds.")]
Input = Annotated[str | None, typer.Option("--input", help="Tokens of a prompt: 4000, 8k, 128Ki.")]
OutputTokens = Annotated[str | None, typer.Option(help="Tokens of an answer.")]
Concurrency = Annotated[str | None, typer.Option(help="Requests open at once: 512, or 64,128,256, or auto.")]
RequestRate = Annotated[float | None, typer.Option(min=1e-9, help="Requests a second, instead of a concurrency.")]
Ttft = Annotated[str | None, typer.Option(help="Limit of the mean time to the first token, such as 2s.")]
Tpot = Annotated[str | None, typer.Option(help="Limit of the mean time of a further token, such as 50ms.")]
ObjectiveName = Annotated[str | None, typer.Option("--objective", help="latency, throughput or cost.")]
StrategyText = Annotated[
    str | None, typer.Option("--strategy", help="Evaluate this one alone: dp8,tp1,ep8, or a name as printed.")
]
RoutingText = Annotated[str | None, typer.Option("--routing", help="uniform, typical, zipf:1.0, or a file of loads.")]
PrecisionText = Annotated[str | None, typer.Option("--precision", help="Of the weights, instead of the model's: fp8.")]
PrefixHit = Annotated[float | None, typer.Option(min=0, max=1, help="Share of a prompt that the cache has.")]
KindName = Annotated[str | None, typer.Option("--kind", help="Of one pass: forward, prefill or decode.")]
BatchText = Annotated[str | None, typer.Option("--batch", help="Of one pass: sequences on all GPUs, or auto.")]
SequenceText = Annotated[str | None, typer.Option("--sequence", help="Of one pass: tokens of a sequence.")]
