# asvtk serve on a CPU, as a user without rights.
#   docker build -t asvtk .
#   docker run --rm -p 127.0.0.1:8000:8000 -v asvtk:/var/cache/asvtk -v "$PWD/token:/run/secrets/token:ro" asvtk
# The file token holds the token that clients must know; user 10001 must be able to read it.
# What follows the image's name replaces CMD: --model hf:owner/name --token-file /run/secrets/token
FROM python:3.11-slim

ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src

# torch alone first, from PyTorch's index: PyPI's wheel for Linux brings CUDA along, some gigabytes.
COPY constraints.txt ./
RUN pip install --index-url https://download.pytorch.org/whl/cpu "$(grep '^torch==' constraints.txt)"

# FFmpeg and libsndfile come in the wheels of av and soundfile.
COPY pyproject.toml setup.py README.md LICENSE ./
COPY asvtk asvtk
RUN PIP_CONSTRAINT=/src/constraints.txt pip install '.[serve]' && rm -rf /src/*

RUN useradd --system --uid 10001 --no-create-home asvtk \
    && install -d -o asvtk /var/cache/asvtk
USER asvtk
WORKDIR /var/cache/asvtk
# Models that are named are fetched into the volume once.
ENV ASVTK_HOME=/var/cache/asvtk HF_HOME=/var/cache/asvtk/huggingface PYTHONUNBUFFERED=1
VOLUME /var/cache/asvtk

EXPOSE 8000
HEALTHCHECK --start-period=60s --interval=30s --timeout=5s \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]
ENTRYPOINT ["asvtk", "serve", "--host", "0.0.0.0", "--port", "8000"]
CMD ["--model", "aasist", "--token-file", "/run/secrets/token"]
