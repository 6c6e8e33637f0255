package deploy_test

import (
	"fmt"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	keda "github.com/kedacore/keda/v2/apis/keda/v1alpha1"
	natsd "github.com/nats-io/nats-server/v2/server" //nolint:depguard // its own reading of its configuration
	apps "k8s.io/api/apps/v1"
	autoscaling "k8s.io/api/autoscaling/v2"
	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
)

// TestNATS parses the configuration with the NATS server's own parser, in the environments of Compose and Kubernetes.
func TestNATS(t *testing.T) {
	for name, env := range map[string]map[string]string{
		"compose":    composeNATS(t),
		"kubernetes": kubernetesNATS(t),
	} {
		t.Run(name, func(t *testing.T) {
			for k, v := range env {
				t.Setenv(k, v)
			}
			o, err := natsd.ProcessConfigFile("nats/nats.conf")
			if err != nil {
				t.Fatal(err)
			}
			if o.ServerName != env["NATS_NAME"] || o.Cluster.Name == "" || !o.JetStream || !o.SyncAlways || o.StoreDir != "/data" {
				t.Errorf("%+v", o)
			}
			if len(o.Users) != 1 || o.Users[0].Username != "gather" || o.Users[0].Password != env["NATS_PASSWORD"] {
				t.Errorf("users %+v", o.Users)
			}
			if o.NoAuthUser != "" || o.Cluster.Password != env["NATS_ROUTE_PASSWORD"] || o.Cluster.Password == "" {
				t.Errorf("got access without credentials: %q, %+v", o.NoAuthUser, o.Cluster)
			}
			if len(o.Routes) != 3 {
				t.Fatalf("routes %q", o.Routes)
			}
			for i, r := range o.Routes {
				want := strings.Replace(env["NATS_NAME"], "0", string(rune('0'+i)), 1)
				host, _, _ := strings.Cut(r.Hostname(), ".")
				if secret, _ := r.User.Password(); host != want || r.Port() != "6222" || r.User.Username() != o.Cluster.Username || secret != o.Cluster.Password {
					t.Errorf("route %s", r)
				}
			}
			reaches(t, env["GATHER_NATS_URL"], env["NATS_PASSWORD"], o.Port)
		})
	}
	for _, name := range []string{"NATS_NAME", "NATS_PASSWORD", "NATS_ROUTE_PASSWORD", "NATS_ROUTES"} {
		for k, v := range composeNATS(t) {
			t.Setenv(k, v)
		}
		if err := os.Unsetenv(name); err != nil {
			t.Fatal(err)
		}
		if _, err := natsd.ProcessConfigFile("nats/nats.conf"); err == nil {
			t.Errorf("the server starts without %s", name)
		}
	}
}

// reaches checks that gather's setting has the three servers and their password.
func reaches(t *testing.T, setting, password string, port int) {
	t.Helper()
	servers := strings.Split(setting, ",")
	if len(servers) != 3 || len(slices.Compact(slices.Sorted(slices.Values(servers)))) != 3 {
		t.Errorf("gather's setting has the servers %q", servers)
	}
	for _, s := range servers {
		u, err := url.Parse(s)
		if err != nil {
			t.Fatal(err)
		}
		if p, _ := u.User.Password(); u.Scheme != "nats" || u.User.Username() != "gather" || p != password || u.Port() != "4222" || port != 4222 {
			t.Errorf("gather connects to %s", u)
		}
	}
}

// composeNATS returns the environment of the first NATS server, and the setting that all nodes share.
func composeNATS(t *testing.T) map[string]string {
	t.Helper()
	p := compose(t, "compose.cluster.yaml")
	env := map[string]string{}
	for k, v := range p.Services["nats-0"].Environment {
		env[k] = *v
	}
	for name, s := range p.Services {
		switch setting, ok := s.Environment["GATHER_NATS_URL"]; {
		case !ok:
		case env["GATHER_NATS_URL"] == "":
			env["GATHER_NATS_URL"] = *setting
		case env["GATHER_NATS_URL"] != *setting:
			t.Errorf("%s connects to %s", name, *setting)
		}
	}
	return env
}

// kubernetesNATS is composeNATS for Kubernetes, with secrets resolved.
func kubernetesNATS(t *testing.T) map[string]string {
	t.Helper()
	objects := kustomize(t, "kubernetes/cluster")
	secrets := map[string]string{"password": "p0001", "route-password": "p0002"}
	env := map[string]string{}
	for _, name := range []string{"nats", "gather"} {
		set := selected(t, objects, name)
		maps.Copy(env, expand(t, &set.Spec.Template.Spec.Containers[0], set.Name+"-0", secrets))
	}
	return env
}

