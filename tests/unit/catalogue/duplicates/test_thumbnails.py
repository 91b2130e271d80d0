import numpy as np

from medimg.catalogue.duplicates.thumbnails import SIDE, embed_pixels


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
