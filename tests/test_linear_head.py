"""Linear heads: logistic regression, a discriminant, and the mixture of both that held-out images choose."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression

from graft.heads import linear
from graft.heads.linear import Examples, Mixture
from graft.scores.calibration import fit_temperature
from graft.scores.loss import softmax


def clusters(classes, images=40, features=6, seed=0, distance=2.0):
    """Draw overlapping clusters on axes of very different scale."""
    draw = np.random.default_rng(seed)
    labels = np.arange(images * classes) % classes
    middles = draw.normal(0, distance, (classes, features))
    scales = 10.0 ** np.linspace(-2, 3, features)
    values = (middles[labels] + draw.normal(0, 1, (len(labels), features)) + 3) * scales
    return Examples(values.astype(np.float32), labels, classes)


def with_views(examples, views=3, seed=1):
    noise = np.random.default_rng(seed).normal(size=(len(examples.labels), views, examples.features.shape[1]))
    return replace(examples, views=(examples.features[:, np.newaxis] + noise).astype(np.float32))


def with_feature(examples, values):
    return replace(examples, features=np.column_stack([examples.features, values]).astype(np.float32))


def regression(examples, strength=1.0):
    return linear.fit(examples, Mixture(strength))


@pytest.mark.parametrize("classes", [2, 3, 5])
@pytest.mark.parametrize("strength", [1e-3, 1.0])
def test_without_a_discriminant_the_head_is_logistic_regression_on_features_of_unit_scale(classes, strength):
    examples = clusters(classes)
    features = examples.features
    scaled = (features - features.mean(axis=0)) / np.sqrt(features.var(axis=0).mean())
    explicit = LogisticRegression(C=strength, tol=linear.TOLERANCE).fit(scaled, examples.labels)
    found = softmax(regression(examples, strength).logits(features))
    np.testing.assert_allclose(found, explicit.predict_proba(scaled), atol=1e-3)


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_with_nothing_else_the_head_is_the_discriminant(classes):
    examples = clusters(classes)
    explicit = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=linear.SHRINKAGE)
    explicit.fit(examples.features, examples.labels)
    found = softmax(linear.fit(examples, Mixture(1.0, share=1.0)).logits(examples.features))
    np.testing.assert_allclose(found, explicit.predict_proba(examples.features), atol=1e-4)


@pytest.mark.parametrize("classes", [2, 4])
def test_the_logits_of_a_mixture_are_the_mean_of_the_calibrated_ones_by_its_share(classes):
    examples = with_views(clusters(classes))
    both = [linear.fit(examples, Mixture(0.1, share)).logits(examples.features) for share in (0.0, 1.0)]
    found = linear.fit(examples, Mixture(0.1, 0.25, (2.0, 5.0))).logits(examples.features)
    np.testing.assert_allclose(found, 0.75 * both[0] / 2 + 0.25 * both[1] / 5, atol=1e-3)


@pytest.mark.parametrize("scale", [1e-3, 1e3])
@pytest.mark.parametrize("share", [0.0, 0.5])
def test_the_scale_of_all_features_changes_nothing(share, scale):
    examples = clusters(3)
    other = replace(examples, features=examples.features * np.float32(scale))
    first, second = (linear.fit(each, Mixture(0.1, share)).logits(each.features) for each in (examples, other))
    np.testing.assert_allclose(first, second, atol=2e-3)


def test_a_feature_that_hardly_varies_has_hardly_a_say():
    # It names the class, but spreads a thousandth as far as the others.
    examples = clusters(3, distance=0.5)
    examples = with_feature(examples, examples.labels / 1000)
    say = np.abs(regression(examples).dense[0][0]).max(axis=1) * examples.features.std(axis=0)
    assert say[-1] < say[:-1].max() / 100


@pytest.mark.parametrize("share", [0.0, 0.5])
@pytest.mark.parametrize("classes", [2, 3])
def test_a_head_has_a_column_for_each_class_in_float32(classes, share):
    ((kernel, bias),) = linear.fit(clusters(classes), Mixture(1.0, share)).dense
    assert (kernel.shape, kernel.dtype) == ((6, classes), np.float32)
    assert (bias.shape, bias.dtype) == ((classes,), np.float32)


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("classes", [2, 4])
def test_clusters_that_are_far_apart_are_told_apart(classes, share):
    examples = clusters(classes, distance=20)
    head = linear.fit(examples, Mixture(1.0, share))
    np.testing.assert_array_equal(head.logits(examples.features).argmax(axis=1), examples.labels)


def test_views_that_are_copies_change_no_regression():
    examples = clusters(3)
    copies = replace(examples, views=examples.features[:, np.newaxis].repeat(4, axis=1))
    found, expected = (regression(each, 0.1).logits(examples.features) for each in (copies, examples))
    np.testing.assert_allclose(found, expected, atol=2e-2)


def test_the_same_features_give_the_same_bytes():
    examples = with_views(clusters(3))
    first, again = (linear.fit(examples, Mixture(0.1, 0.5)).dense[0] for _ in range(2))
    assert [array.tobytes() for array in first] == [array.tobytes() for array in again]


def test_the_features_are_left_as_they_are():
    examples = clusters(3)
    before = examples.features.copy()
    linear.fit(examples, Mixture(0.1, 0.5))
    np.testing.assert_array_equal(examples.features, before)


@pytest.mark.parametrize("value", [0.0, 0.1, 1 / 3, 3700.0, -12.7])
def test_a_feature_that_never_changes_has_no_weight(value):
    examples = clusters(3, images=600)
    head = regression(with_feature(examples, np.full(len(examples.labels), value)))
    np.testing.assert_array_equal(head.dense[0][0][-1], 0)


def test_a_feature_that_differs_in_its_last_bit_alone_has_no_weight():
    examples = clusters(3)
    value = np.float32(0.1)
    rounded = np.where(examples.labels == 0, np.nextafter(value, np.float32(1)), value)
    np.testing.assert_allclose(regression(with_feature(examples, rounded)).dense[0][0][-1], 0, atol=1e-3)


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_features_that_never_change_leave_the_share_of_each_class(share):
    labels = np.array([0, 0, 0, 1])
    head = linear.fit(Examples(np.full((4, 5), 0.1, np.float32), labels, 2), Mixture(1.0, share))
    found = softmax(head.logits(np.full((1, 5), 0.1, np.float32)))
    np.testing.assert_allclose(found, [[0.75, 0.25]], atol=1e-3)


def test_a_stronger_penalty_gives_less_certain_probabilities():
    examples = clusters(3)
    certainty = [
        softmax(regression(examples, strength).logits(examples.features)).max(axis=1).mean()
        for strength in (1e-4, 1e-2, 1.0)
    ]
    assert certainty == sorted(certainty)


def test_noise_asks_for_a_stronger_penalty_than_clear_differences():
    noise = np.random.default_rng(0).normal(size=(120, 20)).astype(np.float32)
    clear = clusters(3, distance=20)
    assert linear.choose_strength(replace(clear, features=noise), 0) < linear.choose_strength(clear, 0)


def test_the_strength_is_one_of_those_tried_and_the_same_each_time():
    examples = clusters(3, distance=0.5)
    chosen = {linear.choose_strength(examples, seed=1) for _ in range(3)}
    assert len(chosen) == 1
    assert chosen < set(linear.STRENGTHS)


def with_rare_class(images):
    """Return three classes, of which the last has so few images."""
    examples = with_views(clusters(3))
    rare = np.flatnonzero(examples.labels == 2)[:images]
    return examples.of(np.concatenate([np.flatnonzero(examples.labels != 2), rare]))


@pytest.mark.parametrize("views", [True, False])
@pytest.mark.parametrize("images", [2, 3])
@pytest.mark.filterwarnings("error")
def test_few_images_of_a_class_make_fewer_folds(images, views):
    examples = with_rare_class(images)
    examples = examples if views else replace(examples, views=None)
    assert linear.choose_strength(examples, seed=0) in linear.STRENGTHS
    assert linear.choose_mixture(examples, 0.1, linear.SHARES, seed=0).share in linear.SHARES


def test_a_class_with_a_single_image_leaves_the_default_strength_and_no_discriminant():
    examples = with_rare_class(1)
    assert linear.choose_strength(examples, seed=0) == linear.DEFAULT_STRENGTH
    assert linear.no_discriminant(examples) == "a class has a single image to learn from"
    assert linear.no_discriminant(with_rare_class(2)) is None


def test_of_thousands_of_features_there_is_no_discriminant():
    features = np.zeros((6, linear.MOST_FEATURES + 1), np.float32)
    examples = Examples(features, np.arange(6) % 2, 2)
    assert linear.no_discriminant(examples) == "there are 4,097 features, more than 4,096"


def gaussians(classes, images, features, seed=0):
    """Draw classes that differ by their means alone, of one elongated Gaussian: what a discriminant takes them for."""
    draw = np.random.default_rng(seed)
    labels = np.arange(images * classes) % classes
    shape = draw.normal(size=(features, features)) / np.sqrt(features)
    values = draw.normal(0, 0.5, (classes, features))[labels] + draw.normal(size=(len(labels), features)) @ shape
    return Examples(values.astype(np.float32), labels, classes)


def with_outliers(images, seed=0):
    """Draw two classes that a hair tells apart on one axis, with images far out on another: means say little."""
    draw = np.random.default_rng(seed)
    labels = np.arange(images) % 2
    near = np.where(labels, 0.3, -0.3) + draw.normal(0, 0.05, images)
    far = draw.standard_cauchy(images).clip(-50, 50)
    return Examples(np.column_stack([near, far + 40 * near * (np.abs(far) > 5)]).astype(np.float32), labels, 2)


def test_gaussian_classes_of_few_images_ask_for_the_discriminant():
    assert linear.choose_mixture(gaussians(4, 30, 60), 0.1, linear.SHARES, seed=0).share > 0


def test_classes_of_another_shape_ask_for_less_of_it():
    shares = linear.SHARES
    found = [linear.choose_mixture(e, 10.0, shares, seed=0).share for e in (gaussians(2, 30, 60), with_outliers(300))]
    assert found[0] > found[1]


def test_the_share_that_is_given_is_the_share():
    assert linear.choose_mixture(clusters(3), 0.1, [0.5], seed=0).share == 0.5


def test_the_temperatures_calibrate_either_classifier_on_images_held_out():
    examples = with_views(gaussians(3, 40, 60))
    mixture = linear.choose_mixture(examples, 0.1, linear.SHARES, seed=0)
    for logits, temperature in zip(linear.held_out_logits(examples, 0.1, seed=0), mixture.temperatures, strict=True):
        assert fit_temperature(logits / temperature, examples.labels) == pytest.approx(1, abs=0.01)


def test_no_image_is_judged_by_a_head_that_saw_its_views():
    # Labels at random: who has seen an image's views knows its label, who has not knows nothing.
    draw = np.random.default_rng(0)
    features = draw.normal(size=(120, 300)).astype(np.float32)
    examples = Examples(features, draw.integers(0, 2, 120), 2, features[:, np.newaxis].repeat(2, axis=1))
    for logits in linear.held_out_logits(examples, 1.0, seed=0):
        assert 0.3 < (logits.argmax(axis=1) == examples.labels).mean() < 0.7


def test_cross_validation_gives_the_same_bits_each_time():
    examples = gaussians(4, 100, 300)
    assert len({linear.held_out_losses(examples, 0).tobytes() for _ in range(5)}) == 1
    assert len({linear.held_out_logits(examples, 0.1, 0).tobytes() for _ in range(3)}) == 1
