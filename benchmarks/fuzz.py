"""Inputs that somebody broke: does every reader say so in one line, in seconds, within memory?

Run: python -m benchmarks.fuzz [--inputs N] [--seed S] [--reader NAME] [--seconds LIMIT]. Files that are as they should
be are changed (a value replaced, dropped or nested; bytes flipped, cut, doubled), and read in processes of their own.
Counted is what is neither read nor refused with one of the package's errors: tracebacks, more than 10 s, more than
2 GB. Every such input is kept under the folder that is printed.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import random
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from moewright.errors import MoewrightError

ROOT = Path(__file__).parents[1]
#: what no input may take
MOST_SECONDS, MOST_BYTES = 10, 2 << 30
#: values that stand where others are expected
EVIL: tuple[Any, ...] = (
    *(None, True, False, "", "1", "x" * 5000, "\0", "é" * 40, "../../etc/passwd", "1e400", "nan", "0x10"),
    *(-1, 0, 1, 2, 3, 7, 8.9, 1e308, float("inf"), float("nan"), 1 << 31, 1 << 63, 1 << 70, 3_000_000_000_000, 10**40),
    *([], {}, [[]], [None], {"": None}, [1, 2, 3], ["a"], {"a": {"b": {"c": 1}}}, [[[[[[1]]]]]], [0] * 3000),
)


#: readers that take long are drawn less often
_WEIGHTS = {"document": 0.03, "command": 0.3, "reading": 0.1}


@dataclass(frozen=True, slots=True)
class Reader:
    """A reader of files: its name, good contents by the file's name, and what reads one."""

    name: str
    seeds: tuple[tuple[str, bytes], ...]
    read: Callable[[Path], object]


@dataclass(frozen=True, slots=True)
class Found:
    """What an input did that none may: ``kind`` traceback, slow or memory."""

    reader: str
    kind: str
    detail: str
    content: bytes


# --- readers ---


def readers(folder: Path) -> list[Reader]:
    """Every reader, with its good inputs; ``folder`` for what they need beside themselves."""
    specs = tuple(
        (f.name, f.read_bytes())
        for f in sorted((ROOT / "examples").glob("*.yaml"))
        if not f.name.startswith(("deepseek-v3-decode", "qwen3"))
    )
    table = "layer,0,1\n1,2,3,4\n5,6,7,8\n"
    found = [
        Reader("spec", specs, _spec),
        Reader("spec toml", (("s.toml", _TOML),), _spec),
        Reader("plan", tuple(_plans()), _plan),
        Reader("launch", tuple(_plans()), _launch),
        Reader("config", tuple(_configs()), _config),
        Reader(
            "loads", (("l.json", b"[[1,2,3,4],[5,6,7,8]]"), ("l.csv", table[10:].encode()), *_arrays(folder)), _loads
        ),
        Reader("recording", tuple(_recordings()), _loads),
        Reader("placement", tuple(_placements()), _previous),
        Reader("trace", (("t.csv", b"arrival,input,output\n0,8,4\n1.5,9,3\n"), ("t.jsonl", _JSONL)), _trace),
        Reader("rows", _data("*.csv"), _rows),
        Reader("results", (("r.json", _RESULTS),), _results),
        Reader("document", tuple(_documents()), _document),
        Reader("reading", (("r.yaml", _READING),), _reading),
        Reader("command", (("c.sh", (ROOT / "examples/vllm-deepseek.sh").read_bytes()),), _command),
    ]
    return [*found, *_of_run()]


