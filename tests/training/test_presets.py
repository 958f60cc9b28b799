from __future__ import annotations

import subprocess
import sys

import pytest

from embcompat.aligners.neural import create_aligner
from embcompat.aligners.neural.losses import LOSSES
from embcompat.errors import InputError, UnknownNameError
from embcompat.training import DEFAULT_PRESETS, PRESETS, find_preset


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_a_preset_names_what_exists(name: str) -> None:
    preset = PRESETS[name]
    assert {preset.loss, preset.distance_loss or preset.loss} <= LOSSES.keys()
    for kind in preset.kinds:
        assert kind in DEFAULT_PRESETS
        create_aligner(kind, source_dim=4, target_dim=4, **{**preset.options, "hidden": 8})


def test_every_kind_has_a_preset_of_its_own() -> None:
    for kind in DEFAULT_PRESETS:
        assert find_preset(kind, None) is PRESETS[DEFAULT_PRESETS[kind]]


def test_fc_aligner_is_the_papers_recipe() -> None:
    # Vieira-e-Silva et al., section 4.1.
    preset = find_preset("multi_branch", "fc_aligner")
    assert (preset.loss, preset.optimizer, preset.learning_rate) == ("euclidean", "adam", 1e-3)
    assert (preset.schedule, preset.patience, preset.epochs, preset.batch_size) == ("plateau", 10, 240, 512)
    assert not preset.options


def test_presets_are_read_without_torch() -> None:
    program = "import sys; sys.modules['torch'] = None; import embcompat.training; print(*embcompat.training.PRESETS)"
    process = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert process.stdout.split() == list(PRESETS)


@pytest.mark.parametrize(
    ("kind", "preset", "error", "match"),
    [
        ("kernel", None, UnknownNameError, "no neural aligner called 'kernel'"),
        ("dense", "fast", UnknownNameError, "no preset called 'fast'. Known: drift_adapter, fc_aligner, skip"),
        ("residual", "fc_aligner", InputError, "preset must be one for 'residual': drift_adapter, skip."),
    ],
)
def test_refusals(kind: str, preset: str | None, error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        find_preset(kind, preset)
