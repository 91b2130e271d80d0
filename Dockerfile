# The image of the pipeline: the core lock and the sources, nothing of development. Build: docker build -t medimg .
FROM python:3.10-slim-bookworm AS build
# pyfarmhash has no wheel for Linux.
RUN apt-get update && apt-get install -y --no-install-recommends g++ && rm -rf /var/lib/apt/lists/*
# Compiled here: the user of the image cannot write beside the sources, and each start would compile anew.
ENV UV_COMPILE_BYTECODE=1
WORKDIR /opt/medimg
COPY . .
RUN setup/install.sh core && rm -rf .uv

FROM python:3.10-slim-bookworm
COPY --from=build /opt/medimg /opt/medimg
ENV PATH=/opt/medimg/.venv/bin:$PATH
RUN useradd --create-home --uid 1000 medimg && mkdir --mode 1777 /runs
USER medimg
WORKDIR /runs
RUN medimg --help >/dev/null
ENTRYPOINT ["medimg"]
CMD ["--help"]
