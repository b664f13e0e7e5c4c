package manifest

import (
	"bytes"
	"errors"
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"sigs.k8s.io/yaml"

	"github.com/kvip/kvip/pkg/config"
	"github.com/kvip/kvip/templates"
)

var update = flag.Bool("update", false,
	"rewrite the golden files; commit them only if you understand the difference")

func with(base config.Config, changes ...func(*config.Config)) config.Config {
	base.VIPs = []netip.Addr{netip.MustParseAddr("192.0.2.10")}
	base.Image = "example.test/kvip:v0.1.0"
	for _, change := range changes {
		change(&base)
	}
	return base
}

func custom(c *config.Config) {
	c.VIPs = append(c.VIPs, netip.MustParseAddr("2001:db8::10"))
	c.Interface, c.Port = "eth1", 8443
	c.LeaseDuration, c.RenewInterval = 15*time.Second, 2*time.Second
	c.LeaseName, c.Namespace = "vip-a", "vips"
	c.HealthAddress, c.MetricsAddress = "127.0.0.2:3001", ""
	c.LogFormat, c.Verbosity = "json", 1
}

func services(c *config.Config) { c.Services = true }

func alone(c *config.Config) { c.Services, c.VIPs = true, nil }

func ownFiles(c *config.Config) {
	c.Kubeconfigs = []string{"/etc/rancher/k3s/k3s.yaml", "/etc/kubernetes/admin.conf",
		"/etc/kubernetes/other.conf"}
}

// render returns the golden cases: name to bytes.
func render(t *testing.T) map[string][]byte {
	t.Helper()
	out := map[string][]byte{}
	add := func(name string, err error, objects ...any) {
		t.Helper()
		var b bytes.Buffer
		if err == nil {
			err = Write(&b, objects...)
		}
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		out[name] = b.Bytes()
	}
	pod, err := Pod(with(config.StaticPod()))
	add("pod", err, pod)
	pod, err = Pod(with(config.StaticPod(), custom, ownFiles))
	add("pod-custom", err, pod)
	pod, err = HardenedPod(with(config.StaticPod()))
	add("pod-hardened", err, pod)
	set, err := DaemonSet(with(config.DaemonSet()), false)
	add("daemonset", err, set)
	set, err = DaemonSet(with(config.DaemonSet(), custom), true)
	add("daemonset-custom-workers", err, set)
	set, err = DaemonSet(with(config.ServicesDaemonSet(), alone), false)
	add("daemonset-services", err, set)
	set, err = DaemonSet(with(config.DaemonSet(), services), false)
	add("daemonset-with-services", err, set)
	rbac, err := RBAC(config.DaemonSet())
	add("rbac", err, rbac...)
	rbac, err = RBAC(with(config.DaemonSet(), custom))
	add("rbac-custom", err, rbac...)
	rbac, err = RBAC(config.ServicesDaemonSet())
	add("rbac-services", err, rbac...)
	rbac, err = RBAC(with(config.DaemonSet(), services, custom))
	add("rbac-custom-with-services", err, rbac...)
	return out
}

func TestGolden(t *testing.T) {
	for name, got := range render(t) {
		file := filepath.Join("testdata", name+".yaml")
		if *update {
			if err := os.WriteFile(file, got, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s differs; run go test ./pkg/manifest -update and read the difference\ngot:\n%s",
				file, got)
		}
	}
}

func TestBytesAreDeterministic(t *testing.T) {
	first := render(t)
	for range 20 {
		for name, got := range render(t) {
			if !bytes.Equal(got, first[name]) {
				t.Fatalf("%s is not the same at every run", name)
			}
		}
	}
}

func TestNothingThatOnlyAServerFillsIn(t *testing.T) {
	for name, got := range render(t) {
		for _, word := range []string{"creationTimestamp", "status:", "null", "e+"} {
			if bytes.Contains(got, []byte(word)) {
				t.Errorf("%s contains %q", name, word)
			}
		}
	}
}

