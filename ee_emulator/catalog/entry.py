"""Entries of catalog.json: what those of images, bands and tables have in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import CatalogError
from ..values import date as dates


def checked(entry: Any, where: str, keys: set[str]) -> str:
    """The id of an entry that is an object with known keys."""
    if not isinstance(entry, dict) or not isinstance(entry.get("id"), str) or not entry["id"]:
        raise CatalogError(f"{where}: needs an object with a text 'id'")
    unknown = sorted(set(entry) - keys)
    if unknown:
        raise CatalogError(f"{where}: unknown key '{unknown[0]}'; known are {', '.join(sorted(keys))}")
    return str(entry["id"])


def file_of(entry: Mapping[str, Any], where: str) -> str:
    """The file that an entry names."""
    file = entry.get("file")
    if not isinstance(file, str):
        raise CatalogError(f"{where}: needs a text 'file', relative to the catalog's folder")
    return file


def properties_of(entry: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The properties that an entry lists."""
    properties = entry.get("properties", {})
    if not isinstance(properties, dict):
        raise CatalogError(f"{where}: 'properties' must be an object")
    return properties


def update_of(entry: Mapping[str, Any]) -> tuple[str, int]:
    """When an entry was updated, as it says and as a version number; ServiceError for what is not a time."""
    text = entry.get("updateTime", "1970-01-01T00:00:00Z")
    return text, dates.micros(text)
