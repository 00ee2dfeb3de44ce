"""Settings: every fault is found before anything runs, all at once; a run's content key holds what decides its bits."""

from pathlib import Path

import numpy as np
import pytest

from droplab.config import MOST_SEEDS, NUMERICS_VERSION, RunSettings, StudySettings, halving_widths, load_study
from droplab.errors import ConfigError
from droplab.presets import preset_names

NAN, INF = float("nan"), float("inf")
BAD_RECIPE = [
    ("epochs", 0),
    ("epochs", 2.5),
    ("epochs", "many"),
    ("epochs", True),
    ("epochs", 10**30),
    ("batch_size", 0),
    ("batch_size", -1),
    ("learning_rate", 0),
    ("learning_rate", -0.1),
    ("learning_rate", NAN),
    ("learning_rate", INF),
    ("momentum", 1),
    ("momentum", -0.1),
    ("momentum", NAN),
    ("valid_fraction", -0.1),
    ("valid_fraction", 1),
    ("split_seed", -1),
    ("split_seed", 2**31),
    ("mc_samples", 0),
]
BAD_STUDY = [
    ("valid_fraction", 0),
    ("depths", [0]),
    ("depths", [65]),
    ("depths", [2, 2]),
    ("depths", 5),
    ("first_width", 0),
    ("dropout", 1),
    ("dropout", -0.1),
    ("dropout", [0.5, NAN]),
    ("dropout", [0.5, 0.5]),
    ("dropout", "0.5"),
    ("dropout", True),
    ("seeds", 0),
    ("seeds", -3),
    ("seeds", []),
    ("seeds", [1, 1]),
    ("seeds", [-1]),
    ("seeds", True),
    ("seeds", MOST_SEEDS + 1),
    ("seeds", 2_000_000_000),
    ("name", "../up"),
    ("name", ""),
    ("data", 3),
]
BAD_RUN = [
    ("widths", [0]),
    ("widths", [1.5]),
    ("dropout", 1),
    ("dropout", NAN),
    ("dropout", "much"),
    ("seed", -1),
]


def study(**values: object) -> StudySettings:
    return StudySettings.parse({"depths": [2]} | values, "study.toml")


def run(**values: object) -> RunSettings:
    return RunSettings.parse({"widths": [8, 4], "dropout": 0.5} | values)


@pytest.mark.parametrize(("name", "value"), BAD_RECIPE + BAD_STUDY)
def test_a_bad_setting_of_a_study_is_named_with_what_was_found(name: str, value: object) -> None:
    with pytest.raises(ConfigError, match=rf"^study\.toml: {name}\b.*; found ") as caught:
        study(**{name: value})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("name", "value"), BAD_RECIPE + BAD_RUN)
def test_a_bad_setting_of_a_run_is_named_with_what_was_found(name: str, value: object) -> None:
    with pytest.raises(ConfigError, match=rf"\b{name}\b.*; found "):
        RunSettings.parse({name: value})


def test_all_faults_come_in_one_error_with_the_nearest_names() -> None:
    with pytest.raises(ConfigError) as caught:
        study(epoch=3, dropuot=0.5, batch_size=0, learning_rate=NAN, zzz=1)
    assert str(caught.value).startswith("study.toml: ")
    for part in (
        "'epoch' (did you mean 'epochs'?)",
        "'dropuot' (did you mean 'dropout'?)",
        "batch_size",
        "learning_rate",
        "'zzz'",
    ):
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"depths": [2], "widths": [8]}, r"either depths .* or widths .*depths=\[2\], widths=\[8\]"),
        ({}, "either depths .* or widths"),
        ({"depths": [11], "first_width": 256}, "depth 11 halves first_width=256 below one unit"),
    ],
)
def test_contradictory_architectures_are_refused(values: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        StudySettings.parse(values)


def test_a_network_may_halve_down_to_one_unit() -> None:
    assert study(depths=[10], first_width=256).architectures == ((256, 128, 64, 32, 16, 8, 4, 2, 1),)
    assert halving_widths(1, 512) == ()


def test_numbers_may_come_from_numpy() -> None:
    plain = study(seeds=3, dropout=0.5, epochs=2)
    assert study(seeds=np.int64(3), dropout=np.float32(0.5), epochs=np.int64(2)) == plain
    assert study(seeds=np.arange(3), dropout=np.array([0.5]), epochs=2) == plain


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        study().epochs = 3


def write(path: Path, text: str, encoding: str = "utf-8") -> str:
    path.write_text(text, encoding)
    return str(path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("depths = [2]\nepochs = ten", r"must be TOML; .*line 2"),
        ("depths = [2]\ndepths = [3]", "must be TOML"),
        ("depths = [2]\nepoch = 3", r"no setting 'epoch' \(did you mean 'epochs'\?\)"),
        ("depths = [2]\n[dropout]\nrate = 0.5", "dropout: input should be a list"),
        ("", "either depths"),
    ],
)
def test_a_fault_in_a_toml_file_is_named_with_the_file(tmp_path: Path, text: str, words: str) -> None:
    path = write(tmp_path / "mine.toml", text)
    with pytest.raises(ConfigError, match=words) as caught:
        load_study(path)
    assert str(caught.value).startswith(f"{path}: ")


