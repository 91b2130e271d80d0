# The image of the pipeline: the core lock and the sources, nothing of development. Build: docker build -t medimg .
# A small one that only fetches data: docker build --target fetch -t medimg-fetch .
ARG BASE=python:3.10-slim-bookworm

FROM ${BASE} AS build
# pyfarmhash has no wheel for Linux.
RUN apt-get update && apt-get install -y --no-install-recommends g++ && rm -rf /var/lib/apt/lists/*
# Compiled here: the user of the image cannot write beside the sources, and each start would compile anew.
ENV UV_COMPILE_BYTECODE=1
WORKDIR /opt/medimg
COPY . .
RUN setup/install.sh core && rm -rf .uv

FROM ${BASE} AS fetch-build
RUN python -m venv /opt/medimg
ENV PATH=/opt/medimg/bin:$PATH
WORKDIR /src
COPY requirements/py310-fetch.lock .
RUN pip install --no-cache-dir --no-deps --require-hashes --requirement py310-fetch.lock
COPY pyproject.toml README.md LICENSE ./
COPY medimg medimg
COPY components components
COPY pipeline pipeline
COPY kubeflow kubeflow
# TFX and the rest of the core are not there; `medimg fetch` does without. pip and setuptools have nothing left to do.
RUN pip install --no-cache-dir --no-deps --no-build-isolation . && pip uninstall --yes setuptools pip

FROM ${BASE} AS fetch
COPY --from=fetch-build /opt/medimg /opt/medimg
# Any user may be given (docker run --user): nothing is written but below /data, and what wants a home gets /tmp.
ENV PATH=/opt/medimg/bin:$PATH HOME=/tmp
RUN mkdir --mode 1777 /data
USER 1000:1000
WORKDIR /data
VOLUME /data
# As Ctrl-C: the fetch ends in order and the same command continues it.
STOPSIGNAL SIGINT
RUN medimg fetch --help >/dev/null
ENTRYPOINT ["medimg"]
CMD ["fetch", "--help"]

# Last, so that it is what a build without --target makes.
FROM ${BASE}
COPY --from=build /opt/medimg /opt/medimg
ENV PATH=/opt/medimg/.venv/bin:$PATH
RUN useradd --create-home --uid 1000 medimg && mkdir --mode 1777 /runs
USER medimg
WORKDIR /runs
RUN medimg --help >/dev/null
ENTRYPOINT ["medimg"]
CMD ["--help"]
