"""Stored tables and the folders around assets, through the official client."""

from __future__ import annotations

import json

import ee
import pytest
import shapely
from emulator_client import PROJECT, asset, connect, get, post, write_raster
from numpy import ones

import ee_emulator as emulator
from ee_emulator.catalog.folder import Catalog
from ee_emulator.errors import CatalogError

COUNT = 25
ROOT = "/v1/projects/earthengine-legacy/assets/"


def plot(number: int) -> dict:
    x, y = 10 + number % 5, 50 + number // 5
    ring = [[x, y], [x + 0.5, y], [x + 0.5, y + 0.5], [x, y + 0.5], [x, y]]
    properties = {"number": number, "kind": "even" if number % 2 == 0 else "odd", "area": number / 4, "note": None}
    return {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [ring]}, "properties": properties}


PLOTS = [plot(number) for number in range(COUNT)]


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tables")
    (folder / "plots.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": PLOTS}))
    named = [{"type": "Feature", "id": "a", "geometry": None, "properties": {"v": 1}}]
    (folder / "named.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": named}))
    write_raster(folder / "one.tif", ones((2, 2), "u1"), [1, 0, 0, 0, -1, 2], "EPSG:4326")
    tables = [
        {"id": "users/me/plots", "file": "plots.geojson", "updateTime": "2024-05-01T00:00:00Z"},
        {"id": "users/me/plots", "file": "named.geojson", "updateTime": "2023-05-01T00:00:00Z"},
        {"id": "projects/demo-project/assets/deep/named", "file": "named.geojson", "properties": {"owner": "me"}},
    ]
    images = [asset(f"MODIS/061/X/{name}", {"b": "one.tif"}) for name in ("one", "two")]
    images.append(asset("projects/demo-project/assets/lone", {"b": "one.tif"}))
    (folder / "catalog.json").write_text(json.dumps({"assets": images, "tables": tables}))
    with emulator.start(folder) as running:
        connect(running.url)
        yield running


# Tables


def test_a_table_describes_itself(service):
    found = ee.data.getAsset("users/me/plots")
    assert found["type"] == "TABLE"
    assert found["name"] == "projects/earthengine-legacy/assets/users/me/plots"
    assert (found["featureCount"], found["updateTime"]) == (str(COUNT), "2024-05-01T00:00:00Z")
    assert ee.data.getAsset("projects/demo-project/assets/deep/named")["properties"] == {"owner": "me"}


def test_features_are_loaded_with_their_properties_and_geometries(service):
    collection = ee.FeatureCollection("users/me/plots")
    assert collection.size().getInfo() == COUNT
    found = collection.getInfo()
    assert [feature["properties"]["number"] for feature in found["features"]] == list(range(COUNT))
    assert shapely.equals(
        shapely.geometry.shape(found["features"][7]["geometry"]), shapely.geometry.shape(PLOTS[7]["geometry"])
    )
    assert collection.filter(ee.Filter.eq("kind", "odd")).aggregate_array("number").getInfo() == list(
        range(1, COUNT, 2)
    )
    inside = collection.filterBounds(ee.Geometry.Point([12.25, 51.25])).first().getInfo()
    assert inside["properties"]["number"] == 7
    assert inside["id"] == "00000000000000000007"


def test_older_versions_by_their_time(service):
    old = ee.FeatureCollection(
        ee.apply("Collection.loadTable", {"tableId": "users/me/plots", "version": 1682899200000000})
    )
    assert old.first().getInfo()["id"] == "a"
    with pytest.raises(ee.EEException, match=r"Collection.loadTable: Collection asset 'users/me/none' not found"):
        ee.FeatureCollection("users/me/none").size().getInfo()


