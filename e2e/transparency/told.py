"""Of pytest: one line of JSON for each test, with all that was said when it did not pass. `TOLD` is the file."""
import json
import os
import re

ended, said = {}, {}


def pytest_runtest_logreport(report):
    if hasattr(report, "wasxfail"):
        outcome = "xfailed" if report.skipped else "xpassed"
    else:
        outcome = report.outcome
    before = ended.get(report.nodeid)
    if before in (None, "passed") and (report.when == "call" or outcome != "passed"):
        ended[report.nodeid] = "error" if outcome == "failed" and report.when != "call" else outcome
    if outcome != "passed":
        said.setdefault(report.nodeid, []).append(report.longreprtext)
    if report.when == "teardown":
        with open(os.environ["TOLD"], "a") as file:
            name = re.sub(r" at 0x[0-9a-f]+", "", report.nodeid)
            file.write(json.dumps({"test": name, "outcome": ended.get(report.nodeid, outcome),
                                   "said": "\n".join(said.get(report.nodeid, []))[-20000:]}) + "\n")
