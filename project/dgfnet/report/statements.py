"""Sentences about the cohort, the training, the external interval and the lineage."""

from __future__ import annotations

from dgfnet.compare import attention, baselines, modalities
from dgfnet.report import external, published, reading
from dgfnet.report.cells import finite, number, text
from dgfnet.report.inputs import Json, ReportInputs, SiteInputs
from dgfnet.settings import Settings
from dgfnet.vocabulary import TABULAR

SAMPLING = {
    "train_only": "train_only: classes are balanced in training folds only; every labelled nodule is "
    "evaluated, at the cohort's share of positives.",
    "paper": "paper: the cohort was undersampled to equal classes before the analysis, as in the paper; "
    "precision and calibration then describe a cohort with as many positives as negatives, not practice.",
    "none": "none: no undersampling anywhere.",
}
NARROW = 0.1  # an interval wider than this is explained


def analysed(site: SiteInputs, settings: Settings) -> tuple[str, ...]:
    """Says how many nodules of a site were analysed, how classes were sampled, and what is not available."""
    lines = []
    for metrics in list(site.variants.values())[:1]:
        table = next(iter(site.tables.values()), None)
        patients = f" of {table['patient_id'].nunique()} patients" if table is not None else ""
        counts = f"{text(metrics.get('n'))} nodules{patients} analysed"
        lines.append(f"{counts}, {text(metrics.get('positives'))} with metastasis.")
    networks = [metrics for name, metrics in site.variants.items() if name not in TABULAR]
    for sampling in sorted({str(metrics.get("sampling")) for metrics in networks}):
        lines.append(f"Sampling {SAMPLING.get(sampling, sampling)}")
    absent = [name for name in settings.crossval.variants if name not in site.variants]
    if site.variants and absent:
        lines.append(f"Not available: {', '.join(absent)}; run `dgfnet crossval`.")
    if site.variants and site.skipped:
        lines.append(
            f"Beware: a later or earlier run skipped this site ({site.skipped}); one of the two is stale."
        )
    lines += [f"No {name}: {why}." for name, why in site.not_learned.items()]
    return tuple(lines)


def beaten(site: SiteInputs, settings: Settings) -> tuple[str, ...]:
    """Says what the best network beats, what attention tells, and how US and CT alone compare."""
    said = [attention.sentence(row) for row in attention.table(site.variants).to_dict("records")]
    if site.baselines is not None and not site.baselines.empty:
        said.insert(0, baselines.best(site.baselines, settings.base.confidence))
    if site.modalities is not None:
        said += modalities.sentences(site.modalities)
    return tuple(said)


def beaten_from(site: SiteInputs) -> tuple[str, ...]:
    """Names the artifacts behind `beaten`."""
    tables = {"baselines": site.baselines, "modalities": site.modalities}
    compared = (f"compare/{site.site}/{name}.csv" for name, table in tables.items() if table is not None)
    return (*compared, f"crossval/{site.site}/*/metrics.json")


def external_interval(site: SiteInputs) -> tuple[str, ...]:
    """Says what the interval of the external AUC allows to conclude."""
    if site.external is None:
        return ()
    metrics = site.external.get("external") or {}
    interval = metrics.get("auc_interval") or {}
    low, high = finite(interval.get("low")), finite(interval.get("high"))
    table = site.predictions
    who = (
        f"{table['patient_id'].nunique()} patients"
        if table is not None
        else f"{text(metrics.get('n'))} nodules"
    )
    lines = []
    if low is None or high is None:
        lines.append(
            f"The AUC of {who} has no interval: too few patients of a class. Do not compare it with anything."
        )
    elif high - low > NARROW:
        lines.append(
            f"The external AUC rests on {who}, {text(metrics.get('positives'))} of {text(metrics.get('n'))} "
            "nodules positive: data like these are compatible with any true AUC from "
            f"{number(low)} to {number(high)}, and a value inside that range is no evidence that the model "
            "travels well or badly."
        )
    if said := external.beaten(site.external):
        lines.append(said)
    left_out = (site.external.get("left_out") or {}).items()
    lines += [f"No external baseline {name}: {reason}." for name, reason in left_out]
    registered = site.registered or {}
    if registered and text(registered.get("version")) != text(site.external.get("version")):
        lines.append(
            f"Validated was version {text(site.external.get('version'))}, the champion at that time; the "
            f"model registered last is version {text(registered.get('version'))}."
        )
    if site.external_skipped:
        lines.append(
            f"Beware: another run skipped this validation ({site.external_skipped}); one of the two is stale."
        )
    return tuple(lines)


