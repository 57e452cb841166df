"""Where a protein shines: one pattern for each of the 28 labels of the Human Protein Atlas, in the order of their numbers.

Each is a function of a field of cells and the two channels that it may follow; it gives (H, W), about 1 where it shines most.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tapetum.systems.hpa.cells import Field

Pattern = Callable[[Field, np.ndarray, np.ndarray], np.ndarray]  # of field, microtubules, reticulum


def nucleoplasm(f: Field, threads: np.ndarray, net: np.ndarray) -> np.ndarray:
    """0: all of the nucleus."""
    return f.inside * (np.float32(0.75) + np.float32(0.12) * f.noise("fine"))


def nuclear_membrane(f: Field, threads: np.ndarray, net: np.ndarray) -> np.ndarray:
    """1: the nucleus' rim."""
    return np.exp(-(((f.r - np.float32(0.97)) * np.float32(max(f.pixels / 1.6, 4))) ** 2))


def nucleoli(f: Field, threads: np.ndarray, net: np.ndarray) -> np.ndarray:
    """2: a few large bodies in the nucleus."""
    return _hole(f) * _spots(f, "medium", 0.9)


def fibrillar_center(f: Field, threads: np.ndarray, net: np.ndarray) -> np.ndarray:
    """3: small dots that lie together in the nucleus."""
    return _hole(f) * _spots(f, "medium", 0.5) * _spots(f, "grain", 0.6)


def speckles(f: Field, threads: np.ndarray, net: np.ndarray) -> np.ndarray:
    """4: many irregular flecks in the nucleus."""
    return f.inside * (_spots(f, "fine", 0.5) * np.float32(0.9) + np.float32(0.1))


def nuclear_bodies(f: Field, threads: np.ndarray, net: np.ndarray) -> np.ndarray:
    """5: three round dots in the nucleus."""
    return np.clip(np.sum([_dot(f, f.of_cell(-0.6, 0.6), f.of_cell(-0.6, 0.6), 0.12) for _ in range(3)], axis=0), 0, 1) * f.inside


def reticulum(f: Field, threads: np.ndarray, net: np.ndarray) -> np.ndarray:
    """6: what the yellow channel shows."""
    return net * np.float32(1.2)


def golgi(f: Field, threads: np.ndarray, net: np.ndarray) -> np.ndarray:
    """7: a ribbon at one side of the nucleus."""
    return _blob(f, 1.35, 0.55, 0.4) * (_spots(f, "fine", 0.1) * np.float32(0.9) + np.float32(0.1)) * _outside(f)


def peroxisomes(f: Field, threads: np.ndarray, net: np.ndarray) -> np.ndarray:
    """8: very many tiny dots all over the cytosol."""
    return f.cytosol * _spots(f, "grain", 1.1)


def endosomes(f: Field, threads: np.ndarray, net: np.ndarray) -> np.ndarray:
    """9: dots far from the nucleus."""
    return f.cytosol * _spots(f, "fine", 1.5) * _ramp(f.r, 1.5, 2.0)


def lysosomes(f: Field, threads: np.ndarray, net: np.ndarray) -> np.ndarray:
    """10: dots close to the nucleus."""
    return f.cytosol * _spots(f, "fine", 1.2) * (1 - _ramp(f.r, 1.3, 1.7))


def intermediate_filaments(f: Field, threads: np.ndarray, net: np.ndarray) -> np.ndarray:
    """11: wavy threads, caging the nucleus."""
    return f.cytosol * np.exp(-7 * np.abs(f.noise("medium"))) * np.exp(-0.7 * np.maximum(f.r - 1, 0))


def actin(f: Field, threads: np.ndarray, net: np.ndarray) -> np.ndarray:
    """12: straight parallel fibres from end to end."""
    wave = np.sin(f.v * np.float32(9) + np.float32(0.5) * f.noise("large"))
    return np.clip(f.cytosol + f.inside * np.float32(0.6), 0, 1) * np.clip(wave * 2 - np.float32(0.9), 0, 1)


