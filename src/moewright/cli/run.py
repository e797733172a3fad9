"""``moewright run``."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from moewright.cli.app import Json, app
from moewright.cli.output import (
    Format,
    FormatOption,
    OutputOption,
    deliver,
    format_of,
    made_by,
    progress,
    write_file,
)
from moewright.errors import SpecError

if TYPE_CHECKING:
    from moewright.case.case import Case
    from moewright.report.html.report_record import Report


class Precisions(StrEnum):
    AUTO = "auto"
    FP32 = "fp32"
    BF16 = "bf16"
    FP16 = "fp16"


class Eights(StrEnum):
    AUTO = "auto"
    ON = "on"
    OFF = "off"


class Devices(StrEnum):
    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


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
    fp8: Annotated[
        Eights, typer.Option(help="FP8 weights multiplied as FP8; auto: where the device's FP8 units pass a trial.")
    ] = Eights.AUTO,
    device: Annotated[
        Devices, typer.Option(help="auto: CUDA where there is one, for one rank or under torchrun.")
    ] = Devices.AUTO,
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
    form: FormatOption = None,
    output: OutputOption = None,
) -> None:
    """Execute a plan on process groups, and verify it against the unsharded model.

    Ranks are forked on this machine's CPUs; torchrun -m moewright.run PLAN starts them elsewhere.
    """
    from moewright.planning.read_plan import read
    from moewright.run.run_error import RunError

    _check(bool(generate or prompt or prompt_ids), temperature, top_p, stop, timeout)
    kind = format_of(as_json, form, output)
    if (trained := _training_case(source)) is not None:
        _train(
            trained,
            {"--prompt": prompt, "--prompt-ids": prompt_ids, "--profile": profile},
            (kind, output),
            seed,
            timeout,
        )
        return
    prompts: list[str | list[int]] = [*map(_text, prompt or []), *map(_ids, prompt_ids or [])]
    with progress(f"Planning {source.name[:60]}") as planned:
        case, best = read(source, planned)
    try:
        from moewright.run import execute
        from moewright.run.model.sampling import Sampling
        from moewright.run.model.text import stop_ids
        from moewright.run.options import Options
    except ModuleNotFoundError as error:
        raise RunError(f"run needs {error.name}: pip install 'moewright[run]'") from None
    if prompts and not generate:
        generate = 32
    options = Options(
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
        fp8=str(fp8),
    )
    with (
        _stream(case, generate, kind is not Format.TERMINAL or output is not None) as tell,
        progress(f"Running on {best.gpus} ranks", tell is None) as tick,
    ):
        ran = execute.run(case, best, options, tell, tick)
    if ran is None:  # a rank other than 0
        return
    if profile is not None:
        from moewright.run.bench.timeline_file import files

        _make_folder(profile)
        for path, content in files(profile, case, best, ran).items():
            write_file(path, content, "--profile")
    _show(ran.report.to_dict(), kind, output)
    if verify and not ran.report.verified:
        raise typer.Exit(1)


def _show(plain: dict[str, Any], kind: Format, output: Path | None) -> None:
    """Print or write the report of a run."""
    from moewright.report.run_page import run_sections

    def page() -> Report:
        from moewright.report.html.run_report import run_report

        return run_report(plain, made_by())

    deliver(kind, output, lambda: plain, lambda: run_sections(plain), page)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SpecError(f"cannot be made: {error.strerror}", file=str(folder), field="--profile") from None


def _training_case(source: Path) -> Case | None:
    """The case of a spec file, where it is one of training."""
    from moewright.case.file.load import load

    case = None if source.suffix.lower() == ".json" else load(source)
    return case if case is not None and case.training is not None else None


def _train(
    case: Case, given: dict[str, object], written: tuple[Format, Path | None], seed: int, timeout: float
) -> None:
    """One training step of the spec's best layout on forked ranks, against the unsharded model."""
    from moewright.report.training.step_page import step_report, step_sections
    from moewright.run.run_error import RunError
    from moewright.training.plan_training import plan_training, training_of
    from moewright.training.stages.step_memory import step_memory
    from moewright.training.stages.step_traffic import step_traffic

    for field, value in given.items():
        if value:
            raise SpecError("is of a pass; a training step has none", field=field)
    training = training_of(case)
    with progress(f"Planning a step of {case.model.name}") as planned:
        strategy = plan_training(case, top=0, progress=planned).best.strategy
    layers = strategy.layers or ()
    try:
        from moewright.run.train.verify_step import verify_step
    except ModuleNotFoundError as error:
        raise RunError(f"run needs {error.name}: pip install 'moewright[run]'") from None
    with progress(f"Training a step on {strategy.gpus} ranks"):
        measured = verify_step(case.model, strategy, training, layers, seed, timeout)
    predicted = step_traffic(case, training, strategy, layers)
    memory = step_memory(case, training, strategy, layers, measured.copies)
    report = {
        "strategy": strategy.to_dict(),
        **step_report(measured.to_dict(), predicted, memory, strategy.gpus // strategy.pp),
    }
    name = f"{case.model.name}, {strategy.name}"

    def page() -> Report:
        from moewright.report.html.run_report import step_report_page

        return step_report_page(report, name, made_by())

    deliver(*written, lambda: report, lambda: step_sections(report, name), page)
    if not report["verified"]:
        raise typer.Exit(1)


def _check(generates: bool, temperature: float, top_p: float, stop: list[int] | None, timeout: float) -> None:
    """Raises SpecError for options that mean nothing, alone or where nothing is generated."""
    if not 0 < top_p <= 1:
        raise SpecError(f"got {top_p:g}; expected above 0 to 1", field="--top-p")
    for field, value, most in (("--temperature", temperature, 100), ("--timeout", timeout, 1e9)):
        if not value <= most:  # nor a number that is none
            raise SpecError(f"got {value:g}; expected at most {most:g}", field=field)
    if stop and min(stop) < -1:
        raise SpecError(f"got {min(stop)}; expected token ids, or -1 for none", field="--stop")
    given = {"--temperature": temperature or None, "--top-p": top_p if top_p < 1 else None, "--stop": stop or None}
    for field, found in given.items():
        if found is not None and not generates:
            shown = " ".join(map(str, found)) if isinstance(found, list) else f"{found:g}"
            raise SpecError(f"got {shown} where nothing is generated; expected --generate N or --prompt", field=field)


def _text(text: str) -> str:
    if not text:
        raise SpecError("got ''; expected a text of one character at least", field="--prompt")
    return text


def _ids(text: str) -> list[int]:
    parts = text.split(",") if "," in text else text.split()
    try:
        ids = [int(part) for part in parts]
    except ValueError:
        ids = []
    if not ids:
        raise SpecError(f"got {text[:60]!r}; expected token ids such as 1,2,3", field="--prompt-ids")
    return ids


@contextmanager
def _stream(case: Case, generate: int, quiet: bool) -> Iterator[Callable[[int, dict[int, int]], None] | None]:
    """On a terminal, what rank 0 learns of the first sequence as it comes; nothing in a pipe."""
    if not generate or quiet or not sys.stdout.isatty():
        yield None
        return
    from moewright.run.model.text import Tokenizer

    tokenizer = Tokenizer.of(case.model)
    ids: list[int] = []
    shown = [""]

    def tell(step: int, found: dict[int, int]) -> None:
        if 0 not in found:
            return
        if not ids:
            sys.stdout.write("Text 0, as it comes:\n")
        ids.append(found[0])
        text = tokenizer.decode(ids) if tokenizer else " ".join(map(str, ids))
        if not text.endswith("\ufffd"):  # the rest of a character is still to come
            sys.stdout.write(text[len(shown[0]) :])
            sys.stdout.flush()
            shown[0] = text

    yield tell
    sys.stdout.write("\n\n")
