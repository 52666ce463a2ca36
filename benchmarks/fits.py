"""What the benchmarks of training share: a drawn cohort, the bare step, and a reference of other hands.

It imports what trains and nothing of MLflow, Ray or DVC, so that a bare machine with a GPU can run it.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import torch
from torch import nn

from dgfnet.dataset.batch import Batch
from dgfnet.network.decoders import PLANES
from dgfnet.network.encoders import Encoder, channels
from dgfnet.network.variants import DGFNet
from dgfnet.preprocess.archive import Archive
from dgfnet.preprocess.build import write
from dgfnet.preprocess.crops import pad_of
from dgfnet.preprocess.sample import Sample
from dgfnet.settings import Settings
from dgfnet.sweep.plan import Inputs
from dgfnet.training.hardware import Hardware
from dgfnet.training.losses import losses
from dgfnet.training.task import Places
from dgfnet.vocabulary import MODALITIES, SITES

CPU = Hardware(torch.device("cpu"), None)
NODULES = {"central": 954, "lateral": 402}  # analysed in the paper, classes balanced


class Reference:
    """The same ResNets with two Unet decoders of segmentation-models-pytorch each, and a fused classifier."""

    def __init__(
        self,
        settings: Settings,
        archive: Archive,
        training: Any,
        device: torch.device = CPU.device,
        workers: int = 0,
    ) -> None:
        import albumentations as A
        import segmentation_models_pytorch as smp
        from segmentation_models_pytorch.base import SegmentationHead
        from segmentation_models_pytorch.decoders.unet.decoder import UnetDecoder

        width = settings.network.width
        inside = channels(width)
        planes = [max(8, round(plane * width)) for plane in PLANES]

        def decoder() -> nn.Module:
            unet = UnetDecoder([1, *inside], planes, n_blocks=5)
            return nn.ModuleDict({"decoder": unet, "head": SegmentationHead(planes[-1], 1)})

        self.encoders = nn.ModuleDict({name: Encoder("resnet18", width) for name in MODALITIES})
        self.decoders = nn.ModuleDict({name: nn.ModuleList([decoder(), decoder()]) for name in MODALITIES})
        values = inside[-1]
        self.classifier = nn.Sequential(
            nn.Linear(2 * values, values),
            nn.Linear(values, values // 2),
            nn.ReLU(),
            nn.Linear(values // 2, 1),
        )
        self.device, used = device, [self.encoders, self.decoders, self.classifier]
        for part in used:
            part.to(device)
        self.optimiser = torch.optim.Adam([p for part in used for p in part.parameters()], lr=1e-3)
        self.jaccard = smp.losses.JaccardLoss("binary", from_logits=True)
        self.bce = nn.BCEWithLogitsLoss()
        augment = settings.training.augment
        self.transforms = {
            name: A.Compose(
                [
                    A.Rotate((-augment.rotation_degrees, augment.rotation_degrees), p=0.5),
                    A.ElasticTransform(
                        alpha=20, sigma=augment.elastic_smoothness * archive.size[name], p=0.5
                    ),
                    A.CenterCrop(archive.size[name], archive.size[name]),
                    A.RandomResizedCrop(
                        (archive.size[name],) * 2, scale=(augment.smallest_crop, 1), ratio=(1, 1), p=0.5
                    ),
                    A.HorizontalFlip(p=0.5),
                    A.RandomBrightnessContrast(p=0.5),
                ]
            )
            for name in MODALITIES
        }
        positive, negative = (np.flatnonzero(training.labels == value) for value in (1, 0))
        count = min(len(positive), len(negative))
        chosen = np.concatenate([positive[:count], negative[:count]])
        items = Items(archive, training, chosen, self.transforms)
        self.loader = torch.utils.data.DataLoader(
            items,
            batch_size=settings.training.batch,
            shuffle=True,
            num_workers=workers,
            pin_memory=device.type == "cuda",
            persistent_workers=workers > 0,
        )

    def epoch(self) -> int:
        """One epoch; returns the number of pairs."""
        count = 0
        for images, masks, label in self.loader:
            values, loss, label = [], torch.zeros((), device=self.device), label.to(self.device)
            for name in MODALITIES:
                image, mask = images[name].to(self.device), masks[name].to(self.device)
                maps = self.encoders[name](image)
                values.append(maps[-1].mean(dim=(2, 3)))
                for index, part in enumerate(self.decoders[name]):
                    logits = part["head"](part["decoder"]([image, *maps]))
                    target = mask[:, index : index + 1]
                    loss = loss + (self.bce(logits, target) + self.jaccard(logits, target)) / 2
            logit = self.classifier(torch.cat(values, dim=1))[:, 0]
            loss = loss + self.bce(logit, label)
            self.optimiser.zero_grad()
            loss.backward()
            self.optimiser.step()
            count += len(label)
        return count


class Items(torch.utils.data.Dataset):
    """A random US and a random CT crop of a nodule, augmented by albumentations' own transforms."""

    def __init__(
        self, archive: Archive, nodules: Any, chosen: np.ndarray, transforms: dict[str, Any]
    ) -> None:
        self.archive, self.nodules, self.chosen, self.transforms = archive, nodules, chosen, transforms

    def __len__(self) -> int:
        return len(self.chosen)

    def __getitem__(self, index: int) -> tuple[dict[str, Any], dict[str, Any], torch.Tensor]:
        """One nodule."""
        nodule, images, masks = self.chosen[index], {}, {}
        for name in MODALITIES:
            crop = self.archive.planes(name)[np.random.choice(self.nodules.rows[name][nodule])]  # noqa: NPY002
            done = self.transforms[name](image=crop[0], masks=[crop[1], crop[2]])
            images[name] = torch.from_numpy(done["image"]).float()[None] / 255
            masks[name] = torch.from_numpy(np.stack(done["masks"])).float()
        return images, masks, torch.tensor(float(self.nodules.labels[nodule]))


