# One image for every task: fetch, run, a task on Kubeflow, a worker of Beam. Build: docker build --target run -t medimg .
# A small one that only fetches data: --target fetch. With CUDA: --target gpu.
#
# Arguments, all optional. None reaches an image: what the build stages know of a proxy stays there, only /opt/venv and /opt/medimg are taken out.
#   PLATFORM                  py313 or py310 (requirements/<platform>.lock), for what the newer one lacks
#   BASE_PY313, BASE_PY310    the base image, best with its digest: python:3.13-slim-trixie@sha256:...
#   EXTRAS                    further locks, requirements/<platform>-<extra>.lock
#   CA_CERTIFICATE            the certificate of a proxy that the build goes through, as text: "$(cat proxy.crt)"
#   PIP_INDEX_URL             a package mirror; HTTP_PROXY, HTTPS_PROXY and NO_PROXY are known to docker by themselves
ARG PLATFORM=py313
ARG BASE_PY313=python:3.13-slim-trixie
ARG BASE_PY310=python:3.10-slim-bookworm
FROM ${BASE_PY313} AS py313
FROM ${BASE_PY310} AS py310

# The package tools, which no image keeps, and what `medimg fetch` needs: in the versions of the core's lock.
FROM ${PLATFORM} AS tools
ARG PLATFORM
ARG CA_CERTIFICATE
ARG PIP_INDEX_URL
ENV PIP_CERT=/etc/ssl/certs/ca-certificates.crt PIP_DISABLE_PIP_VERSION_CHECK=1
ENV INSTALL="pip install --no-cache-dir --no-compile --no-deps --no-build-isolation"
RUN if [ -n "$CA_CERTIFICATE" ]; then printf '%s\n' "$CA_CERTIFICATE" >/usr/local/share/ca-certificates/proxy.crt && update-ca-certificates; fi
RUN python3 -m venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH
# The sources lie beside the packages: a changed line makes a new layer of megabytes, not of gigabytes.
RUN echo /opt/medimg >"$(python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/medimg.pth"
WORKDIR /build
COPY requirements/${PLATFORM}-fetch.lock fetch.lock
RUN $INSTALL --require-hashes --requirement fetch.lock
COPY setup/slim.py .

FROM tools AS sources
COPY pyproject.toml README.md LICENSE ./
COPY medimg medimg
COPY components components
COPY pipeline pipeline
COPY kubeflow kubeflow
COPY cli cli
COPY schema schema
RUN $INSTALL --target /opt/medimg .
RUN python -W ignore slim.py /opt/medimg

FROM tools AS fetch-packages
RUN pip uninstall --yes setuptools pip && python -W ignore slim.py /opt/venv/lib

# What the images share. Any user may be given (docker run --user), and the root file system may be read-only: nothing is written but below the
# working directory and /tmp. A user that /etc/passwd does not know has no name and no home. Gone: the base's own pip, programs that become root.
FROM ${PLATFORM} AS image
ENV PATH=/opt/medimg/bin:/opt/venv/bin:$PATH HOME=/tmp USER=medimg
RUN rm -rf /usr/local/bin/pip* /usr/local/lib/python3*/site-packages/pip* /usr/share/python-wheels \
  && find / -xdev -type f -perm /6000 -exec chmod ug-s {} + \
  && mkdir --mode 1777 /data /runs
USER 1000:1000
ENTRYPOINT ["medimg"]

FROM image AS fetch
COPY --from=fetch-packages /opt/venv /opt/venv
COPY --from=sources /opt/medimg /opt/medimg
WORKDIR /data
VOLUME /data
# As Ctrl-C: the fetch ends in order and the same command continues it.
STOPSIGNAL SIGINT
RUN medimg fetch --help >/dev/null
CMD ["fetch", "--help"]

FROM tools AS core
ARG PLATFORM
ARG EXTRAS=volumes
ARG PIP_INDEX_URL
# pyfarmhash has no wheel for Linux: a compiler, and Python's headers where the base has Debian's own Python.
RUN apt-get update && apt-get install -y --no-install-recommends g++ \
  $(test -e "$(python -c 'import sysconfig; print(sysconfig.get_path("include"))')/Python.h" || echo python3-dev)
COPY requirements/${PLATFORM}*.lock requirements/
RUN $INSTALL --require-hashes --requirement "requirements/$PLATFORM.lock" \
  $(for extra in $EXTRAS; do echo "--requirement requirements/$PLATFORM-$extra.lock"; done)

FROM core AS packages
RUN pip uninstall --yes pip && python -W ignore slim.py /opt/venv/lib

FROM image AS run
COPY --from=packages /opt/venv /opt/venv
COPY --from=sources /opt/medimg /opt/medimg
WORKDIR /runs
RUN medimg --help >/dev/null
CMD ["--help"]

FROM core AS gpu-packages
ARG PLATFORM
ARG PIP_INDEX_URL
RUN $INSTALL --require-hashes --requirement "requirements/$PLATFORM-gpu.lock"
RUN pip uninstall --yes pip && python -W ignore slim.py /opt/venv/lib

# CUDA's libraries are packages of Python; the driver and its device are the host's (docker run --gpus all).
FROM image AS gpu
COPY --from=gpu-packages /opt/venv /opt/venv
COPY --from=sources /opt/medimg /opt/medimg
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
WORKDIR /runs
RUN medimg --help >/dev/null
CMD ["--help"]

# What a build without --target makes. Without BuildKit such a build makes everything above on its way, CUDA included: name the target.
FROM run
