import numpy as np

from medimg.catalogue.neighbours import find_neighbours
from medimg.catalogue.thumbnails import SIDE, embed_pixels


def test_a_thumbnail_embeds_the_colours_of_an_image_whatever_its_size_depth_and_channels():
    red_HWC = np.zeros((60, 45, 3), np.uint8)
    red_HWC[..., 0] = 255
    grey_HW = np.full((10, 20), 65535, np.uint16)
    red, white = embed_pixels([red_HWC, grey_HW])
    assert red.shape == white.shape == (SIDE * SIDE * 3,)
    assert red.reshape(SIDE, SIDE, 3)[3, 4].tolist() == [1, -1, -1]
    assert (white == 1).all()


def test_no_image_gives_an_empty_embedding():
    assert embed_pixels([]).shape == (0, SIDE * SIDE * 3)


def test_each_pair_of_neighbours_is_found_once_with_its_cosine_and_zeros_are_in_none():
    embeddings_ND = np.array([[1.0, 0.0], [0.0, 1.0], [2.0, 0.1], [0.0, 0.0], [0.1, 1.0]])
    pairs_P2, cosines_P = find_neighbours(embeddings_ND, count=1)
    assert pairs_P2.tolist() == [[0, 2], [1, 4]]
    np.testing.assert_allclose(cosines_P, [2 / np.hypot(2, 0.1), 1 / np.hypot(0.1, 1)])


def test_one_image_has_no_neighbours():
    assert find_neighbours(np.ones((1, 4)))[0].shape == (0, 2)
