"""A bundle of untrained networks, made without a pipeline, and pictures to send to it."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import cv2
import numpy as np
import torch
from safetensors.numpy import save_file

from dgfnet.network.variants import DGFNet
from dgfnet.registry.export import export
from dgfnet.serving.ranges import seen
from dgfnet.serving.served import unit
from dgfnet.settings import load

ROOT = Path(__file__).parents[2]
SIDE = 32
SETTINGS = load(
    ROOT / "params.yaml", [f"preprocess.us_size={SIDE}", f"preprocess.ct_size={SIDE}", "network.width=0.125"]
)


def network(variant: str, seed: int) -> DGFNet:
    """A network with random weights, and a bank where it has one."""
    torch.manual_seed(seed)
    model = DGFNet(variant, "resnet18", SETTINGS.network).eval()
    with torch.no_grad():
        for parameter in model.classifier.parameters():
            parameter.mul_(3)  # else every probability is near a half
        if model.nodule_level is not None:
            noise = torch.Generator().manual_seed(seed)
            features = model.nodule_level.query.weight.shape[0]
            entries = [torch.randn(20, features, generator=noise) for _ in range(2)]
            model.nodule_level.set_bank(*entries, torch.arange(20))
    return model


def write_bundle(folder: Path, variant: str = "dgf") -> None:
    """Writes the files that registry/bundle.py writes."""
    folder.mkdir(parents=True)
    models = [network(variant, seed) for seed in (0, 1, 2)]
    names = models[0].modalities
    crops = {
        name: np.random.default_rng(3).integers(0, 256, (30, SIDE, SIDE), dtype=np.uint8) for name in names
    }
    with torch.no_grad():
        values = models[0].features({name: torch.from_numpy(found) for name, found in crops.items()})
    tensors = {f"{name}_seen": unit(found.numpy()) for name, found in zip(names, values, strict=True)}
    tensors |= {f"{name}_mean": found.mean(axis=0).round().astype(np.uint8) for name, found in crops.items()}
    save_file(tensors, folder / "reference.safetensors")
    (folder / "folds").mkdir()
    for place, model in enumerate(models):
        export(model, (SIDE,) * len(names), folder / (f"folds/{place}.onnx" if place else "model.onnx"))
    facts = {
        **{"variant": variant, "modalities": list(names), "threshold": 0.4, "shift": -0.5},
        "calibration": {"slope": 0.8, "intercept": 0.1},
        "folds": [{"file": f"folds/{place}.onnx", "shift": -0.5 + place / 10} for place in (1, 2)],
        "far": dict.fromkeys(names, 0.5),
        "ranges": {name: seen(found) for name, found in crops.items()},
        "preprocess": SETTINGS.preprocess.model_dump(mode="json"),
    }
    (folder / "bundle.json").write_text(json.dumps(facts))
    if len(names) == 2:
        for name in names:
            write_bundle(folder / name, f"{name}_multitask")


def png(pixels: np.ndarray) -> str:
    return base64.b64encode(cv2.imencode(".png", pixels)[1].tobytes()).decode()


def picture(seed: int, height: int = 120, width: int = 160) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width), dtype=np.uint8)


def disc(radius: int, height: int = 120, width: int = 160) -> np.ndarray:
    return cv2.circle(np.zeros((height, width), np.uint8), (width // 2, height // 2), radius, 255, -1)


def case(seed: int = 0) -> dict[str, str]:
    """One case in base64."""
    return {
        **{"us": png(picture(seed)), "us_mask": png(disc(14))},
        **{"ct": png(picture(seed + 100)), "ct_mask": png(disc(9))},
    }
