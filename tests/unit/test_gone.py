"""Which refusals say that an image, or its version, is not there: by structure, in every wording that was recorded."""

from __future__ import annotations

import pytest

from ee_spark.errors import ServiceError
from ee_spark.planner.images import ID, VERSION
from ee_spark.planner.request import filled, is_gone

THERE = 1_704_067_200_000_000
IMAGES = ("C/I", "projects/p/assets/i", "users/u/i")
NAMES = {
    "C/I": "projects/earthengine-public/assets/C/I",
    "projects/p/assets/i": "projects/p/assets/i",
    "users/u/i": "projects/earthengine-legacy/assets/users/u/i",
}
RECORDED = (
    "Asset '{name}' does not exist or doesn't allow this operation.",
    'Asset "{name}" not found.',
    "Resource {name} could not be found.",
    "Image.load: Image asset '{id}' not found (does not exist or caller does not have access).",
    "Image.load: Image asset '{id}' not found.",
    "Permission 'earthengine.assets.get' denied on resource '{name}' (or it may not exist).",
)
MORE = (
    "Collection.first: Error in map(ID=1):\nImage.load: Image asset '{id}' not found.",
    f"Image.load: Parameter 'version' is required to be the asset's: version {THERE} is unknown.",
    f"Image.load: {THERE} is not a version of this image.",
)
OTHERS = (
    "Image.load: Image asset 'C/OTHER' not found.",
    "Image.select: Band pattern 'asset '{id}' not found' did not match any bands.".replace("{id}", "x"),
    "Image.select: Pattern '{id} not found' did not match any bands. Available bands: [version].",
    "User memory limit exceeded.",
    f"Image.load: Band '{THERE} version' is not here.",
    "Image.load: version 7 of a thing",
    "Collection query aborted after accumulating over 5000 elements.",
)


def gone(text: str, image: str) -> bool:
    error = ServiceError(text.format(id=image, name=NAMES[image]), kind="permanent", status=400)
    return is_gone(error, image, THERE)


@pytest.mark.parametrize("image", IMAGES)
@pytest.mark.parametrize("text", [*RECORDED, *MORE])
def test_it_is_not_there_in_every_wording(text: str, image: str) -> None:
    assert gone(text, image)


@pytest.mark.parametrize("text", OTHERS)
def test_other_refusals_say_something_else(text: str) -> None:
    assert not gone(text, "C/I")


def test_a_load_without_a_version_names_none() -> None:
    load = '{"functionInvocationValue": {"functionName": "Image.load", "arguments": {"id": {"constantValue": "%s"}%s}}}'
    template = load % (ID, f', "version": {{"constantValue": {VERSION}}}')
    assert filled(template, "C/I", THERE) == load % ("C/I", f', "version": {{"constantValue": {THERE}}}')
    assert filled(template, "C/I", -1) == load % ("C/I", "")
