# syntax=docker/dockerfile:1
# The release workflow resolves both images to digests, verifies the signature of the second and passes them in; a build
# of one's own takes what the tags point at today, or: docker build --build-arg RUNTIME_IMAGE=…@sha256:… .
ARG NODE_IMAGE=node:22-bookworm-slim
ARG RUNTIME_IMAGE=gcr.io/distroless/cc-debian12:nonroot

# Deno compiles for the other platform too: no emulation.
FROM --platform=$BUILDPLATFORM ${NODE_IMAGE} AS build
ARG TARGETPLATFORM
ARG REVISION=
WORKDIR /src
ENV DENO_DIR=/deno DENO_NO_UPDATE_CHECK=1 npm_config_update_notifier=false
COPY deno.json deno.lock main.ts ./
COPY src src
COPY scripts scripts
RUN npx -y deno@2.9.6 task compile --pod --platform "$TARGETPLATFORM"

FROM ${RUNTIME_IMAGE}
ARG VERSION=0.1.0
ARG REVISION=unknown
ARG CREATED=1970-01-01T00:00:00Z
ARG RUNTIME_IMAGE
LABEL org.opencontainers.image.title="zen-watcher" \
      org.opencontainers.image.description="Keeps each finding of security, compliance and infrastructure tools once, as an Observation" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION" \
      org.opencontainers.image.created="$CREATED" \
      org.opencontainers.image.base.name="$RUNTIME_IMAGE"
COPY --from=build --chown=0:0 --chmod=0555 /src/dist/zen-watcher /zen-watcher
# Only the cluster's own CA is trusted: no file and no folder of roots.
# Few arenas of the C library: one for each thread of the runtime takes 36 MiB more at rest. Large blocks go back when freed.
ENV DENO_TLS_CA_STORE=system SSL_CERT_FILE=/dev/null SSL_CERT_DIR=/nonexistent \
  MALLOC_ARENA_MAX=2 MALLOC_MMAP_THRESHOLD_=131072 MALLOC_TRIM_THRESHOLD_=131072
USER 65532:65532
EXPOSE 8080 9090 8443
ENTRYPOINT ["/zen-watcher"]
