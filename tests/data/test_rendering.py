import numpy as np
import pytest

from inkwash.data.rendering import Rendering
from inkwash.errors import UserError


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"black": 5, "white": 5}, r"^data\.source\.black=5 is not below data\.source\.white=5"),
        ({"white": 0}, r"^data\.source\.black=0 is not below data\.source\.white=0"),
        ({"black": float("nan")}, r"^data\.source\.black=nan must be a level"),
        ({"white": float("inf")}, r"^data\.source\.white=inf must be a level"),
        ({"background": "wite"}, r"^data\.source\.background=wite is not a colour: give white"),
        ({"background": [0, 0]}, r"^data\.source\.background=\[0, 0\] is not a colour"),
        ({"background": [0, 0, 256]}, r"is not a colour"),
        ({"background": [0, 0, 0.5]}, r"is not a colour"),
        ({"background": 5}, r"is not a colour"),
    ],
)
def test_mistakes_are_named(options, message):
    with pytest.raises(UserError, match=message):
        Rendering(**options)


@pytest.mark.parametrize(
    ("background", "wanted"),
    [("white", (255,) * 3), ("#102030", (16, 32, 48)), ([1, 2, 3], (1, 2, 3)), ([7], (7,) * 3)],
)
def test_colours_have_names_and_numbers(background, wanted):
    assert Rendering(background=background).background == wanted


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, ">u2", np.int32, np.float32, np.float64])
def test_levels_of_any_type_are_scaled(kind):
    levels = np.array([0, 50, 100, 150, 200, 250], kind)
    assert Rendering(100, 200).scaled(levels, "a").tolist() == [0, 0, 0, 128, 255, 255]
    assert Rendering(100, 200).scaled(levels, "a").dtype == np.uint8


def test_black_alone_leaves_the_largest_level_white():
    assert Rendering(black=55).scaled(np.array([55, 155, 255], np.uint8), "a").tolist() == [0, 128, 255]
    assert Rendering(black=535).scaled(np.array([535, 33035, 65535], np.uint16), "a").tolist() == [0, 128, 255]
