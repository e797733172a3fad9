"""A case from the options of a command line, without a file: one function for every command.

    case = case_from_options(CaseOptions(model="DeepSeek-V3", cluster="h200-hgx:32", engine="sglang", input="4k",
                                         output_tokens="1000", concurrency="512", tpot="50ms"))

The options are written into the document that a spec file would be (``document_of``), and read as one: the same
checks, the same messages with the option's name in place of the field's, and a plan's file tells the same case again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

from moewright.case.case import Case
from moewright.case.file.count_text import read_count
from moewright.case.file.files import read_mapping
from moewright.case.file.load import case_of, load
from moewright.case.options.named_cluster import cluster_of, split_cluster
from moewright.errors import SpecError

#: the file's name in a document that options made
COMMAND_LINE: Final = "command line"
#: field of the document → the option that sets it
_OPTIONS: Final = {
    "workload.input": "--input",
    "workload.output": "--output-tokens",
    "workload.concurrency": "--concurrency",
    "workload.rate": "--rate",
    "workload.requests": "--requests",
    "workload.prefix_cache_hit": "--prefix-hit",
    "workload.engine.name": "--engine",
    "workload.engine.version": "--engine-version",
    "workload.engine": "--engine",
    "workload.kind": "--kind",
    "workload.batch": "--batch",
    "workload.sequence": "--sequence",
    "limits.ttft": "--ttft",
    "limits.tpot": "--tpot",
    "objective": "--objective",
    "strategy": "--strategy",
    "routing": "--routing",
    "model": "MODEL",
    "model.precision": "--precision",
    "cluster": "--cluster",
}
_SERVING: Final = (
    "engine",
    "engine_version",
    "input",
    "output_tokens",
    "concurrency",
    "rate",
    "requests",
    "prefix_hit",
)
_PASS: Final = ("kind", "batch", "sequence")
#: of a serving workload alone, as the whole of it needs them
_LIMITS: Final = ("ttft", "tpot")


@dataclass(frozen=True, slots=True)
class CaseOptions:
    """What the command line gives, as texts; None: not given. ``kind``: forward, prefill or decode of a pass with
    ``batch`` and ``sequence``; a serving workload where ``input``, ``output_tokens`` or an engine are given."""

    model: str
    cluster: str | None = None
    engine: str | None = None
    engine_version: str | None = None
    input: str | None = None
    output_tokens: str | None = None
    concurrency: str | None = None
    rate: float | None = None
    requests: int | None = None
    prefix_hit: float | None = None
    ttft: str | None = None
    tpot: str | None = None
    objective: str | None = None
    strategy: str | None = None
    routing: str | None = None
    precision: str | None = None
    kind: str | None = None
    batch: str | None = None
    sequence: str | None = None

    @property
    def given(self) -> list[str]:
        """The names that are given, beside the model's."""
        return [f.name for f in fields(self) if f.name != "model" and getattr(self, f.name) is not None]


def option_of(name: str) -> str:
    """``output_tokens`` as the command line spells it."""
    return f"--{name.replace('_', '-')}"


def is_spec(first: str) -> bool:
    """Whether a command's first argument names a spec file: .yaml, .yml, .toml, or a .json that has a workload; else
    it is a model's name, its config.json or the folder of that."""
    file = Path(first)
    if file.suffix.lower() in (".yaml", ".yml", ".toml"):
        return True
    if file.suffix.lower() != ".json" or not file.is_file():
        return False
    try:
        content = read_mapping(file)
    except SpecError:
        return True  # read again with the message that it deserves
    return not {"model_type", "architectures"} & set(content)


def case_from(options: CaseOptions, own: tuple[str, ...] = ()) -> Case:
    """The case of a spec file, or of a model with options. ``own``: options that the command applies to a spec itself;
    any other beside a spec is refused by name. Raises SpecError."""
    if not is_spec(options.model):
        return case_from_options(options)
    for name in options.given:
        if name not in own:
            raise SpecError(
                f"is of a model named on the command line; {Path(options.model).name[:80]} says it itself",
                field=option_of(name),
            )
    return load(options.model)


