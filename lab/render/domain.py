"""What the provider has no field for, as a stylesheet over the domain it writes."""

from lab.render.templates import render


def stylesheet(pool_path: str, console_log: str) -> str:
    """XSLT for a domain whose disks lie in ``pool_path`` and whose serial console is logged."""
    return render("domain.xslt.j2", pool_path=pool_path, console_log=console_log)
