package api_test

import (
	"bytes"
	"encoding/json"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"gather"
	"gather/internal/api"
)

// The index is a page for browsers and JSON for other clients, with links to the same resources.
func TestIndex(t *testing.T) {
	s := newService(t)
	const browser = "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
	page := s.do("GET", "/", "", browser)
	if media := page.Header.Get("Content-Type"); page.status != 200 || media != "text/html; charset=utf-8" {
		t.Errorf("in a browser: %d, %s; want 200, HTML", page.status, media)
	}
	var links []string
	for _, ref := range regexp.MustCompile(`href="([^"]+)"`).FindAllStringSubmatch(string(page.body), -1) {
		links = append(links, ref[1])
	}
	for _, accept := range []string{"", "*/*", "application/json"} {
		a := s.do("GET", "/", "", "Accept: "+accept)
		if media := a.Header.Get("Content-Type"); a.status != 200 || media != "application/json" {
			t.Errorf("Accept %q: %d, %s; want 200, JSON", accept, a.status, media)
		}
		for _, link := range decode[api.ServerPaths](t, a.body).Links {
			links = append(links, link)
		}
	}
	if len(links) < 15 {
		t.Errorf("only %d links: %q", len(links), links)
	}
	for _, link := range links {
		if a := s.do("GET", link, ""); a.status != 200 {
			t.Errorf("the link %s: %d, want 200", link, a.status)
		}
	}
}

// /docs/ redirects to the docs page; no other path may end in a slash.
func TestDocsRedirect(t *testing.T) {
	s := newService(t, withKeys(nil))
	for _, c := range []struct {
		method, path string
		status       int
	}{
		{"GET", "/docs/", 200}, {"HEAD", "/docs/", 200}, {"POST", "/docs/", 404}, {"GET", "/v1/jobs/", 404},
	} {
		if a := s.do(c.method, c.path, ""); a.status != c.status || a.status == 200 && a.Request.URL.Path != "/docs" {
			t.Errorf("%s %s: %d at %s, want %d", c.method, c.path, a.status, a.Request.URL.Path, c.status)
		}
	}
}

// /openapi.json equals openapi.yaml, including its integers.
func TestSpecJSON(t *testing.T) {
	a := newService(t).do("GET", "/openapi.json", "")
	if media := a.Header.Get("Content-Type"); a.status != 200 || media != "application/json" {
		t.Errorf("%d, %s; want 200, JSON", a.status, media)
	}
	var want, got any
	if err := yaml.Unmarshal(gather.Spec, &want); err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	for into, data := range map[*any][]byte{&want: text, &got: a.body} {
		d := json.NewDecoder(bytes.NewReader(data))
		d.UseNumber()
		if err := d.Decode(into); err != nil {
			t.Fatal(err)
		}
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("/openapi.json has not the contents of openapi.yaml: %.300s", a.body)
	}
	if !strings.Contains(string(a.body), "1000000000000000000") {
		t.Error("the example with an integer of 19 digits is not in /openapi.json as it is")
	}
}
