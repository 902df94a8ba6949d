"""Put what another command prints into the page: ``… | python -m benchmarks.record d Title``."""

from __future__ import annotations

import sys

from benchmarks.common import Section

if __name__ == "__main__":
    part, title = sys.argv[1:]
    section = Section(part, title, keep=True)
    section.add(f"```text\n{sys.stdin.read().rstrip()}\n```")
    section.save()
