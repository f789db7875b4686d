"""An audit as text."""

from prism_mri.privacy.results import AuditResults


def format_audit(results: AuditResults) -> str:
    """Return a Markdown table, a row per kind and attack, then a sentence per kind."""
    lines = [
        f"{results.members} people trained on, {results.others} others; brackets are 95 % "
        "intervals over people.",
        "",
        "| card | bytes | attack | AUC | found at 1 % false alarms |",
        "|---|---|---|---|---|",
    ]
    for audit in results.kinds:
        lines += [
            f"| {audit.kind} | {audit.card_bytes:,} | {leak.attack} | "
            f"{leak.auc:.2f} ({leak.auc_low:.2f} to {leak.auc_high:.2f}) | "
            f"{leak.hits:.0%} ({leak.hits_low:.0%} to {leak.hits_high:.0%}) |"
            for leak in audit.leaks
        ]
    return "\n".join([*lines, "", *(audit.describe() for audit in results.kinds), ""])
