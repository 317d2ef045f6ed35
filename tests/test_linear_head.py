"""Linear heads: logistic regression, LDA, and the mean of both that cross-validation chooses."""

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression

from graft.heads import linear
from graft.heads.feature_file import FeatureFile
from graft.heads.folds import grouped_folds
from graft.heads.lda import SHRINKAGE
from graft.heads.linear import Examples, Hyperparameters
from graft.scores.calibration import fit_temperature
from graft.scores.loss import cross_entropy, softmax


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


def some_of(examples, images):
    views = None if examples.views is None else examples.views[images]
    return replace(examples, features=examples.features[images], labels=examples.labels[images], views=views)


def folds(examples, groups=None, seed=0):
    """Return cross-validation folds; without groups, no image is a copy of another."""
    return grouped_folds(examples.labels, np.arange(len(examples.labels)) if groups is None else groups, seed)


def choose_C(examples, groups=None):
    return linear.choose_C(examples, folds(examples, groups))


def choose_lda(examples, C, shares=linear.LDA_SHARES, groups=None):
    return linear.choose_lda(examples, C, shares, folds(examples, groups))


def regression(examples, C=1.0):
    return linear.fit(examples, Hyperparameters(C))


@pytest.mark.parametrize("classes", [2, 3, 5])
@pytest.mark.parametrize("C", [1e-3, 1.0])
def test_without_lda_the_head_is_logistic_regression_on_features_of_unit_scale(classes, C):
    examples = clusters(classes)
    features = examples.features
    scaled = (features - features.mean(axis=0)) / np.sqrt(features.var(axis=0).mean())
    explicit = LogisticRegression(C=C, tol=linear.TOLERANCE).fit(scaled, examples.labels)
    found = softmax(regression(examples, C).logits(features))
    np.testing.assert_allclose(found, explicit.predict_proba(scaled), atol=1e-3)


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_at_a_share_of_1_the_head_is_lda(classes):
    examples = clusters(classes)
    explicit = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=SHRINKAGE)
    explicit.fit(examples.features, examples.labels)
    found = softmax(linear.fit(examples, Hyperparameters(1.0, lda=1.0)).logits(examples.features))
    np.testing.assert_allclose(found, explicit.predict_proba(examples.features), atol=1e-4)


@pytest.mark.parametrize("classes", [2, 4])
def test_the_logits_are_the_mean_of_the_calibrated_ones_weighted_by_the_share_of_lda(classes):
    examples = with_views(clusters(classes))
    both = [linear.fit(examples, Hyperparameters(0.1, lda)).logits(examples.features) for lda in (0.0, 1.0)]
    found = linear.fit(examples, Hyperparameters(0.1, 0.25, (2.0, 5.0))).logits(examples.features)
    np.testing.assert_allclose(found, 0.75 * both[0] / 2 + 0.25 * both[1] / 5, atol=1e-3)


@pytest.mark.parametrize("scale", [1e-3, 1e3])
@pytest.mark.parametrize("lda", [0.0, 0.5])
def test_the_scale_of_all_features_changes_nothing(lda, scale):
    examples = clusters(3)
    other = replace(examples, features=examples.features * np.float32(scale))
    first, second = (linear.fit(each, Hyperparameters(0.1, lda)).logits(each.features) for each in (examples, other))
    np.testing.assert_allclose(first, second, atol=2e-3)


def test_a_feature_that_hardly_varies_has_hardly_an_effect():
    # It names the class, but spreads a thousandth as far as the others.
    examples = clusters(3, distance=0.5)
    examples = with_feature(examples, examples.labels / 1000)
    effect = np.abs(regression(examples).dense[0][0]).max(axis=1) * examples.features.std(axis=0)
    assert effect[-1] < effect[:-1].max() / 100


