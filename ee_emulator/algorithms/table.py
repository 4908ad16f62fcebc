"""Stored tables. https://developers.google.com/earth-engine/apidocs/ee-featurecollection"""

from __future__ import annotations

from ..errors import ServiceError, not_implemented
from ..evaluation.registry import Context, algorithm
from ..values.element import Collection


@algorithm("Collection.loadTable")
def load_table(context: Context, table_id: str, geometry_column: str | None, version: int) -> Collection:
    """A stored table by id; `version` is its update time in microseconds, -1 the newest.

    https://developers.google.com/earth-engine/apidocs/ee-featurecollection
    """
    if geometry_column is not None:
        raise not_implemented("Collection.loadTable with a 'geometryColumn'")
    found: Collection | None = context.assets.table(table_id, None if version < 0 else version)
    if found is None:
        raise ServiceError(
            f"Collection.loadTable: Collection asset '{table_id}' not found "
            "(does not exist or caller does not have access)."
        )
    return found
