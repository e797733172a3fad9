"""Models, devices and clusters of the catalogue, listed and explained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from moewright.case.catalogue.hardware_catalogue import (
    cluster_entry,
    cluster_names,
    device_entry,
    device_names,
    load_cluster,
    load_device,
)
from moewright.case.catalogue.model_catalogue import load_model, model_names
from moewright.case.cluster import Device
from moewright.case.model_source import named_reading
from moewright.case.precision import element_bytes
from moewright.case.tensors.layer_tensors import total_parameters, vocabulary_tensors
from moewright.planning.naming import describe_model
from moewright.report.blocks import Section, Table, facts
from moewright.report.model_rows import model_rows
from moewright.units import format_bytes, format_count, format_flops, format_rate, format_seconds


def list_models() -> tuple[list[dict[str, Any]], Section]:
    """Every model: plain values, and a table of them."""
    found = [describe_model(load_model(name)) for name in model_names()]
    rows = tuple(
        (
            m["name"],
            format_count(m["parameters"]["total"]),
            format_count(m["parameters"]["active"]),
            str(m["layers"]),
            f"{m['experts']['count']} top {m['experts']['top_k']}" if m["experts"] else "dense",
            format_bytes(m["weight_bytes"]),
            format_bytes(m["kv_bytes_per_token"]),
        )
        for m in found
    )
    headers = ("model", "parameters", "active", "layers", "experts", "weights", "KV a token")
    return found, Section("Models", (Table(headers, rows, (1, 2, 3, 5, 6)),))


def explain_model(name: str) -> tuple[dict[str, Any], list[Section]]:
    """Any model, of the catalogue, a path or a Hugging Face id, and how each field of its config was read."""
    reading = named_reading(name, Path())
    model = reading.model
    embedding = 0 if model.tied_embeddings else model.vocab_size * model.hidden_size
    m = describe_model(model)
    counts, kv = m["parameters"], m["kv_bytes_per_token"]
    counts["active_with_embedding"] = counts["active"] + max(0, embedding - model.hidden_size)
    counts["total_without_vocabulary"] = total_parameters(model) - sum(
        t.parameters for t in vocabulary_tensors(model) if t.kind == "vocabulary"
    )
    m["state_bytes_per_sequence"] = sum(
        layer.attention.sequence_bytes(element_bytes(model.precision.kv_cache)) for layer in model.layers
    )
    m["fields"] = {
        "read": {path: value for path, (given, value) in reading.read.items() if given and _short(value)},
        "assumed": {path: value for path, (given, value) in reading.read.items() if not given and value is not None},
        "unread": list(reading.unread),
    }
    more = [
        ("With embeddings", f"{format_count(counts['active_with_embedding'])} active, as published counts have it"),
        ("Without", f"{format_count(counts['total_without_vocabulary'])} in all without embedding and head"),
    ]
    if m["state_bytes_per_sequence"]:
        more.append(
            ("State", f"{format_bytes(m['state_bytes_per_sequence'])} a sequence beside {format_bytes(kv)} a token")
        )
    return m, [Section(m["name"], (facts(*model_rows(m), *more),)), *_fields(m["fields"])]


def _short(value: Any) -> bool:
    return not isinstance(value, dict) and len(str(value)[:400]) < 400


def _fields(read: dict[str, Any]) -> list[Section]:
    """How the fields of a config were read."""
    rows = [(path, _value(value), "read") for path, value in read["read"].items()]
    rows += [(path, _value(value), "not given: assumed") for path, value in read["assumed"].items()]
    unread = ", ".join(read["unread"][:80]) + (
        f" and {len(read['unread']) - 80} more" if len(read["unread"]) > 80 else ""
    )
    blocks: list[Any] = [Table(("field", "value", "how"), tuple(rows))]
    if unread:
        blocks.append(facts(("Not read", unread)))
    return [Section("Fields of the config", tuple(blocks))]


def _value(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _peaks(d: Device) -> str:
    return ", ".join(f"{unit} {format_flops(value, 4)}/s" for unit, value in d.flops.items())


def list_devices() -> tuple[list[dict[str, Any]], Section]:
    """Every device."""
    devices = [load_device(name) for name in device_names()]
    rows = tuple((d.name, format_bytes(d.memory), format_rate(d.memory_bandwidth), _peaks(d)) for d in devices)
    headers = ("device", "memory", "bandwidth", "dense peaks")
    return [_device(d) for d in devices], Section("Devices", (Table(headers, rows, (1, 2)),))


def _device(d: Device) -> dict[str, Any]:
    names = ("name", "flops", "memory", "memory_bandwidth", "mfu", "bandwidth_utilization", "launch", "price")
    return {name: getattr(d, name) for name in names}


def explain_device(name: str) -> tuple[dict[str, Any], Section]:
    """One device, each figure with its source."""
    d = load_device(name)
    entry = device_entry(name)
    figures = [
        ("flops", "Dense peaks", _peaks(d)),
        ("memory", "Memory", format_bytes(d.memory)),
        ("memory_bandwidth", "Memory bandwidth", format_rate(d.memory_bandwidth)),
        ("mfu", "MFU counted with", f"{d.mfu:g}"),
        ("bandwidth_utilization", "Of the bandwidth", f"{d.bandwidth_utilization:g}"),
        ("launch", "Launch", format_seconds(d.launch)),
        ("price", "Price", "–" if d.price is None else f"{d.price:g} a GPU and hour"),
    ]
    return {**_device(d), "sources": entry["sources"]}, _explained(d.name, figures, entry["sources"])


def _explained(title: str, figures: list[tuple[str, str, str]], sources: dict[str, str]) -> Section:
    rows = tuple((label, value, str(sources.get(key, ""))) for key, label, value in figures)
    return Section(title, (Table(("figure", "value", "source"), rows),))


def list_clusters() -> tuple[list[dict[str, Any]], Section]:
    """Every cluster, as one node."""
    found = [load_cluster(name) for name in cluster_names()]
    rows = tuple(
        (c.name, c.device.name, str(c.gpus_per_node), format_rate(c.node.bandwidth), format_rate(c.fabric.bandwidth))
        for c in found
    )
    plain = [cluster_plain(c.name) for c in found]
    headers = ("cluster", "device", "GPUs a node", "in a node", "across nodes")
    return plain, Section("Clusters, bandwidth attained per GPU and direction", (Table(headers, rows, (2, 3, 4)),))


def cluster_plain(name: str) -> dict[str, Any]:
    """One cluster as plain values."""
    c = load_cluster(name)
    return {
        "name": c.name,
        "device": c.device.name,
        "gpus_per_node": c.gpus_per_node,
        "network": {
            "node": {"bandwidth": c.node.bandwidth, "latency": c.node.latency},
            "fabric": {"bandwidth": c.fabric.bandwidth, "latency": c.fabric.latency},
        },
        "forwarding": c.forwarding,
        "links": c.links,
        "sources": cluster_entry(name)["sources"],
    }


def explain_cluster(name: str) -> tuple[dict[str, Any], Section]:
    """One cluster, each figure with its source."""
    c = load_cluster(name)
    figures = [
        ("device", "Device", c.device.name),
        ("gpus_per_node", "GPUs a node", str(c.gpus_per_node)),
        ("node", "In a node, attained", f"{format_rate(c.node.bandwidth)}, {format_seconds(c.node.latency)}"),
        ("fabric", "Across nodes, attained", f"{format_rate(c.fabric.bandwidth)}, {format_seconds(c.fabric.latency)}"),
        ("links", "Links in a node", c.links),
        ("forwarding", "Forwarding", "yes" if c.forwarding else "no"),
    ]
    return cluster_plain(name), _explained(c.name, figures, cluster_entry(name)["sources"])