_TOML = b"""model = "mixtral-8x7b"
workload = {kind = "decode", batch = 8, sequence = 128}
[cluster]
name = "h200-hgx"
gpus = 8
"""
_JSONL = b'{"arrival": 0, "input": 8, "output": 4}\n{"arrival": 1.5, "input": 9, "output": 3}\n'
_READING = json.dumps(
    {
        "reader": "fuzz",
        "premises": [
            {"field": "model.name", "value": "Mixtral-8x7B", "line": 1},
            {"field": "cluster.gpus", "value": 128, "line": 4},
            {"field": "model.layers", "value": "16", "line": 12},
            {"field": "strategy.ep", "value": 64, "line": 41},
            {"field": "model.precision", "value": "FP8", "line": 14},
        ],
        "configurations": {"b": [{"field": "strategy.ep", "value": 8}, {"field": "strategy.tp", "value": 2}]},
        "let": {"token": "2 * 16 * 64 * 2 B"},
        "claims": [
            {"line": 64, "value": "69MB", "quantity": "memory.total", "per": ["gpu"], "id": "all"},
            {"line": 65, "value": "0.11 %", "expression": "{all} / 64 GB", "configuration": "b"},
            {"line": 78, "value": "~20MB", "relation": "<=", "expression": "{token} * {model.layers} ^ 2 * 1,024"},
            {"line": 113, "value": "64us", "relation": "~", "expression": "(50 us + 14 us) * (1 - 2 %)"},
            {"line": 4, "value": "128", "quantity": "count.experts", "per": "gpu"},
        ],
    }
).encode()
_RESULTS = json.dumps(
    {
        "backend": "vllm", "model_id": "m", "num_prompts": 8, "max_concurrency": 4, "duration": 10.0, "completed": 8,
        "total_input_tokens": 800, "total_output_tokens": 400, "request_throughput": 0.8, "output_throughput": 40.0,
        "mean_ttft_ms": 100.0, "mean_tpot_ms": 20.0, "median_ttft_ms": 90.0, "p99_ttft_ms": 200.0,
    }
).encode()  # fmt: skip


def _plans() -> Iterator[tuple[str, bytes]]:
    from moewright.case.file.load import load
    from moewright.planning.search import plan

    for name in ("paper-8-ranks", "mixtral-8x7b"):
        plain = plan(load(ROOT / "examples" / f"{name}.yaml"), top=1).to_dict()
        yield f"{name}.json", json.dumps(plain).encode()


