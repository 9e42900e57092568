"""The rules of LUNA16 in plain loops, one candidate and one threshold at a time."""

from __future__ import annotations

import math


def match(candidates, findings, excluded, series, most=100):
    """Return probabilities of hits (None: missed) and of false positives, with their scans."""
    hits, wrong = [], []
    for scan in series:
        own = [c for c in candidates if c[0] == scan]
        if len(own) > most:
            limit = sorted((c[4] for c in own), reverse=True)[most]
            own = [c for c in own if c[4] > limit]
        left = list(range(len(own)))
        for finding in (f for f in findings if f[0] == scan):
            inside = [i for i, c in enumerate(own) if squared(c, finding) < (finding[4] / 2) ** 2]
            left = [i for i in left if i not in inside]
            hits.append((scan, max((own[i][4] for i in inside), default=None)))
        for finding in (f for f in excluded if f[0] == scan):
            radius = (10.0 if finding[4] < 0 else finding[4]) / 2
            left = [i for i in left if not squared(own[i], finding) < radius**2]
        wrong += [(scan, own[i][4]) for i in left]
    return hits, wrong


def squared(a, b):
    return math.fsum((p - q) ** 2 for p, q in zip(a[1:4], b[1:4], strict=True))


def curve(hits, wrong, scans):
    """Return (false positives a scan, sensitivity, threshold) of every threshold, from (0, 0)."""
    probabilities = {p for _, p in hits if p is not None} | {p for _, p in wrong}
    points = [(0.0, 0.0, math.inf)]
    for threshold in sorted(probabilities, reverse=True):
        true = sum(p is not None and p >= threshold for _, p in hits)
        false = sum(p >= threshold for _, p in wrong)
        points.append((false / scans, true / len(hits), threshold))
    return points


def sensitivity(points, false_positives):
    """Return the sensitivity on the straight line between the two points around it."""
    before = max(i for i, point in enumerate(points) if point[0] <= false_positives)
    if before == len(points) - 1:
        return points[-1][1]
    (x0, y0, _), (x1, y1, _) = points[before], points[before + 1]
    return y0 + (y1 - y0) * (false_positives - x0) / (x1 - x0)
