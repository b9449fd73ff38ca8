//go:build kube

package kube

import (
	"os"
	"strings"
	"testing"

	batch "k8s.io/api/batch/v1"
	core "k8s.io/api/core/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
	"sigs.k8s.io/yaml"
)

// TestManifests: each manifest of the page has fields that Kubernetes knows only, and its pods pass the standard "restricted".
func TestManifests(t *testing.T) {
	kinds := map[string]int{}
	for _, text := range manifests(t) {
		var head meta.TypeMeta
		if err := yaml.Unmarshal([]byte(text), &head); err != nil {
			t.Fatalf("%v in:\n%s", err, text)
		}
		kinds[head.Kind]++
		pod, err := podOf(head, text)
		if err != nil {
			t.Errorf("%v in:\n%s", err, text)
			continue
		}
		if pod != nil {
			if why := forbidden(t, pod); why != "" {
				t.Errorf("%s in:\n%s", why, text)
			}
		}
	}
	if kinds["Job"] < 1 || kinds["Pod"] < 2 || kinds["Task"] < 1 || kinds["ConfigMap"] < 1 {
		t.Errorf("manifests are missing: %v", kinds)
	}
}

// TestJudges: what the page must not say is found.
func TestJudges(t *testing.T) {
	job := manifests(t)[0]
	for _, c := range []struct{ old, new, want string }{
		{"runAsNonRoot: true", "runAsNonRoot: false", "runAsNonRoot"},
		{"capabilities: {drop: [ALL]}", "capabilities: {drop: [CHOWN]}", "unrestricted capabilities"},
		{"allowPrivilegeEscalation: false", "privileged: true", "privileged"},
		{"seccompProfile: {type: RuntimeDefault}", "seccompProfile: {type: Unconfined}", "seccompProfile"},
		{"emptyDir: {}", "hostPath: {path: /}", "hostPath"},
		{"restartPolicy: Never", "restart: Never", "unknown field"},
	} {
		text := strings.Replace(job, c.old, c.new, 1)
		pod, err := podOf(meta.TypeMeta{APIVersion: "batch/v1", Kind: "Job"}, text)
		got := ""
		if err != nil {
			got = err.Error()
		} else {
			got = forbidden(t, pod)
		}
		if !strings.Contains(got, c.want) {
			t.Errorf("%s: %q", c.new, got)
		}
	}
}

// TestLocalProfile: the pods pass with the profile for nodes as well, as the page names it.
func TestLocalProfile(t *testing.T) {
	page, err := os.ReadFile("../../docs/kubernetes.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(page), "\n    seccompProfile: ")
	line, _, _ := strings.Cut(rest, "\n")
	text := strings.Replace(manifests(t)[0], "seccompProfile: {type: RuntimeDefault}", "seccompProfile: "+line, 1)
	pod, err := podOf(meta.TypeMeta{APIVersion: "batch/v1", Kind: "Job"}, text)
	if !ok || err != nil {
		t.Fatal(ok, err)
	}
	if p := pod.Spec.SecurityContext.SeccompProfile; p.LocalhostProfile == nil || *p.LocalhostProfile != "slipway.json" {
		t.Errorf("the profile is %v", p)
	}
	if why := forbidden(t, pod); why != "" {
		t.Error(why)
	}
}

// manifests returns those of the page that name a kind: the rest is for other systems.
func manifests(t *testing.T) []string {
	t.Helper()
	page, err := os.ReadFile("../../docs/kubernetes.md")
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, part := range strings.Split(string(page), "```yaml\n")[1:] {
		block, _, _ := strings.Cut(part, "```")
		for _, text := range strings.Split(block, "\n---\n") {
			if strings.Contains(text, "kind: ") {
				list = append(list, text)
			}
		}
	}
	return list
}

// podOf reads a manifest strictly and returns the pod it makes, nil for none.
func podOf(head meta.TypeMeta, text string) (*core.PodTemplateSpec, error) {
	switch head.APIVersion + " " + head.Kind {
	case "v1 Pod":
		var p core.Pod
		err := yaml.UnmarshalStrict([]byte(text), &p)
		return &core.PodTemplateSpec{ObjectMeta: p.ObjectMeta, Spec: p.Spec}, err
	case "batch/v1 Job":
		var j batch.Job
		err := yaml.UnmarshalStrict([]byte(text), &j)
		return &j.Spec.Template, err
	case "tekton.dev/v1 Task":
		var task task
		err := yaml.UnmarshalStrict([]byte(text), &task)
		return task.pod(), err
	}
	var c core.ConfigMap
	return nil, yaml.UnmarshalStrict([]byte(text), &c)
}

// A task is as much of a Tekton Task as the page uses; its steps are containers with the fields of their template.
type task struct {
	meta.TypeMeta   `json:",inline"`
	meta.ObjectMeta `json:"metadata"`
	Spec            struct {
		Params     []struct{ Name, Type, Description string }
		Workspaces []struct {
			Name, Description, MountPath string
			ReadOnly                     bool
		}
		StepTemplate core.Container
		Steps        []core.Container
		Volumes      []core.Volume
	}
}

// pod is what Tekton makes of it.
func (k *task) pod() *core.PodTemplateSpec {
	p := &core.PodTemplateSpec{ObjectMeta: k.ObjectMeta}
	p.Spec.Volumes = k.Spec.Volumes
	for _, c := range k.Spec.Steps {
		if c.SecurityContext == nil {
			c.SecurityContext = k.Spec.StepTemplate.SecurityContext
		}
		p.Spec.Containers = append(p.Spec.Containers, c)
	}
	return p
}

// forbidden says why the standard refuses a pod, "" if it does not.
func forbidden(t *testing.T, pod *core.PodTemplateSpec) string {
	t.Helper()
	judge, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		t.Fatal(err)
	}
	verdict := policy.AggregateCheckResults(judge.EvaluatePod(api.LevelVersion{Level: api.LevelRestricted, Version: api.LatestVersion()}, &pod.ObjectMeta, &pod.Spec))
	if verdict.Allowed {
		return ""
	}
	return verdict.ForbiddenDetail()
}
