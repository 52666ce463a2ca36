"""Localisation of attributions against the regions of a phantom that decide the label.

A real cohort has no such truth. Measured is the energy-based pointing game (Wang 2020, CVPR workshops, Score-
CAM): the share of the positive attribution, towards what the network decides, inside a region. It is held
against two shares that need no network: the region's share of the area, and its share of the picture's
distance from the baseline, since an attribution is a gradient times that distance and would lie on bright
spots even with gradients at random.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dgfnet.attribution.fold_network import Explanation, FoldNetwork
from dgfnet.attribution.networks import Pictures
from dgfnet.metrics.intervals import bootstrap_interval
from dgfnet.phantom.signal import FOLDER, REGIONS, path_of
from dgfnet.preprocess.archive import Archive
from dgfnet.preprocess.roi import crop, find_square, resize_mask
from dgfnet.results import load_images
from dgfnet.settings import Settings
from dgfnet.vocabulary import MODALITIES, Modality

Plane = NDArray[np.bool_]
Picture = NDArray[np.float32]
NETWORKS = ("unimodal", "multimodal")
ALL = "all signal"
WITHIN: dict[Modality, str] = {
    "us": "microcalcifications, of the nodule",
    "ct": "extension and nodes, of the rest",
}
COLUMNS = (
    *("nodule_id", "modality", "region", "area"),
    *(f"{network}_{what}" for network in NETWORKS for what in ("mass", "contrast")),
)


@dataclass(frozen=True)
class PictureAttribution:
    """The attribution of one picture by one network.

    Attributes:
        attribution: (S, S), log odds towards metastasis.
        distance: (S, S) picture minus baseline.
        decision: log odds of the whole prediction; its sign is the decision.
    """

    attribution: Picture
    distance: Picture
    decision: float


@dataclass(frozen=True)
class Truth:
    """The phantom's planes of signal, cut out as the archive's crops are."""

    settings: Settings
    archive: Archive

    @cached_property
    def _names(self) -> dict[tuple[str, str], list[tuple[str, int]]]:
        """Pictures per nodule and modality in the order of the archive: that of the screened cohort."""
        table = load_images(self.settings)
        return {
            (str(nodule), str(modality)): list(zip(part["image"], part["slice"], strict=True))
            for (nodule, modality), part in table.groupby(["nodule_id", "modality"], sort=False)
        }

    @cached_property
    def _rows(self) -> dict[Modality, dict[str, list[int]]]:
        return {
            name: {str(k): sorted(v) for k, v in self.archive.rows(name).groupby("nodule_id")["row"]}
            for name in MODALITIES
        }

    @cached_property
    def _largest(self) -> dict[Modality, dict[str, int]]:
        return {name: self.archive.largest(name) for name in MODALITIES}

    def of(self, nodule_id: str, modality: Modality, mask: Plane) -> dict[str, Plane] | None:
        """Reads the regions of the nodule's largest-area picture, (S, S) each.

        Args:
            nodule_id: whose.
            modality: of the picture.
            mask: (S, S), the nodule as the network's crop has it.

        Returns:
            None when the phantom left no plane for this picture, or one that is not of this picture: its
            nodule differs from the mask.
        """
        place = self._rows[modality][nodule_id].index(self._largest[modality][nodule_id])
        image, index = self._names[nodule_id, modality][place]
        base = self.settings.home / self.settings.base.truth
        path = path_of(base, image, None if index < 0 else int(index))
        read = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) if path.is_file() else None
        if read is None:
            return None
        plane, wanted = np.asarray(read, dtype=np.uint8), self.settings.preprocess
        bits = {name: ((plane & bit) > 0).astype(np.uint8) for name, (bit, _) in REGIONS[modality].items()}
        if not bits["nodule"].any():
            return None
        square = find_square(bits["nodule"], wanted.dilations(modality))
        size = wanted.size(modality)
        planes = {name: resize_mask(crop(region, square), size) > 0 for name, region in bits.items()}
        return planes if np.array_equal(planes["nodule"], mask) else None


def why_not(settings: Settings) -> str | None:
    """Returns the reason why there is no truth to compare with; None where there is."""
    folder = settings.home / settings.base.truth / FOLDER
    return None if folder.is_dir() else f"{settings.base.truth}/{FOLDER} is not there: only phantoms have it"


def regions(modality: Modality, truth: Mapping[str, Plane]) -> Iterator[tuple[str, Plane, Plane]]:
    """Yields name, region and the domain whose share it is: the whole picture, the nodule or the rest.

    The crop is centred on the nodule, which the mask shows: what lies inside the nodule, or outside, is
    no gift.
    """
    everywhere = np.ones_like(truth["nodule"])
    yield ALL, np.any(list(truth.values()), axis=0), everywhere
    for name, region in truth.items():
        yield name, region, everywhere
    if modality == "us":
        yield WITHIN["us"], truth["microcalcifications"], truth["nodule"]
    else:
        yield WITHIN["ct"], truth["extension"] | truth["nodes"], ~truth["nodule"]


def locate(
    settings: Settings,
    fusion: FoldNetwork,
    pictures: Pictures,
    multimodal: Explanation,
    unimodal: Mapping[Modality, Explanation],
    at: NDArray[np.int64],
) -> pd.DataFrame:
    """Returns a row per region of a picture, with the columns COLUMNS; none where there is no truth.

    Args:
        settings: of the run.
        fusion: the multimodal network.
        pictures: of all held-out nodules.
        multimodal: the fusion's explanation of them.
        unimodal: that of the unimodal networks; the nodules at `at` come first.
        at: positions among the held-out nodules.
    """
    located: list[dict[str, Any]] = []
    truth = Truth(settings, fusion.archive)
    for k, i in enumerate(at if why_not(settings) is None else ()):
        for modality, own in unimodal.items():
            planes = truth.of(fusion.held_out.ids[i], modality, pictures.masks[modality][i].numpy())
            if planes is None:
                continue
            image = pictures.images[modality][i].numpy()
            by_network = {
                network: PictureAttribution(
                    each.attributions.maps[modality][n].numpy(),
                    image - each.baselines.images[modality][n].numpy(),
                    float(each.attributions.at_input[n]),
                )
                for network, each, n in (("unimodal", own, k), ("multimodal", multimodal, i))
            }
            located += [
                {"nodule_id": fusion.held_out.ids[i]} | row for row in rows(modality, planes, by_network)
            ]
    return pd.DataFrame(located, columns=list(COLUMNS))


def rows(
    modality: Modality, truth: Mapping[str, Plane], by_network: Mapping[str, PictureAttribution]
) -> list[dict[str, Any]]:
    """Computes the shares of each region that is there, a row each: area, and per network mass and contrast.

    Args:
        modality: of the picture.
        truth: from `Truth.of`.
        by_network: the attribution of each of NETWORKS.
    """
    shares = []
    for name, region, domain in regions(modality, truth):
        if not (region & domain).any():
            continue
        row: dict[str, Any] = {"modality": modality, "region": name}
        row["area"] = float((region & domain).sum() / domain.sum())
        for network, own in by_network.items():
            towards = own.attribution if own.decision >= 0 else -own.attribution
            row[f"{network}_mass"] = share(np.clip(towards, 0, None), region, domain)
            row[f"{network}_contrast"] = share(np.abs(own.distance), region, domain)
        shares.append(row)
    return shares


def share(values: Picture, region: Plane, domain: Plane) -> float:
    """Computes the share of the values' sum over the domain that is in the region; nan where the sum is 0."""
    total = values[domain].sum(dtype=np.float64)
    return float(values[region & domain].sum(dtype=np.float64) / total) if total > 0 else float("nan")


