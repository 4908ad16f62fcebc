"""Tables around ±180° and the poles, as GeoPandas, a GeoParquet schema, Spark and our own select see them."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
import geopandas
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely
from read_data import FINGERPRINT, write_job
from store_data import DAY, block, layout

import ee_spark
from ee_spark.objects import FileStore
from ee_spark.planner.lattice import Lattice
from ee_spark.planner.tile import Shape, Tiles, grid_tiles
from ee_spark.show.charts import tile_map
from ee_spark.show.page import places
from ee_spark.store.georeference import centres
from ee_spark.store.log import open_logs
from ee_spark.store.manifest import open_tables
from ee_spark.store.part import Row, build, failed_table
from ee_spark.store.pins import mend
from ee_spark.store.schema import Layout

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

SHAPE = Shape(8, 8)
WHERE = {  # code: resolution, first row, first column, and how many of each
    "EPSG:32601": (8000.0, -96, 2, 6, 6),  # 51 to 55° N
    "EPSG:4326": (0.8, -2, -29, 4, 3),
    "EPSG:3413": (100_000.0, -2, -2, 4, 4),
    "EPSG:3031": (90_000.0, -2, -2, 4, 4),
    "EPSG:32610": (8000.0, -90, 4, 4, 6),
}
LAYOUT: Layout = replace(layout([("a", "uint8")]), fingerprint=FINGERPRINT)


def lattice_tiles(crs: str) -> Tiles:
    res, row, column, high, wide = WHERE[crs]
    rows, columns = (side.ravel() for side in np.meshgrid(np.arange(high) + row, np.arange(wide) + column))
    offset = 0.37 * res if crs == "EPSG:3031" else 0.0  # so that the pole lies within a tile
    return grid_tiles(Lattice(crs, res, res, offset, offset), SHAPE, rows, columns)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of an image of 1870 in the Bering Sea, at both poles, and in Canada."""
    folder = tmp_path_factory.mktemp("seam")
    store = FileStore(folder)
    write_job(store, LAYOUT)
    open_tables(store, LAYOUT)
    for crs in WHERE:
        tiles = lattice_tiles(crs)
        rows = [
            Row(n, tiles, n, "C/IMAGE", -100 * 365 * DAY, DAY, "ok", block=block(LAYOUT, n)) for n in range(len(tiles))
        ]
        log = next(iter(open_logs(store, LAYOUT, [f"{tiles.lattice.key}_r0c0_t0"])))
        log.publish(rows, partial(build, layout=LAYOUT, run_id="run"))
        log.fold(failed_table([], LAYOUT, "run"))
    assert mend(store, LAYOUT) == 1  # which writes the table images
    store.create("_SUCCESS", b"{}")
    return folder


@pytest.fixture(scope="module")
def frame(path: Path) -> geopandas.GeoDataFrame:
    """What GeoPandas makes of the table pixels."""
    found = geopandas.read_parquet(path / "pixels")
    assert found.crs == "OGC:CRS84"
    assert len(found) == sum(high * wide for *_, high, wide in WHERE.values())
    return found


def random_boxes(frame: geopandas.GeoDataFrame, count: int) -> list[tuple[float, float, float, float]]:
    """Boxes near the tiles, west > east for those across ±180°."""
    draw, at, found = np.random.default_rng(14), frame.geometry.get_coordinates().to_numpy(), []
    for _ in range(count):
        lon, lat = at[draw.integers(len(at))] + draw.normal(0, 2, 2)
        lat = float(np.clip(lat, -90, 90))
        wide, high = 10 ** draw.uniform(-2, 1.5, 2)
        west, east = ((edge + 180) % 360 - 180 for edge in (lon - wide, lon + wide))
        found.append((float(west), max(-90.0, lat - high), float(east), min(90.0, lat + high)))
    return found


