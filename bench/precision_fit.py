"""Coefficients of the cost model of `tenon check --precision`, fitted to what precision_times.py measured of single layers or of networks."""
import numpy as np

from precision_times import layers_of, together

PRODUCTS = {"average", "depthwise", "depthwise_strided", "grouped", "pointwise", "recurrent", "rows", "spatial", "three", "winograd"}
CONVERSIONS = {"cast", "dynamic_quantize_linear", "mul"}  # the last is of scales


def fit(rows):
    """Coefficients by level and kind: non-negative, of the least squared relative error."""
    from scipy.optimize import nnls
    groups = {}
    for row in rows:
        groups.setdefault((row["level"], row["kind"]), []).append(row)
        dtype, form = row["kind"].split(".")
        if form not in PRODUCTS and form not in CONVERSIONS:  # what is said of ops that none was measured of
            groups.setdefault((row["level"], f"{dtype}.other"), []).append(row)
    lines = []
    for (level, kind), group in sorted(groups.items()):
        x, t = np.array([r["features"] for r in group]), 1e3 * np.array([r["measured_us"] for r in group])
        x[:, 1:] *= np.ptp(x[:, 1:], axis=0) > 0  # what never changes is no reason
        weight = 1 / np.maximum(t, 800)
        c, _ = nnls(x * weight[:, None], t * weight)
        # Outliers, which are interruptions, count less the second time.
        off = np.abs(x @ c - t) * weight
        weight = weight / np.maximum(1, off / 0.3)
        c, _ = nnls(x * weight[:, None], t * weight)
        error = np.abs(np.log(np.maximum(x @ c, 100) / np.maximum(t, 100)))
        print(f"{level:12} {kind:24} {len(t):4} steps, error: median {np.median(error):.2f}, nine of ten {np.quantile(error, .9):.2f}")
        lines.append(line_of(level, kind, c))
    return lines


def fit_networks(networks, level, least_us=0.02, share_of_gains=10, width=0.02):
    """Coefficients of the kinds that networks have at the level: positive, of the least error both of what takes a time by itself and,
    which counts more, of the gain of layers; in logarithms, and what is further off than `width` counts less."""
    from scipy.optimize import minimize
    from scipy.sparse import csr_matrix
    columns, units, pairs = {}, [], []
    for said in networks:
        if said["level"] != level:
            continue
        for steps in said["steps"].values():
            units += [(unit, sum(step["measured_us"] for step in unit)) for unit in together(steps) if any(any(s["features"]) for s in unit)]
        pairs += [(steps, measured) for _, _, measured, _, steps in layers_of(said, said["precision"])]
    units = [(unit, us) for unit, us in units if us > 0]

    def matrix(lists):
        entries = {}
        for row, steps in enumerate(lists):
            for step in steps:
                for i, value in enumerate(step["features"]):
                    if value:
                        at = row, columns.setdefault((step["kind"], i), len(columns))
                        entries[at] = entries.get(at, 0) + 1e-3 * value
        rows, places = zip(*entries)
        return rows, places, list(entries.values()), len(lists)

    parts = [matrix([unit for unit, _ in units]), *(matrix([steps[i] for steps, _ in pairs]) for i in (0, 1))]
    alone, before, after = (csr_matrix((values, (rows, places)), (count, len(columns))) for rows, places, values, count in parts)
    us, gains = np.array([us for _, us in units]), np.array([measured for _, measured in pairs])
    # Each column in units of the time of what it is in.
    share = np.ones(len(columns))
    for i in range(len(columns)):
        column = alone[:, [i]].toarray()[:, 0]
        share[i] = np.median(us[column > 0] / column[column > 0]) if (column > 0).any() else 1
    alone, before, after = (part.multiply(share[None, :]).tocsr() for part in (alone, before, after))
    aims = np.log(us + least_us), np.log((gains[:, 0] + least_us) / (gains[:, 1] + least_us))
    weights = np.minimum(1, us), share_of_gains * np.minimum(1, gains.min(axis=1))

    def robust(error, weight):
        root = np.sqrt(1 + (error / width) ** 2)
        return (weight * 2 * width**2 * (root - 1)).sum(), weight * 2 * error / root

    def loss(c):
        times = [part @ c + least_us for part in (alone, before, after)]
        one, slope = robust(np.log(times[0]) - aims[0], weights[0])
        two, tilt = robust(np.log(times[1] / times[2]) - aims[1], weights[1])
        return one + two + 1e-3 * c.sum(), alone.T @ (slope / times[0]) + before.T @ (tilt / times[1]) - after.T @ (tilt / times[2]) + 1e-3

    c = minimize(loss, np.full(len(columns), 0.15), jac=True, method="L-BFGS-B", bounds=[(0, None)] * len(columns),
                 options={"maxiter": 3000, "maxfun": 4000, "maxcor": 30}).x * share
    kinds = {}
    for (kind, i), at in columns.items():
        kinds.setdefault(kind, {})[i] = c[at]
    return {kind: line_of(level, kind, [values.get(i, 0) for i in range(max(values) + 1)]) for kind, values in sorted(kinds.items())}


def refitted(file, networks):
    """The lines of a file of coefficients, those of what the networks have fitted to them."""
    lines = {tuple(line.split('"')[1:4:2]): line for line in file.read_text().splitlines(keepends=True)}
    for level in {said["level"] for said in networks}:
        lines |= {(level, kind): line for kind, line in fit_networks(networks, level).items()}
    return [line for _, line in sorted(lines.items())]


def line_of(level, kind, values):
    return f'{{"{level}", "{kind}", {{{", ".join(f"{v:.6g}" for v in values)}}}}},\n'
