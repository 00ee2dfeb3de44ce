"""The store: what is planned is kept until it is finished, packs are filed whole, checkpoints go with their plans."""

from functools import partial
from itertools import product

import pytest
from sqlalchemy import event, update

from droplab.errors import ModelFileError, StoreError
from droplab.study.records import Planned
from droplab.study.schema import plans_table
from droplab.study.store import Store
from droplab.train.outcome import Way
from store_help import (
    FP32,
    check_whole,
    failing,
    keys_of,
    let_age,
    location_of,
    make_dataset,
    make_run,
    make_trained,
    names_in,
    pack_name,
    plan_pack,
    raw,
    save_many,
)

WAYS = [Way(*fields) for fields in product(("cpu", "cuda"), ("fp32", "bf16"), (False, True), (False, True))]
BULK = 200
"""Runs of a pack that would show if each had statements of its own."""


def checkpoint(store: Store, number: int, content: bytes = b"12345") -> str:
    store.checkpoint(pack_name(number)).write(content)
    return pack_name(number)


class TestPlans:
    def test_every_way_comes_back_with_its_pack(self, store: Store) -> None:
        plan = {make_run(seed).key: Planned(way, pack_name(seed)) for seed, way in enumerate(WAYS)}
        store.claim([plan])
        with Store(location_of(store)) as again:
            assert again.planned(iter([*plan, "f" * 64])) == plan
            first = next(iter(plan))
            assert again.planned([first]) == {first: plan[first]}
        assert store.planned(["f" * 64]) == {}

    def test_a_later_plan_takes_the_place_of_the_earlier(self, store: Store) -> None:
        one, two = make_run(1).key, make_run(2).key
        store.claim([{one: Planned(FP32, pack_name(1)), two: Planned(FP32, pack_name(1))}])
        store.claim([{two: Planned(WAYS[-1], pack_name(2))}])
        store.claim([{}])
        assert store.planned([one, two]) == {
            one: Planned(FP32, pack_name(1)),
            two: Planned(WAYS[-1], pack_name(2)),
        }

    def test_a_plan_is_kept_whole_or_not_at_all(self, store: Store) -> None:
        before = {make_run(1).key: Planned(FP32, pack_name(1))}
        store.claim([before])
        after = {make_run(seed).key: Planned(WAYS[-1], pack_name(2)) for seed in range(9)}
        with (
            failing(store, "BEFORE INSERT ON plans", f"NEW.key = '{list(after)[-1]}'"),
            pytest.raises(StoreError, match="the store cannot be written: in between"),
        ):
            store.claim([after])
        assert store.planned(after) == before

    def test_a_pack_of_which_a_run_was_finished_meanwhile_is_not_planned(self, store: Store) -> None:
        (run,) = save_many(store, range(1))
        other, third = make_run(1), make_run(2)
        plans = {one.key: Planned(FP32, pack_name(1)) for one in (run, other)}
        assert store.claim([plans, {third.key: Planned(FP32, pack_name(2))}]) == [False, True]
        assert store.planned([run.key, other.key, third.key]).keys() == {third.key}
        assert store.claim([plans], again=[run.key]) == [True], "one that is damaged is trained again"

    def test_more_plans_than_a_database_takes_variables_are_no_matter(self, store: Store) -> None:
        plan = {f"{number:064x}": Planned(FP32, pack_name(number // 100)) for number in range(3000)}
        store.claim([plan])
        assert store.planned(iter(plan)) == plan

    def test_a_pack_is_named_by_what_can_name_a_file(self, store: Store) -> None:
        for pack in ("", "a" * 63, "A" * 64, "../" + "a" * 61, "a" * 64 + "\n"):
            for use in (partial(Planned, FP32), store.checkpoint, store.drop_checkpoint):
                with pytest.raises(ValueError, match="64 hexadecimal digits"):
                    use(pack)

    def test_a_damaged_plan_is_none_and_is_made_anew(self, store: Store) -> None:
        for column, value in (
            ("way", "{"),
            ("way", '{"device": "abacus", "precision": "fp32"}'),
            ("pack", "../../etc"),
            ("planned", "x"),
        ):
            run = make_run()
            plan_pack(store, 1, range(2))
            with raw(store) as connection:
                connection.execute(update(plans_table).where(plans_table.c.key == run.key).values({column: value}))
            assert store.planned([run.key, make_run(1).key]).keys() == {make_run(1).key}, (column, value)
            assert store.disk_use().planned == 2
            again = {run.key: Planned(FP32, pack_name(3))}
            assert store.claim([again]) == [True]
            assert store.planned([run.key]) == again


class TestPacks:
    def test_a_pack_is_filed_whole_and_its_plans_go(self, store: Store) -> None:
        pack, other = plan_pack(store, 1, range(5)), plan_pack(store, 2, range(5, 8))
        store.save_pack(pack, make_dataset())
        assert check_whole(store) == keys_of(pack)
        assert store.planned(keys_of(pack) | keys_of(other)).keys() == keys_of(other)
        assert [summary.key for summary in store.summaries()] == sorted(keys_of(pack))
        for run, trained in pack:
            record = store.load([run.key])[run.key]
            assert repr(record.outcome.metrics) == repr(trained.outcome.metrics)
            weights, _ = store.read_weights(record)
            assert {name: w.tobytes() for name, w in weights.items()} == {
                name: w.tobytes() for name, w in trained.weights.items()
            }

    def test_a_run_saved_alone_leaves_the_plan_too(self, store: Store) -> None:
        (one, trained), *_ = pack = plan_pack(store, 1, range(2))
        store.save(one, make_dataset(), trained)
        assert store.planned(keys_of(pack)).keys() == keys_of(pack) - {one.key}

    def test_an_empty_pack_is_nothing(self, store: Store) -> None:
        store.save_pack([], make_dataset())
        assert check_whole(store) == set()
        assert names_in(store, "weights") == set()

    @pytest.mark.parametrize(
        ("when", "row"),
        [
            ("BEFORE INSERT ON runs", "NEW.seed = 3"),
            ("BEFORE INSERT ON arrays", "1 = 1"),
            ("BEFORE DELETE ON plans", "1 = 1"),
        ],
    )
    def test_a_failure_in_the_middle_files_none_and_keeps_all_plans(self, store: Store, when: str, row: str) -> None:
        pack = plan_pack(store, 1, range(5))
        with failing(store, when, row), pytest.raises(StoreError, match="in between"):
            store.save_pack(pack, make_dataset())
        assert check_whole(store) == set()
        assert store.planned(keys_of(pack)).keys() == keys_of(pack)
        store.save_pack(pack, make_dataset())
        assert check_whole(store) == keys_of(pack)

    def test_of_runs_that_are_there_the_first_stays_and_the_others_are_filed(self, store: Store) -> None:
        pack = plan_pack(store, 1, range(4))
        first = [(run, make_trained(run, marked=1.0)) for run, _ in pack[1:3]]
        store.save_pack(first, make_dataset())
        store.save_pack(pack, make_dataset())
        assert check_whole(store) == keys_of(pack)
        assert store.planned(keys_of(pack)) == {}
        bias = {
            key: store.read_weights(record)[0]["layers.0.bias"][0] for key, record in store.load(keys_of(pack)).items()
        }
        assert [bias[run.key] for run, _ in pack] == [0.0, 1.0, 1.0, 0.0]
        assert names_in(store, "weights") == {one.weights_hash for one in store.load(keys_of(pack)).values()}

    def test_weights_of_another_network_refuse_the_whole_pack_before_anything_is_written(self, store: Store) -> None:
        pack = plan_pack(store, 1, range(3))
        wrong = (make_run(3, widths=(5,)), make_trained(make_run(3)))
        with pytest.raises(ModelFileError):
            store.save_pack([*pack, wrong], make_dataset())
        assert check_whole(store) == set()
        assert names_in(store, "weights") == set()
        assert store.planned(keys_of(pack)).keys() == keys_of(pack)

    def test_a_large_pack_takes_no_more_statements_than_a_small_one(self, store: Store) -> None:
        def statements(number: int, seeds: range) -> list[str]:
            said: list[str] = []

            def listen(*arguments: object) -> None:
                said.append(str(arguments[2])[:20])

            event.listen(store._database.engine, "before_cursor_execute", listen)
            pack = plan_pack(store, number, seeds)
            store.save_pack(pack, make_dataset())
            event.remove(store._database.engine, "before_cursor_execute", listen)
            return said

        save_many(store, range(BULK, BULK + 1))  # the data are filed once
        assert statements(1, range(2)) == statements(2, range(2, BULK))


class TestCheckpoints:
    def test_dropping_removes_the_one_that_is_named(self, store: Store) -> None:
        store.drop_checkpoint(pack_name(1))
        one, two = checkpoint(store, 1), checkpoint(store, 2)
        store.drop_checkpoint(one)
        assert names_in(store, "checkpoints") == {two}
        assert (store.checkpoint(one).read(), store.checkpoint(two).read()) == (None, b"12345")

    def test_one_lives_as_long_as_a_run_of_its_pack_is_planned(self, store: Store) -> None:
        pack = plan_pack(store, 1, range(3))
        name = checkpoint(store, 1)
        for run, trained in pack[:2]:
            store.save(run, make_dataset(), trained)
            store.delete([])
            assert names_in(store, "checkpoints") == {name}
        use = store.disk_use()
        assert (use.planned, use.checkpoints, use.checkpoint_bytes, use.orphans) == (1, 1, 5, 0)
        store.save_pack(pack[2:], make_dataset())
        let_age(store)
        use = store.disk_use()
        assert (use.planned, use.checkpoints, use.checkpoint_bytes) == (0, 0, 0)
        assert (use.orphans, use.orphan_bytes) == (1, 5)
        store.delete([])
        assert names_in(store, "checkpoints") == set()
        assert len(check_whole(store)) == 3

    def test_one_planned_anew_with_another_pack_is_an_orphan(self, store: Store) -> None:
        plan_pack(store, 1, range(2))
        checkpoint(store, 1)
        plan_pack(store, 2, range(2))
        new = checkpoint(store, 2)
        let_age(store)
        store.delete([])
        assert names_in(store, "checkpoints") == {new}

    def test_deleting_runs_deletes_what_is_planned_for_these_keys_with_its_checkpoint(self, store: Store) -> None:
        done = save_many(store, range(2))
        one, two = plan_pack(store, 1, range(2, 4)), plan_pack(store, 2, range(4, 6))
        _, kept = checkpoint(store, 1), checkpoint(store, 2)
        assert store.delete([done[0].key, *keys_of(one)]) == 1
        assert store.planned(keys_of(one) | keys_of(two)).keys() == keys_of(two)
        assert names_in(store, "checkpoints") == {kept}
        assert check_whole(store) == {done[1].key}

    def test_forgetting_takes_every_plan_and_checkpoint_and_no_run(self, store: Store) -> None:
        done = save_many(store, range(2))
        plans = plan_pack(store, 1, range(2, 4)) + plan_pack(store, 2, range(4, 7))
        *_, third = (checkpoint(store, number) for number in (1, 2, 3))
        assert store.forget() == 5
        assert store.planned(keys_of(plans)) == {}
        assert names_in(store, "checkpoints") == {third}, "nobody planned it: it is young"
        assert check_whole(store) == {run.key for run in done}
        assert store.forget() == 0
        store.save_pack(plans, make_dataset())
        assert len(check_whole(store)) == 7, "a study at work goes on"
