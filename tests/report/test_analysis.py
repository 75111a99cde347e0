"""An analysis: its statistics against definitions and chance, its hooks against what systems compute."""

import json

import numpy as np
import pytest
import soundfile
import torch
from sklearn.metrics import mutual_info_score

from asvtk.frontends.base import Crop
from asvtk.io.audio import inspect_audio
from asvtk.io.datadir import DataDirectory
from asvtk.models import Batch
from asvtk.models.aasist import AasistConfig
from asvtk.models.cascade_mamba import CascadeMambaConfig
from asvtk.models.dual_stream import DualStreamConfig
from asvtk.models.moe_mamba import MoeMambaConfig
from asvtk.nn.losses import OcSoftmaxConfig
from asvtk.report import analysis_figures as figures
from asvtk.report.analysis import group_utterances, look_into, principal_axes, sentences
from asvtk.report.analysis_page import write_analysis
from asvtk.report.analysis_probe import layer_weights, observe
from asvtk.report.analysis_routing import kind_dependence, routing_by_group, unused_experts
from asvtk.testing import GivenFeatures, detector_for
from asvtk.training.dataset import UtteranceDataset
from asvtk.training.scoring import score_dataset

KINDS = {"A01": "TTS", "A02": "TTS", "A03": "VC", "A04": "VC"}


def one_hot(experts, count):
    return np.eye(count)[experts]


# ---- does routing depend on a label?


def test_information_is_that_of_the_definition():
    rng = np.random.default_rng(0)
    groups, experts = rng.integers(0, 5, 400), rng.integers(0, 4, 400)
    experts[groups == 2] = 1
    found = routing_by_group(one_hot(experts, 4), groups, top_k=1, resamples=20).dependence
    shares = [np.bincount(of) / 400 for of in (groups, experts)]
    most = min(-(p * np.log(p)).sum() for p in shares)
    assert found.information == pytest.approx(mutual_info_score(groups, experts) / most)


