package deploy_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
	"sigs.k8s.io/yaml"
)

func compose(t *testing.T, file string) *types.Project {
	t.Helper()
	options, err := cli.NewProjectOptions([]string{file}, cli.WithEnv([]string{}))
	if err != nil {
		t.Fatal(err)
	}
	p, err := options.LoadProject(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestCompose loads the files with Compose's loader and schema, and checks properties beyond the schema.
func TestCompose(t *testing.T) {
	for _, file := range glob(t, "compose*.yaml") {
		t.Run(file, func(t *testing.T) { composed(t, compose(t, file)) })
	}
}

func composed(t *testing.T, p *types.Project) {
	t.Helper()
	published := map[string]string{}
	for name, s := range p.Services {
		if s.HealthCheck == nil || len(s.HealthCheck.Test) == 0 {
			t.Errorf("%s has no health check", name)
		}
		if s.Restart == "" || len(s.CapDrop) != 1 || s.CapDrop[0] != "ALL" {
			t.Errorf("%s: restart %q, cap_drop %q", name, s.Restart, s.CapDrop)
		}
		if tag := regexp.MustCompile(`:v?\d+\.\d+\.\d+(-alpine)?$`); s.Build == nil && !tag.MatchString(s.Image) {
			t.Errorf("%s: the version of %s is not pinned", name, s.Image)
		}
		if s.Build != nil {
			if _, err := os.Stat(filepath.Join(s.Build.Context, "Dockerfile")); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		for _, port := range s.Ports {
			if port.HostIP != "127.0.0.1" {
				t.Errorf("%s: port %s is published on %q: want loopback, because there is no password", name, port.Published, port.HostIP)
			}
			if other, ok := published[port.Published]; ok {
				t.Errorf("%s and %s are published on port %s", name, other, port.Published)
			}
			published[port.Published] = name
		}
		for _, v := range s.Volumes {
			if v.Type != types.VolumeTypeBind {
				continue
			}
			if _, err := os.Stat(v.Source); err != nil || !v.ReadOnly {
				t.Errorf("%s: %s: read only %t, %v", name, v.Source, v.ReadOnly, err)
			}
		}
		for on := range s.DependsOn {
			if _, ok := p.Services[on]; !ok {
				t.Errorf("%s depends on %s, which does not exist", name, on)
			}
		}
	}
	// The deployed version of Prometheus is the one whose parser checks the queries.
	want := regexp.MustCompile(`github.com/prometheus/prometheus v0\.(\d)(\d\d)\.(\d+)`).FindStringSubmatch(string(read(t, "go.mod")))
	if image := p.Services["prometheus"].Image; want == nil ||
		image != "prom/prometheus:v"+want[1]+"."+strings.TrimPrefix(want[2], "0")+"."+want[3] {
		t.Errorf("%s is run, and queries are checked with %q", image, want)
	}
}

// provisioned has the used fields of Grafana's provisioning files.
type provisioned struct {
	APIVersion  int `json:"apiVersion"`
	Datasources []struct {
		Name      string `json:"name"`
		UID       string `json:"uid"`
		Type      string `json:"type"`
		Access    string `json:"access"`
		URL       string `json:"url"`
		IsDefault bool   `json:"isDefault"`
		Editable  bool   `json:"editable"`
		JSONData  struct {
			TimeInterval   string `json:"timeInterval"`
			HTTPMethod     string `json:"httpMethod"`
			PrometheusType string `json:"prometheusType"`
			Exemplars      []struct {
				Name            string `json:"name"`
				URL             string `json:"url"`
				URLDisplayLabel string `json:"urlDisplayLabel"`
			} `json:"exemplarTraceIdDestinations"`
		} `json:"jsonData"`
	} `json:"datasources"`
	Providers []struct {
		Name                  string            `json:"name"`
		OrgID                 int               `json:"orgId"`
		Folder                string            `json:"folder"`
		Type                  string            `json:"type"`
		AllowUIUpdates        bool              `json:"allowUiUpdates"`
		DisableDeletion       bool              `json:"disableDeletion"`
		UpdateIntervalSeconds int               `json:"updateIntervalSeconds"`
		Options               map[string]string `json:"options"`
	} `json:"providers"`
}

// TestProvisioning checks that Grafana's settings match the locations of Prometheus and of the dashboards in Compose, and those of
// Prometheus the servers.
func TestProvisioning(t *testing.T) {
	for file, config := range map[string]string{"compose.yaml": "prometheus.yml", "compose.cluster.yaml": "prometheus.cluster.yml"} {
		t.Run(file, func(t *testing.T) { finds(t, compose(t, file), config) })
	}
}

func finds(t *testing.T, p *types.Project, config string) {
	t.Helper()
	var sources, boards provisioned
	decode(t, "grafana/provisioning/datasources/prometheus.yaml", &sources)
	decode(t, "grafana/provisioning/dashboards/gather.yaml", &boards)
	var prometheus struct {
		Global struct {
			ScrapeInterval string `json:"scrape_interval"`
		} `json:"global"`
		Scrapes []struct {
			JobName string `json:"job_name"`
			Static  []struct {
				Targets []string `json:"targets"`
			} `json:"static_configs"`
		} `json:"scrape_configs"`
	}
	if err := yaml.Unmarshal(read(t, "prometheus/"+config), &prometheus); err != nil {
		t.Fatal(err)
	}
	var want []string
	for name, s := range p.Services {
		if s.Image == "gather:local" {
			want = append(want, name+":9091")
		}
	}
	slices.Sort(want)
	if scrape := prometheus.Scrapes[0]; scrape.JobName != "gather" || !slices.Equal(scrape.Static[0].Targets, want) {
		t.Errorf("Prometheus scrapes %+v, there are %q", scrape, want)
	}
	source := sources.Datasources[0]
	if source.UID != "prometheus" || source.URL != "http://"+p.Services["prometheus"].Name+":9090" {
		t.Errorf("data source %+v", source)
	}
	if source.JSONData.TimeInterval != prometheus.Global.ScrapeInterval {
		t.Errorf("Grafana's interval is %s, want the scrape interval %s", source.JSONData.TimeInterval, prometheus.Global.ScrapeInterval)
	}
	for _, v := range p.Services["prometheus"].Volumes {
		if v.Target == "/etc/prometheus/prometheus.yml" && filepath.Base(v.Source) != config {
			t.Errorf("Prometheus reads %s", v.Source)
		}
	}
	mounted := map[string]string{}
	for _, v := range p.Services["grafana"].Volumes {
		mounted[v.Target] = v.Source
	}
	here, err := filepath.Abs("grafana/dashboards")
	if err != nil {
		t.Fatal(err)
	}
	if at := boards.Providers[0].Options["path"]; mounted[at] != here {
		t.Errorf("the provider reads %s, where %q is mounted", at, mounted[at])
	}
	home := *p.Services["grafana"].Environment["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
	if !json.Valid(read(t, filepath.Join(mounted[filepath.Dir(home)], filepath.Base(home)))) {
		t.Errorf("the home dashboard %s is not JSON", home)
	}
}

// TestTraces checks that servers send their spans to the Jaeger to which Grafana's exemplars link, and that Prometheus stores
// exemplars.
func TestTraces(t *testing.T) {
	var sources provisioned
	decode(t, "grafana/provisioning/datasources/prometheus.yaml", &sources)
	destinations := sources.Datasources[0].JSONData.Exemplars
	if len(destinations) != 1 || destinations[0].Name != "trace_id" {
		t.Fatalf("got destinations %+v, want one for the label trace_id", destinations)
	}
	for _, file := range glob(t, "compose*.yaml") {
		t.Run(file, func(t *testing.T) {
			p := compose(t, file)
			jaeger := p.Services["jaeger"]
			if len(jaeger.Ports) != 1 {
				t.Fatalf("got ports %+v of jaeger, want one", jaeger.Ports)
			}
			want := "http://localhost:" + jaeger.Ports[0].Published + "/trace/$${__value.raw}"
			if got := destinations[0].URL; got != want {
				t.Errorf("exemplars link to %s, want %s", got, want)
			}
			if command := p.Services["prometheus"].Command; !slices.Contains(command, "--enable-feature=exemplar-storage") {
				t.Errorf("Prometheus runs as %q, want exemplars to be stored", command)
			}
			for name, s := range p.Services {
				if s.Image != "gather:local" {
					continue
				}
				endpoint := s.Environment["OTEL_EXPORTER_OTLP_ENDPOINT"]
				if endpoint == nil || *endpoint != "http://jaeger:4318" {
					t.Errorf("%s sends its spans to %v, want http://jaeger:4318", name, endpoint)
				}
			}
		})
	}
}

// TestSystemd verifies the unit with systemd-analyze, and its exposure level, where 10 is unprotected.
func TestSystemd(t *testing.T) {
	runs(t, "systemd-analyze", "security", "--offline=true", "--no-pager", "--threshold=15", "systemd/gather.service")
	// The program is not installed here.
	unit := filepath.Join(t.TempDir(), "gather.service")
	text := strings.ReplaceAll(string(read(t, "systemd/gather.service")), "/usr/local/bin/gather", "/bin/true")
	if err := os.WriteFile(unit, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if out := runs(t, "systemd-analyze", "verify", "--man=no", unit); strings.Contains(out, "gather.service") {
		t.Error(out)
	}
}
