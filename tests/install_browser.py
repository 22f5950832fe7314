"""Make sure that headless Chromium and its driver are there: `make test` runs this first.

Installs Debian's packages where that is possible (as root, with apt-get); elsewhere it says what is missing, and the
tests that need a browser are skipped, except in CI, where they fail.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

PACKAGES = ["chromium", "chromium-driver"]


def main() -> None:
    if shutil.which("chromium") and shutil.which("chromedriver"):
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        print(
            f"note: install {' and '.join(PACKAGES)} to run the tests that open the report in a browser",
            file=sys.stderr,
        )
        return
    print(f"Installing {' and '.join(PACKAGES)} for the tests that open the report in a browser")
    for command in (["update"], ["install", "--yes", "--no-install-recommends", *PACKAGES]):
        subprocess.run(
            ["apt-get", "--quiet=2", *command],
            env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"},
            stdout=subprocess.DEVNULL,
            check=False,
        )


if __name__ == "__main__":
    main()
