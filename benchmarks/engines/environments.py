"""A virtual environment an engine, with its wheel and what its parser imports: no GPU, no CUDA packages."""

from __future__ import annotations

import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / ".engines"


@dataclass(frozen=True, slots=True)
class Environment:
    """``wheel``: installed without what it requires; ``packages``: what the parser needs of that."""

    engine: str
    wheel: str
    packages: tuple[str, ...]

    @property
    def python(self) -> Path:
        return FOLDER / self.engine / "bin" / "python"


_SGLANG = """
numpy orjson psutil pybase64 requests triton packaging pillow starlette msgspec pydantic pyzmq tqdm ipython aiohttp
"""
_VLLM = """
transformers tokenizers pydantic cloudpickle msgspec psutil pyzmq fastapi cachetools prometheus_client py-cpuinfo regex
openai openai_harmony aiohttp pillow sentencepiece protobuf tqdm blake3 einops gguf lark partial-json-parser pyyaml
requests tiktoken uvloop watchfiles setproctitle prometheus-fastapi-instrumentator numba mistral_common uvicorn
python-json-logger depyf xgrammar llguidance outlines_core lm-format-enforcer diskcache anthropic cbor2 pybase64
"""
ENVIRONMENTS = {
    "sglang": Environment("sglang", "sglang==0.5.23", tuple(_SGLANG.split())),
    "vllm": Environment("vllm", "vllm==0.33.0", tuple(_VLLM.split())),
}


def prepared(engine: str) -> Path:
    """The Python of the engine's environment, which is made where it is not there."""
    environment = ENVIRONMENTS[engine]
    done = FOLDER / engine / "installed"
    if not done.exists():
        print(f"{engine}: installing {environment.wheel}", file=sys.stderr, flush=True)
        venv.create(FOLDER / engine, with_pip=True)
        # the CPU build of torch, as constraints.txt has it
        pip(environment, "--constraint", str(ROOT / "constraints.txt"), "torch", *environment.packages)
        pip(environment, "--no-deps", environment.wheel)
        done.write_text(environment.wheel + "\n", encoding="utf-8")
    return environment.python


def pip(environment: Environment, *words: str) -> None:
    command = [str(environment.python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *words]
    subprocess.run(command, check=True)
