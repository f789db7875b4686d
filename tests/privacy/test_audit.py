"""An audit from model folder to sentence, and what publishing makes of it."""

import json

import pytest

from prism_mri.cli.main import main
from prism_mri.errors import InputError, PrivacyError
from prism_mri.models.site_model import read_model
from prism_mri.privacy.audit import ATTACKS, audit_model
from prism_mri.privacy.membership import Leak
from prism_mri.privacy.results import (
    AUDIT_NAME,
    AuditResults,
    KindAudit,
    check_leakage,
    read_audit,
)
from prism_mri.privacy.table import format_audit


def leak(auc: float, high: float) -> Leak:
    return Leak(
        attack="x", auc=auc, auc_low=0.4, auc_high=high, hits=0.1, hits_low=0.0, hits_high=0.3
    )


@pytest.mark.parametrize(
    ("kind", "kinds"), [("adapter", ["adapter", "style"]), ("style", ["style"])]
)
def test_every_kind_that_a_model_can_give_is_attacked(
    make_model, prepared, strangers, translator, kind, kinds
):
    model = make_model(kind=kind)
    results = audit_model(model, prepared, [strangers], translator=translator)
    assert [audit.kind for audit in results.kinds] == kinds
    assert (results.members, results.others) == (4, 5)
    for audit in results.kinds:
        # Networks that were trained on nobody give nobody away.
        attacks = ["style mean"] if audit.kind == "style" else list(ATTACKS)
        assert [leak.attack for leak in audit.leaks] == attacks
    assert results.kinds[-1].card_bytes < 4096
    assert read_audit(model) == results


def test_nobody_is_named_and_the_same_seed_gives_the_same_numbers(
    make_model, prepared, strangers, translator
):
    model = make_model(kind="style")
    first, again = (
        audit_model(model, prepared, [strangers], translator=translator, seed=3) for _ in range(2)
    )
    assert first == again
    assert "secret" not in (model / AUDIT_NAME).read_text()
    assert "secret" not in format_audit(first)


def test_people_of_the_training_data_never_count_as_others_and_others_count_once(
    make_model, prepared, strangers, translator, caplog
):
    model = make_model(kind="style")
    folders = [prepared, strangers, strangers]
    results = audit_model(model, prepared, folders, translator=translator)
    assert (results.members, results.others) == (4, 5)
    assert "5 others; 9 of those held out have the labels" in caplog.text


def test_too_few_others_are_refused(make_model, prepared, translator):
    with pytest.raises(InputError, match=r"4 trained on and 1 others: .*--held-out"):
        audit_model(make_model(kind="style"), prepared, [], translator=translator)


def test_other_data_than_it_was_trained_on_is_refused(make_model, strangers, translator):
    with pytest.raises(InputError, match=r"config.json says .* not trained on"):
        audit_model(make_model(kind="style"), strangers, [], translator=translator)


def test_people_of_another_site_are_refused(make_model, prepared, make_prepared, translator):
    elsewhere = make_prepared(range(20, 23), site="hh")
    with pytest.raises(InputError, match="is of site hh"):
        audit_model(make_model(kind="style"), prepared, [elsewhere], translator=translator)


def test_publishing_is_refused_above_the_limit(make_model, prepared, strangers, translator):
    model = make_model(kind="style")
    with pytest.raises(InputError, match="was not audited"):
        check_leakage(model, None, 0.6)
    results = audit_model(model, prepared, [strangers], translator=translator)
    rewrite(model, results, leak(0.55, 0.62))
    check_leakage(model, None, 0.62)
    with pytest.raises(PrivacyError, match=r"AUC 0.55, upper bound 0.62, above --max-leakage 0.6"):
        check_leakage(model, "style", 0.6)
    with pytest.raises(InputError, match="does not have cards of kind adapter"):
        check_leakage(model, "adapter", 0.6)


def rewrite(model, results: AuditResults, *leaks: Leak) -> None:
    audit = KindAudit(kind="style", card_bytes=2000, leaks=leaks)
    changed = results.model_copy(update={"kinds": (audit,)})
    (model / AUDIT_NAME).write_text(changed.model_dump_json())


def test_an_audit_of_another_model_does_not_count(make_model, prepared, strangers, translator):
    model = make_model(kind="style")
    audit_model(model, prepared, [strangers], translator=translator)
    content = json.loads((model / AUDIT_NAME).read_text())
    (model / AUDIT_NAME).write_text(json.dumps(content | {"model_sha256": "0" * 64}))
    with pytest.raises(InputError, match="is of another model"):
        check_leakage(model, None, 1.0)


def test_command_line(make_model, prepared, strangers, translator, monkeypatch, capsys, tmp_path):
    for module in ("models.translator", "card.read"):
        monkeypatch.setattr(f"prism_mri.{module}.read_translator", lambda: translator)
    model = make_model(kind="style")
    assert main(["audit", str(model), "--data", str(prepared), "--held-out", str(strangers)]) == 0
    printed = capsys.readouterr().out
    assert "4 people trained on, 5 others" in printed
    assert "With a card of kind style, somebody who holds the scans" in printed
    rewrite(model, read_audit(model), leak(0.8, 0.9))
    card = tmp_path / "guys.prism"
    command = ["publish", str(model), "--out", str(card), "--local-only", "--max-leakage"]
    assert main([*command, "0.7"]) == 1
    assert "upper bound 0.90" in capsys.readouterr().err
    assert not card.exists()
    assert main([*command, "0.3"]) == 1
    assert "--max-leakage must be 0.5 to 1" in capsys.readouterr().err
    assert main([*command, "0.95"]) == 0
    assert card.exists()
    assert read_model(model)[0].kind == "style"
