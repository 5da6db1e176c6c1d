# Built in two stages, so that the image holds neither build tools nor sources.
FROM python:3.13-slim-trixie AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /src
# The locks first: as long as they stay, this layer is reused.
COPY requirements/ requirements/
RUN python -m venv /opt/procdeck \
 && /opt/procdeck/bin/pip install --require-hashes -r requirements/runtime.lock \
 && python -m venv /opt/build \
 && /opt/build/bin/pip install --require-hashes -r requirements/build.lock
COPY pyproject.toml README.md LICENSE ./
COPY alembic/ alembic/
COPY app/ app/
COPY examples/ examples/
COPY procdeck/ procdeck/
COPY static/ static/
COPY templates/ templates/
RUN /opt/build/bin/hatchling build --target wheel --directory /dist \
 && /opt/procdeck/bin/pip install --no-deps --no-index /dist/*.whl

FROM python:3.13-slim-trixie
RUN apt-get update \
 && apt-get install -y --no-install-recommends tini \
 && rm -rf /var/lib/apt/lists/* \
 && groupadd --gid 10001 procdeck \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin procdeck \
 && install --directory --owner 10001 --group 10001 --mode 0700 /data
COPY --from=build /opt/procdeck /opt/procdeck
COPY docker/healthcheck.py /opt/procdeck/healthcheck.py

# The service listens on all of the container's interfaces and answers to these names only; who reaches the port is
# decided where it is published. A process cannot outlive its container, so the end of the service ends them in order.
ENV PATH=/opt/procdeck/bin:$PATH \
    HOME=/tmp \
    PYTHONDONTWRITEBYTECODE=1 \
    PROCDECK_HOST=0.0.0.0 \
    PROCDECK_PORT=8000 \
    PROCDECK_DATA_DIR=/data \
    PROCDECK_ALLOWED_HOSTS=localhost,127.0.0.1 \
    PROCDECK_ON_EXIT=terminate
USER 10001:10001
WORKDIR /data
VOLUME /data
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-I", "/opt/procdeck/healthcheck.py"]
# tini is PID 1: it passes SIGTERM on (a PID 1 without a handler would ignore it) and reaps orphans whose keeper died.
ENTRYPOINT ["tini", "--", "procdeck"]
CMD ["serve"]