def focal_adhesion(f: Field, threads: np.ndarray, net: np.ndarray) -> np.ndarray:
    """13: short strokes at the cell's border."""
    strokes = np.clip(np.sin(f.v * np.float32(8)) * 3 - 2, 0, 1) * (np.abs(f.noise("medium")) > 0.5)
    return f.cytosol * strokes * (1 - _ramp(f.edge, 0.3, 0.55))


def microtubules(f: Field, threads: np.ndarray, net: np.ndarray) -> np.ndarray:
    """14: what the red channel shows."""
    return threads * np.float32(1.1)


def microtubule_ends(f: Field, threads: np.ndarray, net: np.ndarray) -> np.ndarray:
    """15: dots at the outer ends of the red threads."""
    return (threads > 0.3) * _spots(f, "grain", 0.9) * (1 - _ramp(f.edge, 0.45, 0.8)) * f.cytosol


def cytokinetic_bridge(f: Field, threads: np.ndarray, net: np.ndarray) -> np.ndarray:
    """16: a short bar between two cells that have just parted."""
    along, across = np.abs(f.u) - 2, f.v
    return np.exp(-((along / np.float32(0.5)) ** 2) - (across / np.float32(0.13)) ** 2) * _some(f, 0.5)


def mitotic_spindle(f: Field, threads: np.ndarray, net: np.ndarray) -> np.ndarray:
    """17: a spindle, pointed at both ends, in dividing cells."""
    width = np.float32(0.75) - np.abs(f.u) * np.float32(0.5)
    rays = np.float32(0.6) + np.float32(0.4) * np.sin(f.v / np.maximum(width, np.float32(0.05)) * 9)
    return np.clip((width - np.abs(f.v)) * 6, 0, 1) * rays * _some(f, 0.5)


def organizing_center(f: Field, threads: np.ndarray, net: np.ndarray) -> np.ndarray:
    """18: one hazy spot beside the nucleus with rays around it."""
    return np.clip(_blob(f, 1.25, 0.22, 0.22) + _blob(f, 1.25, 0.6, 0.6) * threads, 0, 1)


def centrosome(f: Field, threads: np.ndarray, net: np.ndarray) -> np.ndarray:
    """19: a pair of sharp dots beside the nucleus."""
    angle = f.of_cell(0, 2 * np.pi)
    left, top = np.float32(1.2) * np.cos(angle), np.float32(1.2) * np.sin(angle)
    return np.clip(_dot(f, left, top, 0.1) + _dot(f, left + np.float32(0.25), top, 0.1), 0, 1)


def lipid_droplets(f: Field, threads: np.ndarray, net: np.ndarray) -> np.ndarray:
    """20: rings in the cytosol, dark inside."""
    return f.cytosol * np.exp(-(((f.noise("fine") - np.float32(1.2)) * 4) ** 2))


def plasma_membrane(f: Field, threads: np.ndarray, net: np.ndarray) -> np.ndarray:
    """21: the whole border of the cell."""
    return _line(f.edge, f)


def cell_junctions(f: Field, threads: np.ndarray, net: np.ndarray) -> np.ndarray:
    """22: the border only where two cells touch."""
    return _line(f.between, f) * (f.r < 2.2)


def mitochondria(f: Field, threads: np.ndarray, net: np.ndarray) -> np.ndarray:
    """23: short thick worms in the cytosol."""
    return f.cytosol * np.clip(np.float32(1.3) - np.abs(f.noise("fine")) * 4, 0, 1) * (f.noise("medium") > -0.2)


def aggresome(f: Field, threads: np.ndarray, net: np.ndarray) -> np.ndarray:
    """24: one large solid clump beside the nucleus."""
    return np.clip(_blob(f, 1.4, 0.42, 0.42) * 2 - np.float32(0.3), 0, 1) * _outside(f)


def cytosol(f: Field, threads: np.ndarray, net: np.ndarray) -> np.ndarray:
    """25: all of the cell around the nucleus."""
    return f.cytosol * (np.float32(0.6) + np.float32(0.1) * f.noise("fine"))


