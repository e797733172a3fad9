"""Random models of one family under random legal strategies, against transformers. A process of its own.

python truth.py FAMILY EXAMPLES
"""

import sys
import tempfile

import torch
from families import model
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import moewright
from moewright.case.case import Case
from moewright.case.cluster import Cluster, Device, Tier
from moewright.case.huggingface.config import read_config
from moewright.case.workload import Kind, Workload
from moewright.planning.space import space
from moewright.run.execute import run
from moewright.run.options import Options
from moewright.run.verification.verify import output_of

CPU = Device("cpu", {"fp32": 1e11}, 8e9, 1e10)


def case(folder, gpus, batch, length, kind):
    cluster = Cluster("c", gpus, gpus, CPU, Tier(1e9, 1e-5), Tier(1e8, 1e-4))
    return Case(read_config(folder), cluster, Workload(kind, (batch,), length), file="tiny")


def legal(data, c):
    """A legal strategy."""
    table = space(c).table
    if data.draw(st.integers(0, 3)) == 0 and (table.cp > 1).any():
        table = table.take(table.cp > 1)
    return table.row(data.draw(st.integers(0, len(table) - 1)))


def one(family, data):
    hf = model(family, lambda *choices: data.draw(st.sampled_from(choices)), data.draw(st.integers(0, 99)))
    gpus = data.draw(st.sampled_from([1, 1, 2, 4, 6, 8]))
    with tempfile.TemporaryDirectory() as folder:
        sharded = data.draw(st.booleans())
        hf.save_pretrained(folder, max_shard_size="20KB" if sharded else "1GB")
        c = case(folder, gpus, 8, 8, Kind.FORWARD)
        strategy, batch = legal(data, c)
        cp = strategy.attention.cp
        lengths = [data.draw(st.integers(2 * cp if cp > 1 else 1, 11)) for _ in range(4)]
        plan = moewright.evaluate(c, strategy, batch)
        prompts = [torch.randint(hf.config.vocab_size, (n,)).tolist() for n in lengths]

        ran = run(c, plan, Options(timeout=60, prompts=prompts))
        assert ran.report.verified, (strategy.name, ran.report.failures)
        out, wanted = output_of(ran.job, ran.outcomes, (len(ran.job.prompts), max(lengths), hf.config.vocab_size))
        for i, prompt in enumerate(prompts):
            logits = hf(torch.tensor([prompt])).logits[0]
            assert wanted[i, : len(prompt)].all()
            error = float((out[i, : len(prompt)] - logits).abs().max() / logits.abs().max())
            assert error <= 1e-4, (strategy.name, error)

        if cp > 1:  # it divides prompts, and does not decode
            return
        static = strategy.gpus == 1 and data.draw(st.booleans())
        ran = run(c, plan, Options(timeout=60, prompts=prompts, generate=6, static=static))
        assert ran.report.verified, (strategy.name, ran.report.failures)
        for prompt, got in zip(prompts, ran.report.generation.tokens, strict=True):
            want = hf.generate(torch.tensor([prompt]), max_new_tokens=6, min_new_tokens=6, do_sample=False)
            assert want[0, len(prompt) :].tolist() == list(got), strategy.name


if __name__ == "__main__":
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    family, examples = sys.argv[1], int(sys.argv[2])

    @settings(
        max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck), database=None, derandomize=True
    )
    @given(st.data())
    def check(data):
        one(family, data)

    check()
