"""The command line: one function per verb, no logic. Everything else is imported when a verb runs."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from moewright.errors import MoewrightError, SpecError

if TYPE_CHECKING:
    from moewright.plan.plan import Result
    from moewright.report.blocks import Section
    from moewright.spec.case import Case
    from moewright.spec.strategy import StrategySpec

app = typer.Typer(
    name="moewright",
    help="Lay a Mixture-of-Experts transformer out over a GPU cluster, with every number derived and checked.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


class Format(StrEnum):
    TERMINAL = "terminal"
    MARKDOWN = "markdown"
    JSON = "json"


class Precisions(StrEnum):
    AUTO = "auto"
    FP32 = "fp32"
    BF16 = "bf16"
    FP16 = "fp16"


class Devices(StrEnum):
    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


Json = Annotated[bool, typer.Option("--json", help="Print one JSON object (SI units).")]
Name = Annotated[str | None, typer.Argument(help="One of them, to be explained.")]


@app.callback(invoke_without_command=True)
def _root(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        from moewright import __version__

        typer.echo(f"moewright {__version__}")
        raise typer.Exit


@app.command()
def plan(
    spec: Annotated[Path, typer.Argument(help="A spec file: .yaml, .toml or .json.")],
    as_json: Json = False,
    form: Annotated[Format | None, typer.Option("--format", help="How the report is written.")] = None,
    output: Annotated[Path | None, typer.Option(help="Write there (.md, .json: in that format) instead.")] = None,
    compare: Annotated[
        list[str] | None,
        typer.Option(help="Why does this one lose? dp=64,tp=2,ep=64,etp=2, a name as printed, or a spec file."),
    ] = None,
    top: Annotated[int, typer.Option(min=0, max=100, help="Alternatives to show.")] = 5,
    ranks: Annotated[int, typer.Option(min=0, help="Ranks of the layout to show, beside the last.")] = 4,
) -> None:
    """Find the best parallel strategy for SPEC, derive every number, and check it."""
    from moewright.plan.search import plan as search
    from moewright.spec.load import load

    kind = _format(as_json, form, output)
    case = load(spec)
    wanted = [_compared(text, case) for text in compare or []]
    with _progress(f"{case.model.name} on {case.cluster.gpus} GPUs") as progress:
        result = search(case, wanted, top, progress)
    _write(_report(result, kind, output, ranks), output)


@app.command()
def run(
    source: Annotated[Path, typer.Argument(metavar="PLAN_OR_SPEC", help="What `plan --json` wrote, or a spec file.")],
    as_json: Json = False,
    verify: Annotated[bool, typer.Option(help="Compare with the unsharded model and the plan's bytes.")] = True,
    seed: Annotated[int, typer.Option(help="Of random weights, inputs and sampling.")] = 0,
    weights: Annotated[
        str, typer.Option(help="A folder of safetensors, random, or auto: the model's folder if it has any.")
    ] = "auto",
    precision: Annotated[Precisions, typer.Option(help="auto: fp32 on CPUs, else the model's.")] = Precisions.AUTO,
    device: Annotated[Devices, typer.Option(help="auto: CUDA where there is one.")] = Devices.AUTO,
    prompt: Annotated[list[str] | None, typer.Option(help="A text to go on from (several: a batch).")] = None,
    prompt_ids: Annotated[list[str] | None, typer.Option(help="Token ids to go on from: 1,2,3.")] = None,
    generate: Annotated[int, typer.Option(min=0, max=1_000_000, help="Tokens to generate for each prompt.")] = 0,
    temperature: Annotated[float, typer.Option(min=0, max=100, help="0: the likeliest token.")] = 0.0,
    top_p: Annotated[float, typer.Option(min=0, max=1, help="Draw from the likeliest tokens of this share.")] = 1.0,
    stop: Annotated[
        list[int] | None, typer.Option(help="Token ids that end a text (default: the model's); −1: none.")
    ] = None,
    profile: Annotated[
        Path | None, typer.Option(help="A folder for trace.json (Perfetto) and loads.json (routing: of a spec).")
    ] = None,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds until a run that is not done is ended.")] = 900.0,
) -> None:
    """Execute a plan on process groups, and verify it against the unsharded model.

    Ranks are forked on this machine's CPUs; torchrun -m moewright.run PLAN starts them elsewhere.
    """
    from moewright.plan.file import read

    case, best = read(source)
    try:
        from moewright.run import execute
        from moewright.run.sampling import Sampling
        from moewright.run.text import stop_ids
    except ModuleNotFoundError as error:
        raise MoewrightError(f"run needs {error.name}: pip install 'moewright[run]'") from None
    prompts: list[str | list[int]] = [*(prompt or []), *map(_ids, prompt_ids or [])]
    if prompts and not generate:
        generate = 32
    options = execute.Options(
        seed=seed,
        timeout=timeout,
        weights=weights,
        precision=str(precision),
        device=str(device),
        verify=verify,
        prompts=prompts,
        generate=generate,
        sampling=Sampling(temperature, top_p),
        stop=([s for s in stop if s >= 0] if stop else stop_ids(case.model)) if generate else (),
        trace=profile is not None,
    )
    with _stream(case, generate, as_json) as tell:
        ran = execute.run(case, best, options, tell)
    if ran is None:  # a rank other than 0
        return
    if profile is not None:
        from moewright.run.profile import files

        try:
            profile.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SpecError(f"cannot be made: {error.strerror}", file=str(profile), field="--profile") from None
        for path, content in files(profile, case, best, ran).items():
            write_file(path, content, "--profile")
    if as_json:
        _print_json(ran.report.to_dict())
    else:
        from moewright.report.run import run_sections
        from moewright.report.terminal import show

        show(run_sections(ran.report.to_dict()))
    if verify and not ran.report.verified:
        raise typer.Exit(1)


def _ids(text: str) -> list[int]:
    try:
        return [int(part) for part in text.replace(",", " ").split()]
    except ValueError:
        raise SpecError(f"got {text[:60]!r}; expected token ids such as 1,2,3", field="--prompt-ids") from None


@contextmanager
def _stream(case: Case, generate: int, quiet: bool) -> Iterator[Callable[[int, dict[int, int]], None] | None]:
    """On a terminal, what rank 0 learns of the first sequence as it comes; nothing in a pipe."""
    if not generate or quiet or not sys.stdout.isatty():
        yield None
        return
    from moewright.run.text import Tokenizer

    tokenizer, ids = Tokenizer.of(case.model), []
    shown = [""]

    def tell(step: int, found: dict[int, int]) -> None:
        if 0 not in found:
            return
        ids.append(found[0])
        text = tokenizer.decode(ids) if tokenizer else " ".join(map(str, ids))
        if not text.endswith("\ufffd"):  # the rest of a character is still to come
            sys.stdout.write(text[len(shown[0]) :])
            sys.stdout.flush()
            shown[0] = text

    yield tell
    sys.stdout.write("\n\n")


@app.command()
def schema() -> None:
    """Print the JSON Schema of a spec file, for editors."""
    from moewright.spec.schema import schema as of_spec

    _print_json(of_spec())


@app.command()
def models(name: Name = None, as_json: Json = False) -> None:
    """List the models of the catalogue, or explain one."""
    from moewright.report import catalogue

    _catalogue(name, as_json, catalogue.list_models, catalogue.explain_model)


@app.command()
def devices(name: Name = None, as_json: Json = False) -> None:
    """List the devices of the catalogue, or explain one."""
    from moewright.report import catalogue

    _catalogue(name, as_json, catalogue.list_devices, catalogue.explain_device)


@app.command()
def clusters(name: Name = None, as_json: Json = False) -> None:
    """List the clusters of the catalogue, or explain one."""
    from moewright.report import catalogue

    _catalogue(name, as_json, catalogue.list_clusters, catalogue.explain_cluster)


def _catalogue(
    name: str | None,
    as_json: bool,
    several: Callable[[], tuple[Any, Section]],
    one: Callable[[str], tuple[Any, Section]],
) -> None:
    plain, section = several() if name is None else one(name)
    if as_json:
        _print_json(plain)
    else:
        from moewright.report.terminal import show

        show([section])


def _print_json(value: Any) -> None:
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False))


def _format(as_json: bool, form: Format | None, output: Path | None) -> Format:
    """The format asked for; a file's ending tells it where nothing else does."""
    if as_json and form not in (None, Format.JSON):
        raise SpecError(f"contradicts --format {form}", field="--json")
    if as_json or form:
        return Format.JSON if as_json else form or Format.TERMINAL
    endings = {".md": Format.MARKDOWN, ".json": Format.JSON}
    return endings.get(output.suffix.lower(), Format.TERMINAL) if output else Format.TERMINAL