@pytest.mark.parametrize("lda", [0.0, 0.5])
@pytest.mark.parametrize("classes", [2, 3])
def test_a_head_has_a_column_for_each_class_in_float32(classes, lda):
    ((kernel, bias),) = linear.fit(clusters(classes), Hyperparameters(1.0, lda)).dense
    assert (kernel.shape, kernel.dtype) == ((6, classes), np.float32)
    assert (bias.shape, bias.dtype) == ((classes,), np.float32)


@pytest.mark.parametrize("lda", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("classes", [2, 4])
def test_the_head_separates_clusters_that_are_far_apart(classes, lda):
    examples = clusters(classes, distance=20)
    head = linear.fit(examples, Hyperparameters(1.0, lda))
    np.testing.assert_array_equal(head.logits(examples.features).argmax(axis=1), examples.labels)


def test_views_that_are_copies_change_no_regression():
    examples = clusters(3)
    copies = replace(examples, views=examples.features[:, np.newaxis].repeat(4, axis=1))
    found, expected = (regression(each, 0.1).logits(examples.features) for each in (copies, examples))
    np.testing.assert_allclose(found, expected, atol=2e-2)


def test_the_same_features_give_the_same_bytes():
    examples = with_views(clusters(3))
    first, again = (linear.fit(examples, Hyperparameters(0.1, 0.5)).dense[0] for _ in range(2))
    assert [array.tobytes() for array in first] == [array.tobytes() for array in again]


def test_the_features_are_left_as_they_are():
    examples = clusters(3)
    before = examples.features.copy()
    linear.fit(examples, Hyperparameters(0.1, 0.5))
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


@pytest.mark.parametrize("lda", [0.0, 0.5])
def test_features_that_never_change_leave_the_share_of_each_class(lda):
    labels = np.array([0, 0, 0, 1])
    head = linear.fit(Examples(np.full((4, 5), 0.1, np.float32), labels, 2), Hyperparameters(1.0, lda))
    found = softmax(head.logits(np.full((1, 5), 0.1, np.float32)))
    np.testing.assert_allclose(found, [[0.75, 0.25]], atol=1e-3)


def test_a_stronger_penalty_gives_less_certain_probabilities():
    examples = clusters(3)
    certainty = [
        softmax(regression(examples, C).logits(examples.features)).max(axis=1).mean() for C in (1e-4, 1e-2, 1.0)
    ]
    assert certainty == sorted(certainty)


def test_noise_gets_a_stronger_penalty_than_clear_differences():
    noise = np.random.default_rng(0).normal(size=(120, 20)).astype(np.float32)
    clear = clusters(3, distance=20)
    assert choose_C(replace(clear, features=noise)) < choose_C(clear)


def test_the_same_C_is_chosen_each_time():
    examples = clusters(3, distance=0.5)
    chosen = {choose_C(examples) for _ in range(3)}
    assert len(chosen) == 1
    assert chosen < set(linear.C_VALUES)


@pytest.mark.parametrize("views", [True, False])
@pytest.mark.parametrize("images", [1, 2, 3])
@pytest.mark.filterwarnings("error")
def test_a_class_of_few_images_is_no_obstacle(images, views):
    examples = with_views(clusters(3))
    rare = np.flatnonzero(examples.labels == 2)[:images]
    examples = some_of(examples, np.concatenate([np.flatnonzero(examples.labels != 2), rare]))
    examples = examples if views else replace(examples, views=None)
    assert choose_C(examples) in linear.C_VALUES
    assert choose_lda(examples, 0.1).lda in linear.LDA_SHARES


def copies_of_noise(pictures=60, copies=2, features=300, seed=0):
    """Draw pictures with random labels, and copies of each that differ a little: whoever saw one knows its copy."""
    generator = np.random.default_rng(seed)
    values = generator.normal(size=(pictures, features)).repeat(copies, axis=0)
    values += generator.normal(0, 0.05, values.shape)
    groups = np.arange(pictures).repeat(copies)
    return Examples(values.astype(np.float32), groups % 2, 2), groups


def test_no_image_is_judged_by_a_head_that_saw_a_copy():
    examples, groups = copies_of_noise()
    leaking, grouped = (
        [
            (logits.argmax(axis=1) == examples.labels).mean()
            for logits in linear.cross_validation_logits(examples, 1.0, folds(examples, some))
        ]
        for some in (None, groups)
    )
    assert min(leaking) > 0.8
    assert max(grouped) < 0.65


def test_copies_do_not_make_noise_look_like_something_to_learn():
    examples, groups = copies_of_noise()
    assert choose_C(examples) > 0.01
    assert choose_C(examples, groups) == linear.C_VALUES[0]


def test_with_copies_the_share_of_lda_is_the_one_that_is_best_on_new_pictures():
    """Copies hide that LDA is the better one here: a flexible regression knows them by heart."""
    examples = gaussians(4, 30, 60)
    groups = np.arange(120).repeat(3)
    noise = np.random.default_rng(1).normal(0, 0.02, (360, 60))
    copies = Examples((examples.features[groups] + noise).astype(np.float32), examples.labels[groups], 4)
    new = gaussians(4, 500, 60, start=1)

    def loss(chosen):
        return cross_entropy(softmax(linear.fit(copies, chosen).logits(new.features)), new.labels)

    leaking, grouped = (choose_lda(copies, 10.0, groups=some) for some in (None, groups))
    assert leaking.lda < grouped.lda
    assert loss(grouped) < loss(leaking)


def gaussians(classes, images, features, seed=0, start=0):
    """Draw classes that differ by their means alone, of one elongated Gaussian, which is what LDA assumes.

    Another `start` gives other images of the same classes.
    """
    draw = np.random.default_rng(seed)
    labels = np.arange(images * classes) % classes
    shape = draw.normal(size=(features, features)) / np.sqrt(features)
    means = draw.normal(0, 0.5, (classes, features))
    draw = np.random.default_rng([seed, start])
    values = means[labels] + draw.normal(size=(len(labels), features)) @ shape
    return Examples(values.astype(np.float32), labels, classes)


def with_outliers(images, seed=0):
    """Draw two classes that differ little on one axis, with outliers on another: their means say little."""
    draw = np.random.default_rng(seed)
    labels = np.arange(images) % 2
    near = np.where(labels, 0.3, -0.3) + draw.normal(0, 0.05, images)
    far = draw.standard_cauchy(images).clip(-50, 50)
    return Examples(np.column_stack([near, far + 40 * near * (np.abs(far) > 5)]).astype(np.float32), labels, 2)


def test_lda_is_chosen_for_gaussian_classes_of_few_images():
    assert choose_lda(gaussians(4, 30, 60), 0.1).lda > 0


def test_less_of_it_is_chosen_for_classes_of_another_shape():
    found = [choose_lda(examples, 10.0).lda for examples in (gaussians(2, 30, 60), with_outliers(300))]
    assert found[0] > found[1]


def test_a_share_that_is_given_is_kept():
    assert choose_lda(clusters(3), 0.1, [0.5]).lda == 0.5


def test_the_temperatures_calibrate_each_classifier_on_held_out_images():
    examples = with_views(gaussians(3, 40, 60))
    logits = linear.cross_validation_logits(examples, 0.1, folds(examples))
    for of_one, temperature in zip(logits, choose_lda(examples, 0.1).temperatures, strict=True):
        assert fit_temperature(of_one / temperature, examples.labels) == pytest.approx(1, abs=0.01)


def test_no_image_is_judged_by_a_head_that_saw_its_views():
    # Labels are random: a head that saw an image's views knows its label, another one does not.
    generator = np.random.default_rng(0)
    features = generator.normal(size=(120, 300)).astype(np.float32)
    examples = Examples(features, generator.integers(0, 2, 120), 2, features[:, np.newaxis].repeat(2, axis=1))
    for logits in linear.cross_validation_logits(examples, 1.0, folds(examples)):
        assert 0.3 < (logits.argmax(axis=1) == examples.labels).mean() < 0.7


def test_cross_validation_gives_the_same_bits_each_time():
    examples = gaussians(4, 100, 300)
    some = folds(examples)
    assert len({linear.cross_validation_losses(examples, some).tobytes() for _ in range(5)}) == 1
    assert len({linear.cross_validation_logits(examples, 0.1, some).tobytes() for _ in range(3)}) == 1


class CarelessRegression(LogisticRegression):
    """Leaves the warning filters changed, as threads can that restore them in the wrong order."""

    def fit(self, rows, labels):
        warnings.filterwarnings("ignore", "careless")
        return super().fit(rows, labels)


def test_cross_validation_leaves_the_warning_filters_as_they_are(monkeypatch):
    monkeypatch.setattr(linear, "LogisticRegression", CarelessRegression)
    examples = clusters(3)
    before = list(warnings.filters)
    linear.cross_validation_losses(examples, folds(examples))
    linear.cross_validation_logits(examples, 0.1, folds(examples))
    assert warnings.filters == before


def test_it_does_not_matter_how_many_folds_are_fitted_at_once_or_how_large_a_block_is(monkeypatch):
    examples = with_views(gaussians(3, 40, 60))
    expected = linear.cross_validation_logits(examples, 0.1, folds(examples))
    monkeypatch.setattr(linear, "PARALLEL_BYTES", 1)
    monkeypatch.setattr(linear, "BLOCK_BYTES", 1)
    found = linear.cross_validation_logits(examples, 0.1, folds(examples))
    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_allclose(found[1], expected[1], atol=1e-4)


@pytest.mark.parametrize("lda", [0.0, 0.5])
def test_features_on_disk_give_the_same_head(lda, tmp_path):
    examples = with_views(clusters(3))
    order = np.random.default_rng(0).permutation(len(examples.labels))
    np.save(tmp_path / "features.npy", examples.features[order])
    np.save(tmp_path / "views.npy", examples.views.reshape(-1, 6))
    features = FeatureFile(tmp_path / "features.npy", np.argsort(order))
    views = FeatureFile(tmp_path / "views.npy", np.arange(len(order) * 3).reshape(-1, 3))
    on_disk = replace(examples, features=features, views=views)
    found, expected = (linear.fit(each, Hyperparameters(0.1, lda)).dense[0] for each in (on_disk, examples))
    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_array_equal(found[1], expected[1])


def test_the_values_of_a_feature_map_are_features():
    examples = with_views(clusters(3))
    maps = replace(
        examples, features=examples.features.reshape(-1, 1, 2, 3), views=examples.views.reshape(-1, 3, 1, 2, 3)
    )
    found, expected = (linear.fit(each, Hyperparameters(0.1, 0.5)).dense[0][0] for each in (maps, examples))
    np.testing.assert_array_equal(found, expected)


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="reads the peak memory from /proc")
def test_the_rows_are_in_memory_once(tmp_path, run_python):
    """Of 115 MiB of features and views; all that is allocated beside them would be a third of that."""
    generator = np.random.default_rng(0)
    for name, rows in (("features", 15_000), ("views", 75_000)):
        np.save(tmp_path / f"{name}.npy", generator.normal(size=(rows, 336)).astype(np.float32))
    code = """
import re, sys
from pathlib import Path
import numpy as np
from graft.heads import linear
from graft.heads.feature_file import FeatureFile
from graft.heads.folds import grouped_folds
images = np.arange(15_000)
features, views = (Path(sys.argv[1], name + ".npy") for name in ("features", "views"))
views = FeatureFile(views, np.arange(75_000).reshape(-1, 5))
examples = linear.Examples(FeatureFile(features, images), images % 3, 3, views)
linear.PARALLEL_BYTES = 1
peak = lambda: int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
before = peak()
folds = grouped_folds(examples.labels, images, 0)[:1]
chosen = linear.choose_lda(examples, 1e-4, [0.5], folds)
linear.fit(examples, chosen)
print((peak() - before) // 1024)
"""
    result = run_python("-c", code, tmp_path)
    assert result.returncode == 0, result.stderr
    assert 115 < int(result.stdout) < 115 * 1.33
