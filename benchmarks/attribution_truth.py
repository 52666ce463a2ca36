"""What attributions of the demo say against the phantom's truth.

    python benchmarks/attribution_truth.py

Reads artifacts/attribution/<site>/contributions.csv and data-truth/latents.csv: prints Spearman's correlation
of the contributions towards metastasis with the scores that made the label, and by label the share of nodules
in which US says more for the correct answer than CT. Needs a finished stage attribute on the phantom.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from dgfnet import settings as configuration


def main() -> None:
    """Prints two tables per site."""
    settings = configuration.load(Path("params.yaml"))
    truth = pd.read_csv(settings.root / settings.base.truth / "latents.csv").set_index("patient_id")
    for site in settings.base.sites:
        table = pd.read_csv(settings.artifacts("attribution", site, "contributions.csv"))
        scores = truth.loc[table["patient_id"]]
        sign = np.where(table["label"] == 1, 1, -1)  # towards the correct answer becomes towards metastasis
        for modality in ("us", "ct"):
            found = {
                name: spearmanr(sign * table[modality], scores[name]).statistic
                for name in ("us_score", "ct_score")
            }
            told = ", ".join(f"{name} {value:+.2f}" for name, value in found.items())
            print(f"{site}: attribution of {modality} with {told}")
        above = (table["us"] > table["ct"]).groupby(table["label"]).mean()
        print(f"{site}: US above CT in {above[1]:.1%} of metastatic, {above[0]:.1%} of other nodules")


if __name__ == "__main__":
    main()
