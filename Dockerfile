# Two images from one file: `api` (also migrations and keys) without torch, and `worker` with it.
#   docker build --target api -t bfc-lab-api .
#   docker build --target worker -t bfc-lab-worker .
ARG PYTHON=3.11

FROM python:${PYTHON}-slim AS base
ENV PATH=/opt/bfc/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 BFC_DATA=/data BFC_LOG=json
# A number, so that Kubernetes can see that it is not root. The folder is theirs before a volume is laid over it.
RUN useradd --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin bfc \
    && install -d -o bfc -g bfc -m 0700 /data
WORKDIR /data

FROM base AS source
# Another index, such as one with torch for the CPU alone: --build-arg PIP_EXTRA_INDEX_URL=…
ARG PIP_EXTRA_INDEX_URL=
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/bfc
WORKDIR /src
COPY . .

FROM source AS build-api
RUN pip install -c constraints.txt '.[server]'

FROM source AS build-worker
RUN pip install -c constraints.txt '.[worker]'

FROM base AS api
COPY --from=build-api /opt/bfc /opt/bfc
USER 10001:10001
EXPOSE 8321
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s CMD ["python", "-m", "launch.health", "api"]
STOPSIGNAL SIGTERM
CMD ["bfc", "api"]

FROM base AS worker
COPY --from=build-worker /opt/bfc /opt/bfc
USER 10001:10001
HEALTHCHECK --interval=15s --timeout=10s --start-period=60s CMD ["python", "-m", "launch.health", "worker"]
STOPSIGNAL SIGTERM
CMD ["bfc", "worker", "--device", "cpu"]