def test_experts_that_divide_the_groups_among_them_explain_everything():
    groups = np.repeat([0, 1, 2, 3], 20)
    assert routing_by_group(one_hot(groups, 4), groups, 1).dependence.information == pytest.approx(1)
    # Two experts per frame: one pair for each of two groups is the most that routing can tell.
    pairs = np.array([[0.5, 0.5, 0, 0], [0, 0, 0.5, 0.5]])[groups // 2]
    found = routing_by_group(pairs, groups // 2, top_k=2).dependence
    assert found.information == pytest.approx(1) and found.p_value < 0.01


def test_equal_routing_explains_nothing():
    groups = np.repeat([0, 1, 2], 10)
    found = routing_by_group(np.tile([0.4, 0.3, 0.2, 0.1], (30, 1)), groups, top_k=2)
    assert found.dependence.information == pytest.approx(0, abs=1e-12) and found.dependence.p_value == 1
    np.testing.assert_allclose(found.distance, 0, atol=1e-12)


def test_where_all_experts_are_chosen_there_is_nothing_to_tell():
    found = routing_by_group(np.full((8, 2), 0.5), np.repeat([0, 1], 4), top_k=2)
    assert found.dependence.information == 0


def test_chance_is_the_known_bias_of_the_estimate():
    """Mutual information of n independent draws is (groups - 1) (experts - 1) / 2n on average."""
    rng = np.random.default_rng(1)
    n, groups, experts = 600, rng.integers(0, 6, 600), rng.integers(0, 4, 600)
    found = routing_by_group(one_hot(experts, 4), groups, top_k=1).dependence
    assert found.chance == pytest.approx(5 * 3 / (2 * n) / np.log(4), rel=0.1)
    assert found.chance < found.chance_95 < 3 * found.chance


def test_p_values_are_even_where_labels_say_nothing():
    rng = np.random.default_rng(2)
    values = [
        routing_by_group(
            rng.dirichlet([5] * 4, 60), rng.permutation(60) % 4, 2, resamples=99
        ).dependence.p_value
        for _ in range(200)
    ]
    # Kolmogorov and Smirnov: 1.63 / sqrt(200) is exceeded once in a hundred times.
    assert np.abs(np.sort(values) - np.arange(1, 201) / 200).max() < 1.63 / 200**0.5


def test_distances_are_halved_sums_of_differences():
    load = np.array([[1.0, 0, 0], [0, 1, 0], [0, 0.5, 0.5], [0, 0.5, 0.5]])
    found = routing_by_group(load, np.array([0, 1, 1, 1]), top_k=1)
    np.testing.assert_allclose(found.load, [[1, 0, 0], [0, 2 / 3, 1 / 3]])
    np.testing.assert_allclose(found.distance, [0.75, 0.25])  # from 1/4 1/2 1/4


def test_random_groups_stay_below_the_noise_level_as_often_as_they_should():
    rng = np.random.default_rng(3)
    load, below = rng.dirichlet([2] * 4, 90), []
    for seed in range(60):
        found = routing_by_group(load, rng.permutation(90) % 3, 2, seed, resamples=200)
        below += (found.distance <= found.distance_95).tolist()
    assert 0.9 < np.mean(below) < 0.99


def test_attacks_that_differ_do_not_make_their_kinds_differ():
    """Each attack goes its own way: attack explains much, kind no more than any division of the attacks."""
    rng = np.random.default_rng(4)
    attacks, p_values = np.repeat(np.arange(12), 30), []
    for _ in range(25):
        own = rng.dirichlet([1] * 4, 12)
        by_attack = routing_by_group(own[attacks], attacks, top_k=1, resamples=200)
        assert by_attack.dependence.p_value < 0.01
        p_values.append(kind_dependence(by_attack.load, np.full(12, 30), np.arange(12) % 3, top_k=1).p_value)
    assert np.mean(np.array(p_values) < 0.05) < 0.15 and 0.35 < np.mean(p_values) < 0.65


def test_kinds_that_matter_are_found():
    kinds = np.repeat([0, 1, 2], 4)
    load = np.array([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.1, 0.1, 0.8]])[kinds]
    found = kind_dependence(load, np.full(12, 30), kinds, top_k=1)
    assert found.p_value < 0.01 and found.information > 2 * found.chance_95


@pytest.mark.parametrize("kinds", [[0, 0, 0], [0, 1, 2]])
def test_one_kind_or_one_for_each_attack_is_no_division(kinds):
    assert kind_dependence(np.eye(3), np.ones(3), np.array(kinds), top_k=1) is None


def test_unused_experts_get_less_than_a_tenth_of_an_even_share():
    assert unused_experts(np.array([0.5, 0.024, 0.026, 0.45])) == [1]


# ---- groups and maps


def test_bona_fide_comes_first_and_attacks_stand_by_their_kind():
    attacks = ["A03", "-", "A01", "A02", "-"]
    groups = group_utterances(attacks, np.array([a == "-" for a in attacks]), {**KINDS, "A02": "VC"})
    assert groups.names == ["bonafide", "A01", "A02", "A03"] and groups.index.tolist() == [3, 0, 1, 2, 0]
    assert groups.kinds == [None, "TTS", "VC", "VC"] and groups.sizes.tolist() == [2, 1, 1, 1]


def test_principal_axes_are_those_of_a_singular_value_decomposition():
    vectors = np.random.default_rng(5).normal(size=(50, 6)) * [5, 3, 1, 1, 1, 1]
    found = principal_axes(vectors)
    left, values, _ = np.linalg.svd(vectors - vectors.mean(0), full_matrices=False)
    np.testing.assert_allclose(np.abs(found.places), np.abs(left[:, :2] * values[:2]), atol=1e-9)
    np.testing.assert_allclose(found.explained, values**2 / (values**2).sum(), atol=1e-12)


# ---- looking into systems

SMALL = dict(d_model=16, blocks=2, d_state=4, d_embedding=8, heads=2, dropout=0.5)
LOSS = OcSoftmaxConfig()


class Features(dict):
    utterances = property(dict.keys)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Eight utterances of different lengths: bona fide, and four attacks."""
    folder, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(6)
    names = [f"u{i}" for i in range(8)]
    wav = {name: str(folder / f"{name}.flac") for name in names}
    samples = {name: 4000 + 640 * i for i, name in enumerate(names)}
    for name in names:
        soundfile.write(wav[name], 0.1 * rng.normal(size=samples[name]), 16000)
    label = {name: "bonafide" if i % 2 else "spoof" for i, name in enumerate(names)}
    attack = {name: "-" if i % 2 else f"A0{1 + i // 2}" for i, name in enumerate(names)}
    speaker, md5 = dict.fromkeys(names, "s"), {name: inspect_audio(wav[name])[1] for name in names}
    return DataDirectory(folder, wav, speaker, label, attack, samples, md5)


def dataset_of(data, layers=0):
    rng = np.random.default_rng(7)
    frames = {name: (count - 400) // 320 + 1 for name, count in data.num_samples.items()}
    cached = Features({u: rng.normal(size=(layers, n, 6)).astype("f") for u, n in frames.items()})
    frontend = GivenFeatures(layers, 6)
    frontend.crop = Crop(samples=None)
    return UtteranceDataset(data, frontend, [cached] if layers else [])


def groups_of(data):
    bonafide = np.array([label == "bonafide" for label in data.label.values()])
    return group_utterances(list(data.attack.values()), bonafide, KINDS)


def build(config, layers):
    torch.manual_seed(0)
    return detector_for(config, LOSS, layers, 6 if layers else 0)


def test_looking_on_changes_no_score_and_leaves_no_hook(data):
    detector, dataset = build(MoeMambaConfig(**SMALL), 3), dataset_of(data, 3)
    before = score_dataset(detector, dataset, 3, "cpu")
    seen = observe(detector, dataset, 3, "cpu")
    assert seen.scores.tolist() == before == score_dataset(detector, dataset, 3, "cpu")
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in detector.modules())
    np.testing.assert_allclose(
        detector.loss.score(torch.from_numpy(seen.embedding)).detach(), before, atol=1e-6
    )


def test_routing_is_that_of_the_utterance_whatever_its_company(data):
    detector, dataset = build(MoeMambaConfig(**SMALL), 3), dataset_of(data, 3)
    together, alone = (observe(detector, dataset, size, "cpu").routing for size in (8, 1))
    assert list(together) == ["blocks.0.experts", "blocks.1.experts"]
    for layer, routing in together.items():
        assert routing.load.shape == (8, 4) and routing.top_k == 2
        np.testing.assert_allclose(routing.load.sum(1), 1, atol=1e-6)
        np.testing.assert_allclose(routing.load, alone[layer].load, atol=1e-6)
        np.testing.assert_allclose(routing.entropy, alone[layer].entropy, atol=1e-5)


def test_gate_of_the_fusion_is_the_one_that_the_system_applies(data):
    detector, dataset = build(DualStreamConfig(**SMALL, filters=12, channels=[4] * 6), 2), dataset_of(data, 2)
    gate = observe(detector, dataset, 8, "cpu").gates["fusion"]
    model = detector.model.eval()
    for index in (0, 7):
        features, audio, _ = dataset[index]
        inputs = Batch(
            features[None], torch.tensor([features.shape[1]]), audio[None], torch.tensor([len(audio)])
        )
        with torch.inference_mode():
            (x, frames), (y, audio_frames) = model._hear_features(inputs), model._hear_audio(inputs)
            count = min(frames.item(), audio_frames.item())
            values = model.fusion.gate(x[:, :count], y[:, :count])
        assert gate.mean[index] == pytest.approx(values.mean().item(), abs=1e-5)
        assert gate.spread[index] == pytest.approx(values.std(correction=0).item(), abs=1e-5)


def test_gates_of_the_cascade_and_of_the_directions(data):
    detector, dataset = build(CascadeMambaConfig(**SMALL), 3), dataset_of(data, 3)
    together, alone = (observe(detector, dataset, size, "cpu").gates for size in (8, 1))
    assert list(together) == ["neck.into_mid", "neck.into_high", "blocks.0.mixer", "blocks.1.mixer"]
    for name, gate in together.items():
        np.testing.assert_allclose(gate.mean, alone[name].mean, atol=1e-5)
        np.testing.assert_allclose(gate.spread, alone[name].spread, atol=1e-5)
    assert 0.65 < together["neck.into_mid"].mean.mean() < 0.8  # gates of injections start at 0.73


def test_directions_that_are_concatenated_have_no_gate(data):
    detector = build(MoeMambaConfig(**SMALL, combine="concat"), 1)
    assert observe(detector, dataset_of(data, 1), 8, "cpu").gates == {}


def test_layer_weights_are_those_of_the_sum():
    detector = build(MoeMambaConfig(**SMALL), 4)
    with torch.no_grad():
        detector.model.features.layer_sum.logits.copy_(torch.tensor([0.0, 1, 2, 3]))
    weights = layer_weights(detector.model)
    expected = np.exp([0, 1, 2, 3]) / np.exp([0, 1, 2, 3]).sum()
    np.testing.assert_allclose(weights["features.layer_sum"], expected, rtol=1e-5)
    assert layer_weights(build(CascadeMambaConfig(**SMALL), 3).model) == {}


# ---- pictures and the page


def analysis_of(data, config, layers):
    detector = build(config, layers)
    seen, groups = observe(detector, dataset_of(data, layers), 8, "cpu"), groups_of(data)
    return layer_weights(detector.model), {"eval": (look_into(seen, groups), seen.embedding, groups)}


def test_numbers_and_pictures_of_a_system_with_every_part(data, tmp_path):
    config = DualStreamConfig(**SMALL, filters=12, channels=[4] * 6, combine="gate")
    weights, sets = analysis_of(data, config, 2)
    page = write_analysis(tmp_path, "<S4>", weights, [3, 12], sets)
    pictures = {path.name for path in tmp_path.glob("*.png")}
    assert pictures == {
        "layers.png",
        *(f"eval_{x}.png" for x in ("experts", "routers", "gates", "embeddings")),
    }
    text = page.read_text()
    assert text.count("<img ") == len(pictures) and "&lt;S4&gt;" in text and "<S4>" not in text
    assert "http:" not in text and "https:" not in text and "<script" not in text
    content = json.loads((tmp_path / "analysis.json").read_text())
    assert content["layer_weights"]["features.layer_sum"]["layers"] == [3, 12]
    layer = content["sets"]["eval"]["routing"]["blocks.1.experts"]
    assert set(layer["dependence"]) == {"attack", "kind", "bona fide or spoof"} and layer["top_k"] == 2
    assert set(layer["by_group"]) == {"bonafide", "A01", "A02", "A03", "A04"} and set(layer["by_kind"]) == {
        "TTS",
        "VC",
    }
    weighted = np.average([of["load"] for of in layer["by_group"].values()], axis=0, weights=[4, 1, 1, 1, 1])
    np.testing.assert_allclose(weighted, layer["load"], atol=1e-6)
    np.testing.assert_allclose(
        np.mean([layer["by_group"][attack]["load"] for attack in ("A01", "A02")], axis=0),
        layer["by_kind"]["TTS"],
    )
    assert 0 < layer["entropy"]["by_group"]["A01"]["mean"] <= 1
    assert set(content["sets"]["eval"]["gates"]) == {"fusion", "blocks.0.mixer", "blocks.1.mixer"}


def test_pictures_are_the_same_bytes_every_time(data, tmp_path):
    _, sets = analysis_of(data, MoeMambaConfig(**SMALL), 1)
    for folder in ("a", "b"):
        write_analysis(tmp_path / folder, "S3", {}, [], sets)
    for path in (tmp_path / "a").glob("*.png"):
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def test_a_system_without_parts_has_a_map_of_embeddings_alone(data, tmp_path):
    config = AasistConfig(channels=[4] * 6, d_graph=4, filters=12, max_masked=2)
    weights, sets = analysis_of(data, config, 0)
    write_analysis(tmp_path, "S5", weights, [], sets)
    assert [path.name for path in tmp_path.glob("*.png")] == ["eval_embeddings.png"]
    assert sentences("eval", sets["eval"][0]) == []


def test_the_heat_map_shows_the_load_and_marks_what_chance_does_not():
    routing = {
        "experts": 2,
        "top_k": 1,
        "load": [0.6, 0.4],
        "dependence": {"attack": None},
        "by_group": {
            "bonafide": {"load": [0.62, 0.38], "distance": 0.02, "distance_95_by_chance": 0.05},
            "A01": {"load": [0.11, 0.89], "distance": 0.49, "distance_95_by_chance": 0.05},
        },
    }
    groups = {"bonafide": {"kind": None}, "A01": {"kind": "TTS_VC"}}
    axes = figures.experts({"layer": routing}, groups).axes[0]
    texts = [text.get_text() for text in axes.texts]
    assert texts[:6] == ["60", "40", "62", "38", "11", "89"] and texts[6:8] == ["2", "49"]
    assert [text.get_weight() for text in axes.texts[6:8]] == ["normal", "bold"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["all", "bona fide", "A01 hybrid"]
    shade = axes.images[0].get_array()
    np.testing.assert_allclose(shade[2], [(0.11 - 0.6) / 0.6, (0.89 - 0.4) / 0.6])  # of the way to 0 and to 1
