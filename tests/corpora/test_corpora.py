"""Every corpus that asvtk knows, in its exact layout: prepared, validated, evaluated; and its traps."""

import json
import re

import numpy as np
import pytest
import tiny_corpora
from tiny_corpora import LAYOUTS, write_clip

from asvtk.bin.main import main
from asvtk.corpora.description import list_corpora, load_description
from asvtk.io.corpus_card import CorpusCard
from asvtk.io.datadir import DataDirectory, find_problems
from asvtk.io.tables import read_table

#: corpus -> set -> trials of both classes, as written there
SETS = {
    "asvspoof2019_la": {"train": (2, 2), "dev": (2, 2), "eval": (2, 2)},
    "asvspoof2019_pa": {"train": (2, 2), "dev": (2, 2), "eval": (2, 2)},
    "asvspoof2021_la": {"eval": (2, 2)},
    "asvspoof2021_df": {"eval": (2, 2)},
    "asvspoof2021_pa": {"eval": (2, 2)},
    "asvspoof5": {"train": (2, 2), "dev": (2, 2), "eval": (2, 2)},
    "in_the_wild": {"eval": (2, 2)},
    "wavefake": {"all": (2, 4)},
    "fake_or_real": {"train": (2, 2), "dev": (2, 2), "eval": (2, 2)},
    "mlaad": {"all": (2, 4)},
    "codecfake": {"train": (2, 2), "dev": (2, 2), "C1": (2, 2), "C7": (2, 2), "A1": (2, 2)},
    "dfadd": {"train": (1, 2), "dev": (1, 2), "eval": (1, 2)},
    "spoofceleb": {"train": (1, 2), "dev": (1, 2), "eval": (1, 2)},
    "partialspoof": {"train": (2, 2), "dev": (2, 2), "eval": (2, 2)},
    "deepfake_eval_2024": {"train": (2, 2), "eval": (2, 2)},
}
MORE = {"mlaad": ["--version", "v9"], "codecfake": ["--version", "v1"]}


@pytest.fixture
def prepare(tmp_path, capsys):
    def run(name, *options, folder=None, out="data"):
        folder = folder or LAYOUTS[name](tmp_path / "corpus")
        words = ["--corpus", name, str(folder), str(tmp_path / out), *MORE.get(name, ()), *options]
        status = main(["prepare", *words])
        return status, capsys.readouterr()

    return run


def beside(name, tmp_path):
    """Other corpora that belong to it."""
    if name == "wavefake":
        return ["--also", f"ljspeech={tiny_corpora.ljspeech(tmp_path / 'lj')}"]
    if name == "mlaad":
        return ["--also", f"m_ailabs={tiny_corpora.m_ailabs(tmp_path / 'ma')}"]
    return []


def data_folder(tmp_path, name, of_set):
    return tmp_path / "data" / of_set


def test_every_known_corpus_is_tried():
    assert sorted(SETS) == list_corpora() == sorted(LAYOUTS)


@pytest.mark.parametrize("name", list_corpora())
def test_prepared_validated_and_evaluated(name, prepare, tmp_path, capsys):
    status, said = prepare(name, *beside(name, tmp_path))
    assert status == 0, said.err
    for of_set, counts in SETS[name].items():
        folder = data_folder(tmp_path, name, of_set)
        assert find_problems(folder) == []
        data = DataDirectory.read(folder)
        assert data.count_classes() == counts
        assert main(["validate", "--decode", str(folder)]) == 0
        card = json.loads((folder / "corpus.json").read_text())
        assert card["corpus"] == name and card["set"] == of_set
        assert card["version"] in (load_description(name).versions or [""])
        scores = tmp_path / "scores.txt"
        scores.write_text("".join(f"{u} {i}\n" for i, u in enumerate(data.utterances)))
        words = [
            "evaluate",
            "--scores",
            str(scores),
            "--data",
            str(folder),
            "--json",
            str(tmp_path / "r.json"),
        ]
        assert main(words) == 0
        results = json.loads((tmp_path / "r.json").read_text())
        assert (results["n_bonafide"], results["n_spoof"]) == counts
    capsys.readouterr()
    again, said = prepare(name, *beside(name, tmp_path))
    assert again == 0 and "warning" not in said.err


