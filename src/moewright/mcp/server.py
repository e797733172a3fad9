"""The tools as a server of the Model Context Protocol, by the official SDK."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

from anyio import from_thread, to_thread
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError

from moewright.errors import MoewrightError
from moewright.mcp.bounded_results import trimmed
from moewright.mcp.tools import Progress, Toolbox
from moewright.version import __version__

INSTRUCTIONS: Final = (
    "moewright derives numbers about laying a Mixture-of-Experts transformer out over GPUs: plan finds the best "
    "strategy, evaluate prices one, fit says how many GPUs a model takes, serve simulates an engine, train plans a "
    "training step, place spreads experts, launch writes an engine's command, doctor reads one, judge_claims checks "
    "figures, audit those of a document. A spec is a mapping or YAML as docs/spec.md has it; the resource "
    "moewright://schema/spec is its JSON "
    "Schema. Figures are SI: bytes, seconds, FLOPs. Do not do this arithmetic yourself."
)


#: how an assistant is asked to audit a document
AUDIT: Final = (
    "Read {document}. For every derived figure write a claim: its line, its value as it is written there, and the "
    "expression that it must follow from by what the document says elsewhere (sizes, formats, parallel sizes, "
    "bandwidths); where a calculation is shown beside it, claim that too. Name premises and configurations. The "
    "resource moewright://guide/reading says how. Do no arithmetic yourself. Call the tool audit with the "
    "document and this reading. Check your reading of each claim that fails or is not checked, correct it where "
    "it was wrong, call audit again, and report the claims that still fail: line, what is written, what is right, "
    "why."
)


def server(root: Path) -> MCPServer:
    """The server, whose files lie below ``root``."""
    made: MCPServer = MCPServer("moewright", instructions=INSTRUCTIONS, version=__version__)
    tools = Toolbox(root.resolve())
    _add_planning(made, tools)
    _add_engines(made, tools)
    _add_resources(made)
    _add_prompts(made)
    return made


async def _run(context: Context, work: Callable[[Progress], dict[str, Any]]) -> dict[str, Any]:
    """``work`` in a thread of its own, its progress reported, its result bounded; a mistake is one line."""
    last = [0.0]

    def tell(share: float) -> None:
        if share - last[0] >= 0.05:
            last[0] = share
            from_thread.run(partial(context.report_progress, share, 1.0))

    try:
        found: dict[str, Any] = await to_thread.run_sync(lambda: trimmed(work(tell)), abandon_on_cancel=True)
    except MoewrightError as error:
        raise ToolError(" ".join(str(error).split())) from None
    return found


def _add_planning(made: MCPServer, tools: Toolbox) -> None:
    @made.tool(description="The best parallel strategy for a spec (forward, prefill, decode, serving or train).")
    async def plan(spec: dict[str, Any] | str, context: Context, top: int = 3) -> dict[str, Any]:
        return await _run(context, lambda tell: tools.plan(spec, max(0, min(top, 20)), tell))

    @made.tool(description="Price and check the one strategy that the spec's `strategy` section names.")
    async def evaluate(spec: dict[str, Any] | str, context: Context) -> dict[str, Any]:
        return await _run(context, lambda tell: tools.evaluate(spec, tell))

    @made.tool(description="Does a model fit, with how much room for the cache, and how many GPUs does it take?")
    async def fit(
        model: str,
        cluster: str,
        context: Context,
        engine: str = "vllm",
        context_tokens: str = "8192",
        concurrency: str = "1",
        engine_version: str | None = None,
    ) -> dict[str, Any]:
        return await _run(
            context, lambda _: tools.fit(model, cluster, engine, context_tokens, concurrency, engine_version)
        )

    @made.tool(description="Simulate an engine serving the spec's requests: TTFT, TPOT, throughput, what binds.")
    async def serve(spec: dict[str, Any] | str, context: Context) -> dict[str, Any]:
        return await _run(context, lambda tell: tools.serve(spec, tell))

    @made.tool(description="The best layout of a training step: seconds, memory by stage, bubble, days.")
    async def train(spec: dict[str, Any] | str, context: Context, top: int = 3) -> dict[str, Any]:
        return await _run(context, lambda tell: tools.train(spec, max(0, min(top, 20)), tell))

    @made.tool(description="Replicas of experts and the GPU of each, from loads [layers][experts] or a file of them.")
    async def place(
        loads: list[list[float]] | str, slots: int, gpus: int, context: Context, nodes: int = 1
    ) -> dict[str, Any]:
        return await _run(context, lambda _: tools.place(loads, slots, gpus, nodes))


def _add_engines(made: MCPServer, tools: Toolbox) -> None:
    @made.tool(
        description="What starts the spec's plan on vllm, sglang, trtllm or megatron: commands, files, manifests."
    )
    async def launch(
        spec: dict[str, Any] | str, engine: str, context: Context, target: str = "shell"
    ) -> dict[str, Any]:
        return await _run(context, lambda tell: tools.launch(spec, engine, target, tell))

    @made.tool(description="What an engine makes of a launch command, script or manifest, and what is wrong with it.")
    async def doctor(
        command: str, context: Context, cluster: str | None = None, engine_version: str | None = None
    ) -> dict[str, Any]:
        return await _run(context, lambda _: tools.doctor(command, cluster, engine_version))

    @made.tool(
        description="Verdicts on claims [{quantity, value, per}] about the spec's strategy, each with its derivation."
    )
    async def judge_claims(
        spec: dict[str, Any] | str, claims: list[dict[str, Any]], context: Context
    ) -> dict[str, Any]:
        return await _run(context, lambda _: tools.judge_claims(spec, claims))

    @made.tool(
        description="Audit a strategy document: give it by path (document) or as text. With a reading (premises, "
        "configurations, claims: the resources moewright://guide/reading and moewright://schema/reading) "
        "its figures are judged as you read them, which finds far more than the built-in grammar; without "
        "one, by the grammar. Give each figure the expression that it must follow from, and do not work "
        "it out yourself."
    )
    async def audit(
        context: Context,
        document: str | None = None,
        text: str | None = None,
        reading: dict[str, Any] | str | None = None,
    ) -> dict[str, Any]:
        return await _run(context, lambda tell: tools.audit(document, text, reading, tell))

    @made.tool(description="The models of the catalogue, or one explained: a name, a path, or a Hugging Face id.")
    async def models(context: Context, name: str | None = None) -> dict[str, Any]:
        return await _run(context, lambda _: tools.models(name))


def _add_resources(made: MCPServer) -> None:
    @made.resource("moewright://schema/spec", mime_type="application/schema+json")
    def spec_schema() -> str:
        """JSON Schema of a spec."""
        from moewright.case.file.schema import schema

        return json.dumps(schema())

    @made.resource("moewright://schema/placement", mime_type="application/schema+json")
    def placement_schema() -> str:
        """JSON Schema of a placement file."""
        from moewright.placement.files.placement_schema import schema

        return json.dumps(schema())

    @made.resource("moewright://schema/reading", mime_type="application/schema+json")
    def reading_schema() -> str:
        """JSON Schema of a reading of a document."""
        from moewright.audit.typed.typed_reading import schema

        return json.dumps(schema())

    @made.resource("moewright://guide/reading", mime_type="text/markdown")
    def reading_guide() -> str:
        """How a reading of a document is written, and what is made of it."""
        from moewright.audit.typed.typed_reading import guide

        return guide()

    @made.resource("moewright://quantities", mime_type="application/json")
    def quantities() -> str:
        """What judge_claims knows: quantity → a value as it is written, and the scopes of ``per``."""
        from moewright.audit.typed.quantity_names import QUANTITIES, SCOPES

        return json.dumps({"quantities": QUANTITIES, "per": SCOPES})

    @made.resource("moewright://clusters", mime_type="application/json")
    def clusters() -> str:
        """Names of the clusters of the catalogue."""
        from moewright.case.catalogue.hardware_catalogue import cluster_names

        return json.dumps(cluster_names())


def _add_prompts(made: MCPServer) -> None:
    @made.prompt(description="Read a strategy document into claims, and have them judged.")
    def audit_document(document: str) -> str:
        return AUDIT.format(document=document)