def summary(table: pd.DataFrame, confidence: float, replicates: int, seed: int) -> list[dict[str, Any]]:
    """Averages per modality, region and network, and compares the mass with area and contrast.

    Args:
        table: localisation.csv: COLUMNS and patient_id.
        confidence: of the intervals, paired over nodules, patients resampled.
        replicates: of the bootstrap.
        seed: of the bootstrap.
    """
    parts = dict(list(table.groupby(["modality", "region"])))
    wanted = [(name, region) for name in MODALITIES for region in (ALL, *REGIONS[name], WITHIN[name])]
    means = []
    for modality, region in wanted:
        for network in NETWORKS if (modality, region) in parts else ():
            known = parts[modality, region].dropna(subset=[f"{network}_mass", f"{network}_contrast"])
            if len(known):
                row = _compare(known, network, confidence, replicates, seed)
                means.append({"modality": modality, "region": region, "network": network} | row)
    return means


def _compare(
    known: pd.DataFrame, network: str, confidence: float, replicates: int, seed: int
) -> dict[str, Any]:
    """Averages one region and network, with the intervals of the differences."""
    mass, others = known[f"{network}_mass"], {"area": known["area"]}
    others["contrast"] = known[f"{network}_contrast"]
    row: dict[str, Any] = {"n": len(known), "mass": float(mass.mean())}
    for name, other in others.items():
        above = (mass - other).to_numpy(dtype=float)
        interval = bootstrap_interval(
            lambda at, above=above: float(above[at].mean()),  # type: ignore[misc]
            known["patient_id"].to_numpy(),
            confidence,
            replicates,
            np.random.default_rng(seed),
        )
        row |= {name: float(other.mean()), f"above_{name}": vars(interval)}
    return row
