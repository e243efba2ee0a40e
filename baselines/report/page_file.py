"""A page as a file beside the results that it shows."""

from pathlib import Path

from baselines.report.document import Document
from baselines.store import StoreError
from vcpu_env.base.files import write_whole


def write_page(path: Path, document: Document) -> str:
    """Write a page. Returns what there is to say of it: where it is, or, without the extra `report`, what it needs.

    Raises:
        StoreError: it cannot be written.
    """
    try:
        from baselines.report.render import to_html
    except ImportError:
        return "page: needs jinja2 (pip install 'vcpu-env[report]'), then the same with --resume"
    try:
        write_whole(path, to_html(document).encode())
    except OSError as error:
        raise StoreError(f"{path}: cannot be written ({error.strerror})") from None
    return f"page: {path}"
