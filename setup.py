"""asvtk: Kaldi-style recipes that tell human speech from synthetic and converted speech."""

from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = {}
exec((HERE / "asvtk" / "version.py").read_text(), VERSION)

setup(
    name="asvtk",
    version=VERSION["__version__"],
    description=__doc__.partition(": ")[2].strip(),
    long_description=(HERE / "README.md").read_text(),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.10",
    packages=find_packages(include=["asvtk", "asvtk.*"]),
    package_data={"asvtk": ["corpora/*.json", "report/*.json", "report/*.css"]},
    install_requires=[
        "av",  # FFmpeg
        "kaldiio",
        "numpy",
        "pyyaml",
        "safetensors",
        "scipy>=1.12",  # isotonic_regression
        "silero-vad>=6.2.1",  # without torchaudio
        "soundfile>=0.13",  # libFLAC 1.4: older ones garble samples that are out of range without a word
        "torch",
        "tqdm",
        "transformers",
    ],
    extras_require={
        "av": [],  # it was optional once
        # Needs an NVIDIA GPU and the CUDA compiler; everything works without it.
        "mamba": ["mamba-ssm"],
        # Calibration, fusion and plots for the reports.
        "report": ["matplotlib", "scikit-learn"],
        # Training also writes TensorBoard events where it is installed.
        "tensorboard": ["tensorboard"],
        # The generated corpus of egs/mini. pyworld 0.3.5 imports pkg_resources.
        "mini": ["espeakng-loader", "pyworld", "setuptools<81"],
        "test": ["hypothesis", "pytest", "pytest-xdist", "ruff"],
    },
    entry_points={"console_scripts": ["asvtk = asvtk.bin.main:main"]},
    classifiers=[
        "Programming Language :: Python :: 3 :: Only",
        "Topic :: Multimedia :: Sound/Audio :: Speech",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
)
