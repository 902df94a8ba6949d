#!/usr/bin/env bash
# The documentation site, into output/site; a broken link or reference is an error.
#   bash scripts/docs.sh            build
#   bash scripts/docs.sh --serve    build again at every change, on a local port
EXTRAS=docs source "$(dirname "$0")/env.sh"
export NO_MKDOCS_2_WARNING=1
if [ "${1:-}" = --serve ]; then
    exec "$PYTHON" -m mkdocs serve --strict
fi
exec "$PYTHON" -m mkdocs build --strict --quiet "$@"