def test_audio_of_any_kind_is_converted_once_and_its_form_is_kept(prepare, tmp_path):
    assert prepare("deepfake_eval_2024")[0] == 0
    folder = tmp_path / "data" / "eval"
    data = DataDirectory.read(folder)
    assert set(read_table(folder / "utt2sample_rate").values()) == {"44100"}
    assert set(read_table(folder / "utt2channels").values()) == {"2"}
    assert set(read_table(folder / "utt2language").values()) == {"English"}
    assert all(path.startswith(str(folder / "audio")) for path in data.wav.values())
    assert "clip_4" in data.wav and abs(data.num_samples["clip_4"] - 6400) < 1200  # an mp3 has whole frames
    first = (folder / "audio" / "clip_4.flac").stat().st_mtime_ns
    assert prepare("deepfake_eval_2024", folder=tmp_path / "corpus")[0] == 0
    assert (folder / "audio" / "clip_4.flac").stat().st_mtime_ns == first
    (folder / "audio" / "clip_5.flac").unlink()  # made again
    assert prepare("deepfake_eval_2024", folder=tmp_path / "corpus")[0] == 0
    assert DataDirectory.read(folder) == data and (folder / "audio" / "clip_5.flac").exists()
    write_clip(tmp_path / "corpus" / "audio-data" / "clip 6.mp3", rate=48000, seed=77)
    status, said = prepare("deepfake_eval_2024", folder=tmp_path / "corpus")
    assert status == 0 and "clip_6 is not what it was" in said.err
    assert read_table(folder / "utt2sample_rate")["clip_6"] == "48000"


def test_2021_takes_one_subset_and_its_own_asv_scores(prepare, tmp_path):
    assert prepare("asvspoof2021_la", "--sets", "eval", "hidden")[0] == 0
    folder = tmp_path / "data" / "hidden"
    assert set(read_table(folder / "utt2trim").values()) == {"only_speech"}
    key = (folder / "asv_key").read_text().splitlines()
    assert len(key) == 4 and all(line.endswith(" hidden") for line in key)
    assert len((folder / "asv_scores").read_text().splitlines()) == 12
    assert read_table(folder / "utt2attack")["LA_E_200"] == "-"
    assert read_table(folder / "attack2kind") == {"A07": "TTS"}
    assert not (tmp_path / "data" / "progress").exists()


def test_2021_df_source_is_called_database(prepare, tmp_path):
    assert prepare("asvspoof2021_df")[0] == 0
    folder = tmp_path / "data" / "eval"
    assert set(read_table(folder / "utt2database").values()) == {"vcc2020"}
    assert not (folder / "utt2source").exists() and DataDirectory.read(folder).source == {}


def test_spoofs_alone_say_what_is_missing(prepare, tmp_path):
    status, said = prepare("wavefake")
    assert status == 0 and "without LJSpeech-1.1, with wavs/; --also ljspeech=DIR adds it" in said.out
    assert DataDirectory.read(tmp_path / "data" / "all").count_classes() == (0, 4)
    assert "does not belong to it" in prepare("wavefake", "--also", f"vctk={tmp_path}", out="other")[1].err


def test_mlaad_quotes_are_letters_and_originals_alone_are_bona_fide(prepare, tmp_path):
    assert prepare("mlaad", *beside("mlaad", tmp_path))[0] == 0
    data = DataDirectory.read(tmp_path / "data" / "all")
    assert sum(label == "spoof" for label in data.label.values()) == 4
    bonafide = [u for u, label in data.label.items() if label == "bonafide"]
    assert [u.rpartition("-")[2] for u in bonafide] == ["de_book_00", "de_book_01"]
    assert set(data.attack.values()) == {"-", "tts_models_de_css10", "kokoro"}
    assert json.loads((tmp_path / "data" / "all" / "corpus.json").read_text())["version"] == "v9"
    assert set(read_table(tmp_path / "data" / "all" / "utt2language").values()) == {"de", "ja"}