def test_a_file_that_is_no_text_or_cannot_be_looked_at_is_refused(tmp_path: Path) -> None:
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="readable UTF-8 TOML file"):
        load_study(str(tmp_path / "binary.toml"))
    with pytest.raises(ConfigError, match="a preset or a TOML file"):
        load_study("x" * 5000)


@pytest.mark.parametrize(
    ("stem", "name"), [("my study", "my-study"), ("étude", "étude"), ("(1)", "1"), ("...", "study"), ("a.b", "a.b")]
)
def test_a_study_is_named_after_its_file_whatever_that_is_called(tmp_path: Path, stem: str, name: str) -> None:
    assert load_study(write(tmp_path / f"{stem}.toml", "depths = [2]")).name == name


def test_a_name_in_the_file_counts_and_a_byte_order_mark_does_not(tmp_path: Path) -> None:
    assert load_study(write(tmp_path / "a.toml", 'name = "b"\ndepths = [2]', "utf-8-sig")).name == "b"


def test_an_unknown_study_brings_the_nearest_preset() -> None:
    with pytest.raises(ConfigError, match=r"Did you mean 'mnist-depth'\?.*Presets: "):
        load_study("mnist-dept")


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_loads_and_is_complete(name: str) -> None:
    settings = load_study(name)
    assert settings.name == name
    assert settings.question.endswith("?")
    assert settings.reference in preset_names()


def test_override_replaces_and_checks() -> None:
    assert study(epochs=3).override(epochs=7, seeds=2) == study(epochs=7, seeds=[0, 1])
    with pytest.raises(ConfigError, match="epochs"):
        study().override(epochs=0)
    with pytest.raises(ConfigError, match="did you mean 'seeds'"):
        study().override(seed=1)


def test_widths_override_depths_and_depths_override_widths() -> None:
    by_width = study(depths=[1, 2]).override(widths=[8])
    assert by_width.architectures == ((8,),)
    assert by_width.override(depths=[3], first_width=4).architectures == ((4, 2),)
    with pytest.raises(ConfigError, match="either depths"):
        study().override(widths=[8], depths=[2])


def test_differences_are_what_decides_the_networks() -> None:
    assert study(epochs=3).differences(study(epochs=4, momentum=0.9)) == {"epochs": (3, 4), "momentum": (0.0, 0.9)}
    assert study(name="a", question="b?", reference="mnist-depth", seeds=4).differences(study()) == {}


def test_the_content_key_is_what_it_was() -> None:
    """Change this only with NUMERICS_VERSION: with another key, every finished run is trained again."""
    settings = run(epochs=40, batch_size=256, learning_rate=0.1, momentum=0.9, seed=7)
    key = settings.content_key("f" * 64, "bf16")
    assert key == "3605e8988f15f07f6f7a26590920df75f8c468886f36aca2de7cd00786198534"
    assert settings.numerics_of(key, "f" * 64, "bf16") == NUMERICS_VERSION == 3
    assert settings.numerics_of(key, "f" * 64, "fp32") is None


@pytest.mark.parametrize(
    ("dropout", "others", "key"),
    [
        (0.5, {"momentum": 0.9}, "dd1042f58bfda48ddbfd476633cb3f55e79dfffe8e128ca6f539ac0c7f2e082a"),
        ((0.2, 0.5), {}, "1668e8fe70959fda059ea5f20905b620cd7644ae06727b601a3bad8bd8fa093b"),
        (
            (0.2, 0.0),
            {"regularizers": {"batch_norm": 1, "l2": (0, 1e-3, 0)}, "dropout_scaling": "inference"},
            "58abe9be0a9f6b5fcfdbe2eb741b5182a7e6486a0816b66c3e6ecd81938db1de",
        ),
    ],
)
def test_the_content_key_of_numerics_version_2_is_what_it_was(dropout, others, key) -> None:
    """As that version computed them, when rates a hidden layer were a regularizer."""
    settings = run(epochs=40, batch_size=256, learning_rate=0.1, seed=7, dropout=dropout, **others)
    assert settings.content_key("f" * 64, "bf16", 2) == key
    assert settings.numerics_of(key, "f" * 64, "bf16") == 2


