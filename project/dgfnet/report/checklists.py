"""TRIPOD+AI and CLAIM 2024, filled in as far as the artifacts know.

TRIPOD+AI: Collins et al. 2024, BMJ 385:e078378. CLAIM: Tejani et al. 2024, Radiology: Artificial Intelligence
6:e240300. Every item is answered from what the stages wrote, with a link to the place on the page where it
stands, or says honestly that it is not reported: what only the authors of a study know cannot be written by
software. Many items of the two lists ask the same; a shared answer is written once, in `_answers`.
"""

from __future__ import annotations

from dataclasses import dataclass

from dgfnet.report.cells import finite
from dgfnet.report.inputs import Json, ReportInputs, SiteInputs

NOT_REPORTED = "not reported: only the authors of a study know"
# anchors of sections of the page, each followed by the site
PROMOTED, GROUPS, EXPLAINED, EXTERNAL = "promoted", "whom", "why", "external"


@dataclass(frozen=True)
class Item:
    """One item of a checklist.

    Attributes:
        number: as the checklist numbers it.
        topic: paraphrased.
        answer: what the artifacts say, or that nothing is reported.
        anchor: of the place on the page; empty without an answer.
    """

    number: str
    topic: str
    answer: str
    anchor: str


@dataclass(frozen=True)
class Checklist:
    """A reporting guideline, filled in."""

    name: str
    home: str
    items: tuple[Item, ...]

    @property
    def answered(self) -> int:
        """Counts the items that have an answer."""
        return sum(bool(item.anchor) for item in self.items)


def checklists(inputs: ReportInputs) -> tuple[Checklist, ...]:
    """Fills in both guidelines."""
    answers = _answers(inputs)
    lists = (("TRIPOD+AI", "tripod-statement.org", TRIPOD), ("CLAIM 2024", "pubs.rsna.org", CLAIM))
    return tuple(
        Checklist(
            name,
            home,
            tuple(
                Item(number, topic, *answers.get(about, (NOT_REPORTED, ""))) for number, topic, about in items
            ),
        )
        for name, home, items in lists
    )


