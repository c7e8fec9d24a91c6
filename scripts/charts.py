#!/usr/bin/env python3
"""Draws docs/benchmarks/*.svg from a results.json of `make bench`: what each way does of what a direct connection does.

    charts.py target/bench/results.json docs/benchmarks

One picture for each number of clients. A bar is operations a second, of direct; the line at 1 is direct itself.
"""
import html
import json
import pathlib
import sys

WAYS = [("relay", "raw relay", "#9aa5b1"), ("peer", "pgbouncer", "#e8a33b"), ("ours", "agentaccess", "#3366cc")]
BAR, GAP, LEFT, WIDE, TOP = 11, 12, 190, 520, 46


def draw(rows, clients):
    most = max([1.0] + [row[f"{way}_tps"] / row["direct_tps"] for row in rows for way, *_ in WAYS])
    scale = WIDE / most
    height = TOP + len(rows) * (len(WAYS) * BAR + GAP) + 10
    text = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{LEFT + WIDE + 60}" height="{height}" font-family="sans-serif" font-size="11">',
        '<rect width="100%" height="100%" fill="white"/>',
        f'<text x="8" y="18" font-size="14">Operations a second, of a direct connection; {clients} client{"s" if clients > 1 else ""}</text>',
    ]
    for number, (_, name, color) in enumerate(WAYS):
        x = LEFT + number * 110
        text.append(f'<rect x="{x}" y="27" width="10" height="10" fill="{color}"/><text x="{x + 14}" y="36">{name}</text>')
    y = TOP
    for row in rows:
        label = html.escape(f'{row["case"]} {row["mode"]}')
        text.append(f'<text x="{LEFT - 8}" y="{y + 2 * BAR}" text-anchor="end">{label}</text>')
        for way, _, color in WAYS:
            ratio = row[f"{way}_tps"] / row["direct_tps"]
            text.append(f'<rect x="{LEFT}" y="{y}" width="{ratio * scale:.1f}" height="{BAR - 1}" fill="{color}"/>')
            text.append(f'<text x="{LEFT + ratio * scale + 4:.1f}" y="{y + BAR - 2}">{ratio:.2f}</text>')
            y += BAR
        y += GAP
    one = LEFT + scale
    text.append(f'<line x1="{one:.1f}" y1="{TOP - 4}" x2="{one:.1f}" y2="{height - 10}" stroke="#d43a3a" stroke-dasharray="3 3"/>')
    return "\n".join(text + ["</svg>", ""])


def main():
    if len(sys.argv) != 3:
        sys.exit("usage: charts.py RESULTS.json FOLDER")
    rows = json.loads(pathlib.Path(sys.argv[1]).read_text())
    folder = pathlib.Path(sys.argv[2])
    for clients in sorted({row["clients"] for row in rows}):
        (folder / f"clients-{clients}.svg").write_text(draw([row for row in rows if row["clients"] == clients], clients))


main()
