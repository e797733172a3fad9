"""Runs in SGLang's environment: command lines, a JSON list each on stdin, through its own parser.

Answers a JSON line each: ``error``, or the ``layout`` that its arguments mean. ``--options``: its options instead.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

from sglang.srt.server_args import ServerArgs


class RefusedError(Exception):
    """What the parser says instead of leaving the program."""


class Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise RefusedError(message)


def spanning() -> set[str]:
    """All-to-all backends that spread the experts over all of tp, as the wheel's source lists them."""
    found = find_spec("sglang")
    assert found is not None
    assert found.origin is not None
    path = Path(found.origin).parent / "srt" / "arg_groups" / "overrides.py"
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "_A2A_EP_SPANNING_BACKENDS":
            assert isinstance(node.value, ast.Call)
            return set(ast.literal_eval(node.value.args[0]))
    raise LookupError("_A2A_EP_SPANNING_BACKENDS")


def layout(args: ServerArgs, spread: set[str]) -> dict[str, int]:
    """Sizes by the fields of the engine's own record."""
    tp, dp, cp = args.tp_size, args.attn_dp_size, args.attn_cp_size
    ep = tp if args.moe_a2a_backend in spread else args.ep_size
    world = tp * args.pp_size
    return {
        "attn_tp": tp // dp // cp,
        "attn_dp": dp,
        "attn_cp": cp,
        "dcp": args.dcp_size,
        "pp": args.pp_size,
        "replicas": args.dp_size,
        "ep": ep,
        "etp": tp // (ep * args.moe_dp_size),
        "world": world,
        "gpus_total": world * args.dp_size,
    }


def main() -> None:
    parser = Parser(allow_abbrev=False)
    ServerArgs.add_cli_args(parser)
    if "--options" in sys.argv:
        from options_of import options  # beside this file

        print(json.dumps(options(parser)))
        return
    spread = spanning()
    for line in sys.stdin:
        try:
            args = ServerArgs.from_cli_args(parser.parse_args(json.loads(line)))
            answer = {"error": None, "layout": layout(args, spread)}
        except Exception as fault:
            answer = {"error": f"{type(fault).__name__}: {fault}", "layout": None}
        print(json.dumps(answer))


if __name__ == "__main__":
    sys.path.insert(0, os.path.dirname(__file__))
    main()