def _configs() -> Iterator[tuple[str, bytes]]:
    small = {"hidden_size": 64, "vocab_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4}
    experts = {"num_experts_per_tok": 2, "moe_intermediate_size": 32, "num_key_value_heads": 2, "intermediate_size": 64}
    kinds = {
        "mixtral": {"num_local_experts": 8},
        "qwen3_moe": {"num_experts": 8, "head_dim": 16},
        "deepseek_v3": {
            "n_routed_experts": 8, "kv_lora_rank": 16, "q_lora_rank": 24, "qk_nope_head_dim": 8, "qk_rope_head_dim": 8,
            "v_head_dim": 8, "n_group": 2, "topk_group": 1, "first_k_dense_replace": 1, "n_shared_experts": 1,
            "quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 128]},
        },
        "gpt_oss": {
            "num_local_experts": 8, "sliding_window": 16, "layer_types": ["sliding_attention", "full_attention"],
        },
    }  # fmt: skip
    for kind, more in kinds.items():
        yield "config.json", json.dumps({"model_type": kind, **small, **experts, **more}).encode()


def _arrays(folder: Path) -> Iterator[tuple[str, bytes]]:
    import numpy as np

    np.save(folder / "seed.npy", np.arange(8.0).reshape(2, 4))
    np.savez(folder / "seed.npz", loads=np.arange(8.0).reshape(2, 4))
    yield from ((f"l{e}", (folder / f"seed{e}").read_bytes()) for e in (".npy", ".npz"))


def _recordings() -> Iterator[tuple[str, bytes]]:
    slots = [[0, 1, 2, 3, 0, 1], [3, 2, 1, 0, 2, 3]]
    for plain in (
        {"logical_count": [[[1, 2, 3, 4], [4, 3, 2, 1]]]},
        {"records": [{"global_physical_count": [[1, 2, 3, 4, 5, 6]] * 2}], "last_physical_to_logical_map": slots},
        {"records": [{"topk_ids_of_layer": [[[0, 1], [2, -1]]] * 2}], "last_physical_to_logical_map": slots},
        {"expert_load_window": [[[1, 2, 3, 4, 5, 6]] * 2], "physical_to_logical_map": slots},
        {"routed_experts": [[[0, 1], [2, 3]], [[1, 2], [3, 0]]]},
    ):
        yield "recording.json", json.dumps(plain).encode()


def _placements() -> Iterator[tuple[str, bytes]]:
    import moewright

    made = moewright.place([[4.0, 3.0, 2.0, 1.0]] * 2, slots=6, gpus=2)
    yield "placement.json", json.dumps(made.to_dict()).encode()


def _documents() -> Iterator[tuple[str, bytes]]:
    for file in (ROOT / "examples/strategy-ep64-tp2.md", *sorted((ROOT / "tests/audit/documents").glob("*.md"))):
        yield "d.md", file.read_bytes()


def _data(pattern: str) -> tuple[tuple[str, bytes], ...]:
    found = []
    for file in sorted((ROOT / "benchmarks" / "data").glob(pattern))[:6]:
        found.append((file.name, b"".join(file.read_bytes().splitlines(keepends=True)[:6])))
    return tuple(found) or (("x.csv", b"backend,system\nvllm,h100_sxm\n"),)


def _spec(path: Path) -> object:
    from moewright.case.file.load import load

    return load(path)


def _plan(path: Path) -> object:
    from moewright.planning.read_plan import read

    return read(path)


def _launch(path: Path) -> object:
    from moewright.launch.read_launch import read_case

    return read_case(path)


def _config(path: Path) -> object:
    from moewright.case.huggingface.config import read_config
    from moewright.case.tensors.layer_tensors import total_parameters

    return total_parameters(read_config(path))


def _loads(path: Path) -> object:
    from moewright.case.loads.read_loads import read_loads

    return read_loads(path, idle=True)


def _previous(path: Path) -> object:
    import moewright

    return moewright.place([[4.0, 3.0, 2.0, 1.0]] * 2, slots=6, gpus=2, previous=path, moves=2)


def _trace(path: Path) -> object:
    from moewright.case.loads.trace import read_trace

    return read_trace(path, path.name, "spec.yaml")


def _rows(path: Path) -> object:
    from moewright.serving.validation.rows import read_rows
    from moewright.training.validation.measured_steps import is_training_table, read_steps

    return read_steps(path) if is_training_table(path) else read_rows(path)


def _results(path: Path) -> object:
    from moewright.serving.calibration.benchmark_files import read_results

    return read_results(path)


def _document(path: Path) -> object:
    from moewright.audit.audit_document import audit

    return audit(path)


def _reading(path: Path) -> object:
    from moewright.audit.text.document import parse
    from moewright.audit.typed.typed_audit import audit_reading
    from moewright.audit.typed.typed_reading import read_reading

    document = parse((ROOT / "examples/strategy-ep64-tp2.md").read_text(), "d.md")
    return audit_reading(document, read_reading(path, document.lines), {}, str(path), ())


def _command(path: Path) -> object:
    from moewright.case.bounded_file import decoded, read_bounded
    from moewright.doctor.diagnose import Question, diagnose

    text = decoded(read_bounded(path, 1 << 20, "a command", "command"), path)
    return diagnose(text, Question("h200-hgx", 8, folder=path.parent))


def _of_run() -> list[Reader]:
    """Readers of the executor, where torch is there."""
    try:
        from moewright.run.weights.safetensors_header import INDEX, read_entries
    except ImportError:
        return []

    header = json.dumps(
        {
            "__metadata__": {"format": "pt"},
            "a": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]},
            "b": {"dtype": "BF16", "shape": [4], "data_offsets": [16, 24]},
        }
    ).encode()
    index = {"metadata": {"total_size": 24}, "weight_map": {"a": "m.safetensors", "b": "m.safetensors"}}

    def weights(path: Path) -> object:
        if path.name == "header.json":  # its bytes are the header of a file
            raw = path.read_bytes()
            (path.parent / "m.safetensors").write_bytes(len(raw).to_bytes(8, "little") + raw + bytes(24))
        elif path.name == INDEX:
            (path.parent / "m.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(24))
        return read_entries(path.parent)

    def generation(path: Path) -> object:
        from moewright.case.huggingface.config import read_config
        from moewright.run.model.text import stop_ids

        (path.parent / "config.json").write_bytes(next(iter(_configs()))[1])
        return stop_ids(read_config(path.parent / "config.json"))

    whole = len(header).to_bytes(8, "little") + header + bytes(24)
    return [
        Reader(
            "weights",
            (("header.json", header), (INDEX, json.dumps(index).encode()), ("m.safetensors", whole)),
            weights,
        ),
        Reader("generation", (("generation_config.json", b'{"eos_token_id": [1, 2], "do_sample": true}'),), generation),
    ]


# --- changes ---


def changed(rng: random.Random, name: str, content: bytes) -> bytes:
    """``content`` of the file ``name`` with something wrong in it."""
    ending = name.rpartition(".")[2]
    if ending in ("json", "yaml", "jsonl") and rng.random() < 0.75:
        try:
            plain = yaml.safe_load(content) if ending == "yaml" else json.loads(content)
        except (ValueError, yaml.YAMLError):
            return _bytes(rng, content)
        for _ in range(rng.choice((1, 1, 1, 2, 4))):
            plain = _value(rng, plain)
        try:
            return (yaml.safe_dump(plain) if ending == "yaml" else json.dumps(plain)).encode()
        except (ValueError, yaml.YAMLError):
            return _bytes(rng, content)
    if ending in ("csv", "md", "sh", "toml") and rng.random() < 0.6:
        return _words(rng, content)
    return _bytes(rng, content)


def _value(rng: random.Random, plain: Any) -> Any:
    """``plain`` with one value replaced, dropped, renamed or nested."""
    places: list[tuple[Any, Any]] = []

    def visit(inner: Any) -> None:
        for key, value in inner.items() if isinstance(inner, dict) else enumerate(inner):
            places.append((inner, key))
            if isinstance(value, dict | list):
                visit(value)

    plain = copy.deepcopy(plain)
    if not isinstance(plain, dict | list) or not plain:
        return rng.choice(EVIL)
    visit(plain)
    inner, key = rng.choice(places)
    what = rng.randrange(8)
    if what == 0:
        del inner[key]
    elif what == 1 and isinstance(inner, dict):
        inner[str(rng.choice(EVIL))[:60]] = inner.pop(key)
    elif what == 2:
        inner[key] = [inner[key]] * rng.choice((1, 2, 50))
    elif what == 3 and isinstance(inner[key], int | float):
        inner[key] = inner[key] * rng.choice((-1, 0.5, 1.5, 2, 10, 1000, 1e12)) + rng.choice((0, 1, -1))
    elif what == 4:
        inner[key] = str(inner[key])
    else:
        inner[key] = copy.deepcopy(rng.choice(EVIL))
    return plain


def _words(rng: random.Random, content: bytes) -> bytes:
    words = content.split(b" " if b"," not in content else b",")
    i = rng.randrange(len(words))
    what = rng.randrange(4)
    evil = str(rng.choice(EVIL)).encode(errors="replace")[:400]
    if what == 0:
        words[i] = evil
    elif what == 1:
        del words[i]
    elif what == 2:
        words.insert(i, words[rng.randrange(len(words))])
    else:
        words[i] = words[i] * rng.choice((2, 40))
    return (b" " if b"," not in content else b",").join(words)


def _bytes(rng: random.Random, content: bytes) -> bytes:
    out = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 8))):
        i = rng.randrange(len(out) + 1)
        what = rng.randrange(5)
        if what == 0 and i < len(out):
            out[i] ^= 1 << rng.randrange(8)
        elif what == 1:
            del out[i : i + rng.choice((1, 4, 64))]
        elif what == 2:
            out[i:i] = bytes(rng.randrange(256) for _ in range(rng.choice((1, 4))))
        elif what == 3:
            out = out[:i] or bytearray(b" ")
        else:
            out[i:i] = out[max(0, i - 40) : i] * rng.choice((1, 3, 60))
    return bytes(out)


