# Two images: `serve` answers from bundles (the default), `train` makes them.
#
#   docker build --target serve -t svfit-serve .
#   docker build --target train -t svfit-train .
#
# A base needs Python ≥ 3.11 with venv and nothing else. Pin it further with its digest:
#   --build-arg BASE=docker.io/library/python:3.11.14-slim-bookworm@sha256:…
ARG BASE=docker.io/library/python:3.11.14-slim-bookworm

# ---------------------------------------------------------------- pip, outside of what ships
FROM ${BASE} AS tools
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
RUN python3 -m venv /opt/tools
WORKDIR /src
COPY pyproject.toml README.md LICENSE constraints.txt ./
COPY serve serve
COPY export export
COPY pipeline pipeline
RUN /opt/tools/bin/pip wheel --no-deps --wheel-dir /wheels .

# ---------------------------------------------------------------- what serving needs, at pinned versions
FROM tools AS edge
# More packages, by name: "grpcio protobuf" for gRPC.
ARG EXTRA=""
COPY deploy/serve.txt deploy/serve.txt
RUN python3 -m venv --without-pip /opt/svfit \
 && /opt/tools/bin/pip --python /opt/svfit/bin/python install --no-deps --only-binary :all: \
      --constraint constraints.txt --requirement deploy/serve.txt ${EXTRA} /wheels/*.whl
COPY deploy/health.py /opt/svfit/health.py

# ---------------------------------------------------------------- its bill of materials, CycloneDX
FROM edge AS bill
COPY deploy/sbom.sh deploy/sbom.sh
RUN deploy/sbom.sh /opt/svfit/bin/python /sbom.cdx.json

# ---------------------------------------------------------------- train: a GPU host; PyPI's torch is the CUDA build
FROM tools AS train
# Another index of torch, such as https://download.pytorch.org/whl/cpu
ARG TORCH_INDEX=""
# seqeval comes as source alone, which Debian 12's pip can't build.
RUN python3 -m venv /opt/svfit \
 && /opt/svfit/bin/pip install --upgrade "pip>=25" \
 && /opt/svfit/bin/pip install --constraint constraints.txt ${TORCH_INDEX:+--index-url ${TORCH_INDEX}} torch \
 && /opt/svfit/bin/pip install --constraint constraints.txt "$(echo /wheels/*.whl)[train]" \
 && groupadd --gid 10001 svfit \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /work --shell /usr/sbin/nologin svfit \
 && mkdir -p /work /cache && chown 10001:10001 /work /cache
ARG VERSION=0.1.0
ARG REVISION=""
LABEL org.opencontainers.image.title="svfit-train" \
      org.opencontainers.image.description="Fine-tune singular values, export, quantize, check and pack a bundle." \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
ENV PATH=/opt/svfit/bin:/usr/local/bin:/usr/bin:/bin \
    HOME=/work SVFIT_CACHE=/cache HF_HOME=/cache/huggingface \
    PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 \
    NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
WORKDIR /work
VOLUME ["/cache"]
USER 10001:10001
ENTRYPOINT ["svfit"]
CMD ["--help"]

# ---------------------------------------------------------------- serve: no pip, no compiler, no torch; root may be read-only
FROM ${BASE} AS serve
RUN groupadd --gid 10001 svfit \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /state --shell /usr/sbin/nologin svfit \
 && mkdir -p /bundle /state && chown 10001:10001 /state
COPY --from=edge /opt/svfit /opt/svfit
COPY --from=bill /sbom.cdx.json /opt/svfit/sbom.cdx.json
ARG VERSION=0.1.0
ARG REVISION=""
LABEL org.opencontainers.image.title="svfit-serve" \
      org.opencontainers.image.description="Answers from svfit bundles over HTTP, on the CPU." \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# Two heaps at most: glibc would make eight for each core, and what is freed in one isn't used by another.
ENV PATH=/opt/svfit/bin:/usr/local/bin:/usr/bin:/bin HOME=/state \
    PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 MALLOC_ARENA_MAX=2
# The bundle is mounted at /bundle and may be read-only; adapters that come later are kept in /state.
VOLUME ["/state"]
EXPOSE 8080
USER 10001:10001
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
  CMD ["/opt/svfit/bin/python", "-I", "-S", "/opt/svfit/health.py", "http://127.0.0.1:8080"]
ENTRYPOINT ["svfit"]
CMD ["serve", "/bundle", "--state", "/state", "--host", "0.0.0.0", "--port", "8080"]
