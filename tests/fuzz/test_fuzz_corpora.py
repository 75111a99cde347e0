"""Protocols and tables of corpora, descriptions, lists of corpora, and what data directories say they are."""

import pytest
import yaml
from hypothesis import strategies as st
from mutations import DOCUMENTS, apply, apply_changes, byte_edits, changes, fuzz, text_edits, to_yaml
from tiny_corpora import LAYOUTS, write_clip

from asvtk.corpora.description import description_path

#: corpus -> its list of trials, below the folder that its writer returns
LISTS = {
    "asvspoof2019_la": "ASVspoof2019_LA_cm_protocols/ASVspoof2019.LA.cm.eval.trl.txt",
    "asvspoof2021_df": "keys/DF/CM/trial_metadata.txt",
    "asvspoof5": "ASVspoof5_protocols/ASVspoof5.eval.track_1.tsv",
    "in_the_wild": "release_in_the_wild/meta.csv",
    "spoofceleb": "metadata/evaluation.csv",
    "mlaad": "fake/ja/kokoro/meta.csv",
    "codecfake": "label/C7.txt",
}
SETS = {"codecfake": "C7", "mlaad": "all"}
VERSIONS = {"codecfake": ["--version", "v1"], "mlaad": ["--version", "v9"]}


@pytest.fixture(scope="session")
def corpora(tmp_path_factory):
    """A sound small corpus of each layout."""
    folder = tmp_path_factory.mktemp("corpora")
    return {name: LAYOUTS[name](folder / name) for name in LISTS}


def _prepare(case, corpora, name: str, text: bytes, *options):
    """Prepare a corpus one list of which has another text."""
    folder = case.copy(corpora[name], "corpus")
    (folder / LISTS[name]).write_bytes(text)
    words = ["--corpus", name, "corpus", "out", "--sets", SETS.get(name, "eval"), *VERSIONS.get(name, ())]
    return case.run(*words, *options)


@fuzz(60, name=st.sampled_from(sorted(LISTS)), edits=st.one_of(text_edits(), byte_edits()))
def test_damaged_lists_of_trials(lab, corpora, name, edits):
    with lab.case("prepare") as case:
        text = apply(edits, (corpora[name] / LISTS[name]).read_bytes())
        said = _prepare(case, corpora, name, text)
        if said.status == 0:
            case.run(f"out/{SETS.get(name, 'eval')}", verb="validate", status=0)


@fuzz(40, edits=st.one_of(text_edits(), byte_edits()))
def test_damaged_table_of_ones_own(lab, corpora, edits):
    with lab.case("prepare") as case:
        for i in range(4):
            write_clip(case.folder / f"{i}.wav", seed=i)
        text = "path,label,set\n" + "".join(f"{i}.wav,{('spoof', 'bonafide')[i % 2]},a\n" for i in range(4))
        case.write("t.csv", apply(edits, text.encode()))
        case.run("--table", "t.csv", "out", "--columns", "path=path,label=label,set=set", names="t.csv")


@fuzz(40, name=st.sampled_from(sorted(LISTS)), changed=changes())
def test_wrong_values_in_a_description(lab, corpora, name, changed):
    with lab.case("prepare") as case:
        sound = yaml.safe_load(description_path(name).read_text())
        case.write("mine.yaml", to_yaml(apply_changes(changed, sound)))
        case.run("--corpus", "mine.yaml", str(corpora[name]), "out", "--no-audio", *VERSIONS.get(name, ()))
        case.run("show", "mine.yaml", verb="corpora")


@pytest.mark.parametrize("number", range(len(DOCUMENTS)))
def test_odd_documents_for_corpora(lab, number):
    with lab.case("prepare") as case:
        case.write("c.yaml", DOCUMENTS[number])
        case.run("--list", "c.yaml", "out", names="c.yaml")
        case.run("--corpus", "c.yaml", ".", "out", names="c.yaml")
        case.write("s.txt", "a 1\nb 2\n")
        case.run("--format", "arena", "--scores", "s.txt", "--out", "s", "--meta", "c.yaml", verb="submit")
        data = case.copy(lab.data / "dev", "dev")
        (data / "corpus.json").write_text(DOCUMENTS[number])
        scores = lab.exp / "scores" / "dev.txt"
        case.run("--scores", scores, "--data", "dev", names="corpus.json", verb="evaluate")


@fuzz(40, changed=changes())
def test_wrong_values_in_a_list_of_corpora(lab, corpora, changed):
    with lab.case("prepare") as case:
        sound = {
            "a": {"corpus": "in_the_wild", "path": str(corpora["in_the_wild"]), "sets": ["eval"]},
            "b": {
                "corpus": "codecfake",
                "path": str(corpora["codecfake"]),
                "version": "v1",
                "utt_prefix": "b-",
            },
        }
        case.write("c.yaml", to_yaml(apply_changes(changed, sound)))
        case.run("--list", "c.yaml", "out")
        case.run("find", "c.yaml", verb="corpora")
