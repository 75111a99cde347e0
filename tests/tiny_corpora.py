"""A corpus of a few clips in the exact layout of each database that asvtk knows."""

from pathlib import Path

import numpy as np
import soundfile

__all__ = ["LAYOUTS", "write_clip"]

_LABELS = ("bonafide", "spoof", "spoof", "bonafide")


def write_clip(path, rate: int = 16000, channels: int = 1, seed: int = 0, seconds: float = 0.4) -> Path:
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    audio = 0.1 * np.random.default_rng(seed).normal(size=(round(seconds * rate), channels))
    if path.suffix == ".mp3":
        soundfile.write(path, audio, rate, format="MP3")
    else:
        soundfile.write(path, audio, rate, subtype="PCM_16")
    return path


def _lines(path: Path, lines) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")


def _asvspoof2019(folder: Path, task: str) -> Path:
    root = folder / task
    for number, (name, part) in enumerate(
        {"train": "train.trn", "dev": "dev.trl", "eval": "eval.trl"}.items()
    ):
        lines = []
        for i, label in enumerate(_LABELS):
            utterance = f"{task}_{name[0].upper()}_{1000 * number + i}"
            write_clip(root / f"ASVspoof2019_{task}_{name}" / "flac" / f"{utterance}.flac", seed=i)
            attack = "-" if label == "bonafide" else "A01" if task == "LA" else "AB"
            lines.append(f"{task}_00{i:02d} {utterance} {'-' if task == 'LA' else 'abc'} {attack} {label}")
        protocols = root / f"ASVspoof2019_{task}_cm_protocols"
        _lines(protocols / f"ASVspoof2019.{task}.cm.{part}.txt", lines)
    return root


def _asvspoof2021(folder: Path, task: str, columns) -> Path:
    lines = []
    for number, subset in enumerate(("eval", "progress", "hidden")):
        for i, label in enumerate(_LABELS):
            utterance = f"{task}_E_{100 * number + i}"
            write_clip(folder / f"ASVspoof2021_{task}_eval" / "flac" / f"{utterance}.flac", seed=i)
            lines.append(" ".join([f"{task}_00{i:02d}", utterance, *columns(i, label, subset)]))
    _lines(folder / "keys" / task / "CM" / "trial_metadata.txt", lines)
    return folder


def _attack(label: str) -> str:
    return "bonafide" if label == "bonafide" else "A07"


def asvspoof2019_la(folder: Path) -> Path:
    return _asvspoof2019(folder, "LA")


def asvspoof2019_pa(folder: Path) -> Path:
    return _asvspoof2019(folder, "PA")