// expand returns the environment of a container: references to earlier variables are replaced.
func expand(t *testing.T, c *core.Container, pod string, secrets map[string]string) map[string]string {
	t.Helper()
	env := map[string]string{}
	for _, e := range c.Env {
		switch {
		case e.ValueFrom == nil:
			env[e.Name] = regexp.MustCompile(`\$\((\w+)\)`).ReplaceAllStringFunc(e.Value, func(name string) string {
				v, ok := env[name[2:len(name)-1]]
				if !ok {
					t.Errorf("%s: %s is not defined before it", e.Name, name)
				}
				return v
			})
		case e.ValueFrom.SecretKeyRef != nil:
			v, ok := secrets[e.ValueFrom.SecretKeyRef.Key]
			if !ok || e.ValueFrom.SecretKeyRef.Name != "gather-nats" {
				t.Errorf("%s: no secret %+v", e.Name, e.ValueFrom.SecretKeyRef)
			}
			env[e.Name] = v
		case e.ValueFrom.FieldRef != nil && e.ValueFrom.FieldRef.FieldPath == "metadata.name":
			env[e.Name] = pod
		default:
			t.Errorf("%s: %+v", e.Name, e.ValueFrom)
		}
	}
	return env
}

// cluster starts one NATS server with the deployed configuration, and returns the arguments of gather as a node on it.
func cluster(t *testing.T) []string {
	t.Helper()
	for k, v := range map[string]string{"NATS_NAME": "alone", "NATS_PASSWORD": "p0001", "NATS_ROUTE_PASSWORD": "p0002", "NATS_ROUTES": "[]"} {
		t.Setenv(k, v)
	}
	o, err := natsd.ProcessConfigFile("nats/nats.conf")
	if err != nil {
		t.Fatal(err)
	}
	// One server is not a NATS cluster; everything else is unchanged.
	o.Cluster, o.Routes = natsd.ClusterOpts{}, nil
	o.Host, o.Port, o.HTTPPort = "127.0.0.1", natsd.RANDOM_PORT, 0
	o.StoreDir, o.NoSigs, o.NoLog = t.TempDir(), true, true
	s, err := natsd.NewServer(o)
	if err != nil {
		t.Fatal(err)
	}
	complaints := new(complaints)
	s.SetLogger(complaints, false, false)
	s.Start()
	t.Cleanup(func() {
		s.Shutdown()
		s.WaitForShutdown()
		complaints.report(t)
	})
	if !s.ReadyForConnections(30 * time.Second) {
		t.Fatal("the NATS server does not start")
	}
	return []string{"--nats-url=nats://gather:p0001@" + s.Addr().String(), "--nats-replicas=1"}
}

// complaints collects the permission violations in the log of a NATS server.
type complaints struct {
	mu    sync.Mutex
	lines []string
}

func (c *complaints) note(format string, args ...any) {
	if line := fmt.Sprintf(format, args...); strings.Contains(strings.ToLower(line), "violation") {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.lines = append(c.lines, line)
	}
}

func (c *complaints) report(t *testing.T) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	slices.Sort(c.lines)
	for _, line := range slices.Compact(c.lines) {
		t.Error(line)
	}
}

func (c *complaints) Noticef(format string, args ...any) { c.note(format, args...) }
func (c *complaints) Warnf(format string, args ...any)   { c.note(format, args...) }
func (c *complaints) Errorf(format string, args ...any)  { c.note(format, args...) }
func (c *complaints) Fatalf(format string, args ...any)  { c.note(format, args...) }
func (c *complaints) Debugf(format string, args ...any)  { c.note(format, args...) }
func (c *complaints) Tracef(format string, args ...any)  { c.note(format, args...) }

// TestKubernetesCluster checks that there are three nodes and three servers, disrupted one at a time, each with its own volume.
func TestKubernetesCluster(t *testing.T) {
	objects := kustomize(t, "kubernetes/cluster")
	set := selected(t, objects, "gather", "gather")
	gatherPod(t, set)
	if *set.Spec.Replicas != 3 || len(set.Spec.Template.Spec.TopologySpreadConstraints) != 2 {
		t.Errorf("%+v", set.Spec)
	}
	// A deployed base is not overwritten: its volume has another name, which the API server does not allow to change.
	base := get[apps.StatefulSet](t, kustomize(t, "kubernetes/base"), "StatefulSet/gather")
	if set.Spec.VolumeClaimTemplates[0].Name == base.Spec.VolumeClaimTemplates[0].Name {
		t.Error("the replica would replace the journal of a single server")
	}

	nats := selected(t, objects, "nats")
	confined(t, &nats.Spec.Template.Spec)
	config := get[core.ConfigMap](t, objects, "ConfigMap/"+nats.Spec.Template.Spec.Volumes[0].ConfigMap.Name)
	if config.Data["nats.conf"] != string(read(t, "nats/nats.conf")) || *nats.Spec.Replicas != 3 {
		t.Errorf("%d servers with %q", *nats.Spec.Replicas, config.Data)
	}
	image := nats.Spec.Template.Spec.Containers[0].Image
	if other := compose(t, "compose.cluster.yaml").Services["nats-0"].Image; image != other {
		t.Errorf("%s and %s are run", image, other)
	}
	// The deployed version is the tested one.
	version := regexp.MustCompile(`nats-io/nats-server/v2 v(\S+)`)
	for _, file := range []string{"go.mod", "../go.mod"} {
		if m := version.FindStringSubmatch(string(read(t, file))); m == nil || image != "nats:"+m[1]+"-alpine" {
			t.Errorf("%s is run, %s has %q", image, file, m)
		}
	}
}

