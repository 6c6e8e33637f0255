package deploy_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	keda "github.com/kedacore/keda/v2/apis/keda/v1alpha1"
	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	apps "k8s.io/api/apps/v1"
	autoscaling "k8s.io/api/autoscaling/v2"
	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	policy "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

// served has the API types of the used kinds.
var served = map[string]func() any{
	"apps/v1 StatefulSet":                     func() any { return new(apps.StatefulSet) },
	"v1 Service":                              func() any { return new(core.Service) },
	"v1 ConfigMap":                            func() any { return new(core.ConfigMap) },
	"policy/v1 PodDisruptionBudget":           func() any { return new(policy.PodDisruptionBudget) },
	"networking.k8s.io/v1 NetworkPolicy":      func() any { return new(networking.NetworkPolicy) },
	"autoscaling/v2 HorizontalPodAutoscaler":  func() any { return new(autoscaling.HorizontalPodAutoscaler) },
	"monitoring.coreos.com/v1 ServiceMonitor": func() any { return new(monitoring.ServiceMonitor) },
	"monitoring.coreos.com/v1 PrometheusRule": func() any { return new(monitoring.PrometheusRule) },
	"keda.sh/v1alpha1 ScaledObject":           func() any { return new(keda.ScaledObject) },
}

// kustomize builds a directory and decodes the objects strictly, by kind and name.
func kustomize(t *testing.T, dir string) map[string]any {
	t.Helper()
	built, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), dir)
	if err != nil {
		t.Fatal(err)
	}
	objects := map[string]any{}
	for _, r := range built.Resources() {
		id := r.GetApiVersion() + " " + r.GetKind()
		empty, ok := served[id]
		if !ok {
			t.Errorf("no type is known for %s", id)
			continue
		}
		text, err := r.AsYAML()
		if err != nil {
			t.Fatal(err)
		}
		v := empty()
		if err := yaml.UnmarshalStrict(text, v); err != nil {
			t.Errorf("%s: %v", id, err)
		}
		objects[r.GetKind()+"/"+r.GetName()] = v
	}
	return objects
}

func get[T any](t *testing.T, objects map[string]any, name string) *T {
	t.Helper()
	v, ok := objects[name].(*T)
	if !ok {
		t.Fatalf("there is no %s", name)
	}
	return v
}

// selected checks that the set, the budget and the services of a name select the set's pods, and that ports match.
func selected(t *testing.T, objects map[string]any, name string, services ...string) *apps.StatefulSet {
	t.Helper()
	set := get[apps.StatefulSet](t, objects, "StatefulSet/"+name)
	labels := set.Spec.Template.Labels
	selects := func(name string, selector map[string]string) {
		t.Helper()
		for k, v := range selector {
			if labels[k] != v {
				t.Errorf("%s selects %s=%s, the pods have %q", name, k, v, labels)
			}
		}
		if len(selector) == 0 {
			t.Errorf("%s selects everything", name)
		}
	}
	selects("the set", set.Spec.Selector.MatchLabels)
	selects("the budget", get[policy.PodDisruptionBudget](t, objects, "PodDisruptionBudget/"+name).Spec.Selector.MatchLabels)
	ports := map[string]bool{}
	for _, p := range set.Spec.Template.Spec.Containers[0].Ports {
		ports[p.Name] = true
	}
	for _, name := range append(services, set.Spec.ServiceName) {
		s := get[core.Service](t, objects, "Service/"+name)
		selects(name, s.Spec.Selector)
		for _, p := range s.Spec.Ports {
			if !ports[p.TargetPort.String()] {
				t.Errorf("%s: no port %s", name, p.TargetPort.String())
			}
		}
	}
	return set
}

// confined checks that the pod has minimal privileges and a memory limit.
func confined(t *testing.T, pod *core.PodSpec) {
	t.Helper()
	c := pod.Containers[0]
	s, p := c.SecurityContext, pod.SecurityContext
	if !*p.RunAsNonRoot || *p.RunAsUser == 0 || *p.FSGroup != *p.RunAsUser || p.SeccompProfile.Type != core.SeccompProfileTypeRuntimeDefault ||
		!*s.ReadOnlyRootFilesystem || *s.AllowPrivilegeEscalation || !reflect.DeepEqual(s.Capabilities.Drop, []core.Capability{"ALL"}) ||
		*pod.AutomountServiceAccountToken || *pod.EnableServiceLinks {
		t.Errorf("the pod has too many privileges: %+v, %+v", p, s)
	}
	memory := c.Resources.Limits.Memory()
	if memory.IsZero() {
		t.Error("got no limit of memory, want one")
	}
	if text, ok := environment(&c)["GOMEMLIMIT"]; ok { // gather sets its own
		if limit := resource.MustParse(strings.TrimSuffix(text, "B")); limit.Cmp(*memory) >= 0 {
			t.Errorf("GOMEMLIMIT %s is not below the limit of %s", limit.String(), memory)
		}
	}
}

func environment(c *core.Container) map[string]string {
	env := map[string]string{}
	for _, e := range c.Env {
		env[e.Name] = e.Value
	}
	return env
}