def asvspoof2021_la(folder: Path) -> Path:
    def columns(i, label, subset):
        trim = "only_speech" if subset == "hidden" else "notrim"
        return (("none", "alaw")[i // 2], ("-", "ita_tx")[i // 2], _attack(label), label, trim, subset)

    asv, key = [], []
    for i, (kind, attack) in enumerate(
        [("target", "bonafide"), ("target", "bonafide"), ("nontarget", "bonafide"), ("spoof", "A07")] * 3
    ):
        subset = ("eval", "progress", "hidden")[i // 4]
        asv.append(f"LA_0007-alaw-ita_tx LA_E_{i}-alaw-ita_tx {(3.0, 2.0, -1.0, 2.5)[i % 4]}")
        key.append(f"LA_0007-alaw-ita_tx LA_E_{i}-alaw-ita_tx alaw ita_tx {attack} {kind} notrim {subset}")
    _lines(folder / "keys" / "LA" / "ASV" / "ASVTorch_Kaldi" / "score.txt", asv)
    _lines(folder / "keys" / "LA" / "ASV" / "trial_metadata.txt", key)
    return _asvspoof2021(folder, "LA", columns)


def asvspoof2021_df(folder: Path) -> Path:
    def columns(i, label, subset):
        vocoder = "bonafide" if label == "bonafide" else "neural_vocoder_autoregressive"
        start = ("nocodec", "low_mp3")[i // 2], "vcc2020", _attack(label), label, "notrim", subset
        return (*start, vocoder, "Task1", "team05", "FM", "EN")

    return _asvspoof2021(folder, "DF", columns)


def asvspoof2021_pa(folder: Path) -> Path:
    def columns(i, label, subset):
        attacker = ("-", "-", "-", "-") if label == "bonafide" else ("r1", "m2", "d3", "c4")
        return ("R1", "M1", "D2", *attacker, label, "notrim", subset)

    return _asvspoof2021(folder, "PA", columns)


def asvspoof5(folder: Path) -> Path:
    for part, letter, where in (
        ("train", "T", "flac_T"), ("dev.track_1", "D", "flac_D"), ("eval.track_1", "E", "flac_E_eval"),
    ):  # fmt: skip
        lines = []
        for i, label in enumerate(_LABELS):
            utterance = f"{letter}_000000000{i}"
            write_clip(folder / where / f"{utterance}.flac", seed=i)
            codec = ("C01", "3", f"{letter}_0000000009") if letter == "E" and i > 1 else ("-", "-", "-")
            tag = "-" if label == "bonafide" else "AC1"
            attack = "bonafide" if label == "bonafide" else "A18"
            lines.append(
                " ".join([f"{letter}_000{i}", utterance, "FM"[i % 2], *codec, tag, attack, label, "-"])
            )
        _lines(folder / "ASVspoof5_protocols" / f"ASVspoof5.{part}.tsv", lines)
    return folder


def in_the_wild(folder: Path) -> Path:
    root = folder / "release_in_the_wild"
    lines = ["file,speaker,label"]
    for i, label in enumerate(_LABELS):
        write_clip(root / f"{i}.wav", seed=i)
        lines.append(f"{i}.wav,Alec Guinness,{'bona-fide' if label == 'bonafide' else 'spoof'}")
    _lines(root / "meta.csv", lines)
    return folder


def wavefake(folder: Path) -> Path:
    for attack in ("ljspeech_melgan", "jsut_parallel_wavegan"):
        for i in range(2):
            write_clip(folder / "generated_audio" / attack / f"LJ001-000{i}_gen.wav", rate=22050, seed=i)
    return folder


def ljspeech(folder: Path) -> Path:
    for i in range(2):
        write_clip(folder / "wavs" / f"LJ001-000{i}.wav", rate=22050, seed=9 + i)
    return folder


def fake_or_real(folder: Path) -> Path:
    root = folder / "for-norm"
    for part in ("training", "validation", "testing"):
        for i, kind in enumerate(("real", "fake")):
            write_clip(root / part / kind / f"file{i}.wav", seed=i)
            write_clip(root / part / kind / f"file{9 + i}.mp3", seed=i, channels=2)
    return root


def mlaad(folder: Path) -> Path:
    header = "path|original_file|language|is_original_language|duration|training_data|model_name|"
    header += "architecture|transcript"
    for language, model in (("de", "tts_models_de_css10"), ("ja", "kokoro")):
        place = f"fake/{language}/{model}"
        lines = [header]
        for i in range(2):
            write_clip(folder / place / f"{language}_book_0{i}.wav", rate=24000, seed=i)
            text = 'he said "no' if i else "yes"  # a quote that never ends
            lines.append(
                f"./{place}/{language}_book_0{i}.wav|"
                f"{language}_DE/by_book/female/eva/book/wavs/{language}_book_0{i}.wav|{language}|True|0.4|x|m|a|{text}"
            )
        _lines(folder / place / "meta.csv", lines)
    return folder


def m_ailabs(folder: Path) -> Path:
    for i in range(5):  # more than were spoken by a model
        write_clip(
            folder / "de_DE" / "by_book" / "female" / "eva" / "book" / "wavs" / f"de_book_0{i}.wav",
            seed=40 + i,
        )
    write_clip(folder / "de_DE" / "by_book" / "male" / "max" / "other" / "wavs" / "de_book_00.wav", seed=50)
    return folder


def codecfake(folder: Path) -> Path:
    for name in ("train", "dev", "C1", "C7", "A1"):
        lines = []
        for i, label in enumerate(_LABELS):
            file = f"F0{i}_SSB{i}.wav" if label == "spoof" else f"SSB{i}.wav"
            write_clip(folder / name / file, seed=i)
            lines.append(f"{file} {'fake' if label == 'spoof' else 'real'} {i if label == 'spoof' else 0}")
        _lines(folder / "label" / f"{name}.txt", lines)
    return folder


def dfadd(folder: Path) -> Path:
    for part in ("train", "valid", "test"):
        write_clip(folder / "DATASET_VCTK_BONAFIDE" / part / "p345_251.wav", seed=1)
        write_clip(folder / "DATASET_PflowTTS" / part / "p345_251_pflow.wav", rate=22050, seed=2)
        write_clip(folder / "DATASET_GradTTS" / part / "p345_251_gradtts.wav", rate=22050, seed=3)
    return folder


def spoofceleb(folder: Path) -> Path:
    for part in ("train", "development", "evaluation"):
        lines = ["file,speaker,attack"]
        for i, attack in enumerate(("a00", "a07", "a23")):
            file = f"{attack}/id1000{i}/x-0000{i}.flac"
            write_clip(folder / "flac" / part / file, seed=i)
            lines.append(f"{file},id1000{i},{attack}")
        _lines(folder / "metadata" / f"{part}.csv", lines)
    return folder


def partialspoof(folder: Path) -> Path:
    root = folder / "database"
    for name in ("train", "dev", "eval"):
        lines = []
        for i, label in enumerate(_LABELS):
            utterance = f"CON_{name[0].upper()}_000000{i}"
            write_clip(root / name / "con_wav" / f"{utterance}.wav", seed=i)
            lines.append(f"LA_00{i:02d} {utterance} - {'CON' if label == 'spoof' else '-'} {label}")
        _lines(
            root / "protocols" / "PartialSpoof_LA_cm_protocols" / f"PartialSpoof.LA.cm.{name}.trl.txt", lines
        )
    return folder


def deepfake_eval_2024(folder: Path) -> Path:
    lines = ["Filename,Ground Truth,Finetuning Set,Language"]
    for i, label in enumerate(_LABELS * 2):
        file = f"clip {i}.mp3"
        write_clip(folder / "audio-data" / file, rate=44100, channels=2, seed=i)
        lines.append(
            f"{file},{'Fake' if label == 'spoof' else 'Real'},{'train' if i < 4 else 'test'},English"
        )
    _lines(folder / "audio-metadata-publish.csv", lines)
    return folder


#: name of a corpus -> writes a small one under a folder, and returns the folder that a user would give
LAYOUTS = {
    write.__name__: write
    for write in (
        asvspoof2019_la, asvspoof2019_pa, asvspoof2021_la, asvspoof2021_df, asvspoof2021_pa, asvspoof5,
        in_the_wild, wavefake, fake_or_real, mlaad, codecfake, dfadd, spoofceleb, partialspoof,
        deepfake_eval_2024,
    )
}  # fmt: skip
