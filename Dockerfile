# One image, one binary: `tartarus olympus` and `tartarus agent` are both it.
#
# Plain instructions only, so that every builder of the last years builds it. Nothing is fetched but
# the two base images, the crates of Cargo.lock and Debian's python3.

FROM rust:1.95-bookworm AS build
WORKDIR /src
# rust-toolchain.toml is left out by .dockerignore: the base image is the pinned compiler.
COPY . .
RUN cargo build --release --locked --package tartarus \
 && cp target/release/tartarus /usr/local/bin/tartarus

FROM debian:bookworm-slim
# The built-in template `host` shows a sandbox the programs of its node, and this image is the node.
RUN apt-get update \
 && apt-get install --yes --no-install-recommends ca-certificates python3-minimal \
 && rm -rf /var/lib/apt/lists/*
# Olympus needs no privilege. The agent does, and docker-compose.yml says which and why.
RUN useradd --system --uid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin olympus \
 && install -d -o olympus -g olympus -m 0700 /var/lib/tartarus
COPY --from=build /usr/local/bin/tartarus /usr/local/bin/tartarus
ENV TARTARUS_DATA_DIR=/var/lib/tartarus
VOLUME /var/lib/tartarus
USER olympus
EXPOSE 8080
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/local/bin/tartarus"]
CMD ["--help"]