def test_the_content_key_differs_with_everything_that_decides_the_bits() -> None:
    others = {
        "epochs": 3,
        "batch_size": 7,
        "learning_rate": 0.3,
        "momentum": 0.5,
        "valid_fraction": 0.25,
        "split_seed": 2,
        "mc_samples": 3,
        "widths": [4, 8],
        "dropout": 0.25,
        "seed": 1,
        "activation": "tanh",
        "initial_weights": "he",
        "optimizer": "adam",
        "schedule": "linear",
        "warmup_epochs": 1,
        "momentum_schedule": "linear",
        "regularizers": {"l2": 1e-4},
        "train_examples": 100,
        "loss": "huber",
    }
    with_others = {  # settings that act only together with others
        "dropout_scaling": ({"dropout": 0.25, "widths": [4]}, "inference"),
        "pieces": ({"activation": "maxout"}, 3),
        "beta_1": ({"optimizer": "adam"}, 0.8),
        "beta_2": ({"optimizer": "adam"}, 0.99),
        "schedule_final": ({"schedule": "linear"}, 0.5),
        "schedule_epochs": ({"schedule": "linear"}, 2),
        "momentum_final": ({"momentum_schedule": "linear"}, 0.5),
        "momentum_epochs": ({"momentum_schedule": "linear"}, 2),
    }
    assert {*others, *with_others} == set(RunSettings.model_fields)
    keys = [run(**{name: value}).content_key("data", "fp32") for name, value in others.items()]
    keys += [run(**{name: value} | rest).content_key("data", "fp32") for name, (rest, value) in with_others.items()]
    keys += [run().content_key("data", "fp32"), run().content_key("data", "bf16"), run().content_key("other", "fp32")]
    assert len(set(keys)) == len(keys)


def test_scaling_at_inference_is_nothing_without_a_mask() -> None:
    assert run(widths=[4], dropout=0, dropout_scaling="inference") == run(widths=[4], dropout=0)
    assert run(widths=[4], regularizers={"input_dropout": 0.1}, dropout_scaling="inference") != run(
        widths=[4], regularizers={"input_dropout": 0.1}
    )


def test_the_content_key_does_not_depend_on_how_a_number_is_written() -> None:
    assert run(epochs=2, dropout=0).content_key("d", "fp32") == run(epochs=2.0, dropout=-0.0).content_key("d", "fp32")


