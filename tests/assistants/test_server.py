"""The server through the SDK's own client, by stdio and by HTTP, and its bounds."""

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import anyio
import pytest

pytest.importorskip("mcp.server.mcpserver")

from mcp import Client, StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client

from moewright.errors import SpecError
from moewright.mcp.bounded_results import check_paths, inside, trimmed
from moewright.mcp.server import server

ROOT = Path(__file__).parents[2]
DECODE = {
    "model": "gpt-oss-20b",
    "cluster": {"name": "h100-hgx", "gpus": 4},
    "workload": {"kind": "decode", "batch": 32, "sequence": 2048},
}
CALLS = [
    ("plan", {"spec": DECODE, "top": 1}, lambda r: r["best"]["name"].startswith("R")),
    ("plan", {"spec": json.dumps(DECODE)}, lambda r: r["candidates"] > 10),
    (
        "evaluate",
        {"spec": DECODE | {"strategy": {"attention": {"dp": 4}, "experts": {"ep": 4}}}},
        lambda r: "DP4" in r["best"]["name"],
    ),
    ("fit", {"model": "gpt-oss-20b", "cluster": "h100-hgx:2"}, lambda r: r["fewest_gpus"] == 1),
    ("place", {"loads": [[4.0, 1.0, 1.0, 2.0]], "slots": 6, "gpus": 2}, lambda r: r["slots"] == 6),
    (
        "doctor",
        {"command": "vllm serve openai/gpt-oss-20b --tensor-parallel-size 2"},
        lambda r: r["layout"]["attn_tp"] == 2,
    ),
    (
        "judge_claims",
        {
            "spec": DECODE | {"strategy": {"attention": {"dp": 4}, "experts": {"ep": 4}}},
            "claims": [{"quantity": "count.experts", "value": 8, "per": ["gpu", "layer"]}],
        },
        lambda r: r["summary"] == {"holds": 1},
    ),
    (
        "audit",
        {
            "text": "# Plan\n\nEach of 8 GPUs holds 12.5 GB of the 100 GB,\nwhich is 18 % of its 80 GB.\n",
            "reading": {
                "reader": "the tests",
                "claims": [
                    {"line": 3, "value": "12.5 GB", "expression": "100 GB / 8", "id": "share"},
                    {"line": 4, "value": "18 %", "expression": "{share} / 80 GB"},
                ],
            },
        },
        lambda r: (
            r["summary"] == {"holds": 1, "wrong": 1} and r["claims"][0]["line"] == 4 and r["reader"] == "the tests"
        ),
    ),
    ("audit", {"document": "examples/strategy-ep64-tp2.md"}, lambda r: r["claims"][0]["verdict"] == "impossible"),
    ("models", {"name": "gpt-oss-20b"}, lambda r: r["name"] == "gpt-oss-20b"),
]


def content(result):
    assert not result.is_error, result.content
    return json.loads(result.content[0].text)


async def every_call(client):
    names = {t.name for t in (await client.list_tools()).tools}
    assert names == {
        *("plan", "evaluate", "fit", "serve", "train", "place", "launch", "doctor", "judge_claims", "audit", "models")
    }
    for name, arguments, holds in CALLS:
        assert holds(content(await client.call_tool(name, arguments))), name
    (prompt,) = (await client.list_prompts()).prompts
    asked = await client.get_prompt(prompt.name, {"document": "plan.md"})
    assert asked.messages[0].content.text.startswith("Read plan.md.")
    guide = (await client.read_resource("moewright://guide/reading")).contents[0].text
    assert guide in (ROOT / "docs/audit.md").read_text()
    for name in ("spec", "placement", "reading"):
        schema = await client.read_resource(f"moewright://schema/{name}")
        assert "properties" in json.loads(schema.contents[0].text)


def test_in_memory():
    async def run():
        async with Client(server(ROOT)) as client:
            await every_call(client)
            for arguments, told in (
                ({"spec": DECODE | {"model": "no-such"}}, "no model named"),
                ({"spec": DECODE | {"model": "/etc/passwd"}}, "outside of the server's root"),
                ({"spec": DECODE | {"model": "../../etc"}}, "outside of the server's root"),
                ({"spec": DECODE | {"routing": "~/x.npz"}}, "below the server's root"),
                ({"spec": "a: [1"}, "not well-formed"),
                ({"spec": "- 1"}, "expected a mapping"),
            ):
                result = await client.call_tool("plan", arguments)
                assert result.is_error
                assert told in result.content[0].text
                assert "Traceback" not in result.content[0].text
            for arguments, told in (
                ({}, "expected one of document"),
                ({"document": "../../etc/passwd"}, "outside of the server's root"),
                ({"text": "x", "reading": {"claims": []}}, "who read the document"),
                ({"text": "x", "reading": "a: [1"}, "not well-formed"),
            ):
                result = await client.call_tool("audit", arguments)
                assert result.is_error
                assert told in result.content[0].text

    anyio.run(run)


def environment():
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])}


@pytest.mark.slow
def test_by_stdio():
    async def run():
        command = ["-m", "moewright", "mcp", "--root", str(ROOT)]
        parameters = StdioServerParameters(command=sys.executable, args=command, env=environment())
        async with Client(stdio_client(parameters)) as client:
            await every_call(client)

    anyio.run(run)


@pytest.mark.slow
def test_by_http(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = (tmp_path / "log").open("wb")
    command = [sys.executable, "-m", "moewright", "mcp", "--http", str(port), "--root", str(ROOT)]
    process = subprocess.Popen(command, env=environment(), stdout=log, stderr=log)

    async def run():
        async with Client(streamable_http_client(f"http://127.0.0.1:{port}/mcp")) as client:
            await every_call(client)

    try:
        for _ in range(600):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert process.poll() is None, (tmp_path / "log").read_text()
            time.sleep(0.2)
        anyio.run(run)
    finally:
        process.terminate()
        process.wait()
        log.close()


def test_results_are_bounded():
    long = {"best": {"name": "x"}, "rows": [{"values": list(range(1000))} for _ in range(1000)]}
    short = trimmed(long, 5000)
    assert len(json.dumps(short)) <= 5000
    assert short["best"] == {"name": "x"}
    assert short["left_out"]["rows"] + len(short["rows"]) == 1000
    assert trimmed({"a": [1, 2]}) == {"a": [1, 2]}
    with pytest.raises(SpecError, match="ask for less"):
        trimmed({"text": "x" * 100_000})


def test_paths_stay_below_the_root(tmp_path):
    (tmp_path / "inner").mkdir()
    (tmp_path / "link").symlink_to("/etc")
    assert inside(tmp_path, "inner/a.json", "model") == tmp_path / "inner" / "a.json"
    for name in ("../x", "/etc/passwd", "link/passwd", "~/a", "a\0b", "inner/../../x"):
        with pytest.raises(SpecError, match="root"):
            inside(tmp_path, name, "model")
    check_paths({"model": "openai/gpt-oss-20b", "cluster": {"name": "h100-hgx"}}, tmp_path)
    with pytest.raises(SpecError, match=r"spec.workload.trace: .*outside"):
        check_paths({"workload": {"trace": "../../t.csv"}}, tmp_path)