def _answers(inputs: ReportInputs) -> dict[str, tuple[str, str]]:
    """Returns answer and anchor per subject, as far as artifacts hold it."""
    used = (inputs.provenance.get("crossval") or {}).get("settings") or {}
    first = next((site.site for site in inputs.sites if site.variants), "")
    validated = next((site.site for site in inputs.sites if site.external), "")
    both = "development and external validation" if validated else "development"
    answers: dict[str, tuple[str, str]] = {
        "what": (f"deep learning; {both}; see the title", "top"),
        "aim": ("to predict lymph-node metastasis from images of a thyroid nodule", "top"),
        "goal": (f"{both} of a model, and its comparison with simpler ones", "top"),
        "outcome": (
            "lymph-node metastasis per site, as columns lnm_central and lnm_lateral of the manifest say; how "
            "it was established only the authors know",
            "cohort",
        ),
        "predictors": (
            "pixels of one image per modality, the one with the largest nodule area; nothing else",
            "training",
        ),
        "regions": ("regions of interest around clinicians' nodule masks, resized", "training"),
        "identity": (
            "DICOM files with direct identifiers are refused; identifiers in MLflow are keyed hashes",
            "lineage",
        ),
        "code": ("the commit of every stage; models and data as their owners decide", "lineage"),
        "software": ("versions of the libraries that ran", "lineage"),
        "limits": ("a list", "limits"),
    }
    if inputs.enrolment:
        answers["eligibility"] = ("the paper's exclusion criteria, each with its count", "cohort")
        answers["flow"] = ("patients, nodules and images in, out by reason, kept", "cohort")
        answers["missing"] = (
            "nodules without a modality that is needed, or without any label, are excluded and counted; "
            "pixels and labels are not imputed",
            "cohort",
        )
    if inputs.audit:
        answers["quality"] = ("drawings, pictures of two patients and shortcuts were looked for", "cohort")
    if inputs.case_mix is not None:
        answers["mix"] = ("attributes of both cohorts side by side", "cohort")
        answers["characteristics"] = (
            "attributes that the manifest has, of the main and the external cohort",
            "cohort",
        )
    if used:
        answers |= _trained(used)
    if first:
        answers |= {
            "measures": ("AUC, calls, calibration, net benefit; which have intervals the tables show", first),
            "numbers": ("nodules and positives of every analysis; AUC with its interval", first),
            "internal": ("out of fold, every nodule by a model that never saw its patient", first),
        }
    if any(site.pairs is not None for site in inputs.sites):
        answers["uncertainty"] = (
            "DeLong's test with patients as clusters, bootstrap over patients, corrected t over folds, "
            "Holm's correction",
            first,
        )
    promoted = next((site.site for site in inputs.sites if site.registered), "")
    if promoted:
        answers["model"] = ("the registered bundle, by name and version", f"{PROMOTED}-{promoted}")
        answers["output"] = (
            "a probability; positive at or above the frozen threshold",
            f"{PROMOTED}-{promoted}",
        )
        registered = next(site.registered for site in inputs.sites if site.registered)
        mean = registered.get("scoring") == "ensemble"
        chosen = "networks of all folds" if mean else "the fold whose held-out nodules it did best on"
        together = "the mean log odds of all folds" if mean else "none: one fold's model is registered"
        answers["chosen"] = (chosen, f"{PROMOTED}-{promoted}")
        answers["ensemble"] = (together, f"{PROMOTED}-{promoted}")
    explained = next((site for site in inputs.sites if site.attribution and site.sanity), None)
    if explained and explained.sanity:
        passed = "passed" if explained.sanity.get("passed") else "FAILED"
        answers["explained"] = (
            f"integrated gradients; sanity checks {passed}; no ratings by readers",
            f"{EXPLAINED}-{explained.site}",
        )
    grouped = next((site.site for site in inputs.sites if site.groups is not None), "")
    if grouped:
        answers["subgroups"] = ("groups of nodules, small groups marked", f"{GROUPS}-{grouped}")
        answers["heterogeneity"] = ("interaction tests over groups", f"{GROUPS}-{grouped}")
    if validated:
        answers["external"] = ("the registered model and its threshold, unchanged", f"{EXTERNAL}-{validated}")
        answers["evaluation"] = (
            "out of fold; the registered model unchanged on the external cohort",
            f"{EXTERNAL}-{validated}",
        )
    moved = next((site.site for site in inputs.sites if _recalibrated(site)), "")
    if moved:
        answers["updating"] = (
            "intercept moved to the other hospital's prevalence, shown beside the frozen model",
            f"{EXTERNAL}-{moved}",
        )
        answers["updated"] = ("calibration after recalibration", f"{EXTERNAL}-{moved}")
    fused = next((s.site for s in inputs.sites if (s.external or {}).get("alone")), "")
    if fused:
        answers["absent"] = (
            "without one image, the models of one modality inside the bundle score; measured",
            f"{EXTERNAL}-{fused}",
        )
    if inputs.origin in ("phantom", "public"):
        answers["sources"] = ("not clinical data: see the top of the page", "top")
        answers["meaning"] = ("none: the numbers have no clinical meaning", "top")
    return answers


def _recalibrated(site: SiteInputs) -> bool:
    moved = (site.external or {}).get("recalibrated") or {}
    return finite(moved.get("brier")) is not None


def _trained(used: Json) -> dict[str, tuple[str, str]]:
    """Returns the answers that the settings of the cross-validation give."""
    training, network = used.get("training") or {}, used.get("network") or {}
    sampling = str(training.get("sampling", "unknown"))
    return {
        "partitions": (
            "folds by patient, stratified on both sites' labels; the external cohort is held out",
            "training",
        ),
        "disjoint": ("patients, checked before anything is trained", "training"),
        "normalised": ("inside the network with statistics of the training patients", "training"),
        "building": ("the settings of every stage; cross-validation by patients", "training"),
        "architecture": ("encoders, fusion, sizes of input, as the settings say", "training"),
        "initial": (f"encoders pretrained: {network.get('pretrained', 'unknown')}", "training"),
        "subset": (f"sampling {sampling}, of training patients only unless it says paper", "training"),
        "imbalance": (
            f"sampling {sampling}; probabilities "
            f"{'corrected for prevalence' if sampling == 'train_only' else 'as the networks give them'}",
            "training",
        ),
    }