def training_run(inputs: ReportInputs) -> tuple[tuple[str, str], ...]:
    """Returns names and values of the training settings that crossval recorded; empty when it has not run."""
    used = settings_used(inputs)
    if not used:
        return ()
    base, network, training = (used.get(name) or {} for name in ("base", "network", "training"))
    crossval, preprocess = used.get("crossval") or {}, used.get("preprocess") or {}
    encoders = ", ".join(f"{site} {name}" for site, name in (network.get("encoder") or {}).items())
    sizes = f"ultrasound {text(preprocess.get('us_size'))}, CT {text(preprocess.get('ct_size'))} pixels"
    epochs = (
        f"{text((used.get('pretrain') or {}).get('epochs'))} segmentation only, then "
        f"{text(crossval.get('unimodal_epochs'))} unimodal, then {text(crossval.get('multimodal_epochs'))} "
        "multimodal"
    )
    dgf = network.get("dgf") or {}
    told = [] if inputs.reading is None else reading.sentences(inputs.reading)
    origins = {
        str(m["pretrained"].get("sha256"))[:12]
        for m in _variants(inputs)
        if "sha256" in m.get("pretrained", {})
    }
    files = f" (files with sha256 {', '.join(sorted(origins))})" if origins else ""
    return (
        ("Profile", text(base.get("profile"))),
        ("Folds", text((used.get("cohort") or {}).get("folds"))),
        (
            "Encoders",
            f"{encoders}; width {text(network.get('width'))} of the paper's; pretrained: "
            f"{text(network.get('pretrained'))}{files}",
        ),
        ("Input side", f"{sizes} (paper {' and '.join(map(str, published.SIDES.values()))})"),
        *(("Measured features told", said) for said in told),
        ("Epochs", f"{epochs} (paper 100, 200, 200)"),
        ("Learning rate", f"{text(training.get('learning_rate'))}, batches of {text(training.get('batch'))}"),
        ("Sampling", text(training.get("sampling"))),
        (
            "DGF",
            f"{', '.join(dgf.get('branches') or [])}, combined by {text(dgf.get('combiner'))}; nodule "
            f"level: {text(dgf.get('nodule_level'))}",
        ),
        ("Seed", text(base.get("seed"))),
    )


def settings_used(inputs: ReportInputs) -> Json:
    """Returns the settings of the cross-validation; empty when it has not run."""
    return dict(inputs.provenance.get("crossval", {}).get("settings") or {})


def _variants(inputs: ReportInputs) -> list[Json]:
    return [metrics for site in inputs.sites for metrics in site.variants.values()]


def width(inputs: ReportInputs) -> float | None:
    """Returns the width of the networks relative to the paper's, as the stage crossval recorded it."""
    used = settings_used(inputs)
    return finite((used.get("network") or {}).get("width"))


def warnings(inputs: ReportInputs) -> list[str]:
    """Warns of stages that ran on different commits or cohorts, or without a recorded one."""
    warnings = []
    for key, words in (("git_commit", "commits"), ("data_md5", "cohorts")):
        values = {str(record.get(key)) for record in inputs.provenance.values()}
        if len(values) > 1:
            warnings.append(f"The stages ran on {len(values)} different {words}; see the table.")
    if any(str(record.get("git_commit", "")).endswith("-dirty") for record in inputs.provenance.values()):
        warnings.append(
            "Some stage ran with uncommitted changes: its commit does not tell exactly which code ran."
        )
    if any(record.get("git_commit") == "unknown" for record in inputs.provenance.values()):
        warnings.append("Some stage ran outside git: which code ran is not recorded.")
    if any(record.get("data_md5") == "untracked" for record in inputs.provenance.values()):
        warnings.append("The cohort was not under DVC when some stage ran: its version is not recorded.")
    return warnings
