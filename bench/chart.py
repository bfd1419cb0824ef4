"""Line charts on two logarithmic axes, as SVG that reads on light and dark pages."""

from html import escape
from math import ceil, floor, log10
from pathlib import Path

WIDTH, HEIGHT, LEFT, TOP, RIGHT, BOTTOM = 720, 400, 70, 50, 150, 50
# Told apart without colour too: every series has its own dashes (and its name at its end).
STYLES = [("#0b7285", ""), ("#e8590c", "8 4"), ("#862e9c", "2 3"), ("#2b8a3e", "12 3 2 3")]
LOOK = (
    "text{font:13px system-ui,sans-serif;fill:#444}path.grid{stroke:#8884;fill:none}"
    "@media(prefers-color-scheme:dark){text{fill:#ccc}}"
)

Series = dict[str, list[tuple[float, float]]]


def write(path: Path, title: str, x_name: str, y_name: str, series: Series) -> None:
    """Draw each series of (x, y) points, both positive, with its name behind its last point."""
    xs = [x for points in series.values() for x, _ in points]
    ys = [y for points in series.values() for _, y in points]
    x_low, x_high = log10(min(xs)), log10(max(xs))
    y_low, y_high = floor(log10(min(ys))), ceil(log10(max(ys)))

    def place(x: float, y: float) -> tuple[float, float]:
        across = (log10(x) - x_low) / (x_high - x_low)
        up = (log10(y) - y_low) / (y_high - y_low)
        return LEFT + across * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - up * (
            HEIGHT - TOP - BOTTOM
        )

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">',
        f"<title>{escape(title)}</title><style>{LOOK}</style>",
        f'<text x="{LEFT}" y="24" font-weight="600">{escape(title)}</text>',
        f'<text x="{LEFT}" y="{HEIGHT - 10}">{escape(x_name)}</text>',
        f'<text x="8" y="{TOP - 8}">{escape(y_name)}</text>',
    ]
    for power in range(y_low, y_high + 1):
        _, y = place(10**x_low, 10**power)
        parts.append(f'<path class="grid" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{10**power:g}</text>')
    for x in sorted({x for points in series.values() for x, _ in points}):
        at, bottom = place(x, 10**y_low)
        label = f"{x:,.2g}" if x < 1000 else f"{x:,.0f}"
        parts.append(
            f'<text x="{at:.1f}" y="{bottom + 18:.1f}" text-anchor="middle">{label}</text>'
        )
    last_labels: list[float] = []
    styled = list(zip(series.items(), STYLES, strict=False))
    # Names that would overlap are pushed down, so the upper one comes first.
    for (name, points), (colour, dashes) in sorted(styled, key=lambda one: -one[0][1][-1][1]):
        placed = [place(*point) for point in points]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in placed)
        parts.append(
            f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2.5" '
            f'stroke-dasharray="{dashes}"/>'
        )
        x, y = placed[-1]
        while any(abs(y - other) < 15 for other in last_labels):
            y += 15
        last_labels.append(y)
        parts.append(
            f'<text x="{x + 8:.1f}" y="{y + 4:.1f}" style="fill:{colour}">{escape(name)}</text>'
        )
    path.write_text("\n".join([*parts, "</svg>\n"]))
