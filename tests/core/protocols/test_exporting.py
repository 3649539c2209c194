from __future__ import annotations

from dataclasses import fields

import pytest

from calve.api import ExportError
from calve.protocols import ExportWorkspace, Finding


@pytest.fixture
def workspace() -> ExportWorkspace:
    nothing = dict.fromkeys(field.name for field in fields(ExportWorkspace))
    return ExportWorkspace(**nothing | {"report": {}})


def finding(severity: str, code: str) -> Finding:
    return Finding(severity, code, "encoder.net", f"what of {code}", f"fix of {code}")


def test_what_lint_warns_of_is_reported(workspace: ExportWorkspace) -> None:
    workspace.report_findings([finding("warning", "layout"), finding("warning", "name")])
    assert workspace.report == {
        "lint": ["layout: what of layout (fix of layout)", "name: what of name (fix of name)"]
    }


def test_errors_of_lint_end_the_export_and_are_listed(workspace: ExportWorkspace) -> None:
    findings = [finding("error", "blob"), finding("warning", "name"), finding("error", "count")]
    with pytest.raises(ExportError, match="not sound") as caught:
        workspace.report_findings(findings)
    assert caught.value.what.splitlines()[1:] == [
        "    blob: what of blob (fix of blob)",
        "    count: what of count (fix of count)",
    ]
    assert workspace.report == {}