# --- one input ---


class _Slow(BaseException):
    pass


def judge(reader: Reader, folder: Path, name: str, content: bytes, seconds: float = MOST_SECONDS) -> Found | None:
    """Read ``content`` as a file ``name``; what it did that none may."""
    path = folder / name
    path.write_bytes(content)

    def late(*_: object) -> None:
        raise _Slow

    # of the processor's time; what only waits has four times as long
    before = signal.signal(signal.SIGALRM, late), signal.signal(signal.SIGPROF, late)
    signal.setitimer(signal.ITIMER_REAL, 4 * seconds)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        reader.read(path)
    except MoewrightError as error:
        text = " ".join(str(error).split())
        return None if 0 < len(text) < 3000 else Found(reader.name, "message", text[:200], content)
    except _Slow:
        where = "".join(traceback.format_exc().splitlines(keepends=True)[-8:-1])
        return Found(reader.name, "slow", where[-500:], content)
    except MemoryError:
        return Found(reader.name, "memory", _where(), content)
    except Exception as error:
        return Found(reader.name, "traceback", f"{type(error).__name__}: {str(error)[:100]} at {_where()}", content)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGALRM, before[0])
        signal.signal(signal.SIGPROF, before[1])
    return None


def _where() -> str:
    frames = traceback.extract_tb(sys.exc_info()[2])
    return " < ".join(f"{Path(f.filename).name}:{f.lineno} {f.name}" for f in reversed(frames[-4:]))


