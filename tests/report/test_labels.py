"""Labels of points are next to them and cover nothing."""

import itertools
import random

from prunescope.report import labels


def test_a_label_is_right_of_its_point_if_there_is_room():
    assert labels.sides([(10, 50)], ["drop-4a"], (400, 250)) == ["right"]


def test_a_label_is_left_at_the_edge_and_omitted_in_a_crowd():
    assert labels.sides([(395, 50)], ["drop-4a"], (400, 250)) == ["left"]
    crowd = [(10.0 * column, 8.0 * row) for row in range(32) for column in range(41)]
    assert set(labels.sides(crowd, ["drop-4a"] * len(crowd), (400, 250))) == {""}


def test_labels_do_not_overlap_or_leave_the_panel():
    """No pixel of a grid belongs to two labels, or to a label and a point."""
    dice = random.Random(0)
    points = [(dice.uniform(0, 400), dice.uniform(0, 250)) for _ in range(40)]
    texts = ["x" * dice.randint(3, 14) for _ in points]
    sides = labels.sides(points, texts, (400, 250))
    width, height = labels.LETTER, labels.HEIGHT
    left_of = {"right": 6, "left": -6, "above": 0, "below": 0}
    shares = {"right": 0, "left": -1, "above": -0.5, "below": -0.5}
    bottoms = {"right": -height / 2, "left": -height / 2, "above": 6, "below": -6 - height}
    names = []
    for (x, y), text, side in zip(points, texts, sides, strict=True):
        if side:
            left = x + left_of[side] + shares[side] * width * len(text)
            low = y + bottoms[side]
            names.append((left, low, left + width * len(text), low + height))
    assert len(names) > 20
    assert all(min(a, b) >= 0 and c <= 400 and d <= 250 for a, b, c, d in names)
    for one, other in itertools.combinations(names, 2):
        apart_in_x = one[2] <= other[0] or other[2] <= one[0]
        apart_in_y = one[3] <= other[1] or other[3] <= one[1]
        assert apart_in_x or apart_in_y
    for left, low, right, high in names:
        assert not any(left < x < right and low < y < high for x, y in points)