def polygon(box: tuple[float, float, float, float]) -> shapely.Geometry:
    west, south, east, north = box
    if west <= east:
        return shapely.box(*box)
    return shapely.union(shapely.box(west, south, 180, north), shapely.box(-180, south, east, north))


@pytest.mark.parametrize("table", ["pixels", "tiles"])
def test_files_hold_what_their_geo_key_says(path: Path, table: str) -> None:
    """GeoParquet 1.1 (https://geoparquet.org/releases/v1.1.0): the keys, kinds, covering, the box of the file."""
    for file in sorted((path / table).glob("*.parquet")):
        geo = json.loads(pq.read_metadata(file).metadata[b"geo"])
        assert (geo["version"], geo["primary_column"], list(geo["columns"])) == ("1.1.0", "geometry", ["geometry"])
        column = geo["columns"]["geometry"]
        assert column.keys() <= {"encoding", "geometry_types", "covering", "bbox"}  # no crs is CRS84, no edges planar
        assert column["encoding"] == "WKB"
        assert column["covering"] == {"bbox": {edge: ["bbox", edge] for edge in ("xmin", "ymin", "xmax", "ymax")}}
        rows = pq.read_table(file, columns=["geometry", "bbox"])
        if not rows.num_rows:
            assert "bbox" not in column
            continue
        shapes = shapely.from_wkb(rows["geometry"].to_pylist())
        assert {shape.geom_type for shape in shapes} <= set(column["geometry_types"])
        assert shapely.is_valid(shapes).all()
        edges = rows["bbox"].combine_chunks().flatten()
        assert shapely.covers(shapely.box(*(edge.to_numpy() for edge in edges)), shapes).all()
        assert polygon(tuple(column["bbox"])).buffer(1e-9).covers(shapely.union_all(shapes).buffer(0))


def test_the_box_of_a_file_across_180_degrees_is_the_short_one(path: Path) -> None:
    name = lattice_tiles("EPSG:32601").lattice.key
    for table in ("pixels", "tiles"):
        (file,) = (path / table).glob(f"*{name}*.parquet")
        geo = json.loads(pq.read_metadata(file).metadata[b"geo"])
        west, south, east, north = geo["columns"]["geometry"]["bbox"]
        assert 177 < west < 180
        assert -180 < east < -173
        assert 50 < south < north < 56


@pytest.mark.parametrize("box", [(179, 52, 180, 53), (-180, 52, -179, 53), (-180, 88, -170, 90), (10, -90, 20, -88)])
def test_geopandas_prunes_by_the_box_on_both_sides(
    path: Path, frame: geopandas.GeoDataFrame, box: tuple[float, float, float, float]
) -> None:
    found = geopandas.read_parquet(path / "pixels", bbox=box)
    wanted = frame[frame.intersects(shapely.box(*box))]
    assert len(wanted)
    assert set(wanted["tile_id"]) <= set(found["tile_id"])
    assert set(found[found.intersects(shapely.box(*box))]["tile_id"]) == set(wanted["tile_id"])


def test_plain_comparisons_in_duckdb_exclude_no_tile(path: Path, frame: geopandas.GeoDataFrame) -> None:
    """The first half of the recipe in docs/tables.md; what it keeps too much ST_Intersects leaves out."""
    with duckdb.connect() as connection:
        for west, south, east, north in [box for box in random_boxes(frame, 100) if box[0] <= box[2]]:
            query = f"""SELECT tile_id FROM read_parquet('{path}/pixels/*.parquet') WHERE bbox.xmin <= {east}
                AND bbox.xmax >= {west} AND bbox.ymin <= {north} AND bbox.ymax >= {south}"""
            found = {name for (name,) in connection.sql(query).fetchall()}
            assert set(frame[frame.intersects(shapely.box(west, south, east, north))]["tile_id"]) <= found


