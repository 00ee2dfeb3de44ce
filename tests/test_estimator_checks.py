"""scikit-learn's own checks of an estimator."""

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

import droplab

pytestmark = pytest.mark.filterwarnings(
    "ignore::sklearn.exceptions.ConvergenceWarning", "ignore:batch_size .* clipped:UserWarning"
)

CHANCE = "a mask is drawn for a row, not for a row's weight, so that a row given twice has two masks"


@parametrize_with_checks([droplab.DropoutMLPClassifier(dropout=0, batch_size=10**9)])
def test_all_checks_hold_without_dropout_and_with_full_batches(estimator, check):
    check(estimator)


ENCODED = {
    "check_dataframe_column_names_consistency": "columns are found by name, in any order",
    "check_sample_weight_equivalence_on_dense_data": "quantiles are of rows, whatever their weights",
}


@parametrize_with_checks(
    [droplab.DropoutMLPClassifier(dropout=0, batch_size=10**9, numeric_encoding="piecewise_linear")],
    expected_failed_checks=lambda _: ENCODED,
)
def test_all_checks_hold_with_numbers_encoded(estimator, check):
    check(estimator)


@parametrize_with_checks(
    [droplab.DropoutMLPClassifier()],
    expected_failed_checks=lambda _: {
        "check_sample_weight_equivalence_on_dense_data": CHANCE,
        "check_sample_weight_equivalence_on_sparse_data": CHANCE,
    },
)
def test_all_checks_but_the_equivalence_of_weights_and_repetition_hold_with_the_defaults(estimator, check):
    check(estimator)


@parametrize_with_checks(
    [
        droplab.DropoutMLPRegressor(dropout=0, batch_size=10**9, max_iter=300),
        droplab.DropoutMLPRegressor("quantile", dropout=0, batch_size=10**9, quantiles=0.8),
    ]
)
def test_all_checks_hold_for_numbers(estimator, check):
    check(estimator)
