"""Features. https://developers.google.com/earth-engine/apidocs/ee-feature"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import ServiceError
from ..evaluation.chance import generator
from ..evaluation.registry import algorithm
from ..evaluation.text import picked
from ..values.element import Collection, Feature, geometry_of, located, of_elements
from ..values.geometry import Geometry
from ..values.projection import Projection

_MOST_POINTS = 1_000_000


@algorithm("Feature")
def feature(geometry: Geometry | None, metadata: dict[str, Any], geometry_key: str | None) -> Feature:
    """A geometry with properties. https://developers.google.com/earth-engine/apidocs/ee-feature"""
    return Feature(geometry, metadata)


@algorithm("Feature.geometry")
def geometry(feature: Any, max_error: Any, proj: Projection | None, geodesics: bool | None) -> Geometry | None:
    """The geometry, in longitude and latitude. https://developers.google.com/earth-engine/apidocs/ee-feature-geometry"""
    return located(feature, proj, "Feature.geometry")


@algorithm("Feature.setGeometry")
def set_geometry(feature: Any, geometry: Geometry | None) -> Feature:
    """With another geometry. https://developers.google.com/earth-engine/apidocs/ee-feature-setgeometry"""
    return Feature(geometry, feature.properties)


@algorithm("FeatureCollection.randomPoints")
def random_points(region: Geometry, points: int, seed: int, max_error: Any) -> Collection:
    """Points uniform by area on the sphere inside a region. https://developers.google.com/earth-engine/apidocs/ee-featurecollection-randompoints

    The same arguments give the same points, but not the ones that Earth Engine draws.
    """
    if not 0 <= points <= _MOST_POINTS:
        raise ServiceError(
            f"FeatureCollection.randomPoints: 'points' must be between 0 and {_MOST_POINTS}, got {points}."
        )
    box = region.box
    if box is None or not region.polygons:
        raise ServiceError("FeatureCollection.randomPoints: Parameter 'region' must have an area.")
    rng = generator(seed)
    low, high = np.sin(np.radians([box[1], box[3]]))
    found: list[list[float]] = []
    for _ in range(1000):
        if len(found) >= points:
            break
        wanted = max(64, 2 * (points - len(found)))
        lons = rng.uniform(box[0], box[2], wanted)
        lats = np.degrees(np.arcsin(rng.uniform(low, high, wanted)))
        inside = region.contains_points(lons, lats)
        found += [[float(x), float(y)] for x, y in zip(lons[inside], lats[inside], strict=True)]
    else:
        raise ServiceError("FeatureCollection.randomPoints: the region's area is too small in its bounding box.")
    kept = found[:points]
    return of_elements([Feature(Geometry("Point", p), {"system:index": str(i)}) for i, p in enumerate(kept)], False)


@algorithm("Feature.select")
def select(
    input: Any, property_selectors: list[str], new_properties: list[str] | None, retain_geometry: bool
) -> Feature:
    """Some properties, by name or pattern, renamed where names are given. https://developers.google.com/earth-engine/apidocs/ee-feature-select"""
    chosen = [name for text in property_selectors for name in picked(input.properties, text, "Feature.select")]
    chosen = list(dict.fromkeys(chosen))
    if new_properties is not None and len(new_properties) != len(chosen):
        raise ServiceError(f"Feature.select: {len(new_properties)} new names for {len(chosen)} properties {chosen}.")
    found = {new: input.properties[old] for new, old in zip(new_properties or chosen, chosen, strict=True)}
    if "system:index" in input.properties:
        found["system:index"] = input.properties["system:index"]
    return Feature(geometry_of(input) if retain_geometry else None, found)