func TestTemplatesAreDecodedStrictly(t *testing.T) {
	broken := bytes.Replace(templates.StaticPod, []byte("hostNetwork"), []byte("hostNetwrok"), 1)
	if _, err := decode[corev1.Pod](broken); err == nil || !strings.Contains(err.Error(),
		"hostNetwrok") {
		t.Errorf("a misspelt field passed: %v", err)
	}
}

func TestPodsAreLockedDown(t *testing.T) {
	pod, err := Pod(with(config.StaticPod()))
	if err != nil {
		t.Fatal(err)
	}
	set, err := DaemonSet(with(config.DaemonSet()), true)
	if err != nil {
		t.Fatal(err)
	}
	serving, err := DaemonSet(config.ServicesDaemonSet(), true)
	if err != nil {
		t.Fatal(err)
	}
	for name, row := range map[string]struct {
		spec   corev1.PodSpec
		memory string
		nice   bool // may raise its priority
	}{
		"pod":       {pod.Spec, "64Mi", true},
		"daemonset": {set.Spec.Template.Spec, "64Mi", true},
		"services":  {serving.Spec.Template.Spec, "256Mi", false},
	} {
		t.Run(name, func(t *testing.T) { checkLockedDown(t, row.spec, row.memory, row.nice) })
	}
}

func checkLockedDown(t *testing.T, spec corev1.PodSpec, memory string, nice bool) {
	c := spec.Containers[0]
	sc := c.SecurityContext
	capabilities := []corev1.Capability{"NET_ADMIN", "NET_RAW"}
	if nice {
		capabilities = append(capabilities, "SYS_NICE")
	}
	if !slices.Equal(sc.Capabilities.Drop, []corev1.Capability{"ALL"}) ||
		!slices.Equal(sc.Capabilities.Add, capabilities) {
		t.Errorf("capabilities %+v", sc.Capabilities)
	}
	if !*sc.ReadOnlyRootFilesystem || *sc.AllowPrivilegeEscalation || sc.Privileged != nil {
		t.Errorf("security context %+v", sc)
	}
	if sc.RunAsUser == nil || *sc.RunAsUser != 0 {
		t.Error("the user is left to the image; root must be explicit")
	}
	if spec.SecurityContext.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault {
		t.Errorf("seccomp %+v", spec.SecurityContext.SeccompProfile)
	}
	if !spec.HostNetwork || spec.HostPID || spec.HostIPC ||
		spec.PriorityClassName != "system-node-critical" {
		t.Errorf("host network %v, PID %v, IPC %v, class %q", spec.HostNetwork, spec.HostPID,
			spec.HostIPC, spec.PriorityClassName)
	}
	if limit := c.Resources.Limits.Memory(); limit.Cmp(resource.MustParse(memory)) != 0 ||
		c.Resources.Requests.Cpu().IsZero() {
		t.Errorf("resources %+v", c.Resources)
	}
	for _, probe := range []*corev1.Probe{c.StartupProbe, c.LivenessProbe} {
		if probe.Exec == nil || probe.HTTPGet != nil || probe.TCPSocket != nil {
			t.Errorf("another program may answer this probe: %+v", probe)
		}
	}
	if host := c.ReadinessProbe.HTTPGet.Host; !netip.MustParseAddr(host).IsLoopback() {
		t.Errorf("the readiness probe leaves loopback: %s", host)
	}
	if c.Env[0].Name != config.NodeNameEnv ||
		c.Env[0].ValueFrom.FieldRef.FieldPath != "spec.nodeName" {
		t.Errorf("node name from %+v", c.Env)
	}
}

