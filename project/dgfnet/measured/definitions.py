"""The features by name: unit, code of the standard (IBSI), definition.

docs/reference/measured-features.md is made of these.
"""

from __future__ import annotations

from dataclasses import dataclass

from dgfnet.vocabulary import MODALITIES, Modality


@dataclass(frozen=True)
class Definition:
    """A measured feature.

    Attributes:
        name: as in every table.
        unit: of its values; "" for ratios and counts.
        ibsi: code in the IBSI reference manual; "" where it defines none, "2D" after a code where it defines
            the same of a volume.
        text: its definition.
        modalities: the pictures it is measured on.
    """

    name: str
    unit: str
    ibsi: str
    text: str
    modalities: tuple[Modality, ...] = MODALITIES


US: tuple[Modality, ...] = ("us",)
CT: tuple[Modality, ...] = ("ct",)
GREY = "grey level or HU"
IN_GREY = (GREY, "its square")  # units that change with those of the pixels
DEFINITIONS = (
    Definition("area_mm2", "mm2", "YEKZ, 2D", "number of the nodule's pixels times the area of a pixel"),
    Definition("equivalent_diameter_mm", "mm", "", "diameter of the disc of the same area"),
    Definition("maximum_diameter_mm", "mm", "L0JK, 2D", "largest distance between two points of the outline"),
    Definition(
        "height_over_width", "", "", "of the outline's upright box; above 1 is taller than wide (ACR TI-RADS)"
    ),
    Definition(
        "elongation",
        "",
        "Q3CK, 2D",
        "minor over major axis of the ellipse with the outline's second moments; 1 for a disc",
    ),
    Definition("solidity", "", "R3ER, 2D", "area of the outline over the area of its convex hull"),
    Definition(
        "circularity", "", "", "4 pi area over the square of the perimeter; 1 for a disc, below 1 otherwise"
    ),
    Definition(
        "radial_length_sd",
        "",
        "",
        "standard deviation of the outline's distances from its centroid, over the largest of them"
        " (J. Kilday et al., IEEE Trans Med Imaging 12:664, 1993)",
    ),
    Definition(
        "elliptic_residual",
        "",
        "",
        "standard deviation over mean of the same distances after the ellipse with the outline's second"
        " moments has been made a circle: 0 for every ellipse, so that elongation does not count as"
        " irregularity",
    ),
    Definition("mean", GREY, "Q4LE", "mean of the nodule's pixels"),
    Definition("variance", "its square", "ECT3", "variance of the nodule's pixels (divided by their number)"),
    Definition("skewness", "", "KE2A", "skewness of the nodule's pixels; 0 when all are equal"),
    Definition("kurtosis", "", "IPH6", "excess kurtosis of the nodule's pixels; 0 when all are equal"),
    Definition("p10", GREY, "QG58", "10th percentile of the nodule's pixels"),
    Definition("p90", GREY, "8DWT", "90th percentile of the nodule's pixels"),
    Definition("entropy", "bit", "TLU2", "of the histogram of 32 bins between the nodule's extremes"),
    Definition(
        "glcm_contrast",
        "",
        "ACUI",
        "contrast of neighbouring pixels of the nodule: 32 bins, distance 1, symmetric, mean over four"
        " directions",
    ),
    Definition(
        "glcm_inverse_difference_moment", "", "WF0Z", "inverse difference moment (homogeneity) of the same"
    ),
    Definition("glcm_correlation", "", "NI2N", "correlation of the same; 1 when all pixels are equal"),
    Definition("glcm_joint_entropy", "bit", "TU9B", "joint entropy of the same"),
    Definition(
        "surrounding_difference",
        GREY,
        "",
        "median of the nodule less median of the tissue 0.15 to 0.75 equivalent radii from its border, in the"
        " nodule's rows where there is such: relative echogenicity, difference of enhancement",
    ),
    Definition(
        "boundary_step",
        GREY,
        "",
        "mean of the inner rim less mean of the outer rim, each 0.2 equivalent radii wide, averaged over 16"
        " directions",
    ),
    Definition("rim_difference", GREY, "", "mean of the inner rim less mean of the nodule"),
    Definition(
        "posterior_difference",
        GREY,
        "",
        "mean of the band behind the nodule, an equivalent radius deep, less mean of the same depth beside"
        " it: enhancement above 0, shadow below",
        US,
    ),
    Definition(
        "foci_count",
        "",
        "",
        "number of punctate echogenic foci: spots whose white top-hat (disc of 1.5 mm, after a Gaussian of"
        " 0.22 mm) lies 6 robust standard deviations above the nodule's median",
        US,
    ),
    Definition("foci_per_cm2", "1/cm2", "", "their number over the nodule's area", US),
    Definition("foci_area_share", "", "", "their area over the nodule's", US),
    Definition("foci_contrast", GREY, "", "99th percentile of the top-hat in the nodule", US),
    Definition(
        "growth_area_share",
        "",
        "",
        "area outside, up to 0.8 equivalent radii from the border, that is connected to the nodule and within"
        " 2 robust standard deviations of its median, over the nodule's area",
        CT,
    ),
    Definition(
        "growth_sectors_share",
        "",
        "",
        "share of 36 directions in which that area reaches 0.1 equivalent radii",
        CT,
    ),
    Definition(
        "growth_difference",
        GREY,
        "",
        "median of the tissue 0.05 to 0.3 equivalent radii from the border less median of the nodule",
        CT,
    ),
    Definition(
        "cores_count",
        "",
        "",
        "number of dark cores of 4 to 80 mm2, within 15 mm of the nodule, that a brighter rim encloses at any"
        " of 16 thresholds: lymph nodes with a cystic or necrotic core",
        CT,
    ),
    Definition(
        "cores_depth",
        "",
        "",
        "share of the thresholds at which a core is enclosed, summed over the cores",
        CT,
    ),
    Definition("cores_area_mm2", "mm2", "", "area of the cores, mean over the thresholds", CT),
    Definition(
        "bodies_area_mm2",
        "mm2",
        "",
        "area of bright bodies of 12 to 200 mm2, within 15 mm, that fill 0.6 of their box; mean over the"
        " thresholds",
        CT,
    ),
)
NAMES: dict[Modality, tuple[str, ...]] = {
    modality: tuple(entry.name for entry in DEFINITIONS if modality in entry.modalities)
    for modality in MODALITIES
}
