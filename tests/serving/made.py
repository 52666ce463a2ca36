"""A bundle of untrained networks, made without a pipeline, and pictures to send to it."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import torch

from dgfnet.bundle.record import names_in
from dgfnet.bundle.write import Answers, Member, write_bundle
from dgfnet.files import sha256
from dgfnet.network.variants import DGFNet
from dgfnet.outline.network import OutlineNet
from dgfnet.settings import Settings, load
from dgfnet.tabular.terms import Term
from dgfnet.vocabulary import MODALITIES, Modality

ROOT = Path(__file__).parents[2]
SIDE = 32
ANSWERS = Answers("ensemble", coverage=0.8, false_alarms=0.1)
SHIFTS, THRESHOLDS = (-0.5, -0.4, -0.3), (0.4, 0.3, 0.5)  # of the networks of three folds
SETTINGS = load(
    ROOT / "params.yaml",
    [
        *(f"preprocess.us_size={SIDE}", f"preprocess.ct_size={SIDE}", "network.width=0.125"),
        *("network.mask_channel=false", "network.pooling=global"),  # test_stacked_model.py reads masks
    ],
)


def network(variant: str, seed: int, settings: Settings = SETTINGS, terms: Sequence[Term] = ()) -> DGFNet:
    """A network with random weights, a bank where it has one, and terms of the record where it reads one."""
    torch.manual_seed(seed)
    model = DGFNet(variant, "resnet18", settings.network, terms=len(terms)).eval()
    if model.record is not None:
        model.record.set_normalisation(terms)
    with torch.no_grad():
        for parameter in model.classifier.parameters():
            parameter.mul_(3)  # else every probability is near a half
        if model.nodule_level is not None:
            noise = torch.Generator().manual_seed(seed)
            features = model.nodule_level.query.weight.shape[0]
            entries = [torch.randn(20, features, generator=noise) for _ in range(2)]
            model.nodule_level.set_bank(*entries, torch.arange(20))
    return model


def make(
    variant: str, settings: Settings = SETTINGS, terms: Sequence[tuple[Term, ...]] = ((), (), ())
) -> list[Member]:
    """Makes the networks of three folds, each with its terms of the record."""
    models = [network(variant, seed, settings, terms[seed]) for seed in (0, 1, 2)]
    record = names_in(term for own in terms for term in own)
    metadata = {
        "variant": variant,
        "encoder": "resnet18",
        "network": settings.network.model_dump(mode="json"),
    }
    return [
        Member(
            *(model, fold, SHIFTS[fold], THRESHOLDS[fold], 0.4, str(fold), metadata),
            terms=terms[fold],
            record=record,
        )
        for fold, model in enumerate(models)
    ]


def outlines() -> dict[Modality, OutlineNet]:
    """Networks for nodules in boxes, with random weights."""
    torch.manual_seed(5)
    return {name: OutlineNet(4).eval() for name in MODALITIES}


def write(folder: Path) -> None:
    """A bundle of untrained networks; its calibration line has known numbers."""
    noise = np.random.default_rng(3)
    album = {name: noise.integers(0, 256, (30, SIDE, SIDE), dtype=np.uint8)[:, None] for name in ("us", "ct")}
    table = pd.DataFrame({"fold": np.arange(30) % 3, "label": np.arange(30) // 3 % 2})
    unimodal = {name: make(f"{name}_multitask") for name in ("us", "ct")}
    write_bundle(
        *(folder, make("dgf"), unimodal, ANSWERS, table, album, SETTINGS.preprocess, "never trained"),
        outlines(),
    )
    for path in folder.rglob("bundle.json"):
        change(path.parent, calibration={"slope": 0.8, "intercept": 0.1}, typical=unlimited(path))


def unlimited(path: Path) -> dict[str, object]:
    """Limits that no picture is beyond: those of tests are nothing like the noise of made bundles."""
    typical = json.loads(path.read_text())["typical"]
    return {name: {**own, "caution": 1e9, "refusal": 1e9} for name, own in typical.items()}


def change(folder: Path, **metadata: object) -> None:
    """Changes bundle.json and its checksum."""
    path, sums = folder / "bundle.json", folder / "SHA256SUMS"
    before = sha256(path)
    path.write_text(json.dumps(json.loads(path.read_text()) | metadata))
    sums.write_text(sums.read_text().replace(before, sha256(path)))


def png(pixels: np.ndarray) -> str:
    return base64.b64encode(cv2.imencode(".png", pixels)[1].tobytes()).decode()


def tiff(pages: int) -> str:
    """A TIFF with pages, in base64."""
    done, raw = cv2.imencodemulti(".tiff", [picture(page) for page in range(pages)])
    assert done
    return base64.b64encode(raw.tobytes()).decode()


def picture(seed: int, height: int = 120, width: int = 160) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width), dtype=np.uint8)


def disc(radius: int, height: int = 120, width: int = 160) -> np.ndarray:
    return cv2.circle(np.zeros((height, width), np.uint8), (width // 2, height // 2), radius, 255, -1)


def case(seed: int = 0) -> dict[str, str]:
    """One case in base64."""
    return {
        "nodule": f"n{seed}",
        **{"us": png(picture(seed)), "us_mask": png(disc(14))},
        **{"ct": png(picture(seed + 100)), "ct_mask": png(disc(9))},
    }


def answered_elsewhere(bundle, field, record=None):
    """A field of the answer to black crops, by a process where importing what training needs is an error."""
    banned = ("torch", "torchvision", "ray", "dvc", "captum", "mlflow", "albumentations", "sklearn", "optuna")
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({banned}))\n"
        "from pathlib import Path; import numpy as np\n"
        "from dgfnet.serving import answers, cases, records\n"
        "from dgfnet.bundle.model import ScoringModel\n"
        f"model = ScoringModel.open(Path({str(bundle)!r}))\n"
        f"crops = {{name: np.zeros((1, {SIDE}, {SIDE}), np.uint8) for name in ('us', 'ct')}}\n"
        f"print(answers.answer(model, [cases.Case(crops, record={record!r})])[0][{field!r}])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return float(done.stdout)