// gatherPod checks the properties that the pods have in all overlays.
func gatherPod(t *testing.T, set *apps.StatefulSet) {
	t.Helper()
	pod := set.Spec.Template.Spec
	c := pod.Containers[0]
	confined(t, &pod)
	for path, probe := range map[string]*core.Probe{"/livez": c.LivenessProbe, "/readyz": c.ReadinessProbe} {
		if probe.HTTPGet.Path != path || probe.HTTPGet.Port != intstr.FromString("api") {
			t.Errorf("%s: %+v", path, probe.HTTPGet)
		}
	}
	if user := "USER 65532:65532"; !bytes.Contains(read(t, "../Dockerfile"), []byte(user)) || *pod.SecurityContext.RunAsUser != 65532 {
		t.Errorf("the image has user %s, the pod %d", user, *pod.SecurityContext.RunAsUser)
	}
	// 30 s is the default of --drain-timeout, 10 s the maximum for closing.
	delay, err := time.ParseDuration(environment(&c)["GATHER_DRAIN_DELAY"])
	if grace := time.Duration(*pod.TerminationGracePeriodSeconds) * time.Second; err != nil || delay <= 0 || grace < delay+40*time.Second {
		t.Errorf("got a grace period of %s for a drain delay of %s (%v), want 40 s more than the delay", grace, delay, err)
	}
	mounts := map[string]string{}
	for _, m := range c.VolumeMounts {
		mounts[m.Name] = m.MountPath
	}
	claims := set.Spec.VolumeClaimTemplates
	if keys := environment(&c)["GATHER_API_KEYS"]; len(claims) != 1 || mounts[claims[0].Name] != "/data" || !strings.HasPrefix(keys, mounts["keys"]+"/") {
		t.Errorf("mounts %q, claims %+v, keys in %s", mounts, claims, keys)
	}
}

// TestKubernetesBase checks that the parts of the base match, and that the pod has minimal privileges.
func TestKubernetesBase(t *testing.T) {
	gatherPod(t, selected(t, kustomize(t, "kubernetes/base"), "gather", "gather"))
}

// withComponents builds a directory beside base with all components, as a user would, except that it has both autoscalers.
func withComponents(t *testing.T, base string) map[string]any {
	t.Helper()
	// Kustomize requires relative paths, so the user's directory is beside copies of the others.
	root := t.TempDir()
	for _, name := range []string{"kubernetes", "nats", "grafana/dashboards"} {
		if err := os.CopyFS(filepath.Join(root, name), os.DirFS(name)); err != nil {
			t.Fatal(err)
		}
	}
	dir := filepath.Join(root, "kubernetes", "mine")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	text := "resources: [../" + base + "]\ncomponents:\n"
	for _, c := range glob(t, "kubernetes/components/*") {
		text += "  - ../components/" + filepath.Base(c) + "\n"
	}
	if err := os.WriteFile(filepath.Join(dir, "kustomization.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return kustomize(t, dir)
}

// TestKubernetesComponents builds the base with all components.
func TestKubernetesComponents(t *testing.T) {
	objects := withComponents(t, "base")

	monitor := get[monitoring.ServiceMonitor](t, objects, "ServiceMonitor/gather")
	service := get[core.Service](t, objects, "Service/gather-metrics")
	for k, v := range monitor.Spec.Selector.MatchLabels {
		if service.Labels[k] != v {
			t.Errorf("the monitor selects %s=%s, the service has %q", k, v, service.Labels)
		}
	}
	if service.Labels[monitor.Spec.JobLabel] != "gather" || monitor.Spec.Endpoints[0].Port != service.Spec.Ports[0].Name {
		t.Errorf("%+v, %+v", monitor.Spec, service)
	}
	for _, trigger := range get[keda.ScaledObject](t, objects, "ScaledObject/gather").Spec.Triggers {
		for _, s := range selectors(t, trigger.Metadata["query"]) {
			if !exposed(t)[family(s.Name)] {
				t.Errorf("autoscaling queries %s, which is not exposed", s.Name)
			}
		}
		if trigger.Metadata["ignoreNullValues"] != "false" {
			t.Errorf("%+v", trigger)
		}
	}

	// The operator's rules equal the rule files.
	var want []monitoring.RuleGroup
	for _, file := range []string{"recording", "alerts"} {
		var rules monitoring.PrometheusRuleSpec
		decode(t, "prometheus/rules/"+file+".yaml", &rules)
		want = append(want, rules.Groups...)
	}
	if got := get[monitoring.PrometheusRule](t, objects, "PrometheusRule/gather").Spec.Groups; !reflect.DeepEqual(got, want) {
		t.Error("the PrometheusRule differs from the rule files: go generate ./grafana")
	}
}

// TestKubernetesFiles decodes every file strictly, because kustomize accepts duplicate keys.
func TestKubernetesFiles(t *testing.T) {
	files := slices.Concat(glob(t, "kubernetes/*/*.yaml"), glob(t, "kubernetes/components/*/*.yaml"), glob(t, "nats/*.yaml"))
	for _, file := range files {
		for document := range bytes.SplitSeq(read(t, file), []byte("\n---\n")) {
			var object map[string]any
			if err := yaml.UnmarshalStrict(document, &object); err != nil && !errors.Is(err, io.EOF) {
				t.Errorf("%s: %v", file, err)
			}
		}
	}
}