def bare_step(
    settings: Settings, variant: str, wrap: Callable[[nn.Module], Any] = lambda model: model
) -> Callable[[], None]:
    """A step of a fresh network on one batch in memory."""
    torch.manual_seed(0)
    model = DGFNet(variant, "resnet18", settings.network).to(memory_format=torch.channels_last)  # type: ignore[arg-type]
    batch, step = random_batch(settings, model.modalities), stepper(model, settings, wrap)
    return lambda: step(batch)


def stepper(
    model: Any,
    settings: Settings,
    wrap: Callable[[nn.Module], Any] = lambda model: model,
    hardware: Hardware = CPU,
) -> Callable[[Batch], None]:
    """What the loop does with a batch that is on the device (training/loop.py), and nothing else."""
    forward = wrap(model.train())
    optimiser = torch.optim.Adam(model.optimised(settings.training), fused=True)

    def step(batch: Batch) -> None:
        with hardware.autocast():
            output = forward(batch.inputs, batch.patients, segment=True)
        terms = losses(output, batch, settings.training.segmentation_weight, 0.0, classify=True)
        optimiser.zero_grad(set_to_none=True)
        torch.stack(list(terms.values())).sum().backward()
        optimiser.step()

    return step


def random_batch(settings: Settings, modalities: Sequence[Any], side: int | None = None) -> Batch:
    """Noise of the right shape, or of another side."""
    count = settings.training.batch

    def size(modality: Any) -> int:
        return side or settings.preprocess.size(modality)

    images = {m: torch.randint(0, 256, (count, size(m), size(m)), dtype=torch.uint8) for m in modalities}
    targets = {m: torch.randint(0, 2, (count, 2, size(m), size(m)), dtype=torch.uint8) for m in modalities}
    return Batch(images, targets, torch.randint(0, 2, (count,)).float(), torch.arange(count))


def steps_per_second(step: Callable[[], Any], warm_up: int, seconds: float) -> float:
    """Rate over so many seconds."""
    for _ in range(warm_up):
        step()
    begin, done = time.perf_counter(), 0
    while time.perf_counter() - begin < seconds:
        step()
        done += 1
    return done / (time.perf_counter() - begin)


def cohort(folder: Path, settings: Settings, nodules: int, folds: int = 2) -> tuple[Places, Inputs]:
    """Drawn nodules (ellipses on noise), three US and six CT images each, with labels and folds."""
    rng = np.random.default_rng(0)
    names = [f"N{number}" for number in range(nodules)]
    counts = {"us": 3 * nodules, "ct": 6 * nodules}

    def samples() -> Iterator[Sample]:
        for name in names:
            for modality, count in (("us", 3), ("ct", 6)):
                size = settings.preprocess.size(modality)  # type: ignore[arg-type]
                side = size + 2 * pad_of(size, settings.preprocess.margin)
                for _ in range(count):
                    mask = np.zeros((side, side), dtype=np.uint8)
                    axes = tuple(int(side * share) for share in rng.uniform(0.1, 0.25, 2))
                    cv2.ellipse(mask, (side // 2, side // 2), axes, 0, 0, 360, 1, -1)
                    rim = cv2.dilate(mask, np.ones((3, 3), np.uint8)) - mask
                    grey = rng.integers(0, 128, (side, side), dtype=np.uint8) + 100 * mask
                    planes = np.stack([grey, mask, rim])
                    yield Sample(name, name, modality, "axial", planes, int(mask.sum()), 0.5, side)  # type: ignore[arg-type]

    write(folder / "archive", counts, samples(), settings.preprocess)  # type: ignore[arg-type]
    table = pd.DataFrame({"nodule_id": names, "patient_id": names, "cohort": "main"})
    for number, site in enumerate(SITES):
        table[f"lnm_{site}"] = ((np.arange(nodules) + number) % 2).astype("float32")
    table.to_parquet(folder / "nodules.parquet")
    parts = table[["nodule_id", "patient_id"]].assign(fold=np.arange(nodules) // 2 % folds)
    parts.to_csv(folder / "folds.csv", index=False)
    places = Places(
        folder / "archive",
        folder / "measured.parquet",
        folder / "nodules.parquet",
        folder / "folds.csv",
        folder / "work",
    )
    nothing = {"resnet18": None, "resnet34": None, "inception_v3": None}
    return places, Inputs("a", {None: "n", "central": "c", "lateral": "l"}, "m", folds, nothing, SITES, {})  # type: ignore[arg-type]


def versions() -> dict[str, str]:
    """Of what decides the speed."""
    return {"python": platform.python_version(), "torch": torch.__version__, "opencv": cv2.__version__}
