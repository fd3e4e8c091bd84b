# Two images from one file: faunadb (a member and its command line) and fauna-operator.
#
#   docker build --target faunadb -t faunadb .
#   docker build --target fauna-operator -t fauna-operator .
#
# Both run as a user without rights and carry neither pip nor a compiler. The dependencies are a
# layer of their own, decided by pyproject.toml and constraints.txt alone, so that a change of
# code costs seconds. WORKSHOP_IMAGE builds and BASE_IMAGE runs; they need the same Python at the
# same place. The base of the tests has no shell either.
ARG WORKSHOP_IMAGE=docker.io/library/python:3.11-slim-bookworm
ARG BASE_IMAGE=docker.io/library/python:3.11-slim-bookworm

FROM ${WORKSHOP_IMAGE} AS workshop
# How pip reaches its index where that is not the public one; absent from the images themselves.
ARG PIP_INDEX_URL=
ARG PIP_CERT=
ENV PIP_INDEX_URL=${PIP_INDEX_URL} \
    PIP_CERT=${PIP_CERT} \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_ROOT_USER_ACTION=ignore
WORKDIR /work
RUN python3 -m venv /opt/pip && /opt/pip/bin/pip install --quiet --upgrade pip==26.0
COPY pyproject.toml constraints.txt ./

FROM workshop AS server-dependencies
RUN python3 -m venv --without-pip /opt/fauna
RUN python3 -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['dependencies'], sep='\n')" > wanted.txt \
 && /opt/pip/bin/pip --python /opt/fauna/bin/python install --quiet --only-binary :all: -c constraints.txt -r wanted.txt

FROM workshop AS operator-dependencies
RUN python3 -m venv --without-pip /opt/fauna
RUN python3 -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['optional-dependencies']['operator'], sep='\n')" > wanted.txt \
 && /opt/pip/bin/pip --python /opt/fauna/bin/python install --quiet -c constraints.txt -r wanted.txt

FROM workshop AS code
RUN python3 -m venv --without-pip /opt/fauna \
 && /opt/pip/bin/pip install --quiet -c constraints.txt hatchling
COPY README.md LICENSE* ./
COPY database database
COPY operator operator
RUN /opt/pip/bin/pip wheel --quiet --no-deps --no-build-isolation --wheel-dir /wheel . \
 && /opt/pip/bin/pip --python /opt/fauna/bin/python install --quiet --no-deps --target /code /wheel/*.whl

FROM ${BASE_IMAGE} AS base
ENV PATH=/opt/fauna/bin:/opt/code/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONPATH=/opt/code \
    PYTHONSAFEPATH=1 \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1
USER 65532:65532
WORKDIR /

FROM base AS faunadb
COPY --from=server-dependencies /opt/fauna /opt/fauna
COPY --from=code /code /opt/code
EXPOSE 8443 8444 7500
ENTRYPOINT ["faunadb"]

FROM base AS fauna-operator
COPY --from=operator-dependencies /opt/fauna /opt/fauna
COPY --from=code /code /opt/code
ENTRYPOINT ["fauna-operator"]