def _compared(text: str, case: Case) -> StrategySpec:
    """A strategy named on the command line."""
    from moewright.spec.strategy_text import parse_strategy

    if Path(text).suffix.lower() in (".yaml", ".yml", ".toml", ".json"):
        from moewright.spec.files import read_mapping
        from moewright.spec.load import strategy_of

        section = read_mapping(text).get("strategy")
        if section is None:
            raise SpecError("is missing; a file to compare with needs one", file=text, field="strategy")
        return strategy_of(section, text)
    return parse_strategy(text)


def _report(result: Result, kind: Format, output: Path | None, ranks: int) -> str | list[Section]:
    if kind is Format.JSON:
        return json.dumps(result.to_dict(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    from moewright.report.sections import sections

    found = sections(result, ranks)
    if kind is Format.MARKDOWN:
        from moewright.report.markdown import render

        return render(found)
    if output is None:
        return found
    import io

    from moewright.report.terminal import show

    stream = io.StringIO()
    show(found, stream)
    return stream.getvalue()


def _write(content: str | list[Section], output: Path | None) -> None:
    if isinstance(content, list):
        from moewright.report.terminal import show

        show(content)
    elif output is None:
        sys.stdout.write(content)
    else:
        write_file(output, content)


def write_file(path: Path, content: str, option: str = "--output") -> None:
    """Write ``path`` whole or not at all: a temporary file beside it, then a rename. Raises SpecError."""
    temporary = None
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(content)
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)
        os.replace(temporary, path)
    except OSError as error:
        if temporary:
            with suppress(OSError):
                os.unlink(temporary)
        raise SpecError(f"cannot be written: {error.strerror or error}", file=str(path), field=option) from None


@contextmanager
def _progress(what: str) -> Iterator[Callable[[float], None]]:
    """A progress bar on a terminal, once the work has taken half a second; nothing in a pipe."""
    if not (sys.stderr.isatty() and sys.stdout.isatty()):
        yield lambda share: None
        return
    start = time.monotonic()
    shown: list[Any] = []

    def tell(share: float) -> None:
        if not shown and time.monotonic() - start > 0.5:
            from rich.console import Console
            from rich.progress import Progress

            bar = Progress(console=Console(stderr=True), transient=True)
            shown.extend((bar, bar.add_task(f"Planning {what}", total=1.0)))
            bar.start()
        if shown:
            shown[0].update(shown[1], completed=share)

    try:
        yield tell
    finally:
        if shown:
            shown[0].stop()


def main() -> None:
    """Run the command line; a user's mistake is one line on stderr and an exit status."""
    try:
        app()
    except MoewrightError as error:
        line = " ".join(str(error).split())
        print(f"moewright: {line}", file=sys.stderr)
        sys.exit(error.exit_status)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