def test_select_is_what_shapely_says_for_500_boxes(path: Path, frame: geopandas.GeoDataFrame) -> None:
    dataset, hits = ee_spark.open_dataset(path), 0
    for box in random_boxes(frame, 500):
        wanted = sorted(frame[frame.intersects(polygon(box))]["tile_id"])
        assert sorted(dataset.select(bbox=box).keys(["tile_id"])["tile_id"].to_pylist()) == wanted, box
        hits += bool(wanted)
    assert hits > 250
    assert sorted(dataset.select(bbox=box).tiles(["tile_id"])["tile_id"].to_pylist()) == wanted


def test_canada_does_not_get_the_bering_sea(path: Path) -> None:
    found = ee_spark.open_dataset(path).select(bbox=(-140, 42, -50, 65)).to_numpy().keys
    assert set(found["crs"].to_pylist()) == {"EPSG:32610"}


def test_tables_of_an_earlier_version_are_decided_by_transforms(
    path: Path, frame: geopandas.GeoDataFrame, tmp_path: Path
) -> None:
    """Its boxes went around the world, or missed the pole; its files say that they hold Polygons only."""
    old = tmp_path / "old"
    shutil.copytree(path, old)
    for file in [*(old / "pixels").glob("*.parquet"), *(old / "tiles").glob("*.parquet")]:
        table = pq.read_table(file)
        geo = json.loads(table.schema.metadata[b"geo"])
        geo["columns"]["geometry"] |= {"geometry_types": ["Polygon"]}
        wrong = pa.array([{"xmin": 0.0, "ymin": 0.0, "xmax": 1.0, "ymax": 1.0}] * table.num_rows, table["bbox"].type)
        table = table.set_column(table.schema.get_field_index("bbox"), table.schema.field("bbox"), wrong)
        pq.write_table(table.replace_schema_metadata({**table.schema.metadata, b"geo": json.dumps(geo)}), file)
    dataset = ee_spark.open_dataset(old)
    for box in random_boxes(frame, 25):
        wanted = sorted(frame[frame.intersects(polygon(box))]["tile_id"])
        chosen = dataset.select(bbox=box)
        assert sorted(chosen.keys(["tile_id"])["tile_id"].to_pylist()) == wanted, box
        assert sorted(chosen.tiles(["tile_id"])["tile_id"].to_pylist()) == wanted
    assert not dataset.select(bbox=(20, 0, 21, 1)).row_groups()


def test_the_middle_of_a_tile_across_180_degrees_is_there(path: Path) -> None:
    rows = ee_spark.open_dataset(path).select(crs="EPSG:32601").keys()
    lon, lat = centres(rows)
    assert (np.abs(lon) > 173).all()
    assert ((lat > 50) & (lat < 56)).all()


def test_a_map_of_tiles_across_180_degrees_is_not_a_band(path: Path) -> None:
    tiles = ee_spark.open_dataset(path).select(crs="EPSG:32601").tiles()
    svg = tile_map(*places(tiles), [])
    labels = [float(text.replace("\u2212", "-")) for text in re.findall(r"<!-- ([\u2212\d.-]+) -->", svg)]
    lon = [one for one in labels if abs(one) > 90]
    assert len(lon) > 2
    assert min(map(abs, lon)) > 170
    assert min(lon) < 0 < max(lon)


def test_every_file_names_the_calendar_of_its_times(path: Path) -> None:
    files = list(path.glob("[a-z]*/part-*.parquet"))
    assert {file.parent.name for file in files} == {"pixels", "tiles", "images"}
    for file in files:
        assert pq.read_metadata(file).metadata[b"org.apache.spark.version"] == b"3.5.0"


def test_spark_reads_times_before_1900(spark: SparkSession, path: Path) -> None:
    """As Spark 3.5 does by tests/spark35.sh."""
    for table in ("pixels", "tiles"):
        times = spark.read.parquet(str(path / table)).selectExpr("unix_micros(image_time) AS t").distinct().collect()
        assert [row["t"] for row in times] == [-100 * 365 * DAY]