func TestProbesFollowTheHealthAddress(t *testing.T) {
	set, err := DaemonSet(with(config.DaemonSet(), custom), false)
	if err != nil {
		t.Fatal(err)
	}
	c := set.Spec.Template.Spec.Containers[0]
	for name, probe := range map[string]*corev1.Probe{"startup": c.StartupProbe,
		"liveness": c.LivenessProbe} {
		if got := strings.Join(probe.Exec.Command, " "); got != "/kvip healthz --health-address "+
			"127.0.0.2:3001" {
			t.Errorf("%s probe: %s", name, got)
		}
	}
	if get := c.ReadinessProbe.HTTPGet; get.Path != "/readyz" || get.Host != "127.0.0.2" ||
		get.Port.IntValue() != 3001 {
		t.Errorf("readiness is probed at %s:%s%s", get.Host, get.Port.String(), get.Path)
	}
}

func TestGracePeriodOutlastsTheLease(t *testing.T) {
	for _, lease := range []time.Duration{5 * time.Second, 60 * time.Second} {
		pod, err := Pod(with(config.StaticPod(), func(c *config.Config) { c.LeaseDuration = lease }))
		if err != nil {
			t.Fatal(err)
		}
		if got := time.Duration(*pod.Spec.TerminationGracePeriodSeconds) * time.Second; got <= lease {
			t.Errorf("lease %s: killed after %s, before the kernel has ended the address", lease, got)
		}
	}
}

func TestStaticPodNeedsNoAPIObject(t *testing.T) {
	pod, err := Pod(with(config.StaticPod(), ownFiles))
	if err != nil {
		t.Fatal(err)
	}
	if pod.Spec.ServiceAccountName != "" {
		t.Error("the kubelet refuses a static pod with a ServiceAccount")
	}
	for i, v := range pod.Spec.Volumes {
		if v.HostPath == nil || *v.HostPath.Type != corev1.HostPathDirectoryOrCreate {
			t.Errorf("volume %s is not a directory that may be missing", v.Name)
		}
		if m := pod.Spec.Containers[0].VolumeMounts[i]; m.ReadOnly == (v.Name == "state") ||
			m.MountPath != v.HostPath.Path ||
			m.Name != v.Name {
			t.Errorf("mount %+v", m)
		}
	}
	if got := len(pod.Spec.Volumes); got != 3 {
		t.Errorf("%d volumes for files in two directories and the state", got)
	}
}

// TestHardenedPod mounts nothing but the state directory and names no kubeconfig.
func TestHardenedPod(t *testing.T) {
	pod, err := HardenedPod(with(config.StaticPod(), ownFiles))
	if err != nil {
		t.Fatal(err)
	}
	c := pod.Spec.Containers[0]
	if len(pod.Spec.Volumes) != 1 || len(c.VolumeMounts) != 1 ||
		c.VolumeMounts[0].MountPath != config.DefaultStateDir {
		t.Errorf("mounts %+v", c.VolumeMounts)
	}
	if args := strings.Join(c.Args, " "); strings.Contains(args, "kubeconfig") ||
		!strings.Contains(args,
			"--state-dir="+config.DefaultStateDir) {
		t.Errorf("arguments %s", args)
	}
}

// TestLeasesHaveTheirOwnRole: two addresses in one cluster do not overwrite each other's rights.
func TestLeasesHaveTheirOwnRole(t *testing.T) {
	names := map[string]bool{}
	for _, lease := range []string{"kvip", "vip-a", "vip-b", "endpoints", "token"} {
		cfg := config.DaemonSet()
		cfg.LeaseName, cfg.Namespace = lease, "default"
		objects, err := RBAC(cfg)
		if err != nil {
			t.Fatal(err)
		}
		for _, object := range objects {
			role, ok := object.(*rbacv1.Role)
			if !ok || role.Rules[0].Resources[0] != "leases" {
				continue
			}
			if names[role.Name] || role.Name == "kvip-endpoints" {
				t.Errorf("lease %s: role %s is another's", lease, role.Name)
			}
			names[role.Name] = true
		}
	}
	if len(names) != 5 {
		t.Errorf("roles %v", names)
	}
}

