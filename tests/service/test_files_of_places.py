"""Files of points and areas in every format and CRS: what each means, by GeoPandas, shapely and pyproj."""

from __future__ import annotations

import gzip
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pyarrow.parquet as pq
import pyproj
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from object_servers import BUCKET, gcs_server, s3_server, settings_for

from ee_spark.errors import EESparkError, JobError
from ee_spark.objects import Inputs, open_store
from ee_spark.planner.area_file import read_area
from ee_spark.planner.file_crs import known, lonlat_of
from ee_spark.planner.point_file import read_points
from ee_spark.planner.points import point_ids
from ee_spark.planner.polygon import Polygons, polygons_of
from ee_spark.where import PointsFile

FORMATS = ("gpkg", "fgb", "shp", "geojson", "geoparquet", "native.parquet", "zip")
CODES = (32633, 4267, 27700, 3857, 3031, 2193, 5070, 31467)
CENTIMETRE = 0.01 / 111_320
NO_DATUM = (
    'GEOGCS["x",DATUM["unknown",SPHEROID["Airy 1830",6377563.396,299.3249646]],PRIMEM["Greenwich",0],'
    'UNIT["degree",0.0174532925199433]]'
)


def write(frame: geopandas.GeoDataFrame, folder: Path, kind: str) -> str:
    """Write a frame in one of the formats; the path."""
    path = folder / f"places.{kind}"
    if kind == "geoparquet":
        frame.to_parquet(path, write_covering_bbox=True)
    elif kind == "native.parquet":
        frame.to_parquet(path, geometry_encoding="geoarrow")
    elif kind == "geojson":
        frame.to_file(path, driver="GeoJSON")  # with a crs member, where it is not WGS 84
    elif kind == "zip":
        shape = folder / "inner.shp"
        frame.to_file(shape)
        with zipfile.ZipFile(path, "w") as archive:
            for part in folder.glob("inner.*"):
                archive.write(part, f"data/{part.name}")
    else:
        frame.to_file(path)
    return str(path)


def points(codes: int = 32633) -> geopandas.GeoDataFrame:
    columns = {"plot": ["07", "8"], "n": [1, 2], "crop": ["Weizen", "Mais ü"], "share": [0.5, None]}
    return geopandas.GeoDataFrame(
        columns, geometry=geopandas.points_from_xy([500_105, 500_215], [4_999_895, 4_999_785]), crs=codes
    )


def area_of(found: Polygons) -> shapely.Geometry:
    return shapely.union_all([shapely.Polygon(polygon[0], polygon[1:]) for polygon in found.polygons])


def refusal(call: Callable[..., object], *given: object) -> str:
    with pytest.raises(EESparkError) as caught:
        call(*given)
    assert caught.value.exit_code == 2
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 300
    return message


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.filterwarnings("ignore")
def test_points_of_every_format_lie_where_geopandas_puts_them(kind: str, tmp_path: Path) -> None:
    found = read_points(PointsFile(file=write(points(), tmp_path, kind), id="plot"))
    right = points().to_crs("OGC:CRS84")
    order = [found.ids.index(plot) for plot in ("07", "8")]  # FlatGeobuf orders them by place
    assert found.lon[order] == pytest.approx(right.geometry.x.tolist(), abs=CENTIMETRE / 1000)
    assert found.lat[order] == pytest.approx(right.geometry.y.tolist(), abs=CENTIMETRE / 1000)
    rows = found.columns.to_pylist()
    assert [rows[at] for at in order] == [
        {"n": 1, "crop": "Weizen", "share": 0.5},
        {"n": 2, "crop": "Mais ü", "share": None},
    ]
    assert found.columns.column_names == ["n", "crop", "share"]


@pytest.mark.parametrize("kind", [kind for kind in FORMATS if kind != "native.parquet"])
@pytest.mark.parametrize("code", [32633, 4267])
@pytest.mark.filterwarnings("ignore")
def test_areas_of_every_format_are_what_geopandas_makes_of_them(kind: str, code: int, tmp_path: Path) -> None:
    corner, side = ((400_000, 4_500_000), 200_000) if code == 32633 else ((-107.0, 40.0), 1.0)
    outer = shapely.box(*corner, corner[0] + side, corner[1] + side)
    whole = outer - shapely.box(*(value + side / 4 for value in corner), *(value + side / 2 for value in corner))
    frame = geopandas.GeoDataFrame({"name": ["a", "b"]}, geometry=[whole, shapely.affinity.translate(outer, 2 * side)])
    frame = frame.set_crs(code)
    found = area_of(read_area(write(frame, tmp_path, kind), "region.geojson"))
    parts = frame.geometry if code == 4267 else frame.geometry.segmentize(side / 4000)
    right = shapely.union_all(parts.to_crs("OGC:CRS84"))
    assert found.symmetric_difference(right).area < 1e-6 * right.area
    assert shapely.hausdorff_distance(found, right) < 2 * CENTIMETRE


