# Builds with BuildKit and with the classic builder: no cache mounts, no heredocs.
#   docker build .                 the image to release (stage runtime)
#   docker build --target dev .    the same with the tests and what they need
#   docker build --target live .   that, with code that may be replaced while it runs
ARG BASE_IMAGE=python:3.13-slim

FROM ${BASE_IMAGE} AS build
WORKDIR /build
# pip works from outside, so that the environment to be copied never holds it. Wheels alone: nothing is compiled, and
# nothing runs that has no hash.
RUN python -m venv --without-pip /opt/venv
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
COPY requirements.lock ./
RUN python -m pip --python /opt/venv/bin/python install --quiet --only-binary :all: --no-deps --require-hashes --requirement requirements.lock \
 && python -m pip --python /opt/venv/bin/python check

FROM build AS build-dev
COPY requirements-dev.lock ./
RUN python -m pip --python /opt/venv/bin/python install --quiet --only-binary :all: --no-deps --require-hashes --requirement requirements-dev.lock \
 && python -m pip --python /opt/venv/bin/python check

FROM ${BASE_IMAGE} AS base
# The base image's own pip goes too. Home is the one folder that can be written on a read-only root.
RUN rm -rf "$(python -c 'import os, pip; print(os.path.dirname(pip.__file__))')"* /usr/local/bin/pip* /usr/bin/pip* \
 && groupadd --gid 10001 synergyway \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin synergyway
COPY --from=build /opt/venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
# For every uvicorn in the image, whatever its command: limits on what a connection may send, and on their number.
ENV UVICORN_HTTP=app.api.limits:LimitedHttpProtocol UVICORN_LIMIT_CONCURRENCY=1000
WORKDIR /srv/synergyway
# Alembic reads its configuration from pyproject.toml.
COPY pyproject.toml ./
COPY app app
# Root owns the code, so the service cannot change it; a clone made under a strict umask must be readable all the same.
RUN chmod -R a+rX . && python -m compileall -q app
USER 10001:10001
EXPOSE 8000
CMD ["uvicorn", "app.main:app", "--host", "0.0.0.0", "--port", "8000", "--no-server-header", "--timeout-graceful-shutdown", "20"]

FROM base AS dev
USER 0
COPY --from=build-dev /opt/venv /opt/venv
COPY . .
RUN chmod -R a+rX .
# What the tests leave goes where a read-only root lets them write.
ENV COVERAGE_FILE=/tmp/.coverage HYPOTHESIS_STORAGE_DIRECTORY=/tmp/hypothesis PYTEST_ADDOPTS="-o cache_dir=/tmp/pytest_cache"
USER 10001:10001

# For `skaffold dev`, which copies changed files into running containers as their user.
FROM dev AS live
USER 0
RUN chown -R 10001:10001 app
USER 10001:10001

# Last, so that it is what `docker build .` makes.
FROM base AS runtime
ARG VERSION=unreleased
LABEL org.opencontainers.image.title="SynergyWay" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.licenses="MIT"
