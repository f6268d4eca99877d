"""Times one forward pass of the full-size models in torch, to compare with `milwright run --repeat`.

    python benches/torch_forward.py --asr PATH/qwen3_asr_encoder.py --mel PATH/parakeet_mel.py \
        --threads 2 --runs 5

The two scripts define the networks (random weights, so only the time means anything). Prints JSON:
per model the parameters, the times of all runs and their median in milliseconds. Needs torch and
what the scripts import (fixtures/requirements.txt). Models are built one after the other; the mel
encoder takes 5 GB at its peak.
"""

import argparse
import gc
import importlib.util
import json
import os
import pathlib
import platform
import statistics
import sys
import time


def load(path):
    """The script as a module; what it does as a program stays undone."""
    spec = importlib.util.spec_from_file_location(pathlib.Path(path).stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def asr(path):
    """The audio encoder with three strided conv2d; input of 1 s of mel."""
    import torch

    return load(path).Enc(), (torch.randn(1, 128, 100),)


def mel(path):
    """The waveform front end fused with the encoder; input of 15 s."""
    import torch

    script = load(path)
    audio = torch.randn(1, 240_000) / 10
    return script.Fused(script.Pre(), script.Enc()), (audio, torch.tensor([240_000], dtype=torch.int32))


def measure(build, path, warmups, runs):
    import torch

    model, inputs = build(path)
    model.eval()
    times = []
    with torch.inference_mode():
        for index in range(warmups + runs):
            start = time.perf_counter()
            model(*inputs)
            if index >= warmups:
                times.append((time.perf_counter() - start) * 1e3)
    parameters = sum(p.numel() for p in model.parameters())
    del model, inputs
    gc.collect()
    return {"parameters": parameters, "median_ms": round(statistics.median(times), 2),
            "runs_ms": [round(t, 2) for t in times]}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--asr", metavar="SCRIPT", help="script with class Enc")
    parser.add_argument("--mel", metavar="SCRIPT", help="script with classes Pre, Enc and Fused")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--warmups", type=int, default=1)
    arguments = parser.parse_args()
    if not (arguments.asr or arguments.mel) or arguments.runs < 1 or arguments.threads < 1:
        parser.error("give --asr or --mel, and at least one run and one thread")
    import torch

    torch.set_num_threads(arguments.threads)
    torch.set_num_interop_threads(1)
    torch.manual_seed(0)
    report = {"torch": torch.__version__, "python": platform.python_version(),
              "threads": torch.get_num_threads(), "models": {}}
    for name, build, path in (("asr-encoder", asr, arguments.asr), ("mel-encoder", mel, arguments.mel)):
        if path:
            report["models"][name] = measure(build, path, arguments.warmups, arguments.runs)
    json.dump(report, sys.stdout, indent=2)
    print()


if __name__ == "__main__":
    main()
