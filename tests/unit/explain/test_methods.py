import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.ndimage import gaussian_filter

from medimg.explain.methods import attribute, enlarge, grad_cam, integrated_gradients
from medimg.explain.network import Network, randomise
from medimg.tasks.classification.explain import cut_network
from medimg.tasks.classification.model import FUSIONS, build_model
from medimg.tasks.classification.settings import Head, ModelSettings

HEIGHT, WIDTH = 64, 52
SPOT = (slice(28, 36), slice(12, 20))


def make_model(*, clinical=0, **settings):
    keras.utils.set_random_seed(0)
    heads = (Head("malignancy", ("Benign", "Malignant")), Head("kind", ("a", "b", "c")))
    return build_model(
        ModelSettings(heads=heads, roles=("CC", "MLO"), image_size=(HEIGHT, WIDTH), width=4, **settings),
        clinical_width=clinical,
    )


def make_inputs(*, cases=3, clinical=0, seed=0):
    """Noise with a bright spot; the second case has no second view."""
    generator = np.random.default_rng(seed)
    images = generator.integers(20, 60, (cases, 2, HEIGHT, WIDTH, 1)).astype(np.uint8)
    images[:, :, SPOT[0], SPOT[1]] += 150
    present = np.ones((cases, 2), np.float32)
    present[1, 1] = 0
    inputs = {"images": images, "view_present": present}
    return (
        {**inputs, "clinical": generator.normal(size=(cases, clinical)).astype(np.float32)}
        if clinical
        else inputs
    )


def as_tensors(inputs):
    return {name: tf.convert_to_tensor(values) for name, values in inputs.items()}


@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize("clinical", [0, 3])
def test_the_two_halves_answer_as_the_network_does(fusion, clinical):
    model, inputs = make_model(clinical=clinical, fusion=fusion), make_inputs(clinical=clinical)
    for head in ("malignancy", "kind"):
        network = cut_network(model, head)
        logits = network.to_logits(
            network.read_maps(tf.cast(inputs["images"], tf.float32)), as_tensors(inputs)
        )
        np.testing.assert_allclose(tf.nn.softmax(logits), model(inputs, training=False)[head], atol=1e-6)


@pytest.mark.parametrize("class_index", [0, 2])
def test_integrated_gradients_add_up_to_the_score_less_that_of_black_images(class_index):
    network, inputs = cut_network(make_model(), "kind"), make_inputs()
    attributions = attribute(network, inputs, class_index=class_index, steps=64)
    black = {**inputs, "images": np.zeros_like(inputs["images"])}
    scores = [
        network.score(
            network.read_maps(tf.cast(one["images"], tf.float32)), as_tensors(one), class_index=class_index
        )
        for one in (inputs, black)
    ]
    np.testing.assert_allclose(
        attributions.sum(axis=(1, 2, 3, 4)), scores[0] - scores[1], rtol=0.01, atol=1e-4
    )


@pytest.mark.parametrize("class_index", [0, 1, 2])
def test_the_score_is_the_log_odds_of_the_class_against_all_others(class_index):
    model, inputs = make_model(), make_inputs()
    network = cut_network(model, "kind")
    score = network.score(
        network.read_maps(tf.cast(inputs["images"], tf.float32)), as_tensors(inputs), class_index=class_index
    )
    chance = model(inputs, training=False)["kind"].numpy()[:, class_index]
    np.testing.assert_allclose(score, np.log(chance / (1 - chance)), atol=1e-4)


def test_a_map_of_integrated_gradients_is_what_speaks_for_the_class_in_16_steps_smoothed_by_a_fiftieth():
    network, inputs = cut_network(make_model(), "malignancy"), make_inputs()
    attributions = attribute(network, inputs, class_index=1, steps=16).sum(axis=-1)
    assert attributions.min() < 0
    smoothed = gaussian_filter(
        np.maximum(attributions, 0), sigma=(0, 0, 0.02 * HEIGHT, 0.02 * HEIGHT), mode="constant"
    )
    smoothed[1, 1] = 0
    found = integrated_gradients(network, inputs, class_index=1)
    np.testing.assert_allclose(found, smoothed, atol=1e-5 * smoothed.max())


