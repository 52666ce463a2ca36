"""Pictures of one modality say nothing of the other's factors; each factor moves what it is meant to move.

Bayes-optimal AUC of one modality is that of its own score only if this holds.
"""

from statistics import NormalDist

import measures
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from dgfnet.phantom import enrolment, latents, lesions, pictures
from dgfnet.phantom.styles import STYLES

FALSE_ALARM = 0.01  # of the whole family of comparisons
POWER = 0.9
FACTORS = {"us": list(latents.US_FACTORS), "ct": list(latents.CT_FACTORS)}
OTHER = {"us": "ct", "ct": "us"}


def limit(n, comparisons):
    """Spearman's correlation of independent columns stays below it: normal approximation, Bonferroni."""
    return NormalDist().inv_cdf(1 - FALSE_ALARM / (2 * comparisons)) / np.sqrt(n - 1)


def found(n, comparisons):
    """Smallest true correlation that passes the limit with the power above (Fisher's z)."""
    return float(np.tanh(np.arctanh(limit(n, comparisons)) + NormalDist().inv_cdf(POWER) / np.sqrt(n - 3)))


def correlations(measured, factors):
    """Spearman's rho of every measure that varies with every factor."""
    vary = [name for name in measured if measured[name].nunique() > 1]
    return {
        (name, factor): float(stats.spearmanr(measured[name], factors[factor]).statistic)
        for name in vary
        for factor in factors
    }


def largest(rhos):
    name = max(rhos, key=lambda each: abs(rhos[each]))
    return abs(rhos[name]), name


def flat(lesion):
    """Numbers that a lesion is made of; of lists, how long they are."""
    numbers = {}
    for name, value in vars(lesion).items():
        if name == "waves":
            numbers |= {f"wave{index}": float(wave) for index, wave in enumerate(value)}
        else:
            numbers[name] = float(len(value) if name in ("calcifications", "nodes_mm") else value)
    return numbers | {"aspect": lesion.height_mm / lesion.width_mm}


def test_what_lesions_are_drawn_from_is_independent_of_the_other_modalitys_factors():
    n, rng = 20_000, np.random.default_rng(11)
    factors, us, ct = [], [], []
    for _ in range(n):
        z, size = latents.draw(rng).factors, float(np.exp(rng.normal(np.log(14), 0.3)))
        factors.append(z)
        us.append(flat(lesions.us_lesion(z, 1, size, rng)))
        ct.append(flat(lesions.ct_lesion(z, 1, size, rng)))
    table, looks = pd.DataFrame(factors), {"us": pd.DataFrame(us), "ct": pd.DataFrame(ct)}
    for modality, look in looks.items():
        rhos = correlations(look, table[FACTORS[OTHER[modality]]])
        assert len(rhos) > 30
        assert found(n, len(rhos)) < 0.04  # what would have been noticed
        assert largest(rhos)[0] < limit(n, len(rhos)), largest(rhos)
        own = correlations(look, table[FACTORS[modality]])
        for factor in FACTORS[modality]:
            assert max(abs(rho) for (_, name), rho in own.items() if name == factor) > 0.95


PICTURES = 200


def drawn(folder, n, style):
    """Factors, measures of a US picture and of a CT slice, and rows of nodules.csv, a row per patient."""
    rng = np.random.default_rng(12)
    data, truth = folder / "data", folder / "truth"
    for modality in ("us", "ct"):
        (data / modality).mkdir(parents=True)
        (truth / "signal" / modality).mkdir(parents=True)
    factors, us, ct, rows = [], [], [], []
    for index in range(n):
        labels = {"central": 0, "lateral": 0}
        patient = enrolment.Patient(f"P{index}", "main", index, latents.draw(rng), labels, 1, None)
        nodules, images = pictures.draw_patient((patient, data, truth, 5, style))
        first = images[0]["image"].removesuffix(".png")
        us.append(measures.of_us(data, truth, first, float(images[0]["spacing_mm"])))
        ct.append(measures.of_ct(data, truth, f"ct/P{index}-1", 0))
        for modality, measured in (("us", us[-1]), ("ct", ct[-1])):
            of = [image for image in images if image["modality"] == modality]
            measured |= {"pictures": len(of), "spacing": float(of[0]["spacing_mm"])}
        factors.append(patient.latents.factors)
        rows.append(nodules[0])
    table = pd.DataFrame(rows)
    table = table.assign(**{name: pd.factorize(table[name])[0] for name in ("margin", "location", "sex")})
    return pd.DataFrame(factors), {"us": pd.DataFrame(us), "ct": pd.DataFrame(ct)}, table


@pytest.fixture(scope="module", params=list(STYLES))
def seen(request, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pictures, "VIEWS", ("transverse",))
        patch.setattr(pictures, "SLICES", (0.0, 0.55))
        return request.param, *drawn(tmp_path_factory.mktemp("independence"), PICTURES, request.param)


@pytest.mark.parametrize("modality", ["us", "ct"])
def test_nothing_measured_on_a_picture_tells_of_the_other_modalitys_factors(seen, modality):
    _, factors, measured, _ = seen
    rhos = correlations(measured[modality], factors[FACTORS[OTHER[modality]]])
    assert len(rhos) > 45
    assert found(PICTURES, len(rhos)) < 0.36
    assert largest(rhos)[0] < limit(PICTURES, len(rhos)), largest(rhos)


def test_columns_of_the_manifest_tell_of_us_factors_alone_and_only_those_measured_on_us(seen):
    _, factors, _, table = seen
    columns = ["margin", "location", "max_diameter_mm", "aspect_ratio", "age", "sex"]
    others = {"patient_id", "nodule_id", "cohort", "n_malignant_nodules", "lnm_central", "lnm_lateral"}
    assert set(table) == others | set(columns)
    rhos = correlations(table[columns], factors[FACTORS["ct"]])
    rhos |= correlations(table[["location", "age", "sex"]], factors[FACTORS["us"]])
    assert len(rhos) == 6 * 3 + 3 * 4
    assert largest(rhos)[0] < limit(PICTURES, len(rhos)), largest(rhos)


# what each factor is meant to move on the pictures: its measure, and the least correlation in either style
MEANT = {
    "hypoechogenicity": ("us", "core", -0.85, -0.85),
    "irregularity": ("us", "dents", 0.85, 0.85),
    "tallness": ("us", "aspect", 0.85, 0.85),
    "microcalcification": ("us", "bit4", 0.85, 0.85),
    "enhancement": ("ct", "core", 0.95, 0.95),
    "extension": ("ct", "bit2", 0.6, 0.6),
    "nodes": ("ct", "bit4", 0.9, 0.9),
}


@pytest.mark.parametrize("factor", [*latents.US_FACTORS, *latents.CT_FACTORS])
def test_each_factor_moves_what_it_is_meant_to_move(seen, factor):
    style, factors, measured, _ = seen
    modality, name, *least = MEANT[factor]
    bound = least[list(STYLES).index(style)]
    rho = stats.spearmanr(measured[modality][name], factors[factor]).statistic
    assert rho * np.sign(bound) > abs(bound)
