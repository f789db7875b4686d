"""Templates of the pages, and the policy that keeps them to themselves."""

import base64
import hashlib
from typing import Final

import jinja2

_SCRIPT_NAME: Final = "sort.js"


def fill_template(name: str, **content: object) -> str:
    """Return a page as HTML; all text in it is escaped.

    Args:
        name: of the template.
        content: its variables; one that is missing is an error.

    Returns:
        HTML that loads nothing. A script runs only if it is the package's own: the page's policy
        names its digest, so that none can come in by way of a name in the results.
    """
    loader = jinja2.PackageLoader("prism_mri.report")
    environment = jinja2.Environment(
        loader=loader,
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    script = loader.get_source(environment, _SCRIPT_NAME)[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    return environment.get_template(name).render(
        script=script,
        script_digest=f"sha256-{digest}",
        **content,
    )