def test_the_path_of_integrated_gradients_is_sampled_in_the_middle_of_its_steps():
    # The score of one view is its squared mean, whose gradient rises evenly: one step in the middle is exact.
    network = Network(
        lambda images: tf.reduce_mean(images, axis=(1, 2), keepdims=True),
        lambda maps, inputs: tf.concat([maps[:, 0, 0, 0] * 0, maps[:, 0, 0, 0] ** 2], axis=1),
    )
    images = np.random.default_rng(0).integers(0, 255, (2, 1, 4, 6, 1)).astype(np.uint8)
    inputs = {"images": images, "view_present": np.ones((2, 1), np.float32)}
    for steps in (1, 3):
        found = attribute(network, inputs, class_index=1, steps=steps)
        expected = images * images.mean(axis=(1, 2, 3, 4), keepdims=True) / 24
        np.testing.assert_allclose(found, expected, rtol=1e-4)


@pytest.mark.parametrize("explain", [grad_cam, integrated_gradients])
def test_maps_are_as_large_as_the_image_never_negative_and_empty_where_there_is_no_view(explain):
    maps = explain(cut_network(make_model(), "malignancy"), make_inputs(), class_index=1)
    assert maps.shape == (3, 2, HEIGHT, WIDTH)
    assert maps.min() >= 0
    assert maps[1, 1].max() == 0


@pytest.mark.parametrize("explain", [grad_cam, integrated_gradients])
def test_a_case_gets_the_same_map_in_any_batch(explain):
    network, inputs = cut_network(make_model(), "malignancy"), make_inputs()
    whole = explain(network, inputs, class_index=1)
    alone = explain(network, {name: values[2:] for name, values in inputs.items()}, class_index=1)
    np.testing.assert_allclose(alone[0], whole[2], atol=1e-6)


def test_grad_cam_of_a_channel_that_sees_the_spot_lies_on_the_spot():
    """The embedding of a linear network is the mean of its map.

    So Grad-CAM must be the map itself, up to a factor.
    """
    model, inputs = make_model(), make_inputs()
    dense = model.get_layer("malignancy")
    kernel = np.zeros_like(dense.kernel.numpy())
    maps = model.get_layer("backbone")(inputs["images"][:, 0]).numpy()
    channel = int(maps.max(axis=(0, 1, 2)).argmax())
    kernel[channel, 1] = 1.0
    dense.set_weights([kernel, dense.bias.numpy()])
    network = cut_network(model, "malignancy")
    expected = enlarge(maps[0, :, :, channel], (HEIGHT, WIDTH))
    found = grad_cam(network, inputs, class_index=1)[0, 0]
    np.testing.assert_allclose(found / found.max(), expected / expected.max(), atol=1e-5)
    assert grad_cam(network, inputs, class_index=0).max() == 0, (
        "what speaks for one of two classes speaks against the other"
    )


def test_a_cell_of_the_feature_map_lies_on_the_pixels_that_it_was_pooled_from():
    """52 columns pooled by 16 leave 3 cells and 4 columns over.

    The cell in the middle is on columns 16 to 31, not on 17 to 34.
    """
    cam = np.zeros((4, 3), np.float32)
    cam[1, 1] = 1
    enlarged = enlarge(cam, (HEIGHT, WIDTH))
    assert enlarged.shape == (HEIGHT, WIDTH)
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    centre = [(axis * enlarged).sum() / enlarged.sum() for axis in (rows, columns)]
    assert centre == pytest.approx([23.5, 23.5])


def test_between_the_centres_of_two_cells_a_map_rises_evenly_and_beyond_them_it_stays():
    enlarged = enlarge(np.array([[0.0, 8.0]], np.float32), (4, 8))
    np.testing.assert_allclose(enlarged, np.tile([0, 0, 1, 3, 5, 7, 8, 8], (4, 1)))
    np.testing.assert_allclose(enlarge(np.array([[0.0], [8.0]], np.float32), (8, 4)), enlarged.T)
    assert enlarge(np.eye(3, dtype=np.float32), (3, 3)).tolist() == np.eye(3).tolist()


def test_randomised_weights_are_the_same_numbers_in_other_places_and_leave_the_network_as_it_was():
    model = make_model()
    before = [weights.copy() for weights in model.get_weights()]
    shuffled = randomise(model, seed=1)
    for old, kept, new in zip(before, model.get_weights(), shuffled.get_weights(), strict=True):
        assert (old == kept).all()
        assert (np.sort(old.ravel()) == np.sort(new.ravel())).all()
    inputs = make_inputs()
    assert np.abs(shuffled(inputs)["malignancy"] - model(inputs)["malignancy"]).max() > 1e-3
    other = randomise(model, seed=2)
    assert any(
        (one != two).any() for one, two in zip(shuffled.get_weights(), other.get_weights(), strict=True)
    )
    again = randomise(model, seed=1)
    assert all(
        (one == two).all() for one, two in zip(shuffled.get_weights(), again.get_weights(), strict=True)
    )
