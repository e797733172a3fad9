"""What stands before several servers: one address for clients, and the way from prefill to decode."""

from __future__ import annotations

from moewright.launch.command import Argument, Command
from moewright.launch.launch_plan import LaunchPlan, Role
from moewright.launch.servers import BOOTSTRAP_PORT, HTTP_PORT, ROUTER_PORT, Process

#: engines with a router of their own (vllm-router 0.1.17, sglang-router 0.3.2 of the Python package index)
ROUTERS = {"vllm": ("vllm-router",), "sglang": ("python3", "-m", "sglang_router.launch_router")}
PACKAGES = {"vllm": "vllm-router==0.1.17", "sglang": "sglang-router==0.3.2"}


def needs_router(plan: LaunchPlan) -> bool:
    return plan.apart or sum(p.count for p in plan.pools) > 1


def entry_port(plan: LaunchPlan) -> int:
    """Where clients speak to."""
    return ROUTER_PORT if needs_router(plan) else HTTP_PORT


def router_command(plan: LaunchPlan, servers: list[tuple[Process, str]], port: int = ROUTER_PORT) -> Command | None:
    """The router before ``servers`` (processes that lead, with their URLs); None for an engine that has none."""
    program = ROUTERS.get(plan.engine)
    if program is None:
        return None
    rows = [
        Argument("--host", "0.0.0.0"),
        Argument("--port", str(port), "where clients speak to"),
        Argument("--policy", "round_robin", "equally many requests to each, as planned"),
    ]
    if not plan.apart:
        # the last option: its URLs are words of their own
        return Command((*program, "--worker-urls", *(url for _, url in servers)), tuple(rows))
    flag = "--vllm-pd-disaggregation" if plan.engine == "vllm" else "--pd-disaggregation"
    words: list[str] = []
    for process, url in servers:
        if process.pool.role is Role.PREFILL:
            port_word = [str(BOOTSTRAP_PORT + process.slot)] if plan.engine == "sglang" else []
            words += ["--prefill", url, *port_word]
        else:
            words += ["--decode", url]
    return Command((*program, flag, *words), tuple(rows))


def trtllm_router(servers: list[tuple[Process, str]], port: int = ROUTER_PORT) -> str:
    """The YAML of ``trtllm-serve disaggregated``."""
    lines = ["hostname: 0.0.0.0", f"port: {port}", "backend: pytorch"]
    for role, name in ((Role.PREFILL, "context_servers"), (Role.DECODE, "generation_servers")):
        urls = [url.removeprefix("http://") for process, url in servers if process.pool.role is role]
        lines += [f"{name}:", f"  num_instances: {len(urls)}", "  urls:", *(f'    - "{url}"' for url in urls)]
    return "\n".join(lines) + "\n"


def nginx_router(servers: list[tuple[Process, str]], port: int = ROUTER_PORT) -> str:
    """An nginx configuration that takes servers in turn and streams answers as they come."""
    backends = "".join(f"    server {url.removeprefix('http://')};\n" for _, url in servers)
    return (
        f"events {{}}\nhttp {{\n  upstream servers {{\n{backends}  }}\n  server {{\n    listen {port};\n"
        "    location / {\n      proxy_pass http://servers;\n      proxy_buffering off;\n"
        "      proxy_read_timeout 3600s;\n    }\n  }\n}\n"
    )