def corpus_of(name, tmp_path):
    return LAYOUTS[name](tmp_path / "corpus")


def rewrite(pattern, new, file):
    def harm(folder):
        path = folder / file
        path.write_text(re.sub(pattern, new, path.read_text(), count=1))

    return harm


@pytest.mark.parametrize(
    "name, harm, options, message",
    [
        ("in_the_wild", rewrite("bona-fide", "real", "release_in_the_wild/meta.csv"), [],
         r"meta.csv:2: the key is 'real', expected one of bona-fide spoof"),
        ("in_the_wild", rewrite("file,", "name,", "release_in_the_wild/meta.csv"), [],
         r"meta.csv: the header has no column file; it has: name"),
        ("in_the_wild", lambda folder: (folder / "release_in_the_wild" / "2.wav").unlink(), [],
         r"1 of the 4 utterances in .*meta.csv have no .wav file: 2; .*--skip-bad"),
        ("asvspoof2021_la", rewrite("bonafide notrim", "genuine notrim", "keys/LA/CM/trial_metadata.txt"), [],
         r"trial_metadata.txt:1: the key is 'genuine', expected one of bonafide spoof"),
        ("asvspoof2021_la", rewrite(r" eval\n", "\n", "keys/LA/CM/trial_metadata.txt"), [],
         r"trial_metadata.txt:1: expected 8 fields 'SPEAKER UTTERANCE CODEC .* SUBSET', found 7"),
        ("asvspoof2021_la", rewrite("A07 spoof", "bonafide spoof", "keys/LA/CM/trial_metadata.txt"), [],
         r"is spoof with attack 'bonafide'; expected"),
        ("asvspoof5", rewrite("T_0000000001", "T_0000000000", "ASVspoof5_protocols/ASVspoof5.train.tsv"), [],
         r"ASVspoof5.train.tsv:2: T_0000000000 stands here for the second time"),
        ("asvspoof5", lambda _: None, ["--sets", "test"], r"has no set 'test'; there are: train, dev, eval"),
        ("codecfake", lambda _: None, ["--version", "v3"], r"no version 'v3' is known; there are: v1, v2"),
        ("spoofceleb", rewrite("a07/", "a08/", "metadata/train.csv"), [], r"have no .flac file: a08-id10001"),
    ],
)  # fmt: skip
def test_each_trap_is_one_line(name, harm, options, message, prepare, tmp_path):
    folder = corpus_of(name, tmp_path)
    harm(folder)
    status, said = prepare(name, *options, folder=folder)
    assert status in (1, 2) and re.search(message, said.err), said.err
    assert len(said.err.splitlines()) == 1


def test_several_versions_must_be_told(tmp_path, capsys):
    folder = LAYOUTS["mlaad"](tmp_path / "corpus")
    assert main(["prepare", "--corpus", "mlaad", str(folder), str(tmp_path / "data")]) == 1
    assert "give --version v3|v4|" in capsys.readouterr().err
    assert (
        main(["prepare", "--corpus", "mlaad", str(folder.rename(tmp_path / "v8")), str(tmp_path / "d")]) == 0
    )
    assert json.loads((tmp_path / "d" / "all" / "corpus.json").read_text())["version"] == "v8"
    capsys.readouterr()
    words = ["prepare", "--corpus", "mlaad", str(tmp_path / "v8"), str(tmp_path / "e"), "--version", "v9"]
    assert main(words) == 1 and "is 'v8' by its name, and --version says 'v9'" in capsys.readouterr().err


def test_another_corpus_of_originals_is_refused(prepare, tmp_path):
    other = tiny_corpora.ljspeech(tmp_path / "lj") / "wavs"
    other.rename(tmp_path / "lj" / "de_DE")
    status, said = prepare("mlaad", "--also", f"m_ailabs={tmp_path / 'lj'}")
    assert status == 1 and re.search(r"none of \d+ audio files is one that column 'original_file'", said.err)


