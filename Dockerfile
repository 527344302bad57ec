# Two images from one file:
#   docker build --target app -t fedpet:app .            cases in a browser; no Fed-BioMed, whose pins are old. With
#       --build-arg LOCK=app-gpu also CUDA, PyTorch and Captum
#   docker build --target training -t fedpet:training .  a node or the researcher of a federation
# How to run them: docs/deployment.md.
FROM python:3.11-slim-bookworm AS wheel
WORKDIR /build
COPY requirements/build.txt requirements/
RUN pip install --no-cache-dir --require-hashes --requirement requirements/build.txt
COPY pyproject.toml README.md LICENSE ./
COPY app app
COPY explain explain
COPY fedpet fedpet
COPY inference inference
COPY reports reports
COPY training training
RUN pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /wheel .

FROM wheel AS app-packages
ARG LOCK=app
COPY requirements/${LOCK}.txt requirements/
RUN python -m venv /opt/fedpet \
 && /opt/fedpet/bin/pip install --no-cache-dir --require-hashes --requirement "requirements/${LOCK}.txt" \
 && /opt/fedpet/bin/pip install --no-cache-dir --no-deps /wheel/*.whl

FROM wheel AS training-packages
COPY requirements/training.txt requirements/
RUN python -m venv /opt/fedpet \
 && /opt/fedpet/bin/pip install --no-cache-dir --require-hashes --requirement requirements/training.txt \
 && /opt/fedpet/bin/pip install --no-cache-dir --no-deps /wheel/*.whl

FROM python:3.11-slim-bookworm AS base
RUN useradd --home-dir /data --no-create-home --uid 10001 fedpet && install --directory --owner fedpet --mode 700 /data
ENV PATH=/opt/fedpet/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    HOME=/data \
    FEDPET_HOME=/data \
    FEDPET_CONFIG=/etc/fedpet/fedpet.toml
VOLUME /data
USER 10001
WORKDIR /data
ENTRYPOINT ["fedpet"]

FROM base AS training
COPY --from=training-packages /opt/fedpet /opt/fedpet
CMD ["train", "--help"]

FROM base AS app
COPY --from=app-packages /opt/fedpet /opt/fedpet
EXPOSE 8501
HEALTHCHECK --start-period=60s CMD ["python", "-c", "import urllib.request as web; web.urlopen('http://127.0.0.1:8501/_stcore/health', timeout=3)"]
CMD ["app", "--no-browser"]