def cytoplasmic_bodies(f: Field, threads: np.ndarray, net: np.ndarray) -> np.ndarray:
    """26: a few round dots in the cytosol."""
    spots = [_dot(f, d * np.cos(a), d * np.sin(a), 0.15) for d, a in ((f.of_cell(1.2, 2), f.of_cell(0, 2 * np.pi)) for _ in range(4))]
    return np.clip(np.sum(spots, axis=0), 0, 1) * f.cytosol


def rods_and_rings(f: Field, threads: np.ndarray, net: np.ndarray) -> np.ndarray:
    """27: a ring and a rod in each cell."""
    left, top = f.of_cell(1.3, 1.7), f.of_cell(-0.8, 0.8)
    ring = np.exp(-(((np.hypot(f.u - left, f.v - top) - np.float32(0.35)) * 10) ** 2))
    rod = np.exp(-(((f.v + top) * 9) ** 2)) * (np.abs(f.u + left) < 0.5)
    return np.clip(ring + rod, 0, 1)


PATTERNS: tuple[Pattern, ...] = (
    nucleoplasm,
    nuclear_membrane,
    nucleoli,
    fibrillar_center,
    speckles,
    nuclear_bodies,
    reticulum,
    golgi,
    peroxisomes,
    endosomes,
    lysosomes,
    intermediate_filaments,
    actin,
    focal_adhesion,
    microtubules,
    microtubule_ends,
    cytokinetic_bridge,
    mitotic_spindle,
    organizing_center,
    centrosome,
    lipid_droplets,
    plasma_membrane,
    cell_junctions,
    mitochondria,
    aggresome,
    cytosol,
    cytoplasmic_bodies,
    rods_and_rings,
)


def _spots(f: Field, wave: str, bound: float) -> np.ndarray:
    """Return spots of a size where a random field passes a bound: 1 in them, soft at their rims."""
    return np.clip((f.noise(wave) - np.float32(bound)) * 3, 0, 1)


def _hole(f: Field) -> np.ndarray:
    """Return 1 well inside the nucleus, 0 near its rim."""
    return 1 - _ramp(f.r, 0.6, 0.9)


def _outside(f: Field) -> np.ndarray:
    return 1 - f.inside


def _ramp(x: np.ndarray, low: float, high: float) -> np.ndarray:
    """Return 0 up to ``low``, 1 from ``high``."""
    return np.clip((x - np.float32(low)) * np.float32(1 / (high - low)), 0, 1)


def _dot(f: Field, left: np.ndarray, top: np.ndarray, radius: float) -> np.ndarray:
    """Return a round dot in each cell; never smaller than a pixel."""
    radius = max(radius, 0.9 / f.pixels)
    return np.exp(-((f.u - left) ** 2 + (f.v - top) ** 2) * np.float32(1 / radius**2))


def _blob(f: Field, distance: float, along: float, across: float) -> np.ndarray:
    """Return a soft ellipse in each cell, at a distance from the nucleus' middle in a direction of the cell's own."""
    angle = f.rng.uniform(0, 2 * np.pi, f.cells)
    c, s = (part.astype(np.float32)[f.cell] for part in (np.cos(angle), np.sin(angle)))
    out, around = c * f.u + s * f.v - np.float32(distance), c * f.v - s * f.u
    return np.exp(-((out / np.float32(across)) ** 2) - (around / np.float32(along)) ** 2)


def _some(f: Field, share: float) -> np.ndarray:
    """Return 1 in some of the cells, one at least."""
    chosen = f.rng.random(f.cells) < share
    chosen[f.cell[f.r.shape[0] // 2, f.r.shape[1] // 2]] = True
    return chosen[f.cell]


def _line(distance: np.ndarray, f: Field) -> np.ndarray:
    """Return a thin line where a distance is 0."""
    return np.exp(-((distance * np.float32(max(f.pixels / 2, 4))) ** 2))
