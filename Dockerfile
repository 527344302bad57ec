# The application without Fed-BioMed: its pins (an old cryptography) stay on the training nodes.
FROM python:3.11-slim AS build
WORKDIR /build
COPY pyproject.toml README.md LICENSE ./
COPY app app
COPY clinical clinical
COPY cohort cohort
COPY explain explain
COPY fedpet fedpet
COPY imaging imaging
COPY inference inference
COPY reports reports
COPY training training
RUN python -m venv /opt/fedpet && /opt/fedpet/bin/pip install --no-cache-dir '.[app]'

FROM python:3.11-slim
RUN useradd --create-home --uid 10001 fedpet
COPY --from=build /opt/fedpet /opt/fedpet
ENV PATH=/opt/fedpet/bin:$PATH FEDPET_HOME=/data PYTHONUNBUFFERED=1
RUN mkdir /data && chown fedpet /data
VOLUME /data
USER fedpet
WORKDIR /home/fedpet
ENTRYPOINT ["fedpet"]
CMD ["--help"]