@pytest.mark.parametrize("name", ["A.GEOJSON", "b.JSON", "c.txt", "d"])
def test_a_file_is_what_it_holds_and_not_what_it_is_called(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(points(4326).set_geometry(geopandas.points_from_xy([1, 2], [3, 4])).to_json())
    assert read_points(str(tmp_path / name)).lat.tolist() == [3.0, 4.0]
    frame = points().drop(columns="geometry").assign(lon=[1.0, 2.0], lat=[3.0, 4.0])
    frame.to_parquet(tmp_path / name)
    assert read_points(str(tmp_path / name)).lat.tolist() == [3.0, 4.0]
    frame.to_csv(tmp_path / name, index=False)
    assert read_points(str(tmp_path / name)).lat.tolist() == [3.0, 4.0]
    (tmp_path / name).write_bytes(gzip.compress((tmp_path / name).read_bytes()))
    assert read_points(str(tmp_path / name)).columns["plot"].to_pylist() == ["07", "8"]


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("start", ["", "\ufeff"])
def test_separators_are_told_by_the_header(separator: str, start: str, tmp_path: Path) -> None:
    rows = [["plot", "lon", "lat", '"a,b;c"'], ["ü", "1.5", "2", '"x;y,z"']]
    (tmp_path / "p.csv").write_text(start + "\n".join(separator.join(row) for row in rows) + "\n")
    found = read_points(str(tmp_path / "p.csv"))
    assert (found.lon.tolist(), found.lat.tolist()) == ([1.5], [2.0])
    assert found.columns.to_pydict() == {"plot": ["ü"], "a,b;c": ["x;y,z"]}


@pytest.mark.parametrize(
    ("lon", "lat"),
    [("longitude", "latitude"), ("x", "y"), ("lng", "lat"), ("LON", "LAT"), ("Long", "Latitude"), ("lon", "y")],
)
def test_usual_names_are_found(lon: str, lat: str, tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text(f"{lat},plot,{lon}\n2,a,1\n4,b,3\n")
    found = read_points(str(tmp_path / "p.csv"))
    assert (found.lon.tolist(), found.lat.tolist()) == ([1.0, 3.0], [2.0, 4.0])
    assert found.columns.column_names == ["plot"]
    assert found.ids == point_ids(np.array([1.0, 3.0]), np.array([2.0, 4.0]))


def test_what_the_job_names_is_taken(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("lon,lat,x,y,plot,yield\n9,9,1,2,07,3.50\n8,8,3,4,8,\n")
    said = PointsFile(file=str(tmp_path / "p.csv"), lon="x", lat="y", id="plot", types={"yield": "float64"})
    found = read_points(said)
    assert (found.ids, found.lon.tolist(), found.lat.tolist()) == (("07", "8"), [1.0, 3.0], [2.0, 4.0])
    assert found.columns.to_pydict() == {"lon": [9, 8], "lat": [9, 8], "yield": [3.5, None]}
    assert read_points(said.model_copy(update={"lon": None, "lat": None})).lon.tolist() == [9.0, 8.0]


@pytest.mark.parametrize(
    ("text", "keys", "said"),
    [
        ("x,y,longitude\n1,2,3\n", {}, "the columns x, longitude; say which one it is: region.points: {file"),
        ("lon,north\n1,2\n", {}, "has no column 'lat', only lon, north; say which one it is"),
        ("lon,lat\n1,2\n", {"lon": "east", "lat": "lat"}, "region.points.lon: "),
        ("lon,lat\n1,2\n", {"id": "plot"}, "has no column 'plot'"),
        ("lon,lat\n1,2\n", {"types": {"yield": "float64"}}, "has no column 'yield' of its own, only none"),
        ("lon,lat,v\n1,2,x\n", {"types": {"v": "int64"}}, "point 1 has v 'x', which is not int64 as region.points"),
        ("lon;lat\n1,5;2\n", {}, "point 1 has lon '1,5'; write degrees from -180 to 180 with a decimal point"),
    ],
)  # fmt: skip
def test_columns_that_cannot_be_told_are_asked_for(text: str, keys: dict[str, Any], said: str, tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text(text)
    assert said in refusal(read_points, PointsFile(file=str(tmp_path / "p.csv"), **keys))


def test_another_encoding_is_told_with_its_place(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_bytes("plot,lon,lat\nGrün,1,2\nMüller,3,4\n".encode("latin-1"))
    message = refusal(read_points, str(tmp_path / "p.csv"))
    assert "line 2 has the byte 0xFC at 15, which is not UTF-8 ('Grün' in Latin-1); save it as UTF-8" in message


def test_ids_are_text_in_every_format(tmp_path: Path) -> None:
    big = 12345678901234567890
    frame = points().drop(columns="geometry").assign(lon=[1.0, 2.0], lat=[3.0, 4.0], id=np.array([big, 7], np.uint64))
    frame.to_parquet(tmp_path / "p.parquet")
    features = [
        {"type": "Feature", "id": value, "properties": {}, "geometry": {"type": "Point", "coordinates": [value % 7, 1]}}
        for value in (big, 7)
    ]
    (tmp_path / "p.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    frame[["id", "lon", "lat"]].to_csv(tmp_path / "p.csv", index=False)
    for name in ("p.parquet", "p.geojson", "p.csv"):
        assert read_points(str(tmp_path / name)).ids == (str(big), "7")


@given(
    st.sampled_from(CODES),
    st.lists(st.tuples(st.floats(0.05, 0.95), st.floats(0.05, 0.95)), min_size=1, max_size=5, unique=True),
)
@settings(max_examples=40, deadline=None, derandomize=True)
def test_coordinates_are_transformed_as_pyproj_does(code: int, shares: list[tuple[float, float]]) -> None:
    crs = pyproj.CRS(code)
    assert crs.area_of_use is not None
    west, south, east, north = crs.area_of_use.bounds
    east += 360 if east < west else 0
    there = pyproj.Transformer.from_crs("OGC:CRS84", crs, always_xy=True)
    back = pyproj.Transformer.from_crs(crs, "OGC:CRS84", always_xy=True)
    x, y = there.transform(*np.array([(west + u * (east - west), south + v * (north - south)) for u, v in shares]).T)
    for name in (f"EPSG:{code}", f"urn:ogc:def:crs:EPSG::{code}", crs.to_wkt()):
        lon, lat = lonlat_of(known(name, "p"), x, y, "p")
        right = back.transform(x, y)
        assert np.abs(lat - right[1]).max() < CENTIMETRE
        assert np.abs((lon - right[0]) * np.cos(np.radians(right[1]))).max() < CENTIMETRE


def test_a_crs_member_is_honoured(tmp_path: Path) -> None:
    """NAD27 in Colorado lies some 50 m off WGS 84."""
    right = pyproj.Transformer.from_crs(4267, "OGC:CRS84", always_xy=True).transform(-106.9, 40.2)
    assert 40 < pyproj.Geod(ellps="WGS84").inv(-106.9, 40.2, *right)[2] < 120
    feature = {"type": "Feature", "properties": {}, "geometry": {"type": "Point", "coordinates": [-106.9, 40.2]}}
    for crs in (
        {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::4267"}},
        {"type": "name", "properties": {"name": "EPSG:4267"}},
        {"type": "name", "properties": {"name": "http://www.opengis.net/def/crs/EPSG/0/4267"}},
        {"type": "EPSG", "properties": {"code": 4267}},
    ):
        text = json.dumps({"type": "FeatureCollection", "crs": crs, "features": [feature]})
        (tmp_path / "p.geojson").write_text(text)
        found = read_points(str(tmp_path / "p.geojson"))
        assert (found.lon[0], found.lat[0]) == pytest.approx(right, abs=CENTIMETRE)
    for crs in (None, {"type": "name", "properties": {"name": "urn:ogc:def:crs:OGC:1.3:CRS84"}}):
        (tmp_path / "p.geojson").write_text(
            json.dumps({"type": "FeatureCollection", "crs": crs, "features": [feature]})
        )
        assert read_points(str(tmp_path / "p.geojson")).lon.tolist() == [-106.9]


@pytest.mark.parametrize(
    ("crs", "said"),
    [
        ({"type": "link", "properties": {"href": "http://127.0.0.1:9/x"}}, "which names none"),
        ({"type": "name", "properties": {"name": "EPSG:999999"}}, "its CRS EPSG:999999 cannot be read"),
        ({"type": "name", "properties": {"name": "EPSG:4978"}}, "is not one of places on Earth"),
        ({"type": "name", "properties": {"name": "/etc/passwd"}}, "its CRS /etc/passwd cannot be read"),
        ("EPSG:4267", "which names none"),
        (
            {"type": "name", "properties": {"name": NO_DATUM}},
            "says no datum",
        ),
    ],
)  # fmt: skip
def test_a_crs_that_cannot_be_followed_is_refused(crs: Any, said: str) -> None:
    text = json.dumps({"type": "FeatureCollection", "crs": crs, "features": []}).encode()
    assert said in refusal(polygons_of, text, "region.geojson")


@pytest.mark.filterwarnings("ignore")
def test_a_file_without_a_crs_is_refused(tmp_path: Path) -> None:
    frame = points().set_crs(None, allow_override=True)
    for kind in ("gpkg", "shp", "geoparquet"):
        message = refusal(read_points, write(frame, tmp_path, kind))
        assert "nobody knows where it lies" in message


@pytest.mark.parametrize(("code", "sign"), [(3413, 1), (3031, -1)])
def test_an_area_around_a_pole_holds_it(code: int, sign: int) -> None:
    half = 1_000_000.0
    ring = [[-half, -half], [half, -half], [half, half], [-half, half], [-half, -half]]
    crs = {"type": "name", "properties": {"name": f"EPSG:{code}"}}
    found = polygons_of(json.dumps({"type": "Polygon", "crs": crs, "coordinates": [ring]}).encode(), "region.geojson")
    rng = np.random.default_rng(5)
    x, y = rng.uniform(-2 * half, 2 * half, (2, 2000))
    lon, lat = pyproj.Transformer.from_crs(code, "OGC:CRS84", always_xy=True).transform(x, y)
    inside = shapely.contains_xy(area_of(found), lon, lat)
    assert (inside == ((np.abs(x) < half) & (np.abs(y) < half))).all()
    assert shapely.contains_xy(area_of(found), 10.0, sign * 89.999)
    assert found.bounds[::2] == (-180.0, 180.0)


def test_an_area_across_180_degrees_is_cut_there() -> None:
    """Fiji in its own projection (EPSG:3460), whose middle lies near 178.75° E."""
    there = pyproj.Transformer.from_crs("OGC:CRS84", 3460, always_xy=True)
    ring = [list(there.transform(*place)) for place in [(177, -19), (-179, -19), (-179, -16), (177, -16), (177, -19)]]
    crs = {"type": "name", "properties": {"name": "EPSG:3460"}}
    found = area_of(
        polygons_of(json.dumps({"type": "Polygon", "crs": crs, "coordinates": [ring]}).encode(), "region.geojson")
    )
    assert found.bounds[0] == -180
    assert found.bounds[2] == 180
    assert found.area == pytest.approx(4 * 3, rel=0.01)
    assert shapely.contains_xy(found, [179.9, -179.9, 0.0], [-17.0, -17.0, -17.0]).tolist() == [True, True, False]


@given(st.floats(-80, 80), st.floats(-170, 170), st.floats(1e3, 3e5), st.floats(0, 6.28), st.integers(3, 7))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_edges_of_a_projected_file_are_straight_there(
    lat: float, lon: float, radius: float, turn: float, corners: int
) -> None:
    zone = int((lon + 180) // 6) + 1
    code = (32600 if lat >= 0 else 32700) + zone
    middle = pyproj.Transformer.from_crs("OGC:CRS84", code, always_xy=True).transform(lon, lat)
    angles = turn + np.linspace(0, 2 * np.pi, corners, endpoint=False)
    shape = shapely.Polygon(np.column_stack([middle[0] + radius * np.cos(angles), middle[1] + radius * np.sin(angles)]))
    frame = geopandas.GeoSeries([shape], crs=code)
    thing = json.loads(frame.to_json()) | {"crs": {"type": "name", "properties": {"name": f"EPSG:{code}"}}}
    found = area_of(polygons_of(json.dumps(thing).encode(), "region.geojson"))
    right = frame.segmentize(radius / 200).to_crs("OGC:CRS84").iloc[0]
    if right.bounds[2] - right.bounds[0] < 180:  # GeoPandas does not cut at ±180°
        assert found.symmetric_difference(right).area < 1e-5 * right.area + 4 * right.length * CENTIMETRE


def test_shapefiles_need_what_lies_beside_them(tmp_path: Path) -> None:
    path = Path(write(points(), tmp_path, "shp"))
    for name in tmp_path.glob("places.*"):
        name.rename(name.with_suffix(name.suffix.upper()))
    assert len(read_points(str(path.with_suffix(".SHP"))).ids) == 2
    path.with_suffix(".DBF").unlink()
    assert "its .dbf does not lie beside it" in refusal(read_points, str(path.with_suffix(".SHP")))


@pytest.mark.filterwarnings("ignore")
def test_what_is_no_file_of_places_is_told(tmp_path: Path) -> None:
    frame = points()
    frame.to_file(tmp_path / "two.gpkg", layer="a")
    frame.to_file(tmp_path / "two.gpkg", layer="b")
    assert "has 2 layers with places (a, b); write a file with one" in refusal(read_points, str(tmp_path / "two.gpkg"))
    (tmp_path / "a.kml").write_text('<?xml version="1.0"?><kml/>')
    assert "it is XML (KML, GML or a web page), which is not read" in refusal(read_points, str(tmp_path / "a.kml"))
    with zipfile.ZipFile(tmp_path / "a.xlsx", "w") as archive:
        archive.writestr("xl/workbook.xml", "<x/>")
    assert "it is a spreadsheet, which is not read; save it as CSV" in refusal(read_points, str(tmp_path / "a.xlsx"))
    assert "a Point has no area" in refusal(read_area, write(frame, tmp_path, "gpkg"), "region.geojson")
    assert "a Point has no area" in refusal(read_area, write(frame, tmp_path, "geoparquet"), "region.geojson")
    lines = frame.set_geometry([shapely.LineString([(0, 0), (1, 1)])] * 2)
    assert "point 1 is a LineString, not a Point" in refusal(read_points, write(lines, tmp_path, "gpkg"))
    (tmp_path / "a.csv").write_text("lon,lat\n1,2\n")
    assert "it is no GeoJSON, and a text holds no polygons" in refusal(
        read_area, str(tmp_path / "a.csv"), "region.geojson"
    )


@pytest.mark.parametrize("kind", ["gs", "s3"])
def test_a_shapefile_on_object_storage_has_its_siblings_there(kind: str, tmp_path: Path) -> None:
    path = Path(write(points(), tmp_path, "shp"))
    with gcs_server() if kind == "gs" else s3_server() as url:
        settings = settings_for(kind, url)
        store = open_store(f"{kind}://{BUCKET}/areas", settings)
        for part in tmp_path.glob("places.*"):
            store.create(part.name, part.read_bytes())
        said = PointsFile(file=f"{kind}://{BUCKET}/areas/places.shp", id="plot")
        assert (
            read_points(said, Inputs(settings)).lon.tolist()
            == read_points(said.model_copy(update={"file": str(path)})).lon.tolist()
        )
        store.delete("places.dbf")
        assert "its .dbf does not lie beside it" in refusal(read_points, said, Inputs(settings))


def test_a_missing_reader_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(points(), tmp_path, "fgb")
    monkeypatch.setitem(__import__("sys").modules, "pyogrio", None)
    assert "pyogrio is not installed; pip install 'ee-spark[vector]'" in refusal(read_points, path)


def test_what_unfolds_to_too_much_is_refused_before_it_does(tmp_path: Path) -> None:
    piece = gzip.compress(bytes(64 << 20), 1)
    (tmp_path / "p.csv.gz").write_bytes(piece * 17)
    assert "it unfolds to more than 1,073,741,824 bytes" in refusal(read_points, str(tmp_path / "p.csv.gz"))
    (tmp_path / "p.csv.gz").write_bytes(piece[:1000])
    assert "it ends too early" in refusal(read_points, str(tmp_path / "p.csv.gz"))


def test_an_unnamed_index_of_pandas_is_left_out(tmp_path: Path) -> None:
    frame = points().drop(columns="geometry").assign(lon=[1.0, 2.0], lat=[3.0, 4.0])
    frame.index = [5, 9]
    frame.to_parquet(tmp_path / "p.parquet")
    assert "__index_level_0__" in pq.read_schema(tmp_path / "p.parquet").names
    assert read_points(str(tmp_path / "p.parquet")).columns.column_names == ["plot", "n", "crop", "share"]


def test_a_zip_of_one_file_is_that_file(tmp_path: Path) -> None:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        archive.writestr("a/points.csv", "lon,lat\n1,2\n")
        archive.writestr("README", "x")
    (tmp_path / "p.zip").write_bytes(sink.getvalue())
    assert read_points(str(tmp_path / "p.zip")).lon.tolist() == [1.0]
    with zipfile.ZipFile(tmp_path / "p.zip", "a") as archive:
        archive.writestr("b.csv", "lon,lat\n1,2\n")
    with pytest.raises(JobError, match=r"the zip holds a/points\.csv, b\.csv; write one with one file of places"):
        read_points(str(tmp_path / "p.zip"))
