#!/usr/bin/env python3
"""Draws the chart's dashboards without Grafana: the same queries, asked of a Prometheus, as pages that need nothing else.

    dashboards.py --prometheus http://127.0.0.1:9090 --out FOLDER      a Prometheus that is dialled
    dashboards.py --kubectl NAMESPACE/POD:PORT --out FOLDER            one in the cluster of KUBECONFIG
      --namespace REGEX  what $namespace stands for (.*)      --minutes N  how far back (60)
      --rate INTERVAL    for $__rate_interval (1m)            --end SECONDS  Unix time of the right edge (now)
      --photograph       also NAME.png of each page, by headless Chromium

It only reads. What Prometheus refuses is an error; a query without series is drawn as "no data".
"""
import argparse
import html
import json
import math
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time
import urllib.parse
import urllib.request

FOLDER = pathlib.Path(__file__).resolve().parent.parent / "charts/agentaccess/dashboards"
PALETTE = ["#3366cc", "#e8743b", "#19a979", "#945ecf", "#ed4a7b", "#13a4b4", "#bf8b00", "#5f6b7a", "#8a3b12", "#2f6b2f"]
# What means the same everywhere looks the same everywhere.
KNOWN = {"allow": "#3366cc", "deny": "#d43a3a", "refused": "#d43a3a", "require_approval": "#e8a33b", "without sidecar": "#d43a3a"}
ROW, GAP, CELL = 38, 10, 62  # pixels of a row of the grid, between panels, of a column
STEPS = 240