// TestKubernetesClusterPolicies checks that every allowed ingress has a matching egress, and no more.
func TestKubernetesClusterPolicies(t *testing.T) {
	objects := kustomize(t, "kubernetes/cluster")
	out := get[networking.NetworkPolicy](t, objects, "NetworkPolicy/gather-cluster")
	in := get[networking.NetworkPolicy](t, objects, "NetworkPolicy/nats")
	for _, p := range []*networking.NetworkPolicy{out, in} {
		if !reflect.DeepEqual(p.Spec.PolicyTypes, []networking.PolicyType{"Ingress", "Egress"}) {
			t.Errorf("%s is about %q", p.Name, p.Spec.PolicyTypes)
		}
		for _, e := range p.Spec.Egress {
			if len(e.To) == 0 || len(e.Ports) == 0 {
				t.Errorf("%s lets out: %+v", p.Name, e)
			}
		}
	}
	clients := slices.ContainsFunc(in.Spec.Ingress, func(r networking.NetworkPolicyIngressRule) bool {
		return r.Ports[0].Port.String() == "client" && reflect.DeepEqual(r.From[0].PodSelector.MatchLabels, out.Spec.PodSelector.MatchLabels)
	})
	servers := slices.ContainsFunc(out.Spec.Egress, func(r networking.NetworkPolicyEgressRule) bool {
		return r.Ports[0].Port.String() == "client" && r.To[0].PodSelector != nil &&
			reflect.DeepEqual(r.To[0].PodSelector.MatchLabels, in.Spec.PodSelector.MatchLabels)
	})
	if !clients || !servers {
		t.Errorf("gather does not reach NATS: %t, %t", servers, clients)
	}
}

// TestKubernetesAutoscaling checks that both autoscalers start at the overlay's number of nodes and scale its StatefulSet.
func TestKubernetesAutoscaling(t *testing.T) {
	objects := withComponents(t, "cluster")
	set := get[apps.StatefulSet](t, objects, "StatefulSet/gather")
	hpa := get[autoscaling.HorizontalPodAutoscaler](t, objects, "HorizontalPodAutoscaler/gather").Spec
	scaled := get[keda.ScaledObject](t, objects, "ScaledObject/gather").Spec
	if *hpa.MinReplicas != *set.Spec.Replicas || *scaled.MinReplicaCount != *set.Spec.Replicas || hpa.MaxReplicas != *scaled.MaxReplicaCount {
		t.Errorf("%d nodes, %d to %d or %d to %d", *set.Spec.Replicas, *hpa.MinReplicas, hpa.MaxReplicas, *scaled.MinReplicaCount, *scaled.MaxReplicaCount)
	}
	if a, b := hpa.ScaleTargetRef, scaled.ScaleTargetRef; a.Kind != b.Kind || a.Name != b.Name || a.Kind != "StatefulSet" || a.Name != set.Name {
		t.Errorf("%+v, %+v", a, b)
	}
	// 0.8 of the workers; there is one for each CPU of the limit.
	resources := set.Spec.Template.Spec.Containers[0].Resources
	workers := resources.Limits.Cpu().AsApproximateFloat64()
	if busy := float64(*hpa.Metrics[0].Resource.Target.AverageUtilization) / 100 * resources.Requests.Cpu().AsApproximateFloat64(); busy != 0.8*workers {
		t.Errorf("the autoscaler's target is %v used CPUs of %v", busy, workers)
	}
}

// TestClusterDocs checks that the files to which the manual links exist.
func TestClusterDocs(t *testing.T) {
	text := string(read(t, "../docs/cluster.md"))
	for _, link := range regexp.MustCompile(`\]\(([^)#:]+)(#[^)]*)?\)`).FindAllStringSubmatch(text, -1) {
		if _, err := os.Stat(filepath.Join("../docs", link[1])); err != nil {
			t.Error(err)
		}
	}
}