func TestArgumentsStartTheManager(t *testing.T) {
	cfg := with(config.StaticPod(), custom)
	pod, err := Pod(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := pod.Spec.Containers[0].Args, append([]string{"manager"},
		cfg.Args()...); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestRefusals(t *testing.T) {
	pod := func(change func(*config.Config)) error {
		_, err := Pod(with(config.StaticPod(),
			change))
		return err
	}
	hardened := func(change func(*config.Config)) error {
		_, err := HardenedPod(with(config.StaticPod(), change))
		return err
	}
	set := func(change func(*config.Config)) error {
		_, err := DaemonSet(with(config.DaemonSet(), change), false)
		return err
	}
	rbac := func(change func(*config.Config)) error {
		_, err := RBAC(with(config.DaemonSet(),
			change))
		return err
	}
	for _, row := range []struct {
		name string
		make func(func(*config.Config)) error
		with func(*config.Config)
		flag string
	}{
		{"pod without VIP", pod, func(c *config.Config) { c.VIPs = nil }, "vip"},
		{"daemonset without VIP", set, func(c *config.Config) { c.VIPs = nil }, "vip"},
		{"pod without kubeconfig", pod, func(c *config.Config) { c.Kubeconfigs = nil }, "kubeconfig"},
		{"hardened without a directory", hardened, func(c *config.Config) { c.StateDir = "" },
			"state-dir"},
		{"relative directory", hardened, func(c *config.Config) { c.StateDir = "kvip" }, "state-dir"},
		{"directory /", pod, func(c *config.Config) { c.StateDir = "/" }, "state-dir"},
		{"daemonset with a directory", set, func(c *config.Config) { c.StateDir = "/var/lib/kvip" },
			"state-dir"},
		{"relative kubeconfig", pod, func(c *config.Config) { c.Kubeconfigs = []string{"admin.conf"} },
			"kubeconfig"},
		{"kubeconfig in /", pod, func(c *config.Config) { c.Kubeconfigs = []string{"/admin.conf"} },
			"kubeconfig"},
		{"kubeconfig in / by dots", pod,
			func(c *config.Config) { c.Kubeconfigs = []string{"/etc/../admin.conf"} },
			"kubeconfig"},
		{"daemonset with kubeconfig", set, ownFiles, "kubeconfig"},
		{"daemonset with one node's name", set, func(c *config.Config) { c.NodeName = "a" }, "node-name"},
		{"daemonset that is another", set, func(c *config.Config) {
			c.Services, c.DaemonSet = true,
				"other"
		}, "daemonset"},
		{"pod of a daemonset", pod, func(c *config.Config) { c.DaemonSet = "kvip" }, "daemonset"},
		{"rbac with a bad class", rbac, func(c *config.Config) { c.ServiceClass = "/" }, "service-class"},
		{"rbac with a bad lease", rbac, func(c *config.Config) { c.LeaseName = "A" }, "lease-name"},
	} {
		var usage *config.UsageError
		if err := row.make(row.with); !errors.As(err, &usage) || usage.Flag != row.flag {
			t.Errorf("%s: got %v, want a refusal of --%s", row.name, err, row.flag)
		}
	}
}

func TestWriteReportsAFullDisk(t *testing.T) {
	if err := Write(failing{}, map[string]string{"a": "b"}); !errors.Is(err, os.ErrClosed) {
		t.Errorf("got %v", err)
	}
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, os.ErrClosed }

func TestEveryDocumentHasKindAndName(t *testing.T) {
	for file, got := range render(t) {
		for document := range bytes.SplitSeq(got, []byte("\n---\n")) {
			var head struct {
				APIVersion, Kind string
				Metadata         struct{ Name string }
			}
			if err := yaml.Unmarshal(document, &head); err != nil || head.APIVersion == "" || head.Kind ==
				"" || head.Metadata.Name == "" {
				t.Errorf("%s: %v in\n%s", file, err, document)
			}
		}
	}
}
