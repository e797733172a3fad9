"""The case that premises make, and the facts of it."""

from __future__ import annotations

from dataclasses import replace

from moewright.audit.audit_record import Unread
from moewright.audit.quantities.readings import Facts, facts_of
from moewright.audit.reading.corrections import accepted
from moewright.audit.reading.document_case import Setting, strategies
from moewright.audit.reading.premises import Premise
from moewright.audit.reading.restated import is_of_another_model


def accepted_setting(
    premises: list[Premise], assumed: dict[str, object], spec: str | None, file: str
) -> tuple[Setting, list[Premise], tuple[Unread, ...]]:
    """What ``premises`` make, without a model that is only mentioned."""
    setting, kept, unread = accepted(premises, assumed, spec, file)
    if not is_of_another_model(kept, setting):
        return setting, kept, unread
    named = next(p for p in kept if p.field == "model.name")
    reason = f"{named.value} is mentioned, and the sizes that the document gives are not its"
    setting, kept, more = accepted([p for p in kept if p.field != "model.name"], assumed, spec, file)
    return setting, kept, (*unread, *more, Unread(named.line, named.text, reason))


def facts_of_setting(setting: Setting) -> Facts:
    """The facts of ``setting``; where its batch divides over no ranks, or over no micro-batches,
    that of all GPUs when it is of each, or of a micro-batch of each."""
    found, reason = strategies(setting)
    if found or ("batch" not in reason and "leave none" not in reason):
        return facts_of(setting, found, reason)
    w, given = setting.case.workload, setting.given
    parts = given["strategy.micro_batches"].value if "strategy.micro_batches" in given else 1
    for times in dict.fromkeys((setting.case.cluster.gpus, setting.case.cluster.gpus * parts)):
        spread = replace(w, batch=tuple(b * times for b in w.batch))
        other = replace(setting, case=replace(setting.case, workload=spread))
        found, _ = strategies(other)
        if found:
            return facts_of(other, found, "")
    return facts_of(setting, {}, reason)
