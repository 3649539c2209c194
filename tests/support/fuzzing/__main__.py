"""``python -m fuzzing``: run a campaign or replay a case."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from fuzzing.campaign import Campaign, planned, report, show_progress, summary
from fuzzing.formats import FORMATS
from fuzzing.materials import make_materials


def main() -> int:
    """The exit code: 1 if any mutation has a fault."""
    parser = argparse.ArgumentParser(prog="fuzzing", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=2000, help="number of mutations")
    parser.add_argument("--case", nargs="*", help="run these only, for example bundle.json/17")
    parser.add_argument("--format", nargs="*", help="mutate these formats only")
    parser.add_argument("--servers", type=int, default=2, help="how many run at once")
    parser.add_argument("--folder", type=Path, default=Path(".fuzz"), help="for materials, cases")
    options = parser.parse_args()
    folder = options.folder.absolute()
    cases = folder / f"cases-{options.seed}"
    campaign = Campaign(options.seed, make_materials(folder / "materials"), cases)
    campaign.keep = bool(options.case)
    formats = [one for one in FORMATS if not options.format or one.name in options.format]
    names = options.case or planned(options.count, formats)
    findings = []
    started = time.monotonic()
    for finding in campaign.run(names, min(options.servers, len(names))):
        findings.append(finding)
        show_progress(len(findings), len(names), started)
        if finding.faults or options.case:
            print(report(finding, options.seed), flush=True)
            if options.case:
                case = campaign.scratch / finding.name.replace("/", "-")
                print(f"  exit code {finding.ended.code}, {finding.ended.seconds:.1f} s; {case}")
                print(*((case / name).read_text(errors="replace") for name in ("stdout", "stderr")))
    print(summary(findings))
    print(f"seed {options.seed}, {time.monotonic() - started:.0f} s")
    return int(any(finding.faults for finding in findings))


if __name__ == "__main__":
    sys.exit(main())
