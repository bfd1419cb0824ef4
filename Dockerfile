# The backup server's container. Settings are environment variables (see .env.example); the
# backups are in /data/backups, the only place it writes to.

FROM python:3.14.7-slim-trixie AS build
RUN python -m venv --without-pip /venv
WORKDIR /build
COPY setup.cfg constraints.txt ./
# The dependencies setup.cfg names, in a layer that only a change of theirs makes anew.
RUN python -c 'import configparser; c = configparser.ConfigParser(); c.read("setup.cfg"); print(c["options"]["install_requires"])' > requirements.txt \
    && pip --python /venv/bin/python install --no-cache-dir --disable-pip-version-check \
        --constraint constraints.txt --requirement requirements.txt
COPY pyproject.toml ./
COPY backup_server ./backup_server
RUN pip --python /venv/bin/python install --no-cache-dir --disable-pip-version-check --no-deps .


FROM python:3.14.7-slim-trixie
LABEL org.opencontainers.image.title="portfolio-backup" \
      org.opencontainers.image.description="The cloud backup of an offline-first portfolio" \
      org.opencontainers.image.licenses="MIT"

ENV PATH=/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOST=0.0.0.0 \
    PORT=3081 \
    DATA_DIR=/data/backups

# An empty volume mounted here takes over this owner.
RUN install --directory --owner=10001 --group=10001 --mode=0700 /data/backups
COPY --from=build /venv /venv

# Changes with every commit, so it comes after what does not.
ARG REVISION=unknown
LABEL org.opencontainers.image.revision="$REVISION"

USER 10001:10001
VOLUME /data/backups
EXPOSE 3081
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=5s --timeout=5s --start-period=20s --retries=3 \
    CMD ["python", "-I", "-S", "-c", "import http.client as h, os, sys; c = h.HTTPConnection('127.0.0.1', int(os.environ['PORT']), timeout=4); c.request('GET', '/api/health'); r = c.getresponse(); sys.exit(r.read().decode() if r.status != 200 else 0)"]
CMD ["python", "-m", "backup_server"]
