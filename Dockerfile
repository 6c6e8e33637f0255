# A static binary in an empty image.
#
#   docker build -t gather .
#   mkdir keys
#   docker run --rm -u "$(id -u):$(id -g)" -v "$PWD/keys:/keys" gather keys create TENANT --api-keys=/keys/keys.json
#   chmod 640 keys/keys.json
#   docker run -p 8080:8080 -v gather:/data -v "$PWD/keys:/keys:ro" --group-add "$(id -g)" \
#     -e GATHER_API_KEYS=/keys/keys.json gather
#
# The server runs as user 65532, which reads the key file as a member of its group.
# Beyond loopback the server asks for API keys; to try it without, add -e GATHER_INSECURE_NO_AUTH=true.

FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=
# .ci/run builds with these same flags and checks that the binary is static.
RUN CGO_ENABLED=0 go build -trimpath -ldflags="-s -w -X main.buildVersion=${VERSION}" -o /out/gather ./cmd/server \
 && mkdir -p /out/data

# Nothing but the binary, the roots that TLS clients trust, and a data directory that its user may write.
FROM scratch
ARG VERSION=
LABEL org.opencontainers.image.title="gather" \
      org.opencontainers.image.description="An HTTP microservice that executes parallel jobs" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}"
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /out/gather /gather
COPY --from=build --chown=65532:65532 /out/data /data
ENV GATHER_LISTEN=0.0.0.0:8080 \
    GATHER_METRICS_LISTEN=0.0.0.0:9091 \
    GATHER_DATA_DIR=/data
USER 65532:65532
VOLUME /data
EXPOSE 8080 9091
# Readiness: unhealthy while the journal cannot take a write, and while draining.
HEALTHCHECK --interval=10s --timeout=4s --start-period=10s --retries=3 CMD ["/gather", "healthcheck"]
# A stop drains for up to 30 s (--drain-timeout): give it longer than the default 10 s (docker stop -t 40).
STOPSIGNAL SIGTERM
ENTRYPOINT ["/gather"]