def fuzz(wanted: list[str], inputs: int, seed: int, tell: Callable[[int], None] = lambda n: None) -> Iterator[Found]:
    """``inputs`` inputs over the readers ``wanted`` (all where none), drawn with ``seed``."""
    with tempfile.TemporaryDirectory(prefix="moewright-fuzz-") as top:
        folder = Path(top)
        every = [r for r in readers(folder) if not wanted or r.name in wanted]
        rng = random.Random(seed)
        weights = [_WEIGHTS.get(r.name, 1.0) for r in every]
        for i in range(inputs):
            reader = rng.choices(every, weights)[0]
            name, content = rng.choice(reader.seeds)
            inner = folder / str(i % 64)
            inner.mkdir(exist_ok=True)
            for old in inner.iterdir():
                old.unlink()
            found = judge(reader, inner, name, changed(rng, name, content))
            if found is not None:
                yield found
            tell(i + 1)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=100_000, help="over all readers")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--reader", action="append", default=[], help="of this one only")
    options = parser.parse_args(arguments)
    start, kept, count = time.monotonic(), Path(tempfile.mkdtemp(prefix="moewright-found-")), Counter[str]()

    done = 0

    def tell(now: int) -> None:
        nonlocal done
        done = now
        if sys.stderr.isatty() and done % 200 == 0:
            print(f"\r{done} of {options.inputs}", end="", file=sys.stderr)

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ended early, it tells what it has done
    os.environ["OMP_NUM_THREADS"] = "1"
    shown: set[str] = set()
    try:
        resource.setrlimit(resource.RLIMIT_AS, (MOST_BYTES + (6 << 30), resource.RLIM_INFINITY))
        for found in fuzz(options.reader, options.inputs, options.seed, tell):
            count[found.kind] += 1
            (kept / f"{found.reader.replace(' ', '-')}-{sum(count.values())}").write_bytes(found.content)
            if found.detail not in shown:
                shown.add(found.detail)
                print(f"{found.reader}: {found.kind}: {found.detail}", flush=True)
    except KeyboardInterrupt:
        pass
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(
        f"{done} inputs in {time.monotonic() - start:.0f} s: {sum(count.values())} not refused as they should be "
        f"({dict(count)}), {peak / 1e9:.2f} GB at most{f'; kept in {kept}' if count else ''}"
    )
    return 1 if count or peak > MOST_BYTES else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