def test_a_linear_network_has_one_content_key_whatever_its_dropout() -> None:
    keys = {RunSettings.parse({"widths": [], "dropout": rate}).content_key("d", "fp32") for rate in (0, 0.2, 0.9)}
    assert len(keys) == 1
    assert RunSettings(dropout=0.5).dropout == 0


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"pieces": 3}, "pieces does nothing with activation=relu"),
        ({"beta_1": 0.5}, "beta_1 does nothing with .*optimizer=sgd"),
        ({"optimizer": "adam", "momentum": 0.9}, "momentum does nothing with .*optimizer=adam"),
        ({"schedule_epochs": 3}, "schedule_epochs does nothing with .*schedule=constant"),
        ({"schedule": "inverse_time", "schedule_final": 0.5}, "schedule_final does nothing"),
        ({"momentum_final": 0.5}, "momentum_final does nothing"),
        ({"optimizer": "nesterov"}, "optimizer=nesterov is a form of momentum; found momentum=0"),
        ({"regularizers": {"l2": "much"}}, "must be a table of names, each with its strength"),
        ({"regularizers": 3}, "must be a table of names"),
        ({"regularizers": {"l2": -1}}, "greater than or equal to 0"),
        ({"activation": "sine"}, "activation: input should be 'relu', 'logistic'"),
    ],
)
def test_a_setting_that_cannot_act_is_refused(values: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        run(**values)


def test_regularizers_are_the_same_however_they_are_written() -> None:
    written = [{"l2": 1e-4, "max_norm": [3]}, {"max_norm": 3.0, "l2": 0.0001, "l1": 0}, (("max_norm", 3), ("l2", 1e-4))]
    assert {run(regularizers=one).regularizers for one in written} == {(("l2", 1e-4), ("max_norm", 3.0))}
    assert run(regularizers={"max_norm": [1, 2, 3]}).regularizers == (("max_norm", (1.0, 2.0, 3.0)),)


def test_a_changed_copy_is_validated_too() -> None:
    stopping = run(regularizers={"early_stopping": 3})
    with pytest.raises(ConfigError, match="early_stopping needs valid examples; found valid_fraction=0"):
        stopping.model_copy(update={"valid_fraction": 0.0})
    with pytest.raises(ConfigError, match="epochs: input should be greater than or equal to 1; found 0"):
        stopping.model_copy(update={"epochs": 0})
    assert stopping.model_copy(update={"epochs": 7}) == run(regularizers={"early_stopping": 3}, epochs=7)
    assert stopping.model_copy() == stopping


@pytest.mark.parametrize(
    ("given", "dropout", "rates"),
    [
        (0.5, 0.5, (0.5, 0.5)),
        ("0.2/0.5", (0.2, 0.5), (0.2, 0.5)),
        ([0.2, 0], (0.2, 0.0), (0.2, 0.0)),
        ([0.5, 0.5], 0.5, (0.5, 0.5)),
        ([0, -0.0, 0], 0.0, (0.0, 0.0)),
        ([0.5], 0.5, (0.5, 0.5)),
    ],
)
def test_dropout_is_a_rate_or_one_a_hidden_layer(given, dropout, rates) -> None:
    settings = run(dropout=given)
    assert (settings.dropout, settings.rates) == (dropout, rates)
    assert RunSettings.model_validate_json(settings.model_dump_json()) == settings
    assert run(widths=[], dropout=given).rates == ()
    assert settings.content_key("d", "fp32") == run(dropout=dropout).content_key("d", "fp32")


def test_as_many_rates_are_given_as_there_are_hidden_layers() -> None:
    with pytest.raises(ConfigError, match="dropout: must be one rate, or one for each of 2 hidden layers"):
        run(dropout=[0.2, 0.5, 0.5])


@pytest.mark.parametrize("given", ["0.2/much", "0.2/", [0.2, 1], [0.2, True], [[0.2]], None, {}])
def test_a_rate_that_is_none_is_refused_once(given) -> None:
    with pytest.raises(ConfigError, match=r"must be a rate in \[0, 1\), or one a hidden layer, as 0\.2/0\.5") as fault:
        run(dropout=given)
    assert str(fault.value).count("dropout:") == 1


def test_the_regularizer_of_old_is_dropout() -> None:
    old = {"dropout_by_layer": (0.2, 0.5), "l2": 0.1}
    assert run(dropout=0, regularizers=old) == run(dropout=(0.2, 0.5), regularizers={"l2": 0.1})
    assert run(regularizers={"dropout_by_layer": 0}) == run()
    kept = run().model_dump_json().replace('"dropout":0.5', '"dropout":0.0')
    kept = kept.replace('"regularizers":[]', '"regularizers":[["dropout_by_layer",[0.2,0.5]]]')
    assert RunSettings.model_validate_json(kept) == run(dropout=(0.2, 0.5))
    assert study(regularizers=old).dropout == ((0.2, 0.5),)
    assert study(dropout=0.5).override(regularizers=old).dropout == ((0.2, 0.5),)
    for parsed in (run, study):
        with pytest.raises(ConfigError, match=r"dropout_by_layer is a name of dropout; .*Leave one out\.$"):
            parsed(dropout=0.5, regularizers=old)
    with pytest.raises(ConfigError, match="is a name of dropout"):
        study().override(dropout=[0.5], regularizers=old)


def test_a_study_compares_rates_a_hidden_layer() -> None:
    assert study(dropout=[[0.2, 0.5], 0.5, "0.5/0.2"]).dropout == ((0.2, 0.5), 0.5, (0.5, 0.2))
    for name in ("dropout", "rate", "dropout_by_layer"):
        assert study(vary={name: [[0.2, 0.5], 0.5]}).dropout == ((0.2, 0.5), 0.5)
        assert study(vary={name: "0.2/0.5, 0.5"}).dropout == ((0.2, 0.5), 0.5)
    with pytest.raises(ConfigError, match="rate and dropout are names of one thing"):
        study(vary={"dropout": 0.5, "rate": 0.2})
    settings = study(dropout=[[0.2, 0.5], 0.5])
    assert StudySettings.model_validate_json(settings.model_dump_json()) == settings
