from dataclasses import replace

from droplab.report import tables
from droplab.report.words import answer
from report_data import made_up_study


def test_the_answer_names_where_each_verdict_holds():
    plan, records = made_up_study(noise=1e-6, depths=[1, 2, 3])
    assert answer(tables.control_comparisons(plan, records)) == (
        "Training with dropout helps at depth 3 (+0.18 points of test accuracy); makes no difference that matters "
        "at depth 2 (within ±0.1 points); does not apply at depth 1 (no hidden layer)."
    )
    unlucky = records[plan.run_of(plan.arms[3], 0).key]
    metrics = tuple(metric._replace(value=metric.value - 0.01) for metric in unlucky.outcome.metrics)
    records[unlucky.key] = replace(unlucky, outcome=replace(unlucky.outcome, metrics=metrics))
    assert "is undecided at depth 2 (more seeds are needed)" in answer(tables.control_comparisons(plan, records))
    assert answer([]).startswith("Nothing can be said yet")


def test_the_answer_names_rates_where_these_vary():
    plan, records = made_up_study(noise=1e-6, depths=[3], dropout=[0.2, 0.5])
    found = answer(tables.control_comparisons(plan, records))
    assert found == "Training with dropout helps at rate 0.2 and 0.5 (+0.18 points of test accuracy)."
    plan, records = made_up_study(noise=1e-6, depths=[2, 3], dropout=[0.2, 0.5])
    assert answer(tables.control_comparisons(plan, records)) == (
        "Training with dropout helps at depth 3 with rate 0.2 and 0.5 (+0.18 points of test accuracy); "
        "makes no difference that matters at depth 2 with rate 0.2 and 0.5 (within ±0.1 points)."
    )
    plan, records = made_up_study(depths=[1])
    found = answer(tables.control_comparisons(plan, records))
    assert found == "Dropout cannot act: the networks compared have no hidden layer."