TRIPOD = (  # number, topic, subject of _answers
    ("1", "Title: development or evaluation, population, outcome", "what"),
    ("2", "Abstract", ""),
    ("3a", "Background: health-care context", ""),
    ("3b", "Background: target population and intended users", ""),
    ("3c", "Background: known health inequalities", ""),
    ("4", "Objectives", "aim"),
    ("5a", "Data: sources for development and evaluation", "sources"),
    ("5b", "Data: dates", ""),
    ("6a", "Participants: setting", ""),
    ("6b", "Participants: eligibility", "eligibility"),
    ("6c", "Participants: treatments received", ""),
    ("7", "Data preparation and quality checks", "quality"),
    ("8a", "Outcome: definition", "outcome"),
    ("8b", "Outcome: assessors", ""),
    ("8c", "Outcome: blinding", ""),
    ("9a", "Predictors: choice", "predictors"),
    ("9b", "Predictors: definition", "regions"),
    ("9c", "Predictors: assessors", ""),
    ("10", "Sample size", ""),
    ("11", "Missing data", "missing"),
    ("12a", "Analysis: use of the data", "partitions"),
    ("12b", "Analysis: handling of predictors", "normalised"),
    ("12c", "Analysis: model, building steps, internal validation", "building"),
    ("12d", "Analysis: heterogeneity between clusters", ""),
    ("12e", "Analysis: performance measures", "measures"),
    ("12f", "Analysis: model updating", "updating"),
    ("12g", "Analysis: how predictions are made for evaluation", "evaluation"),
    ("13", "Class imbalance", "imbalance"),
    ("14", "Fairness", ""),
    ("15", "Model output and thresholds", "output"),
    ("16", "Differences between development and evaluation data", "mix"),
    ("17", "Ethical approval", ""),
    ("18a", "Funding", ""),
    ("18b", "Conflicts of interest", ""),
    ("18c", "Protocol", ""),
    ("18d", "Registration", ""),
    ("18e", "Data sharing", ""),
    ("18f", "Code sharing", "code"),
    ("19", "Patient and public involvement", ""),
    ("20a", "Flow of participants", "flow"),
    ("20b", "Characteristics of participants", "characteristics"),
    ("20c", "Comparison of development and evaluation data", "mix"),
    ("21", "Numbers of participants and events in each analysis", "numbers"),
    ("22", "Full model, to make predictions", "model"),
    ("23a", "Performance with intervals, in subgroups", "subgroups"),
    ("23b", "Heterogeneity in performance", "heterogeneity"),
    ("24", "Results of model updating", "updated"),
    ("25", "Interpretation", "meaning"),
    ("26", "Limitations", "limits"),
    ("27a", "Usability: poor or missing input", "absent"),
    ("27b", "Usability: interaction and expertise of users", ""),
    ("27c", "Usability: next steps", ""),
)
CLAIM = (
    ("1", "Title: AI methodology and its category", "what"),
    ("2", "Abstract", ""),
    ("3", "Background: clinical context, intended use and role", ""),
    ("4", "Aims, objectives and hypotheses", "aim"),
    ("5", "Prospective or retrospective", ""),
    ("6", "Goal of the study", "goal"),
    ("7", "Data: sources", "sources"),
    ("8", "Data: inclusion and exclusion criteria", "eligibility"),
    ("9", "Data: preprocessing", "regions"),
    ("10", "Data: selection of subsets", "subset"),
    ("11", "Data: de-identification", "identity"),
    ("12", "Data: missing values", "missing"),
    ("13", "Data: image acquisition protocol", ""),
    ("14", "Reference standard: definition", "outcome"),
    ("15", "Reference standard: rationale", ""),
    ("16", "Reference standard: source of annotations", ""),
    ("17", "Reference standard: annotation of the test set", ""),
    ("18", "Reference standard: variability between and within raters", ""),
    ("19", "Partitions: how data were assigned", "partitions"),
    ("20", "Partitions: level at which they are disjoint", "disjoint"),
    ("21", "Testing data: intended sample size", ""),
    ("22", "Model: description", "architecture"),
    ("23", "Model: software and versions", "software"),
    ("24", "Model: initialisation", "initial"),
    ("25", "Training: approach", "building"),
    ("26", "Training: how the final model was chosen", "chosen"),
    ("27", "Training: ensembles", "ensemble"),
    ("28", "Evaluation: metrics", "measures"),
    ("29", "Evaluation: significance and uncertainty", "uncertainty"),
    ("30", "Evaluation: robustness or sensitivity", ""),
    ("31", "Evaluation: explanation of predictions", "explained"),
    ("32", "Evaluation: on internal data", "internal"),
    ("33", "Evaluation: on external data", "external"),
    ("34", "Registration of a clinical trial", ""),
    ("35", "Results: patients and images included and excluded", "flow"),
    ("36", "Results: characteristics in each partition", "characteristics"),
    ("37", "Results: performance and its uncertainty", "numbers"),
    ("38", "Results: diagnostic performance and its precision", "numbers"),
    ("39", "Results: failure analysis", ""),
    ("40", "Discussion: limitations", "limits"),
    ("41", "Discussion: implications for practice", "meaning"),
    ("42", "Protocol or further technical details", ""),
    ("43", "Availability of software, model and data", "code"),
    ("44", "Funding", ""),
)
