"""Folders in the formats that DeepSeek-V3 (FP8 in blocks) and gpt-oss (MXFP4) ship, run on ranks and held against
transformers with the same weights multiplied out. A process of its own.

python quantized.py fp8|mxfp4
"""

import json
import sys
import tempfile
from pathlib import Path

import torch
from families import model
from safetensors.torch import load_file, save_file
from truth import case

import moewright
from moewright.run.checkpoint import mxfp4
from moewright.run.execute import Options, run
from moewright.run.verify import output_of
from moewright.spec.strategy import StrategySpec
from moewright.spec.workload import Kind

BLOCK = 16


def fp8(folder, hf):
    """Matrices of attention and feed-forwards as E4M3 with a scale for each block; the rest as it was."""
    out = {}
    for name, w in load_file(folder / "model.safetensors").items():
        if not name.endswith("_proj.weight") and "kv_a_proj" not in name:
            out[name] = w
            continue
        rows, columns = (-(-n // BLOCK) for n in w.shape)
        scale = torch.rand(rows, columns) * 0.01 + 0.005
        wide = scale.repeat_interleave(BLOCK, 0)[: w.shape[0]].repeat_interleave(BLOCK, 1)[:, : w.shape[1]]
        code = (w.float() / wide).to(torch.float8_e4m3fn)
        out[name], out[name + "_scale_inv"] = code, scale
        w.copy_(code.float() * wide)
        _set(hf, name, w)
    save_file(out, folder / "model.safetensors")
    return {"quant_method": "fp8", "weight_block_size": [BLOCK, BLOCK], "fmt": "e4m3"}


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


def main(kind):
    family = "deepseek_v3" if kind == "fp8" else "gpt_oss"
    hf = model(family, lambda *choices: choices[-1], 3, intermediate_size=64)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        hf.save_pretrained(folder)
        quantization = (fp8 if kind == "fp8" else packed)(folder, hf)
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, "quantization_config": quantization}))
        prompts = [torch.randint(hf.config.vocab_size, (n,)).tolist() for n in (5, 9, 3, 7)]
        for strategy in (StrategySpec(dp=2, tp=2, ep=4, etp=1), StrategySpec(dp=2, tp=2, ep=2, etp=2)):
            c = case(str(folder), 4, 4, 8, Kind.FORWARD)
            plan = moewright.evaluate(c, strategy, 4)
            ran = run(c, plan, Options(timeout=60, prompts=prompts))
            assert ran.report.verified, ran.report.failures
            out, _ = output_of(ran.job, ran.outcomes, (4, 9, hf.config.vocab_size))
            for i, prompt in enumerate(prompts):
                logits = hf(torch.tensor([prompt])).logits[0]
                error = float((out[i, : len(prompt)] - logits).abs().max() / logits.abs().max())
                assert error <= 1e-4, error


if __name__ == "__main__":
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    torch.manual_seed(0)
    main(sys.argv[1])