class Prometheus:
    def __init__(self, options):
        self.options = options

    def get(self, path, **arguments):
        query = f"/api/v1/{path}?{urllib.parse.urlencode(arguments)}"
        if self.options.kubectl:
            namespace, pod = self.options.kubectl.split("/")
            raw = f"/api/v1/namespaces/{namespace}/pods/{pod}/proxy{query}"
            text = subprocess.run(["kubectl", "get", "--raw", raw], check=True, capture_output=True, timeout=60).stdout
        else:
            with urllib.request.urlopen(self.options.prometheus + query, timeout=60) as answer:
                text = answer.read()
        read = json.loads(text)
        if read["status"] != "success":
            sys.exit(f"error: Prometheus refuses {arguments['query']}: {read}")
        return read["data"]["result"]

    def fill(self, expr):
        options = self.options
        expr = expr.replace("$__rate_interval", options.rate).replace("$__range", f"{options.minutes}m")
        return expr.replace("$namespace", options.namespace)

    def range(self, expr):
        end = self.options.end
        start = end - self.options.minutes * 60
        return self.get("query_range", query=self.fill(expr), start=start, end=end, step=max(1, (end - start) // STEPS))

    def now(self, expr):
        return self.get("query", query=self.fill(expr), time=self.options.end)


def shown(value, unit):
    """A value as Grafana would write it."""
    if value is None or math.isnan(value):
        return "–"
    if unit == "s":
        for size, word in ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"), (1e-3, "ms"), (1e-6, "µs")):
            if abs(value) >= size:
                return f"{value / size:.3g} {word}"
        return "0 s"
    if unit in ("bytes", "Bps"):
        for size, word in ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB"), (1, "B")):
            if abs(value) >= size or size == 1:
                return f"{value / size:.3g} {word}" + ("/s" if unit == "Bps" else "")
    if unit == "percentunit":
        return f"{value * 100:.3g} %"
    per_second = {"ops": "/s", "reqps": "/s", "wps": "/s"}.get(unit, "")
    number = f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"
    return number + per_second


def legend(template, labels):
    text = re.sub(r"\{\{\s*(\w+)\s*\}\}", lambda found: labels.get(found[1], ""), template or "").strip()
    return text or " ".join(labels.values()) or "all"


def colour_of(value, panel):
    colour = "blue"
    for step in panel["fieldConfig"]["defaults"].get("thresholds", {}).get("steps", []):
        if step["value"] is None or value >= step["value"]:
            colour = step["color"]
    return {"green": "#158f5b", "red": "#d43a3a", "blue": "#2754a8"}[colour]


def stat(panel, prometheus, unit):
    found = [float(one["value"][1]) for target in panel["targets"] for one in prometheus.now(target["expr"])]
    if not found:
        return '<p class="none">no data</p>'
    return f'<p class="stat" style="color:{colour_of(found[0], panel)}">{shown(found[0], unit)}</p>'


def bars(panel, prometheus, unit, _width, height):
    found = []
    for target in panel["targets"]:
        found += [(legend(target["legendFormat"], one["metric"]), float(one["value"][1])) for one in prometheus.now(target["expr"])]
    found = sorted((one for one in found if not math.isnan(one[1])), key=lambda one: -one[1])[: max(1, height // 26)]
    if not found:
        return '<p class="none">no data</p>'
    most = found[0][1] or 1
    rows = [
        f'<tr><td>{html.escape(name)}</td><td><div class="bar" style="width:{100 * value / most:.1f}%;background:{PALETTE[0]}">'
        f"</div></td><td>{shown(value, unit)}</td></tr>"
        for name, value in found
    ]
    return f'<table class="bars">{"".join(rows)}</table>'


def nice(most, unit):
    """A round number above it in the words of its unit, whose quarters are round too: the top of an axis."""
    if most <= 0:
        return 1.0
    sizes = {"bytes": (2**30, 2**20, 2**10), "Bps": (2**30, 2**20, 2**10), "s": (86400, 3600, 60)}.get(unit, ())
    word = next((size for size in sizes if most >= size), 1)
    size = 10 ** math.floor(math.log10(most / word))
    return next(word * size * step for step in (1, 2, 3, 4, 6, 8, 10) if word * size * step >= most * 0.999)


def graph(panel, prometheus, unit, width, height):
    stacked = panel["fieldConfig"]["defaults"]["custom"]["stacking"]["mode"] == "normal"
    lines = []
    for target in panel["targets"]:
        for one in prometheus.range(target["expr"]):
            points = {int(float(at)): float(value) for at, value in one["values"]}
            lines.append((legend(target["legendFormat"], one["metric"]), points))
    lines = [(name, {at: v for at, v in points.items() if not math.isnan(v)}) for name, points in lines]
    lines = sorted((line for line in lines if line[1]), key=lambda line: -sum(line[1].values()))[: len(PALETTE)]
    if not lines:
        return '<p class="none">no data</p>'
    left, top, bottom = 68, 6, 20
    plot_w, plot_h = width - left - 10, height - top - bottom - 22
    moments = sorted({at for _, points in lines for at in points})
    end = prometheus.options.end
    start = end - prometheus.options.minutes * 60
    base, drawn = {at: 0.0 for at in moments}, []
    for name, points in lines:
        low = dict(base)
        high = {at: points[at] + (low[at] if stacked else 0) for at in points}
        if stacked:
            base.update(high)
        drawn.append((name, low, high))
    most = nice(max(max(high.values()) for _, _, high in drawn), unit)
    x = lambda at: left + plot_w * (at - start) / (end - start)
    y = lambda value: top + plot_h * (1 - value / most)
    parts = []
    for step in range(5):
        value = most * step / 4
        parts.append(f'<line x1="{left}" x2="{left + plot_w}" y1="{y(value):.1f}" y2="{y(value):.1f}" class="grid"/>')
        parts.append(f'<text x="{left - 6}" y="{y(value) + 4:.1f}" class="tick" text-anchor="end">{shown(value, unit)}</text>')
    for step in range(5):
        at = start + (end - start) * step / 4
        anchor = ("start", "middle", "middle", "middle", "end")[step]
        clock = time.strftime("%H:%M" if end - start > 600 else "%H:%M:%S", time.gmtime(at))
        parts.append(f'<text x="{x(at):.1f}" y="{top + plot_h + 15}" class="tick" text-anchor="{anchor}">{clock}</text>')
    colours = [KNOWN.get(name, PALETTE[index % len(PALETTE)]) for index, (name, _, _) in enumerate(drawn)]
    gap = 2.5 * max(1, (end - start) // STEPS)
    for index, (name, low, high) in enumerate(drawn):
        colour = colours[index]
        runs, run = [], []
        for at in sorted(high):
            if run and at - run[-1] > gap:
                runs, run = runs + [run], []
            run.append(at)
        for run in runs + [run]:
            upper = " ".join(f"{x(at):.1f},{y(high[at]):.1f}" for at in run)
            if stacked and len(run) > 1:
                lower = " ".join(f"{x(at):.1f},{y(low[at]):.1f}" for at in reversed(run))
                parts.append(f'<polygon points="{upper} {lower}" fill="{colour}" fill-opacity="0.35"/>')
            if len(run) == 1:
                parts.append(f'<circle cx="{x(run[0]):.1f}" cy="{y(high[run[0]]):.1f}" r="1.8" fill="{colour}"/>')
            parts.append(f'<polyline points="{upper}" fill="none" stroke="{colour}" stroke-width="1.8" stroke-linejoin="round"/>')
    names = "".join(
        f'<span><i style="background:{colours[i]}"></i>{html.escape(name)}</span>' for i, (name, _, _) in enumerate(drawn)
    )
    return f'<svg width="{width}" height="{height - 22}">{"".join(parts)}</svg><div class="legend">{names}</div>'


STYLE = """
body{margin:0;padding:18px 20px;background:#f3f5f8;color:#1f2933;font:13px/1.35 "DejaVu Sans","Helvetica Neue",Arial,sans-serif;width:%dpx}
h1{font-size:20px;margin:0 0 2px}header p{margin:0 0 14px;color:#5b6775}main{position:relative}
section{position:absolute;background:#fff;border:1px solid #dce2ea;border-radius:6px;box-sizing:border-box;padding:8px 10px;overflow:hidden}
h2{font-size:12.5px;font-weight:600;margin:0 0 4px;white-space:nowrap}.stat{font-size:32px;font-weight:600;margin:10px 0 0;text-align:center}
.none{color:#98a3b1;text-align:center;margin-top:40px}.grid{stroke:#e8ecf1}.tick{font-size:10.5px;fill:#6b7785}
.legend{white-space:nowrap;overflow:hidden;font-size:11.5px;color:#3e4a57}.legend span{margin-right:14px}
.legend i{display:inline-block;width:10px;height:10px;border-radius:2px;margin-right:5px}
table.bars{width:100%%;border-spacing:0 5px}.bars td:first-child{width:38%%;padding-right:8px}.bars td:last-child{width:70px;text-align:right}
.bar{height:14px;border-radius:3px;opacity:.8}
"""


def page(dashboard, prometheus):
    sections, bottom = [], 0
    for panel in dashboard["panels"]:
        grid, unit = panel["gridPos"], panel["fieldConfig"]["defaults"]["unit"]
        width, height = grid["w"] * CELL - GAP, grid["h"] * ROW - GAP
        if panel["type"] == "stat":
            inside = stat(panel, prometheus, unit)
        else:
            draw = {"timeseries": graph, "bargauge": bars}[panel["type"]]
            inside = draw(panel, prometheus, unit, width - 22, height - 42)
        place = f'left:{grid["x"] * CELL}px;top:{grid["y"] * ROW}px;width:{width}px;height:{height}px'
        sections.append(f'<section style="{place}"><h2>{html.escape(panel["title"])}</h2>{inside}</section>')
        bottom = max(bottom, (grid["y"] + grid["h"]) * ROW)
    head = f'<h1>{html.escape(dashboard["title"])}</h1><p>{html.escape(dashboard["description"])}</p>'
    text = (
        f'<!doctype html><meta charset="utf-8"><title>{html.escape(dashboard["title"])}</title><style>{STYLE % (24 * CELL - GAP)}</style>'
        f'<header>{head}</header><main style="height:{bottom}px">{"".join(sections)}</main>\n'
    )
    return text, bottom + 100


def photograph(source, picture, height):
    chromium = shutil.which("chromium") or sys.exit("error: no chromium: scripts/setup.sh dashboards installs it")
    # Without its sandbox it runs as root too, and it shows nothing but the page that was just written.
    command = [chromium, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--window-size={24 * CELL + 30},{height}"]
    command += [f"--screenshot={picture}", source.resolve().as_uri()]
    subprocess.run(command, check=True, timeout=120, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    if not picture.exists():
        sys.exit(f"error: chromium made no {picture}")
    pngquant = shutil.which("pngquant") or sys.exit("error: no pngquant: scripts/setup.sh dashboards installs it")
    # Lines on white: a palette shows the same.
    subprocess.run([pngquant, "--force", "--strip", "--output", picture, "128", picture], check=True, timeout=120)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    place = parser.add_mutually_exclusive_group(required=True)
    place.add_argument("--prometheus")
    place.add_argument("--kubectl")
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--namespace", default=".*")
    parser.add_argument("--minutes", type=int, default=60)
    parser.add_argument("--rate", default="1m")
    parser.add_argument("--end", type=int, default=int(time.time()))
    parser.add_argument("--photograph", action="store_true")
    options = parser.parse_args()
    os.makedirs(options.out, exist_ok=True)
    for file in sorted(FOLDER.glob("*.json")):
        text, height = page(json.loads(file.read_text()), Prometheus(options))
        drawn = options.out / f"{file.stem}.html"
        drawn.write_text(text)
        if options.photograph:
            photograph(drawn, (options.out / f"{file.stem}.png").resolve(), height)
        print(drawn)


main()