def test_list_features_pages_filters_and_regions(service):
    first = ee.data.listFeatures({"assetId": "users/me/plots", "pageSize": 10})
    assert first["type"] == "FeatureCollection"
    assert [feature["properties"]["number"] for feature in first["features"]] == list(range(10))
    assert first["features"][0]["geometry"] == PLOTS[0]["geometry"]
    numbers, token = [], ""
    while True:
        asked = {"assetId": "users/me/plots", "pageSize": 10, **({"pageToken": token} if token else {})}
        page = ee.data.listFeatures(asked)
        numbers += [feature["properties"]["number"] for feature in page["features"]]
        token = page.get("nextPageToken", "")
        if not token:
            break
    assert numbers == list(range(COUNT))
    region = json.dumps({"type": "Polygon", "coordinates": [[[9, 49], [11.2, 49], [11.2, 51.2], [9, 51.2], [9, 49]]]})
    chosen = ee.data.listFeatures(
        {"assetId": "users/me/plots", "region": region, "filter": 'kind = "odd" AND number>2'}
    )
    area = shapely.geometry.shape(json.loads(region))
    expected = [
        p["properties"]["number"]
        for p in PLOTS
        if p["properties"]["kind"] == "odd"
        and p["properties"]["number"] > 2
        and shapely.intersects(shapely.geometry.shape(p["geometry"]), area)
    ]
    assert [feature["properties"]["number"] for feature in chosen["features"]] == expected
    assert len(expected) > 0
    frame = ee.data.listFeatures({"assetId": "users/me/plots", "pageSize": 7, "fileFormat": "PANDAS_DATAFRAME"})
    assert frame["number"].tolist() == list(range(COUNT))
    for wrong in ({"pageSize": "x"}, {"pageToken": "%%%"}, {"region": "{"}, {"filter": "kind ="}):
        assert get(service.url, ROOT + "users/me/plots:listFeatures", **wrong).status == 400, wrong
    assert get(service.url, ROOT + "users/me/none:listFeatures").status == 404


def test_compute_features_pages_and_frames(service):
    collection = ee.FeatureCollection("users/me/plots").filter(ee.Filter.lt("number", 12))
    frame = ee.data.computeFeatures({"expression": collection, "pageSize": 5, "fileFormat": "PANDAS_DATAFRAME"})
    assert frame["number"].tolist() == list(range(12))
    page = ee.data.computeFeatures({"expression": collection, "pageSize": 5})
    assert len(page["features"]) == 5
    assert page["nextPageToken"]
    path = f"/v1/projects/{PROJECT}/table:computeFeatures"
    number = {"expression": {"result": "0", "values": {"0": {"constantValue": 1}}}}
    for wrong in (number, {}, {**number, "pageSize": -3}, {**number, "rows": 3}):
        assert post(service.url, path, wrong).status == 400, wrong


@pytest.mark.parametrize(
    ("entry", "content", "said"),
    [
        ({"id": "users/me/t"}, None, "needs a text 'file'"),
        ({"id": "users/me/t", "file": "gone.geojson"}, None, "gone.geojson"),
        ({"id": "users/me/t", "file": "t.geojson", "colour": 1}, None, "colour"),
        ({"id": "users/me/t", "file": "t.geojson"}, "{", "not valid JSON"),
        ({"id": "users/me/t", "file": "t.geojson"}, '{"type": "Point"}', "FeatureCollection"),
        ({"id": "users/me/t", "file": "t.geojson"}, '{"features": [{"type": "Feature", "geometry": {}}]}', "GeoJSON"),
    ],
)
def test_a_bad_table_is_refused_at_the_start(tmp_path, entry, content, said):
    if content is not None:
        (tmp_path / "t.geojson").write_text(content)
    (tmp_path / "catalog.json").write_text(json.dumps({"tables": [entry]}))
    with pytest.raises(CatalogError, match=said):
        Catalog(tmp_path)


# Folders and roots


def kinds(parent: str) -> dict[str, str]:
    return {found["id"]: found["type"] for found in ee.data.listAssets({"parent": parent})["assets"]}


def test_folders_list_what_is_in_them(service):
    assert kinds("MODIS") == {"MODIS/061": "FOLDER"}
    assert kinds("MODIS/061") == {"MODIS/061/X": "IMAGE_COLLECTION"}
    assert kinds("MODIS/061/X") == {"MODIS/061/X/one": "IMAGE", "MODIS/061/X/two": "IMAGE"}
    assert kinds("users/me") == {"users/me/plots": "TABLE"}
    assert kinds("projects/demo-project/assets/deep") == {"projects/demo-project/assets/deep/named": "TABLE"}
    assert ee.data.getAsset("MODIS/061")["type"] == "FOLDER"
    with pytest.raises(ee.EEException, match="does not exist"):
        ee.data.listAssets({"parent": "MODIS/006"})
    page = json.loads(
        get(service.url, "/v1/projects/earthengine-public/assets/MODIS/061/X:listAssets", pageSize="1").data
    )
    assert len(page["assets"]) == 1
    assert "nextPageToken" in page


def test_roots_list_their_tops(service):
    assert kinds("projects/demo-project/assets") == {
        "projects/demo-project/assets/deep": "FOLDER",
        "projects/demo-project/assets/lone": "IMAGE",
    }
    assert [found["id"] for found in ee.data.listBuckets("projects/earthengine-legacy")["assets"]] == ["users/me"]
    assert [found["id"] for found in ee.data.listBuckets("projects/earthengine-public")["assets"]] == ["MODIS"]
    assert ee.data.listBuckets("projects/nobody") == {}
