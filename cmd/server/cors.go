package main

import (
	"errors"
	"net/http"
	"net/url"

	"github.com/rs/cors"
)

// checkOrigin returns an error unless text is an origin such as https://app.example, or *.
func checkOrigin(text string) error {
	u, err := url.Parse(text)
	if text == "*" || err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" && text == u.Scheme+"://"+u.Host {
		return nil
	}
	return errors.New("is not an origin such as https://app.example or http://localhost:3000, or *")
}

// allowOrigins lets pages of the origins use the API from a browser. Without origins it returns next.
func allowOrigins(origins []string, next http.Handler) http.Handler {
	if len(origins) == 0 {
		return next
	}
	return cors.New(cors.Options{
		AllowedOrigins: origins,
		AllowedMethods: []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodDelete},
		AllowedHeaders: []string{
			"Accept", "Authorization", "Cache-Control", "Content-Type", "Idempotency-Key", "If-Match", "If-None-Match", "Last-Event-ID", "Prefer",
			"Range", "Traceparent", "Tracestate", "X-Request-Id",
		},
		ExposedHeaders: []string{
			"Age", "Content-Disposition", "Content-Range", "ETag", "Idempotency-Replayed", "Link", "Location", "Preference-Applied", "RateLimit",
			"RateLimit-Policy", "Retry-After", "WWW-Authenticate", "X-Request-Id",
		},
		MaxAge: 600,
	}).Handler(next)
}
