"""Subgroups of nodules and the rule for CT, as the stage applicability wrote them."""

from __future__ import annotations

import matplotlib
import pandas as pd

from dgfnet.applicability import figures
from dgfnet.report.cells import finite, number, p_value, signed, text
from dgfnet.report.figures import STYLE, Picture, uri_of
from dgfnet.report.inputs import Json
from dgfnet.report.tables import Row, Table


def groups(site: str, frame: pd.DataFrame, models: Json) -> Table:
    """Tabulates every group: its size, the share each model predicts correctly, the gain of adding CT.

    Args:
        site: its name.
        frame: groups.csv.
        models: names of the models called us, ct and both, as the stage recorded them.
    """
    named = ", ".join(f"{name} is {models[name]}" for name in ("us", "ct", "both") if name in models)
    rows = tuple(
        Row(
            f"{str(line['attribute']).replace('_', ' ')}: {line['group']}",
            (
                f"{line['n']} ({line['positives']})",
                *(number(line[f"correct_{name}"]) for name in ("us", "ct", "both")),
                f"{signed(line['gain'])} ({signed(line['gain_low'])} to {signed(line['gain_high'])})",
                p_value(line["gain_p_holm"]),
            ),
            note="too few of a class to say" if line["small"] else "",
        )
        for line in frame.to_dict("records")
    )
    return Table(
        title=f"For whom, {site}",
        source=f"artifacts/applicability/{site}/groups.csv",
        corner="Nodules",
        head=("n (positive)", "US correct", "CT correct", "both correct", "AUC, both less US", "p, Holm"),
        rows=rows,
        note="Out-of-fold predictions at each fold's frozen threshold. The gain is that of adding CT to US"
        + (f" ({named})." if named else "."),
        folded=True,
    )


def pictures(site: str, rows: pd.DataFrame, curve: pd.DataFrame, rule: Json) -> tuple[Picture, ...]:
    """Draws the paper's Figure 5, and AUC against the share of nodules that get CT."""
    with matplotlib.rc_context(STYLE):
        first = uri_of(figures.groups(site, rows))  # type: ignore[arg-type]
        second = uri_of(figures.frontier(site, curve, float(rule["ct_share"])))  # type: ignore[arg-type]
    ranked = rows.dropna(subset="gain").sort_values("gain").to_dict("records")
    largest = ""
    if ranked:
        best = ranked[-1]
        largest = f" Largest gain of CT: {best['attribute']} {best['group']}, {signed(best['gain'])}."
    policies = ", ".join(f"{name} {number(policy['auc'])}" for name, policy in rule["policies"].items())
    return (
        Picture(
            first,
            alt=f"Share predicted correctly by US, CT and both in groups of nodules, {site}.{largest}",
            title=f"Who is predicted correctly, {site} (the paper's Figure 5)",
            note="Bars are intervals of the share. Groups marked small are shown and not tested.",
            source=f"artifacts/applicability/{site}/groups.csv",
        ),
        Picture(
            second,
            alt=f"AUC against the share with CT, {site}. At {rule['ct_share']:.0%}: {policies}.",
            title=f"Who gets CT, {site}",
            note="US for all; CT for those whom the rule expects it to help, for those near the threshold, "
            "or for as many at random. The rule of a fold is learned on the other folds.",
            source=f"artifacts/applicability/{site}/frontier.csv",
        ),
    )


def statements(tests: pd.DataFrame, rule: Json) -> tuple[str, ...]:
    """Puts the interaction tests and the rule's result into sentences."""
    differ = [
        row.attribute for row in tests.itertuples() if (p := finite(row.p_holm)) is not None and p < 0.05
    ]
    first = (
        f"The gain of CT differs by {' and '.join(str(name).replace('_', ' ') for name in differ)}."
        if differ
        else "No attribute was found by which the gain of CT differs; that is no proof that none does."
    )
    return (first, *_rule(rule))


def external_statements(rule: Json | None) -> tuple[str, ...]:
    """Puts the rule's result on the external cohort into sentences, or the reason why it was not tried."""
    if rule is None:
        return ("The rule on the external cohort: not available, run the stage applicability.",)
    if "reason" in rule:
        return (f"The rule was not tried on the external cohort: {rule['reason']}.",)
    head = f"On the external cohort ({text(rule['n'])} nodules), learned on the main cohort alone:"
    first, *rest = _rule(rule)
    return (f"{head} {first[0].lower()}{first[1:]}", *rest)


def _rule(rule: Json) -> tuple[str, ...]:
    by_rule, near, chance = (rule["policies"][name]["auc"] for name in ("rule", "near threshold", "random"))
    test = rule["chosen_against_chance"]
    reached = (
        f"With CT for {rule['ct_share']:.0%} of the nodules the rule reaches an AUC of {number(by_rule)}, CT "
        f"near the threshold {number(near)}, CT at random {number(chance)}; US for all "
        f"{number(rule['us_for_all']['auc'])}, CT for all {number(rule['ct_for_all']['auc'])}."
    )
    chosen = (
        f"Calls that CT corrects less those it spoils: {signed(test['improvement'])} per nodule the rule "
        f"chooses, {signed(test['by_chance'])} per nodule on average."
    )
    shown = (
        "Those whom it chooses benefit more than others"
        if rule["finds_who_benefits"]
        else "It was not shown that those whom it chooses benefit more than others"
    )
    return (reached, chosen, f"{shown} (permutation of patients, p {p_value(test['p'])}).")