def test_prefix_and_columns_of_the_key_alone(prepare, tmp_path):
    folder = corpus_of("asvspoof5", tmp_path)
    assert prepare("asvspoof5", "--no-audio", "--sets", "eval", "--utt-prefix", "a5-", folder=folder)[0] == 0
    key = tmp_path / "data" / "eval"
    assert all(utterance.startswith("a5-E_") for utterance in read_table(key / "utt2label"))
    (key / "utt2of_old").write_text("a5-E_1 x\n")
    words = ["--no-audio", "--sets", "eval", "--utt-prefix", "x-"]
    status, said = prepare("asvspoof5", *words, folder=folder)
    assert status == 1 and "--force" in said.err
    assert prepare("asvspoof5", *words, "--force", folder=folder)[0] == 0
    assert not (key / "utt2of_old").exists() and (key / "utt2codec").exists()
    assert prepare("asvspoof5", *words, "--utt-prefix", "a/b", folder=folder)[0] == 1


def test_a_mirrors_part_is_never_taken_silently(prepare, tmp_path):
    folder = corpus_of("in_the_wild", tmp_path)
    (folder / "release_in_the_wild" / "2.wav").unlink()
    (folder / "release_in_the_wild" / "3.wav").write_bytes(b"no audio")
    status, said = prepare("in_the_wild", "--skip-bad", folder=folder)
    assert status == 0
    assert re.search(r"eval: 2 utterances, 1 bona fide, 1 spoof; left out: see .*skipped", said.out)
    assert "not the official In-the-Wild database: bona fide + spoof trials are eval 1+1 here and" in said.out
    assert set(read_table(tmp_path / "data" / "eval" / "skipped")) == {"2", "3"}
    card = CorpusCard.read(tmp_path / "data" / "eval")
    assert "not the official In-the-Wild, eval set: 1 bona fide and 1 spoof" in card.difference(1, 1)
    assert card.difference(19963, 11816) is None


def test_counts_that_agree_are_official(tmp_path, capsys):
    folder = tmp_path / "a5"
    folder.mkdir()
    lines = [f"D_1 D_{i:010d} F - - - - bonafide bonafide -\n" for i in range(31334)]
    lines += [f"D_1 D_{i:010d} F - - - AC1 A09 spoof -\n" for i in range(31334, 140950)]
    np.random.default_rng(0).shuffle(lines)
    (folder / "ASVspoof5.dev.track_1.tsv").write_text("".join(lines))
    words = ["--corpus", "asvspoof5", str(folder), str(tmp_path / "data"), "--no-audio"]
    assert main(["prepare", *words]) == 0
    said = capsys.readouterr().out
    assert "dev: 140950 utterances, 31334 bona fide, 109616 spoof; the key alone" in said
    assert "not the official" not in said and "holds the key of dev only" in said
    table = read_table(tmp_path / "data" / "dev" / "utt2label")
    assert list(table) == sorted(table) and len(table) == 140950
    assert CorpusCard.read(tmp_path / "data" / "dev").difference(31334, 109616) is None


# Tables of anybody's own


@pytest.fixture
def table(tmp_path):
    rows = ["file;class;system;who;part;lang"]
    for i in range(8):
        rate, channels = (16000, 1) if i < 2 else (22050, 2)
        write_clip(tmp_path / "clips" / f"a {i}.wav", rate=rate, channels=channels, seed=i)
        part = "train" if i < 4 else "test"
        rows.append(
            f"clips/a {i}.wav;{'human' if i % 2 else 'tts'};org/model;{'' if i else 'Ann'};{part};en us"
        )
    path = tmp_path / "clips.csv"
    path.write_text("\n".join(rows) + "\n")
    return path


COLUMNS = "path=file,label=class,attack=system,speaker=who,set=part,language=lang"
LABELS = ["--labels", "bonafide=human,spoof=tts"]


