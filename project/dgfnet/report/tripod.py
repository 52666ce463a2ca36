"""TRIPOD+AI (Collins et al. 2024, BMJ 385:e078378), filled in as far as the artifacts know.

Every item is answered from what the stages wrote, with the place on the page where it stands, or says
honestly that it is not reported: what only the authors of a study know cannot be written by software.
"""

from __future__ import annotations

from dgfnet.report.inputs import Inputs, Json
from dgfnet.report.tables import Row, Table

NOT_REPORTED = "not reported: only the authors of a study know"


def checklist(inputs: Inputs) -> Table:
    """Item, topic, answer and where it stands."""
    answers = _answers(inputs)
    rows = tuple(
        Row(f"{item} {topic}", answers.get(item, (NOT_REPORTED, "")), kind="" if item in answers else "paper")
        for item, topic in ITEMS
    )
    return Table(
        title="TRIPOD+AI checklist",
        source="all artifacts above",
        corner="Item",
        head=("Answer", "Section"),
        rows=rows,
        note=f"{len(answers)} of {len(ITEMS)} items are answered from the artifacts. Topics are paraphrased; "
        "the checklist itself is at tripod-statement.org.",
    )


ITEMS = (
    ("1", "Title: development or evaluation, population, outcome"),
    ("2", "Abstract"),
    ("3a", "Background: health-care context"),
    ("3b", "Background: target population and intended users"),
    ("3c", "Background: known health inequalities"),
    ("4", "Objectives"),
    ("5a", "Data: sources for development and evaluation"),
    ("5b", "Data: dates"),
    ("6a", "Participants: setting"),
    ("6b", "Participants: eligibility"),
    ("6c", "Participants: treatments received"),
    ("7", "Data preparation and quality checks"),
    ("8a", "Outcome: definition"),
    ("8b", "Outcome: assessors"),
    ("8c", "Outcome: blinding"),
    ("9a", "Predictors: choice"),
    ("9b", "Predictors: definition"),
    ("9c", "Predictors: assessors"),
    ("10", "Sample size"),
    ("11", "Missing data"),
    ("12a", "Analysis: use of the data"),
    ("12b", "Analysis: handling of predictors"),
    ("12c", "Analysis: model, building steps, internal validation"),
    ("12d", "Analysis: heterogeneity between clusters"),
    ("12e", "Analysis: performance measures"),
    ("12f", "Analysis: model updating"),
    ("12g", "Analysis: how predictions are made for evaluation"),
    ("13", "Class imbalance"),
    ("14", "Fairness"),
    ("15", "Model output and thresholds"),
    ("16", "Differences between development and evaluation data"),
    ("17", "Ethical approval"),
    ("18a", "Funding"),
    ("18b", "Conflicts of interest"),
    ("18c", "Protocol"),
    ("18d", "Registration"),
    ("18e", "Data sharing"),
    ("18f", "Code sharing"),
    ("19", "Patient and public involvement"),
    ("20a", "Flow of participants"),
    ("20b", "Characteristics of participants"),
    ("20c", "Comparison of development and evaluation data"),
    ("21", "Numbers of participants and events in each analysis"),
    ("22", "Full model, to make predictions"),
    ("23a", "Performance with intervals, in subgroups"),
    ("23b", "Heterogeneity in performance"),
    ("24", "Results of model updating"),
    ("25", "Interpretation"),
    ("26", "Limitations"),
    ("27a", "Usability: poor or missing input"),
    ("27b", "Usability: interaction and expertise of users"),
    ("27c", "Usability: next steps"),
)


def _answers(inputs: Inputs) -> dict[str, tuple[str, str]]:
    """Answer and section per item, as far as artifacts hold it."""
    run = (inputs.provenance.get("crossval") or {}).get("settings") or {}
    found: dict[str, tuple[str, str]] = {
        "1": ("development and external validation; see the title", "top"),
        "4": (
            "to predict central and lateral lymph-node metastasis from one US and one CT image of a nodule",
            "top",
        ),
        "8a": (
            "lymph-node metastasis per site, as columns lnm_central and lnm_lateral of the manifest say",
            "Cohort",
        ),
        "9a": ("pixels of the US and the CT image with the largest nodule area; nothing else", "Training"),
        "9b": ("regions of interest around clinicians' nodule masks, resized", "Training"),
        "11": ("nodules without US, CT or any label are excluded and counted; nothing is imputed", "Cohort"),
        "15": ("a probability; positive at or above the frozen threshold of the fold", "Promoted model"),
        "18f": ("the commit is under lineage", "Lineage"),
        "26": ("a list", "Limits"),
        "27a": ("a nodule without one of the images cannot be scored by the fused model", "Limits"),
    }
    if inputs.enrolment:
        found["6b"] = ("the paper's exclusion criteria, each with its count", "Cohort")
        found["20a"] = ("patients, nodules and images in, out by reason, kept", "Cohort")
    if inputs.audit:
        found["7"] = ("drawings, pictures of two patients and shortcuts were looked for", "Cohort")
    if inputs.case_mix is not None:
        found["16"] = found["20c"] = ("attributes of both cohorts side by side", "Cohort")
        found["20b"] = ("attributes that the manifest has", "Cohort")
    if inputs.provenance.get("crossval"):
        found["12a"] = (
            "folds by patient, stratified on both sites' labels; the external cohort is held out",
            "Training",
        )
        found["12b"] = ("normalised inside the network with statistics of the training patients", "Training")
        found["12c"] = ("the settings of every stage; cross-validation by patients", "Training")
        found["12g"] = (
            "out of fold; the registered model unchanged on the external cohort",
            "Promoted model",
        )
        found["13"] = (f"sampling {_sampling(run)}; probabilities corrected for prevalence", "Training")
        found["22"] = ("the registered bundle named under the promoted model", "Promoted model")
    if any(site.variants for site in inputs.sites):
        found["12e"] = ("AUC, calls, calibration, net benefit, with intervals and paired tests", "each site")
        found["21"] = ("nodules and positives of every analysis", "each site")
    if any(site.groups is not None for site in inputs.sites):
        found["23a"] = ("overall and in groups of nodules, small groups marked", "For whom")
        found["23b"] = ("interaction tests over groups", "For whom")
    if any((site.external or {}).get("recalibrated") for site in inputs.sites):
        found["12f"] = (
            "intercept moved to the other hospital's prevalence, shown beside the frozen model",
            "External",
        )
        found["24"] = ("calibration after recalibration", "External")
    if inputs.origin in ("phantom", "public"):
        found["5a"] = ("not clinical data: see the top of the page", "top")
        found["25"] = ("none: the numbers have no clinical meaning", "top")
    return found


def _sampling(run: Json) -> str:
    return str((run.get("training") or {}).get("sampling", "unknown"))
