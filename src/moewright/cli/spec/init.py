"""``moewright init``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from moewright.cli.app import app
from moewright.cli.output import write_file
from moewright.cli.spec import case_options as o
from moewright.errors import SpecError

#: option → what is asked where it is not given, and what is meant by an empty answer
_QUESTIONS = {
    "model": ("Model (a catalogue name, a config.json, a Hugging Face id)", "DeepSeek-V3"),
    "cluster": ("Cluster and GPUs", "h200-hgx:8"),
    "engine": ("Engine (vllm, sglang, trtllm)", "vllm"),
    "input": ("Tokens of a prompt", "4k"),
    "output_tokens": ("Tokens of an answer", "1k"),
    "concurrency": ("Concurrency, requests open at once (a number, a list, auto)", "auto"),
}


@app.command()
def init(
    model: Annotated[str | None, typer.Argument(help="A model's name.", autocompletion=o.complete_models)] = None,
    cluster: o.Cluster = None,
    engine: o.EngineName = None,
    engine_version: o.EngineVersion = None,
    input_tokens: o.Input = None,
    output_tokens: o.OutputTokens = None,
    concurrency: o.Concurrency = None,
    rate: o.RequestRate = None,
    ttft: o.Ttft = None,
    tpot: o.Tpot = None,
    objective: o.ObjectiveName = None,
    strategy: o.StrategyText = None,
    routing: o.RoutingText = None,
    precision: o.PrecisionText = None,
    kind_name: o.KindName = None,
    batch: o.BatchText = None,
    sequence: o.SequenceText = None,
    output: Annotated[Path | None, typer.Option(help="Write there instead of printing.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Write over a file that is there.")] = False,
) -> None:
    """Write a commented spec file: by options, and by a few questions on a terminal for what they leave open."""
    given: dict[str, Any] = {**locals(), "input": input_tokens, "kind": kind_name}
    from moewright.case.options.commented_spec import commented_spec
    from moewright.case.options.from_options import case_from_options, document_of, options_of

    if output is not None and output.suffix.lower() not in (".yaml", ".yml"):
        raise SpecError(f"ends in {output.suffix or 'nothing'!r}; expected .yaml", file=str(output), field="--output")
    if output is not None and output.exists() and not force:
        raise SpecError("is there already; --force writes over it", file=str(output), field="--output")
    _ask(given)
    options = options_of({**given, "model": given["model"] or ""})
    case_from_options(options)  # what does not go together is told before anything is written
    text = commented_spec(document_of(options))
    if output is None:
        typer.echo(text, nl=False)
    else:
        write_file(output, text)
        typer.echo(f"moewright: wrote {output}", err=True)


def _ask(given: dict[str, Any]) -> None:
    """Put answers in for what is not given, on a terminal; elsewhere a missing model is an error."""
    asked = [name for name in _QUESTIONS if given[name] is None]
    if any(given[n] is not None for n in ("kind", "batch", "sequence")):
        asked = [name for name in asked if name in ("model", "cluster")]
    if given["rate"] is not None:
        asked = [name for name in asked if name != "concurrency"]
    if not sys.stdin.isatty():
        if given["model"] is None:
            raise SpecError("is missing; questions are asked on a terminal alone", field="MODEL")
        return
    for name in asked:
        question, usual = _QUESTIONS[name]
        given[name] = typer.prompt(question, default=usual, err=True)