def test_a_table_of_ones_own(table, tmp_path, capsys):
    words = ["prepare", "--table", str(table), str(tmp_path / "d"), "--columns", COLUMNS, *LABELS]
    assert main([*words, "--prefix", "mine-"]) == 0
    folder = tmp_path / "d" / "mine-train"
    assert find_problems(folder) == []
    data = DataDirectory.read(folder)
    assert data.count_classes() == (2, 2) and data.name == "mine-train"
    assert data.attack["clips-a_0"] == "org-model" and data.attack["clips-a_1"] == "-"
    assert data.speaker["clips-a_0"] == "Ann" and data.speaker["clips-a_1"] == "clips-a_1"
    assert read_table(folder / "utt2language")["clips-a_0"] == "en_us"
    assert data.wav["clips-a_0"] == str(tmp_path / "clips" / "a 0.wav")  # as it is
    assert data.wav["clips-a_2"] == str(folder / "audio" / "clips-a_2.flac")
    card = json.loads((folder / "corpus.json").read_text())
    assert card["title"] == "table clips.csv" and card["version"].startswith("sha256:")
    capsys.readouterr()


def test_a_table_without_sets_is_one_data_directory(table, tmp_path):
    columns = "path=file,label=class"
    words = ["prepare", "--table", str(table), str(tmp_path / "d"), "--columns", columns, *LABELS]
    assert main(words) == 0
    data = DataDirectory.read(tmp_path / "d")
    assert data.count_classes() == (4, 4) and set(data.attack.values()) == {"-", "unknown"}


def test_what_a_table_says_loosely(tmp_path):
    """No name of an attack, ids that differ in their suffix alone, and a run that ends amid converting."""
    rows = ["path,label,attack", "a.wav,spoof,-", "a.mp3,bonafide,-", "b.wav,spoof,x", "c.wav,spoof,x"]
    (tmp_path / "t.csv").write_text("\n".join(rows) + "\n")
    for name in ("a.wav", "b.wav"):
        write_clip(tmp_path / name, rate=8000)
    (tmp_path / "a.wav").rename(tmp_path / "a.mp3")  # what a file holds is not told by its name
    write_clip(tmp_path / "a.wav", rate=8000, seed=1)
    (tmp_path / "c.wav").write_bytes(b"no audio")
    words = ["prepare", "--table", str(tmp_path / "t.csv"), str(tmp_path / "d")]
    words += ["--columns", "path=path,label=label,attack=attack"]
    assert main(words) == 1
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "d" / "audio").iterdir()}
    assert len(before) == 3
    write_clip(tmp_path / "c.wav", rate=8000, seed=2)
    assert main(words) == 0
    data = DataDirectory.read(tmp_path / "d")
    assert data.attack == {"a.wav": "unknown", "a.mp3": "-", "b": "x", "c": "x"}
    after = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "d" / "audio").iterdir()}
    assert {name: after[name] for name in before} == before and len(after) == 4


@pytest.mark.parametrize(
    "options, message",
    [
        ([], "--table FILE needs --columns"),
        (["--columns", "path=file"], "does not say which column is the label"),
        (["--columns", "path=file,label=class"], "clips.csv:2: the key is 'tts', expected one of bonafide"),
        (
            ["--columns", "path=files,label=class", *LABELS],
            "the header has no column files; it has: file, class",
        ),
        (["--columns", "path=file,label=class,set=split", *LABELS], "the header has no column 'split'"),
        (["--columns", "path=system,label=class", *LABELS], "stands here for the second time"),
        (
            ["--columns", "path=file,label=class,md5=lang", *LABELS],
            "'md5' cannot be the name of a further column",
        ),
    ],
)
def test_a_table_that_is_told_wrongly(table, tmp_path, capsys, options, message):
    assert main(["prepare", "--table", str(table), str(tmp_path / "d"), *options]) in (1, 2)
    said = capsys.readouterr().err
    assert message in said and len(said.splitlines()) == 1


