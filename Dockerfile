# The command line in an image: `docker compose` builds its workers from this.
FROM python:3.13-slim
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY circman_redis circman_redis
COPY lua lua
RUN pip install --no-cache-dir '.[cli,twin]' && useradd --create-home worker
USER worker
WORKDIR /home/worker
ENTRYPOINT ["circman-redis"]
CMD ["--help"]