def case_from_options(options: CaseOptions) -> Case:
    """The case that the options describe. Raises SpecError, which names the option."""
    document = document_of(options)
    try:
        return case_of(document, COMMAND_LINE)
    except SpecError as error:
        raise by_option(error) from None


def by_option(error: SpecError) -> SpecError:
    """An error in a document that options made, in the option that set it; any other as it is."""
    if error.file != COMMAND_LINE:
        return error
    field = error.field or ""
    while field and field not in _OPTIONS:
        field = field.rpartition(".")[0]
    if not field:
        return SpecError(error.problem, field=error.field)
    return SpecError(error.problem, field=_OPTIONS[field])


def document_of(options: CaseOptions) -> dict[str, Any]:
    """The document that a spec file with these options would hold. Raises SpecError for what is missing or does not
    go together."""
    if options.cluster is None:
        raise SpecError("is missing; a model without a spec file needs one, such as h200-hgx:32", field="--cluster")
    model: Any = options.model
    if options.precision is not None:
        model = {"name": options.model, "precision": options.precision}
    document: dict[str, Any] = {
        "model": model,
        "cluster": _cluster(options.cluster),
        "workload": _workload(options),
    }
    for name in ("strategy", "objective", "routing"):
        if getattr(options, name) is not None:
            document[name] = getattr(options, name)
    limits = {name: getattr(options, name) for name in _LIMITS if getattr(options, name) is not None}
    return {**document, "limits": limits} if limits else document


def _cluster(text: str) -> dict[str, Any]:
    name, gpus = split_cluster(text)
    cluster = cluster_of(name, gpus)
    section: dict[str, Any] = {"name": name, "gpus": cluster.gpus}
    if cluster.gpus > cluster.gpus_per_node and cluster.gpus_per_node < cluster.board:
        section["gpus_per_node"] = cluster.gpus_per_node
    return section


def _workload(options: CaseOptions) -> dict[str, Any]:
    serving = [n for n in _SERVING if getattr(options, n) is not None]
    of_pass = [n for n in _PASS if getattr(options, n) is not None]
    if serving and of_pass:
        raise SpecError(
            f"is of a single pass and contradicts {option_of(serving[0])}, which is of requests that an engine serves",
            field=option_of(of_pass[0]),
        )
    if of_pass:
        return _pass(options)
    for name in ("input", "output_tokens"):
        if getattr(options, name) is None:
            raise SpecError(
                "is missing; give --input, --output-tokens and --concurrency (requests that an engine serves), or "
                "--batch and --sequence (one pass)",
                field=option_of(name),
            )
    engine: dict[str, Any] = {"name": options.engine or "vllm"}
    if options.engine_version is not None:
        engine["version"] = options.engine_version
    workload: dict[str, Any] = {
        "kind": "serving",
        "input": read_count(options.input or "", "--input"),
        "output": read_count(options.output_tokens or "", "--output-tokens"),
        "engine": engine,
    }
    if options.concurrency is not None:
        workload["concurrency"] = counts(options.concurrency, "--concurrency")
    named = {"rate": options.rate, "requests": options.requests, "prefix_cache_hit": options.prefix_hit}
    return {**workload, **{name: value for name, value in named.items() if value is not None}}


def _pass(options: CaseOptions) -> dict[str, Any]:
    for name in _LIMITS:
        if getattr(options, name) is not None:
            raise SpecError("is of requests that an engine serves; a single pass has none", field=option_of(name))
    for name in ("batch", "sequence"):
        if getattr(options, name) is None:
            raise SpecError("is missing; a pass needs --batch and --sequence", field=option_of(name))
    return {
        "kind": options.kind or "forward",
        "batch": counts(options.batch or "", "--batch"),
        "sequence": read_count(options.sequence or "", "--sequence"),
    }


def counts(text: str, field: str) -> int | list[int] | str:
    """``64``, ``64,128,1k`` or ``auto``. Raises SpecError."""
    if text.strip() == "auto":
        return "auto"
    several = [read_count(part, field) for part in text.split(",")]
    return several[0] if len(several) == 1 else several


def options_of(values: Mapping[str, Any]) -> CaseOptions:
    """The options among ``values``, by name; others are left out."""
    names = {f.name for f in fields(CaseOptions)}
    return CaseOptions(**{name: value for name, value in values.items() if name in names})
