"""python -m benchmarks [speed|published|run|audit|written]: print the tables, keep them dated in benchmarks/results."""

from __future__ import annotations

import datetime
import json
import sys
from pathlib import Path

from benchmarks import audit, published, run, speed, written

RESULTS = Path(__file__).parent / "results"
PARTS = {"speed": speed.run, "published": published.run, "run": run.run, "audit": audit.run, "written": written.run}


def main() -> int:
    """Run the parts asked for (all by default)."""
    wanted = sys.argv[1:] or list(PARTS)
    unknown = [w for w in wanted if w not in PARTS]
    if unknown:
        print(f"no benchmark named {unknown[0]!r}; there are {', '.join(PARTS)}", file=sys.stderr)
        return 2
    day = datetime.datetime.now(tz=datetime.UTC).date().isoformat()
    RESULTS.mkdir(exist_ok=True)
    for name in wanted:
        rows = PARTS[name]()
        file = RESULTS / f"{name}-{day}.json"
        file.write_text(json.dumps({"date": day, "rows": rows}, indent=1, ensure_ascii=False) + "\n")
        print(f"kept in {file.relative_to(Path.cwd()) if file.is_relative_to(Path.cwd()) else file}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
