"""Folders in the formats that DeepSeek-V3 (FP8 in blocks) and gpt-oss (MXFP4) ship, run on ranks and held against
transformers with the same weights multiplied out. A process of its own.

python quantized.py fp8|mxfp4|eight
"""

import json
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import torch
from families import model
from safetensors.torch import load_file, save_file
from truth import case

import moewright
from moewright.case.strategy import StrategySpec
from moewright.case.workload import Kind
from moewright.run.execute import run
from moewright.run.model import shard
from moewright.run.options import Options
from moewright.run.verification.verify import output_of
from moewright.run.weights.checkpoint import mxfp4

BLOCK = 16


def fp8(folder, hf, block=BLOCK):
    """Matrices of attention and feed-forwards as E4M3 with a scale for each block; the rest as it was."""
    out = {}
    for name, w in load_file(folder / "model.safetensors").items():
        if not name.endswith("_proj.weight") and "kv_a_proj" not in name:
            out[name] = w
            continue
        rows, columns = (-(-n // block) for n in w.shape)
        scale = torch.rand(rows, columns) * 0.01 + 0.005
        wide = scale.repeat_interleave(block, 0)[: w.shape[0]].repeat_interleave(block, 1)[:, : w.shape[1]]
        code = (w.float() / wide).to(torch.float8_e4m3fn)
        out[name], out[name + "_scale_inv"] = code, scale
        w.copy_(code.float() * wide)
        _set(hf, name, w)
    save_file(out, folder / "model.safetensors")
    return {"quant_method": "fp8", "weight_block_size": [block, block], "fmt": "e4m3"}


def rows(folder, hf):
    """The same with one scale a row, or (of the experts) one a matrix, as compressed-tensors names them."""
    out = {}
    for name, w in load_file(folder / "model.safetensors").items():
        if not name.endswith("_proj.weight"):
            out[name] = w
            continue
        scale = w.abs().amax(1, keepdim=True) / 448 if "experts" not in name else w.abs().amax() / 448
        code = (w.float() / scale).to(torch.float8_e4m3fn)
        out[name], out[name + "_scale"] = code, scale
        w.copy_(code.float() * scale)
        _set(hf, name, w)
    save_file(out, folder / "model.safetensors")
    return {"quant_method": "fp8", "activation_scheme": "dynamic"}


def _set(hf, name, w):
    """``w`` into the model; experts are single tensors in files and fused in memory."""
    parts = name.split(".")
    if "experts" not in parts:
        hf.get_parameter(name).copy_(w)
        return
    at = parts.index("experts")
    fused, expert, kind = ".".join(parts[: at + 1]), int(parts[at + 1]), parts[at + 2]
    if kind == "down_proj":
        hf.get_parameter(f"{fused}.down_proj")[expert].copy_(w)
    else:
        half = hf.get_parameter(f"{fused}.gate_up_proj")[expert].chunk(2)
        half[kind == "up_proj"].copy_(w)


def packed(folder, hf):
    """Experts as MXFP4: random codes, whose values the model gets."""
    tensors = load_file(folder / "model.safetensors")
    for name in [n for n in tensors if "experts" in n and n.endswith("proj")]:
        w = tensors.pop(name)  # [experts, in, out]
        e, wide, out = w.shape
        blocks = torch.randint(0, 256, (e, out, wide // 32, 16), dtype=torch.uint8)
        scales = torch.randint(122, 126, (e, out, wide // 32), dtype=torch.uint8)
        tensors[name + "_blocks"], tensors[name + "_scales"] = blocks, scales
        for expert in range(e):
            hf.get_parameter(name)[expert].copy_(mxfp4(blocks[expert], scales[expert]).T)
    save_file(tensors, folder / "model.safetensors")
    return {"quant_method": "mxfp4", "modules_to_not_convert": ["model.layers.*.self_attn", "lm_head"]}


def quantize(hf, folder, how):
    """Save ``hf`` as ``how`` writes it."""
    hf.save_pretrained(folder)
    quantization = how(folder, hf)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "quantization_config": quantization}))


def error_of(hf, ran, prompts):
    """(largest difference from transformers' logits, over the largest; the same of root mean squares)."""
    out, _ = output_of(ran.job, ran.outcomes, (len(prompts), max(map(len, prompts)), hf.config.vocab_size))
    got = torch.cat([out[i, : len(prompt)] for i, prompt in enumerate(prompts)])
    want = torch.cat([hf(torch.tensor([prompt])).logits[0] for prompt in prompts])
    off = got - want
    return float(off.abs().max() / want.abs().max()), float(off.pow(2).mean().sqrt() / want.pow(2).mean().sqrt())


def main(kind):
    family = "deepseek_v3" if kind == "fp8" else "gpt_oss"
    hf = model(family, lambda *choices: choices[-1], 3, intermediate_size=64)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        quantize(hf, folder, fp8 if kind == "fp8" else packed)
        prompts = [torch.randint(hf.config.vocab_size, (n,)).tolist() for n in (5, 9, 3, 7)]
        for strategy in (StrategySpec(dp=2, tp=2, ep=4, etp=1), StrategySpec(dp=2, tp=2, ep=2, etp=2)):
            c = case(str(folder), 4, 4, 8, Kind.FORWARD)
            plan = moewright.evaluate(c, strategy, 4)
            ran = run(c, plan, Options(timeout=60, prompts=prompts))
            assert ran.report.verified, ran.report.failures
            assert (ran.report.fp8 is None) == (kind != "fp8")
            assert error_of(hf, ran, prompts)[0] <= 1e-4


#: family, what is changed of its config, how it is quantised, strategies and whether their ranks cut blocks
SMALL = {"intermediate_size": 64, "moe_intermediate_size": 32}
LARGE = {"hidden_size": 256, "moe_intermediate_size": 256, "head_dim": 64, "intermediate_size": 256}
FOUR = {"tp": 2, "dp": 2, "ep": 2, "etp": 2}
EIGHT = [
    ("deepseek_v3", SMALL, fp8, [({}, False), (FOUR, False), ({"tp": 4, "ep": 4, "dispatch": "replicated"}, True)]),
    ("qwen3_moe", LARGE, lambda f, hf: fp8(f, hf, 128), [(FOUR, False), ({"pp": 2, "tp": 2, "etp": 2}, False)]),
    ("qwen3_moe", {**LARGE, "num_key_value_heads": 2}, lambda f, hf: fp8(f, hf, 128), [(FOUR, True)]),
    ("qwen3_moe", LARGE, rows, [(FOUR, False)]),
]


def eight():
    """FP8 weights held and multiplied as FP8: near the model multiplied out, and at the reference's arithmetic."""
    errors = []
    for family, changed, how, strategies in EIGHT:
        hf = model(family, lambda *choices: choices[-1], 3, **changed)
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            quantize(hf, folder, how)
            prompts = [torch.randint(hf.config.vocab_size, (n,)).tolist() for n in (5, 9, 3, 7)]
            for sizes, cut in strategies:
                c = case(str(folder), 4 if sizes else 1, 4, 8, Kind.FORWARD)
                plan = moewright.evaluate(c, StrategySpec(**sizes), 4)
                errors.append(one(hf, c, plan, Options(timeout=60, prompts=prompts, fp8="on"), cut))
                if sizes is FOUR and not cut:
                    of_seeds(c, plan)
    assert max(errors) <= 1e-4, errors  # a value between two codes may go to either: the reference follows the run


def of_seeds(c, plan):
    """An honest run is verified whatever it is fed with; one with a scale that is wrong by a hundredth is not."""
    for seed in range(2):
        report = run(c, plan, Options(timeout=60, seed=seed, fp8="on")).report
        assert report.verified, (seed, report.failures)
        assert report.max_error <= 1e-4 * report.max_logit

    def wrong(*arguments):
        weights = read(*arguments)
        weights["o"].scales[0, 0] *= 1.01
        return weights

    read, shard.layer_weights = shard.layer_weights, wrong
    report = run(c, plan, Options(timeout=60, fp8="on")).report
    shard.layer_weights = read
    assert not report.verified
    assert "the output differs" in report.failures[0] or "routed" in report.failures[0], report.failures


def one(hf, c, plan, o, cut):
    """Under one plan: FP8's own error, which is that of E4M3 (2⁻⁴ at most a value) through the layers, and the bytes.
    Gives the error of the run beside the reference's arithmetic."""
    ran, wide = run(c, plan, o), run(c, plan, replace(o, fp8="off"))
    r = ran.report
    assert r.verified, r.failures
    assert wide.report.verified, wide.report.failures
    assert error_of(hf, wide, o.prompts)[0] <= 1e-4
    assert 0.01 <= error_of(hf, ran, o.prompts)[1] <= 0.2
    assert r.fp8.startswith("quantised, by plain products")
    assert ("cut inside blocks" in r.fp8) == cut, r.fp8
    assert wide.report.fp8 == "multiplied out, as asked"
    held, before = r.memory["weights"], wide.report.memory["weights"]
    assert (held["held_min"], held["held_max"]) == (held["predicted_min"], held["predicted_max"])
    assert held["held_max"] < 0.75 * before["held_max"]
    compared = hf.config.model_type == "qwen3_moe" and not cut  # all that the plan prices as FP8 is
    false = replace(plan, memory=replace(plan.memory, weights=replace(plan.memory.weights, total=1.0)))
    found = run(c, false, o).report.failures if plan.gpus == 4 else ()
    assert bool([f for f in found if "bytes of weights" in f]) == (compared and plan.gpus == 4), found
    if plan.gpus == 1:  # and decode, in any shapes and in fixed ones
        tokens = [run(c, plan, replace(o, generate=4, static=static)).report for static in (False, True)]
        assert all(t.verified for t in tokens), [t.failures for t in tokens]
        assert tokens[0].generation.tokens == tokens[1].generation.tokens
    return r.max_error / r.max_logit


if __name__ == "__main__":
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    torch.manual_seed(0)
    eight() if sys.argv[1] == "eight" else main(sys.argv[1])
