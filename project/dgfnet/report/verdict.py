"""The five lines at the top of the page: what was reached, and what speaks against it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import pandas as pd

from dgfnet.report import published, statements
from dgfnet.report.cells import finite, number, signed, text, with_interval
from dgfnet.report.inputs import Json, ReportInputs, SiteInputs
from dgfnet.settings import Settings
from dgfnet.vocabulary import BASELINES, CONTROLS, PICTURED

OFF = 0.3  # log odds in the large from which predicted risks are called too high or too low
ALIKE = 0.5  # correlation of two networks' maps below which single pixels are not to be read


@dataclass(frozen=True)
class Line:
    """One line of the verdict.

    Attributes:
        about: the question it answers, in two or three words.
        said: sentences, of one site each or of both.
        bad: some of it speaks against the model or the analysis.
        sources: artifacts behind it, relative to artifacts/.
    """

    about: str
    said: tuple[str, ...]
    bad: bool
    sources: tuple[str, ...]


def verdict(settings: Settings, inputs: ReportInputs) -> tuple[Line, ...]:
    """Draws the five lines from whatever stages have run; a stage that has not is said to be missing."""
    reference = settings.compare.reference
    return (
        _reached(inputs, reference),
        _needed(inputs, reference),
        _elsewhere(inputs),
        _explained(inputs),
        _left_out(settings, inputs),
    )


def _reached(inputs: ReportInputs, reference: str) -> Line:
    said, sources, bad = [], [], False
    for site in inputs.sites:
        areas = {
            name: area for name, metrics in site.variants.items() if (area := metrics.get("auc_interval"))
        }
        if reference not in areas:
            said.append(_missing(site, f"{reference} was not cross-validated", site.skipped))
            bad = True
            continue
        best = max(areas, key=lambda name: finite(areas[name].get("estimate")) or 0)
        more = "" if best == reference else f"; the best of all is {best}, {with_interval(areas[best])}"
        said.append(f"{_name(site)}: AUC of {reference} {with_interval(areas[reference])}, out of fold{more}")
        bad = bad or best != reference
        sources += [f"crossval/{site.site}/{name}/metrics.json" for name in dict.fromkeys((reference, best))]
    return Line("How well", tuple(said), bad, tuple(sources))


def _needed(inputs: ReportInputs, reference: str) -> Line:
    """Says of the reference and of the registered model what simpler ones do as well or better."""
    said, sources, bad = [], [], False
    for site in inputs.sites:
        if site.pairs is None:
            said.append(_missing(site, "not available: run the stage compare", site.skipped))
            bad = True
            continue
        registered = str((site.registered or {}).get("variant") or reference)
        parts = []
        for name in dict.fromkeys((reference, registered)):
            words, worse = _rivals(site.pairs, name)
            parts.append(words)
            bad = bad or worse
        said.append(f"{_name(site)}: {'; '.join(parts)}")
        sources.append(f"compare/{site.site}/pairs.csv")
    return Line("Against simpler models", tuple(said), bad, tuple(sources))


def _rivals(pairs: pd.DataFrame, name: str) -> tuple[str, bool]:
    """Names the simpler models that are better than one, or that it is not shown to beat.

    Simpler than a model are the other variants that read pictures alone and the baselines; of stacks, none.
    """
    better, level, compared = [], [], 0
    for line in pairs.to_dict("records"):
        first, second = str(line["a"]), str(line["b"])
        other = second if first == name else first
        if name not in (first, second) or other not in (*PICTURED, *BASELINES):
            continue
        compared += 1
        # of the other less this one
        sides = [line["estimate"], line["low"], line["high"]]
        gap, low, high = sides if first == other else [-sides[0], -sides[2], -sides[1]]
        if low > 0:
            better.append(f"{other} (by {number(gap)}, {number(low)} to {number(high)})")
        elif not high < 0:  # also without an interval
            level.append(other)
    if not compared:
        return f"{name} was compared with none", True
    said = [f"{name} is beaten by {', '.join(better)}"] if better else []
    said += [f"{name} is not shown to beat {', '.join(level)}"] if level else []
    return ("; ".join(said) or f"{name} beats all {compared}"), bool(said)


def _elsewhere(inputs: ReportInputs) -> Line:
    said, sources, bad = [], [], False
    for site in inputs.sites:
        record = site.external
        if record is None:
            said.append(_missing(site, "no external validation", site.external_skipped))
            bad = True
            continue
        found = record.get("external") or {}
        intervals = found.get("intervals") or {}
        sensitivity, specificity = (
            with_interval(intervals[name]) if name in intervals else number(found.get(name))
            for name in ("sensitivity", "specificity")
        )
        large = finite((found.get("calibration") or {}).get("in_the_large"))
        off = large is not None and abs(large) >= OFF
        away = "high" if (large or 0) < 0 else "low"
        more = f"; predicted risks too {away} (in the large {signed(large)})" if off else ""
        level = _level_elsewhere(record)
        more += f"; not shown to beat {', '.join(level)}" if level else ""
        said.append(
            f"{_name(site)}: on {text(found.get('n'))} external nodules {text(record.get('variant'))} has "
            f"sensitivity {sensitivity}, specificity {specificity}, AUC "
            f"{with_interval(found.get('auc_interval'))}{more}"
        )
        bad = bad or bool(more)
        sources.append(f"external/{site.site}/metrics.json")
    return Line("At another hospital", tuple(said), bad, tuple(sources))


def _level_elsewhere(record: Json) -> list[str]:
    """Lists the baselines that the promoted model is not shown to beat on the external cohort."""
    gaps = {
        name: (metrics.get("difference") or {}).get("low")
        for name, metrics in (record.get("baselines") or {}).items()
    }
    return [name for name, low in gaps.items() if (finite(low) or 0) <= 0]


def _explained(inputs: ReportInputs) -> Line:
    said, sources, bad = [], [], False
    for site in inputs.sites:
        checks, summary = site.sanity, site.attribution
        if checks is None or summary is None:
            said.append(_missing(site, "no attribution", site.not_explained))
            bad = True
            continue
        failed = [] if checks["passed"] else list(map(str, checks["failed"]))
        words = (
            f"do not trust the maps: {'; '.join(failed)}"
            if failed
            else f"the maps passed the checks on {text(checks['nodules'])} nodules"
        )
        alike = finite(
            (((summary.get("repeatability") or {}).get("pairs") or {}).get("maps") or {}).get("median")
        )
        apart = alike is not None and alike < ALIKE
        more = f", but those of two folds' networks hardly agree (correlation {number(alike, 2)} per pixel)"
        more = more if apart else ""
        said.append(f"{_name(site)}: {words}{more}")
        bad = bad or bool(failed) or apart
        sources += [f"attribution/{site.site}/{name}.json" for name in ("checks", "summary")]
    return Line("Explanations", tuple(said), bad, tuple(sources))


def _left_out(settings: Settings, inputs: ReportInputs) -> Line:
    """Says what was skipped, and how small the setting is beside the paper's."""
    said = []
    trained = {name for site in inputs.sites for name in site.variants}
    absent = [name for name in PICTURED if name not in (*trained, *CONTROLS)]
    if absent:
        said.append(f"Not trained: {', '.join(absent)}")
    for site in inputs.sites:
        for what, why in _reasons(site):
            said.append(f"{_name(site)}: {what} ({why})")
    used = statements.settings_used(inputs)
    width, preprocess = statements.width(inputs), used.get("preprocess") or {}
    sides = [f"{text(preprocess.get(key))} (paper {side})" for key, side in published.SIDES.items()]
    if width is not None and width < 1:
        said.append(f"Networks of {width:g} of the paper's width, input sides {' and '.join(sides)}")
    said += [line.rstrip(".") for line in statements.warnings(inputs)]
    sources = ("crossval/provenance.json",) if used else ()
    return Line("Left out", tuple(said) or ("Nothing",), bool(said), sources)


def _reasons(site: SiteInputs) -> Iterable[tuple[str, str]]:
    """Pairs of what a site lacks and why, as the stages said."""
    yield from ((f"no {name}", why) for name, why in site.not_learned.items())
    left_out = ((site.external or {}).get("left_out") or {}).items()
    yield from ((f"no external {name}", why) for name, why in left_out)
    if unlocated := ((site.attribution or {}).get("localisation") or {}).get("reason"):
        yield "maps not held against the true places of the signal", str(unlocated)
    if reason := (site.rule_external or {}).get("reason"):
        yield "the rule for CT not tried on the external cohort", str(reason)


def _name(site: SiteInputs) -> str:
    return site.site.capitalize()


def _missing(site: SiteInputs, what: str, why: str | None) -> str:
    return f"{_name(site)}: {what}" + (f" ({why})" if why else "")
