"""Projections. https://developers.google.com/earth-engine/apidocs/ee-projection"""

from __future__ import annotations

from typing import Any

from ..errors import ServiceError, not_implemented
from ..evaluation.argument import projection_of
from ..evaluation.registry import algorithm
from ..values.crs import parse_crs
from ..values.projection import IDENTITY, Projection, six_numbers


@algorithm("Projection")
def projection(crs: Any, transform: list[Any] | None, transform_wkt: str | None) -> Projection:
    """A coordinate system with a pixel transform. https://developers.google.com/earth-engine/apidocs/ee-projection"""
    if transform_wkt is not None:
        raise not_implemented("Projection with 'transformWkt'")
    found = projection_of(crs)
    if found is None:
        raise ServiceError(f"Projection: Parameter 'crs' must be a code or WKT, got {crs!s:.60}.")
    if transform is None:
        return found
    return Projection(found.crs, six_numbers(transform, "Projection: Parameter 'transform'"))


@algorithm("Projection.atScale")
def at_scale(projection: Projection, meters: float) -> Projection:
    """The same coordinate system with pixels of `meters` at true scale. https://developers.google.com/earth-engine/apidocs/ee-projection-atscale"""
    if meters <= 0:
        raise ServiceError(f"Projection.atScale: Parameter 'meters' must be positive, got {meters}.")
    return projection.at_scale(meters)


@algorithm("Projection.nominalScale")
def nominal_scale(proj: Projection) -> float:
    """Metres per pixel at the point of true scale. https://developers.google.com/earth-engine/apidocs/ee-projection-nominalscale"""
    return proj.nominal_scale


@algorithm("Projection.crs")
def crs(projection: Projection) -> str:
    """The code, or the WKT. https://developers.google.com/earth-engine/apidocs/ee-projection-crs"""
    return projection.crs


@algorithm("Projection.transform")
def transform(projection: Projection) -> str:
    """The transform as WKT. https://developers.google.com/earth-engine/apidocs/ee-projection-transform"""
    a, b, c, d, e, f = projection.transform
    if projection.transform == IDENTITY:
        return 'PARAM_MT["Affine", PARAMETER["num_row", 3], PARAMETER["num_col", 3]]'
    elements = {"elt_0_0": a, "elt_0_1": b, "elt_0_2": c, "elt_1_0": d, "elt_1_1": e, "elt_1_2": f}
    listed = ", ".join(f'PARAMETER["{name}", {value}]' for name, value in elements.items())
    return f'PARAM_MT["Affine", PARAMETER["num_row", 3], PARAMETER["num_col", 3], {listed}]'


@algorithm("Projection.scale")
def scale(projection: Projection, x: float, y: float) -> Projection:
    """Pixels so many times as large. https://developers.google.com/earth-engine/apidocs/ee-projection-scale"""
    a, b, c, d, e, f = projection.transform
    return Projection(projection.crs, (a * x, b * y, c, d * x, e * y, f))


@algorithm("Projection.translate")
def translate(projection: Projection, x: float, y: float) -> Projection:
    """The origin moved by pixels. https://developers.google.com/earth-engine/apidocs/ee-projection-translate"""
    a, b, c, d, e, f = projection.transform
    return Projection(projection.crs, (a, b, c + a * x + b * y, d, e, f + d * x + e * y))


@algorithm("Projection.wkt")
def wkt(projection: Projection) -> str:
    """The coordinate system as WKT. https://developers.google.com/earth-engine/apidocs/ee-projection-wkt"""
    return str(parse_crs(projection.crs).to_wkt())
