"""The disk from which a machine reads its cloud-init documents (NoCloud): a small ISO file.

``python -m lab.host.seed FILE`` writes it from the JSON object of documents on its standard input. The
documents hold a private host key: the file is readable by its owner alone and appears whole or not at all.
"""

import io
import json
import os
import sys
from pathlib import Path

import pycdlib

# What cloud-init looks for in a NoCloud source (cloud-init documentation, NoCloud).
LABEL = "cidata"


def write(file: Path, documents: dict[str, str]) -> None:
    """Write ``documents`` (text by file name, such as ``user-data``) as the ISO ``file``."""
    iso = pycdlib.PyCdlib()
    iso.new(interchange_level=3, joliet=3, rock_ridge="1.09", vol_ident=LABEL)
    for number, (name, text) in enumerate(sorted(documents.items())):
        data = text.encode()
        iso.add_fp(io.BytesIO(data), len(data), f"/FILE{number}.;1", rr_name=name, joliet_path=f"/{name}")
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    staged = file.with_name(file.name + ".new")
    with os.fdopen(os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as stream:
        iso.write_fp(stream)
    iso.close()
    staged.replace(file)


if __name__ == "__main__":
    write(Path(sys.argv[1]), json.load(sys.stdin))