def test_a_collection_of_corpora(table, tmp_path, capsys):
    tiny_corpora.in_the_wild(tmp_path / "itw")
    file = tmp_path / "corpora.yaml"
    file.write_text(
        "itw: {corpus: in_the_wild, path: itw, utt_prefix: itw-}\n"
        "mine:\n  table: clips.csv\n  columns: {path: file, label: class, set: part}\n"
        "  labels: {bonafide: [human], spoof: [tts]}\n  sets: [test]\n"
    )
    assert main(["prepare", "--list", str(file), str(tmp_path / "d")]) == 0
    assert sorted(path.name for path in (tmp_path / "d").iterdir()) == ["itw-eval", "mine-test"]
    data = DataDirectory.read(tmp_path / "d" / "itw-eval")
    assert data.utterances == [f"itw-{i}" for i in range(4)]
    assert main(["corpora", "find", str(file)]) == 0
    assert "In-the-Wild" in capsys.readouterr().out
    for content, message in (
        ("a/b: {corpus: in_the_wild, path: itw}\n", "is no name for data directories"),
        ("x: {corpus: in_the_wild}\n", "expected corpus and path, or table and columns"),
        ("x: {corpus: in_the_wild, path: itw, set: [a]}\n", "unknown key 'set'; did you mean 'sets'?"),
        ("x: {corpus: wild, path: itw}\n", "no corpus 'wild' is known; there are: asvspoof2019_la"),
    ):
        file.write_text(content)
        assert main(["prepare", "--list", str(file), str(tmp_path / "d")]) == 1
        assert message in capsys.readouterr().err


def test_a_description_of_ones_own(tmp_path, capsys):
    file = tmp_path / "mine.yaml"
    file.write_text(
        "title: Mine\nsets: {test: {bonafide: 1, spoof: 1}}\n"
        "trials: [{files: '{key}/{speaker}_*'}]\nlabels: {bonafide: [real], spoof: [fake]}\n"
    )
    write_clip(tmp_path / "clips" / "real" / "ann_1.flac")
    write_clip(tmp_path / "clips" / "fake" / "bob_1.flac", seed=1)
    words = ["prepare", "--corpus", str(file), str(tmp_path / "clips"), str(tmp_path / "d")]
    assert main(words) == 0 and "not the official" not in capsys.readouterr().out
    assert DataDirectory.read(tmp_path / "d" / "test").speaker == {"fake-bob_1": "bob", "real-ann_1": "ann"}
    file.write_text(file.read_text().replace("sets:", "set:"))
    assert main(words) == 1 and "unknown key 'set'; did you mean 'sets'?" in capsys.readouterr().err


def test_registry_verbs(capsys):
    assert main(["corpora", "ls"]) == 0
    said = capsys.readouterr().out
    assert all(name in said for name in list_corpora()) and "1,004,081" in said
    assert main(["corpora", "show", "asvspoof5"]) == 0
    assert "codec_seed" in capsys.readouterr().out
    assert main(["corpora", "files", "asvspoof2021_la"]) == 0
    assert "f052cc2ed276745afa3b5198665d3b26 https://www.asvspoof.org" in capsys.readouterr().out
    assert main(["corpora", "show", "nothing"]) == 1 and "no corpus 'nothing'" in capsys.readouterr().err


def test_counts_are_those_of_the_keys_at_hand(shared_data):
    from asvtk.io.protocols import read_protocol

    oracles = shared_data / "oracles"
    keys = {("in_the_wild", "eval"): oracles / "in_the_wild_key.txt.gz"}
    for name, part in {"train": "train.trn", "dev": "dev.trl", "eval": "eval.trl"}.items():
        keys["asvspoof2019_la", name] = oracles / f"ASVspoof2019.LA.cm.{part}.txt.gz"
    for (corpus, name), path in keys.items():
        trials = read_protocol(path)
        of_set = load_description(corpus).sets[name]
        bonafide = int(trials.bonafide.sum())
        assert (bonafide, trials.bonafide.size - bonafide) == (of_set.bonafide, of_set.spoof), path
