from dataclasses import replace

from droplab.report.cells import times_table
from report_data import findings_of, made_up_study


def test_throughput_is_runs_times_epochs_over_the_seconds_of_training() -> None:
    plan, records = made_up_study(depths=[2], epochs=30, seeds=2)
    mine = {
        key: replace(record, outcome=replace(record.outcome, train_seconds=seconds))
        for (key, record), seconds in zip(records.items(), (1.0, 2.0, 4.0, 8.0), strict=True)
    }
    table = times_table(findings_of(plan, mine))
    row = dict(zip(table.head, table.rows[0], strict=True))
    assert row["runs"] == "4"
    assert row["network-epochs a second"] == "8"
    assert row["training (s an epoch)"] == "0.125"
