package main

import (
	"bytes"
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kvip/kvip/pkg/link"
	"github.com/kvip/kvip/pkg/vip"
	"github.com/kvip/kvip/test/testutil"
)

const (
	clusterText = "# ours\napiVersion: kubeadm.k8s.io/v1beta4 # new\nkind: ClusterConfiguration\n"
	joinText    = "apiVersion: kubeadm.k8s.io/v1beta4\nkind: JoinConfiguration\ncontrolPlane: " +
		"{}\ndiscovery:\n  bootstrapToken:\n    token: abcdef.0123456789abcdef\n"
)

// desk is a directory with files, in which a test types commands.
type desk struct {
	t   *testing.T
	dir string
}

func newDesk(t *testing.T, files map[string]string) desk {
	d := desk{t, t.TempDir()}
	t.Chdir(d.dir)
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(d.dir, name), []byte(text), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	return d
}

// run types a command; the host that runs the test is none of its business. It takes no process,
// unless stdin matters: there are many.
func (d desk) run(line string) result {
	d.t.Helper()
	if strings.Contains(line+" ", " - ") {
		return d.stdin("", line)
	}
	var stdout, stderr bytes.Buffer
	code := run(d.args(line), &stdout, &stderr)
	return result{code, stdout.String(), stderr.String()}
}

func (d desk) args(line string) []string {
	args := strings.Fields(line)
	if args[0] == "kubeadm" {
		args = append(args, "--manifest-dir", "manifests", "--skip-host-checks")
	}
	return args
}

func (d desk) stdin(text, line string) result {
	d.t.Helper()
	return kvipIn(d.t, d.dir, text, d.args(line)...)
}

// read returns a file, or "" if there is none.
func (d desk) read(name string) string {
	d.t.Helper()
	text, err := os.ReadFile(filepath.Join(d.dir, name))
	if err != nil && !os.IsNotExist(err) {
		d.t.Fatal(err)
	}
	return string(text)
}

// all returns every file with its mode and content.
func (d desk) all() string {
	d.t.Helper()
	var list strings.Builder
	err := filepath.WalkDir(d.dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		list.WriteString(strings.TrimPrefix(path, d.dir) + " " + info.Mode().String() + "\n")
		if err == nil && entry.Type().IsRegular() {
			text, _ := os.ReadFile(path)
			list.Write(text)
		}
		return err
	})
	if err != nil {
		d.t.Fatal(err)
	}
	return list.String()
}

func (d desk) mode(name string) fs.FileMode {
	d.t.Helper()
	info, err := os.Stat(filepath.Join(d.dir, name))
	if err != nil {
		d.t.Fatal(err)
	}
	return info.Mode().Perm()
}

func expect(t *testing.T, got result, code int, stdout ...string) {
	t.Helper()
	if got.code != code {
		t.Fatalf("exit code %d, want %d; stdout %s stderr %s", got.code, code, got.stdout, got.stderr)
	}
	for _, want := range stdout {
		if !strings.Contains(got.stdout, want) {
			t.Errorf("stdout says nothing of %q:\n%s", want, got.stdout)
		}
	}
}

func TestKubeadmInitFromNothing(t *testing.T) {
	d := newDesk(t, nil)
	expect(t, d.run("kubeadm init --vip 192.0.2.10"), exitOK, "kubeadm.yaml: written",
		"manifests/kvip.yaml: written", "\nNext:\n  kubeadm init --config kubeadm.yaml --upload-certs\n")
	if text := d.read("kubeadm.yaml"); !strings.Contains(text,
		"controlPlaneEndpoint: 192.0.2.10:6443\n") ||
		strings.Contains(text, "kubernetesVersion") {
		t.Errorf("kubeadm.yaml:\n%s", text)
	}
	if d.mode("manifests/kvip.yaml") != 0o600 || d.mode("kubeadm.yaml") != 0o600 {
		t.Error("others can read what was written")
	}
	before := d.all()
	expect(t, d.run("kubeadm init --vip 192.0.2.10"), exitOK, "kubeadm.yaml: unchanged",
		"manifests/kvip.yaml: unchanged")
	if after := d.all(); after != before {
		t.Errorf("a second run left\n%s\nnot\n%s", after, before)
	}
}

// TestOneManifestForEveryNode: init and join write the same bytes, those of `kvip manifest pod`.
func TestOneManifestForEveryNode(t *testing.T) {
	for _, flags := range []string{
		"--vip 192.0.2.10",
		"--vip 192.0.2.10,2001:db8::10 --port 8443 --interface eth0 --lease-duration 9s --image " +
			"registry.example/kvip:1 --metrics-address= -v 1",
	} {
		port := strings.Contains(flags, "8443")
		cluster, join := clusterText, joinText
		if port {
			cluster += "---\napiVersion: kubeadm.k8s.io/v1beta4\nkind: " +
				"InitConfiguration\nlocalAPIEndpoint: {bindPort: 8443}\n"
			join = strings.Replace(join, "{}", "{localAPIEndpoint: {bindPort: 8443}}", 1)
		}
		d := newDesk(t, map[string]string{"c.yaml": cluster, "j.yaml": join})
		want := d.run("manifest pod " + flags).stdout
		for _, command := range []string{"init", "init --config c.yaml", "join", "join --config j.yaml"} {
			if err := os.RemoveAll(filepath.Join(d.dir, "manifests")); err != nil {
				t.Fatal(err)
			}
			expect(t, d.run("kubeadm "+command+" "+flags), exitOK)
			if got := d.read("manifests/kvip.yaml"); got != want || got == "" {
				t.Errorf("kubeadm %s %s wrote\n%s\nand manifest pod prints\n%s", command, flags, got, want)
			}
		}
	}
}

func TestKubeadmEditsInPlace(t *testing.T) {
	d := newDesk(t, map[string]string{"c.yaml": clusterText, "j.yaml": joinText})
	if err := os.Symlink("c.yaml", filepath.Join(d.dir, "link.yaml")); err != nil {
		t.Fatal(err)
	}
	expect(t, d.run("kubeadm init --vip 192.0.2.10 --config link.yaml"), exitOK, "link.yaml: changed",
		"kubeadm init --config link.yaml --upload-certs")
	if got, want := d.read("c.yaml"), clusterText+
		"controlPlaneEndpoint: 192.0.2.10:6443\n"+
		"apiServer:\n  certSANs:\n    - 192.0.2.10\n"; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if d.mode("c.yaml") != 0o640 {
		t.Errorf("the mode became %v", d.mode("c.yaml"))
	}
	if info, err := os.Lstat(filepath.Join(d.dir, "link.yaml")); err != nil ||
		info.Mode().Type() != fs.ModeSymlink {
		t.Error("the link became a file")
	}
	expect(t, d.run("kubeadm join --config j.yaml --vip 192.0.2.10"), exitOK, "j.yaml: changed",
		"manifests/kvip.yaml: unchanged", "\n  kubeadm join --config j.yaml\n")
	if got, want := d.read("j.yaml"), strings.Replace(joinText, "    token",
		"    apiServerEndpoint: 192.0.2.10:6443\n    token", 1); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestKubeadmOutputElsewhere(t *testing.T) {
	d := newDesk(t, map[string]string{"c.yaml": clusterText, "old.yaml": "other\n"})
	expect(t, d.run("kubeadm init --vip 192.0.2.10 --config c.yaml --output new.yaml"), exitOK,
		"new.yaml: written", "--config new.yaml")
	if d.read("c.yaml") != clusterText {
		t.Error("the file of --config changed")
	}
	refused := d.run("kubeadm init --vip 192.0.2.10 --config c.yaml --output old.yaml")
	expect(t, refused, exitUsage)
	if !strings.Contains(refused.stderr, "--output: old.yaml exists and differs") ||
		d.read("old.yaml") != "other\n" {
		t.Errorf("stderr %s", refused.stderr)
	}
	expect(t, d.run("kubeadm init --vip 192.0.2.10 --config c.yaml --output old.yaml --force"), exitOK,
		"old.yaml: changed")
	if d.read("old.yaml") != d.read("new.yaml") {
		t.Error("--force wrote something else")
	}
}

func TestKubeadmManifestIsOverwrittenByForceOnly(t *testing.T) {
	d := newDesk(t, nil)
	expect(t, d.run("kubeadm join --vip 192.0.2.10"), exitOK)
	before := d.all()
	refused := d.run("kubeadm join --vip 192.0.2.11")
	expect(t, refused, exitUsage)
	if !strings.Contains(refused.stderr, "manifests/kvip.yaml exists and differs") ||
		d.all() != before {
		t.Errorf("stderr %s, left\n%s", refused.stderr, d.all())
	}
	expect(t, d.run("kubeadm join --vip 192.0.2.11 --force"), exitOK, "manifests/kvip.yaml: changed")
	if !strings.Contains(d.read("manifests/kvip.yaml"), "--vip=192.0.2.11") {
		t.Error("--force did not write")
	}
	if left, err := os.ReadDir(filepath.Join(d.dir, "manifests")); err != nil || len(left) != 1 {
		t.Errorf("left %v, %v: the kubelet reads every file there", left, err)
	}
}

func TestKubeadmDryRun(t *testing.T) {
	d := newDesk(t, map[string]string{"c.yaml": clusterText})
	before := d.all()
	got := d.run("kubeadm init --vip 192.0.2.10 --config c.yaml --dry-run")
	expect(t, got, exitOK, "--- c.yaml\n+++ c.yaml\n", "\n+controlPlaneEndpoint: 192.0.2.10:6443\n",
		"--- /dev/null\n+++ manifests/kvip.yaml\n", "\n+kind: Pod\n",
		"kubeadm init --config c.yaml --upload-certs")
	if removed := strings.Count(got.stdout, "\n-") - 2; removed > 0 {
		t.Errorf("%d lines removed:\n%s", removed, got.stdout)
	}
	if after := d.all(); after != before {
		t.Errorf("a dry run left\n%s", after)
	}
	expect(t, d.run("kubeadm init --vip 192.0.2.10 --config c.yaml"), exitOK)
	expect(t, d.run("kubeadm init --vip 192.0.2.10 --config c.yaml --dry-run"), exitOK,
		"c.yaml: unchanged", "manifests/kvip.yaml: unchanged")
	before = d.all()
	got = d.run("kubeadm join --vip 192.0.2.11 --dry-run")
	expect(t, got, exitUsage, "-    - --vip=192.0.2.10\n+    - --vip=192.0.2.11\n")
	if !strings.Contains(got.stderr, "--force") || d.all() != before {
		t.Errorf("a dry run does not say what a run would: %s", got.stderr)
	}
}

func TestKubeadmStreams(t *testing.T) {
	d := newDesk(t, nil)
	want := clusterText +
		"controlPlaneEndpoint: 192.0.2.10:6443\napiServer:\n  certSANs:\n    - 192.0.2.10\n"
	got := d.stdin(clusterText, "kubeadm init --vip 192.0.2.10 --config -")
	expect(t, got, exitOK)
	if got.stdout != want ||
		!strings.Contains(
			got.stderr,
			"Next, with stdout saved as kubeadm.yaml:\n  kubeadm init --config kubeadm.yaml "+
				"--upload-certs\n",
		) ||
		!strings.Contains(got.stderr, "manifests/kvip.yaml: written") {
		t.Errorf("stdout %s stderr %s", got.stdout, got.stderr)
	}
	got = d.stdin(clusterText, "kubeadm init --vip 192.0.2.10 --config - --dry-run")
	expect(t, got, exitOK, "+controlPlaneEndpoint: 192.0.2.10:6443\n")
	if !strings.Contains(got.stderr, "Next") || strings.Contains(got.stdout, "Next") {
		t.Errorf("stdout %s stderr %s", got.stdout, got.stderr)
	}
	expect(t, d.stdin(clusterText, "kubeadm init --vip 192.0.2.10 --config - --output c.yaml"), exitOK,
		"c.yaml: written")
	if d.read("c.yaml") != want {
		t.Errorf("c.yaml: %s", d.read("c.yaml"))
	}
	expect(t, d.run("kubeadm init --vip 192.0.2.10 --output -"), exitOK,
		"kind: ClusterConfiguration\n")
}

// TestKubeadmMessages checks notes and the next command.
func TestKubeadmMessages(t *testing.T) {
	worker := strings.Replace(joinText, "controlPlane: {}\n", "", 1)
	byFile := "apiVersion: kubeadm.k8s.io/v1beta4\nkind: JoinConfiguration\ncontrolPlane: " +
		"{}\ndiscovery: {file: {kubeConfigPath: PATH}}\n"
	d := newDesk(
		t,
		map[string]string{
			"w.yaml":       worker,
			"a b.yaml":     clusterText,
			"name.yaml":    clusterText + "controlPlaneEndpoint: vip.example\n",
			"repo.yaml":    clusterText + "imageRepository: registry.example\n",
			"file.yaml":    strings.Replace(byFile, "PATH", "join.conf", 1),
			"join.conf":    "clusters: [{cluster: {server: 'https://192.0.2.9:6443'}}]\n",
			"good.yaml":    strings.Replace(byFile, "PATH", "good.conf", 1),
			"good.conf":    "clusters: [{cluster: {server: 'https://192.0.2.10:6443'}}]\n",
			"url.yaml":     strings.Replace(byFile, "PATH", "'https://files.example/join.conf'", 1),
			"gone.yaml":    strings.Replace(byFile, "PATH", "gone.conf", 1),
			"patched.yaml": joinText + "patches: {directory: gone}\n",
		},
	)
	for _, row := range []struct{ line, want, not string }{
		{"join --vip 192.0.2.10 --config w.yaml", "gets no static pod", "localhost/kvip"},
		{"join --vip 192.0.2.10", "Note: no public registry has the image localhost/kvip:dev ",
			"registry.example"},
		{"join --vip 2001:db8::10 --port 8443 --image a/b:c",
			"  kubeadm join [2001:db8::10]:8443 --control-plane --token TOKEN " +
				"--discovery-token-ca-cert-hash HASH --certificate-key KEY --apiserver-bind-port " +
				"8443\n", "Note"},
		{"init --vip 192.0.2.10 --config name.yaml", `"vip.example" is kept`, "is not"},
		{"init --vip 192.0.2.10 --config repo.yaml",
			"imageRepository of the configuration is registry.example", "registry.example/kvip"},
		{"init --vip 192.0.2.10 --config repo.yaml --image a/b:c --force", "unchanged", "Note"},
		{"join --vip 192.0.2.10 --config file.yaml --force",
			"its server is https://192.0.2.9:6443, not https://192.0.2.10:6443", "apiServerEndpoint"},
		{"join --vip 192.0.2.10 --config good.yaml --image a/b:c", "good.yaml: unchanged", "Note"},
		{"join --vip 192.0.2.10 --config url.yaml", "was not fetched", "its server is"},
		{"join --vip 192.0.2.10 --config gone.yaml", "cannot be read here", "not edited"},
		{"join --vip 192.0.2.10 --config patched.yaml",
			"patches of kube-apiserver cannot be read here (open gone:", "not edited"},
	} {
		got := d.run("kubeadm " + row.line + " --dry-run --force")
		expect(t, d.run("kubeadm "+row.line+" --force"), exitOK, row.want)
		if !strings.Contains(got.stdout, row.want) || strings.Contains(got.stdout, row.not) {
			t.Errorf("%s: %s", row.line, got.stdout)
		}
	}
	got := kvipIn(t, d.dir, "", "kubeadm", "init", "--vip", "192.0.2.10", "--config", "a b.yaml",
		"--dry-run", "--skip-host-checks", "--manifest-dir", "other")
	expect(t, got, exitOK, "kubeadm init --config 'a b.yaml' --upload-certs")
}

// TestKubeadmRefuses: exit code 2, a message that names the place, nothing written or printed.
func TestKubeadmRefuses(t *testing.T) {
	five := clusterText + "---\napiVersion: kubeadm.k8s.io/v1beta4\nkind: " +
		"InitConfiguration\nlocalAPIEndpoint:\n  bindPort: 8443\n"
	d := newDesk(
		t,
		map[string]string{
			"c.yaml":      clusterText,
			"j.yaml":      joinText,
			"empty.yaml":  "",
			"binary.yaml": "\x00\x01",
			"list.yaml":   "- a\n",
			"port.yaml":   five,
			"old.yaml":    strings.Replace(clusterText, "beta4", "beta2", 1),
			"two.yaml":    clusterText + "---\n" + clusterText,
			"typo.yaml":   clusterText + "networking:\n  podSubnt: a\n",
			"kind.yaml": "kind: Cluster\napiVersion: kind.x-k8s.io/v1alpha4\nnodes: [{role: " +
				"control-plane}]\n",
			"map.yaml": "apiVersion: v1\nkind: ConfigMap\ndata: {ClusterConfiguration: \"kind: " +
				"ClusterConfiguration\"}\n",
			"conf.yaml":    "apiVersion: v1\nkind: Config\nclusters: []\n",
			"kubelet.yaml": "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n",
			"bind.yaml": clusterText +
				"apiServer: {extraArgs: [{name: bind-address, value: 192.0.2.11}]}\n",
			"patched.yaml": strings.Replace(clusterText, "Cluster", "Init",
				1) + "patches: {directory: patches}\n",
			"joined.yaml": joinText + "patches: {directory: patches}\n",
			"big.yaml":    clusterText + strings.Repeat("# long\n", 1<<18),
			"end.yaml":    clusterText + "controlPlaneEndpoint: 192.0.2.9:6443\n",
			"yaml.yaml":   "a: [\n",
		},
	)
	if err := os.Mkdir(filepath.Join(d.dir, "dir"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(d.dir, "patches"), 0o700); err != nil {
		t.Fatal(err)
	}
	patch := "- op: add\n  path: /spec/containers/0/command/-\n  value: --bind-address=127.0.0.1\n"
	if err := os.WriteFile(filepath.Join(d.dir, "patches", "kube-apiserver+json.yaml"), []byte(patch),
		0o600); err != nil {
		t.Fatal(err)
	}
	before := d.all()
	for _, row := range []struct{ line, want string }{
		{"init --vip 192.0.2.10 --config kind.yaml", "kind.yaml, document 1, line 2: apiVersion: " +
			"\"kind.x-k8s.io/v1alpha4\" is not an API version of kubeadm"},
		{"init --vip 192.0.2.10 --config map.yaml",
			"map.yaml, document 1, line 1: apiVersion: \"v1\" is not a group"},
		{"init --vip 192.0.2.10 --config conf.yaml",
			"conf.yaml, document 1, line 1: apiVersion: \"v1\" is not a group"},
		{"join --vip 192.0.2.10 --config conf.yaml",
			"conf.yaml, document 1, line 1: apiVersion: \"v1\" is not a group"},
		{"init --vip 192.0.2.10 --config kubelet.yaml",
			"kubelet.yaml: has neither ClusterConfiguration nor InitConfiguration"},
		{"init --vip 192.0.2.10 --config bind.yaml", "(BindAddressMismatch)"},
		{"init --vip 192.0.2.10 --config bind.yaml --force", "(BindAddressMismatch)"},
		{"init --vip 192.0.2.10 --config patched.yaml",
			"patches/kube-apiserver+json.yaml, line 3: --bind-address: \"127.0.0.1\""},
		{"join --vip 192.0.2.10 --config joined.yaml", "(BindAddressMismatch)"},
		{"init", "--vip: no virtual IP address given"},
		{"join", "--vip: no virtual IP address given"},
		{"init --vip 127.0.0.1", "--vip: 127.0.0.1 is a loopback address"},
		{"init --vip 192.0.2.10 --port 0", "--port: 0 is out of range"},
		{"init --vip 192.0.2.10 --lease-duration 1s", "--lease-duration"},
		{"init --vip 192.0.2.10 --config nosuch.yaml", "--config: open nosuch.yaml: no such file"},
		{"init --vip 192.0.2.10 --config dir", "--config: read dir: is a directory"},
		{"init --vip 192.0.2.10 --config empty.yaml", "empty.yaml: is empty"},
		{"init --vip 192.0.2.10 --config -", "stdin: is empty"},
		{"init --vip 192.0.2.10 --config binary.yaml", "binary.yaml: is not text"},
		{"init --vip 192.0.2.10 --config big.yaml", "big.yaml: is too large"},
		{"init --vip 192.0.2.10 --config list.yaml", "list.yaml, document 1, line 1: is not a mapping"},
		{"init --vip 192.0.2.10 --config yaml.yaml", "yaml.yaml, document 1, line 1: is not YAML"},
		{"init --vip 192.0.2.10 --config old.yaml",
			"old.yaml, document 1, line 2: apiVersion: \"kubeadm.k8s.io/v1beta2\" is not supported"},
		{"init --vip 192.0.2.10 --config two.yaml",
			"two.yaml, document 2, line 5: kind: ClusterConfiguration is in document 1"},
		{"init --vip 192.0.2.10 --config typo.yaml",
			"typo.yaml, document 1, line 5: networking.podSubnt: is unknown"},
		{"init --vip 192.0.2.10 --config end.yaml", "(EndpointMismatch)"},
		{"init --vip 192.0.2.10 --config end.yaml --force", "(EndpointMismatch)"},
		{"init --vip 192.0.2.10 --config port.yaml --port 6443", "(PortMismatch)"},
		{"init --vip 10.96.0.1", "(VIPInServiceSubnet)"},
		{"init --vip 192.0.2.10 --config j.yaml", "JoinConfiguration only"},
		{"join --vip 192.0.2.10 --config c.yaml", "c.yaml: has no JoinConfiguration"},
		{"join --vip 192.0.2.10 --output x.yaml", "--output: without --config"},
		{"init --vip 192.0.2.10 --output manifests/kubeadm.yaml",
			"--output: \"manifests/kubeadm.yaml\" is in the manifest directory"},
		{"init --vip 192.0.2.10 --output dir", "--output: dir is not a regular file"},
		{"init --vip 192.0.2.10 --config /dev/null", "/dev/null: is empty"},
		{"init --vip 192.0.2.10 now", "\"now\""},
	} {
		got := d.run("kubeadm " + row.line)
		if got.code != exitUsage || !strings.Contains(got.stderr, row.want) || got.stdout != "" {
			t.Errorf("%s: exit code %d, stdout %q, stderr %q, want %q", row.line, got.code, got.stdout,
				got.stderr, row.want)
		}
		if after := d.all(); after != before {
			t.Fatalf("%s left\n%s", row.line, after)
		}
	}
}

// TestKubeadmFailures are tried and do not work: exit code 1.
func TestKubeadmFailures(t *testing.T) {
	d := newDesk(t, map[string]string{"c.yaml": clusterText, "file": ""})
	got := kvipIn(t, d.dir, "", "kubeadm", "init", "--vip", "192.0.2.10", "--config", "c.yaml",
		"--manifest-dir", "file", "--skip-host-checks")
	if got.code != exitFailure || d.read("c.yaml") != clusterText {
		t.Errorf("exit code %d, stderr %s, c.yaml\n%s", got.code, got.stderr, d.read("c.yaml"))
	}
}

// TestKubeadmLooksAtTheHost has a host of its own.
func TestKubeadmLooksAtTheHost(t *testing.T) {
	testutil.NeedRoot(t)
	testutil.NewNetns(t)
	for _, args := range []string{
		"link add lan0 type veth peer name lan1", "link set lan0 addrgenmode none up",
		"link set lan1 addrgenmode none up",
		"address add 192.0.2.7/24 dev lan0", "address add 2001:db8::7/64 dev lan0 nodad",
	} {
		testutil.IP(t, args)
	}
	hold(t, "192.0.2.10")
	d := newDesk(t, nil)
	run := func(args ...string) result {
		return kvipIn(
			t,
			d.dir,
			"",
			append([]string{"kubeadm", "join", "--dry-run", "--manifest-dir", "manifests"}, args...)...)
	}
	for _, row := range []struct{ vip, reason string }{
		{"192.0.2.7", "VIPOnHost"}, {"2001:db8::7", "VIPOnHost"}, {"198.51.100.10", "VIPOffLink"},
		{"192.0.2.255",
			"VIPIsSubnetAddress"}, {"2001:db8::", "VIPIsSubnetAddress"},
	} {
		if got := run("--vip", row.vip, "--interface", "lan0"); got.code != exitUsage ||
			!strings.Contains(got.stderr, "("+row.reason+")") ||
			!strings.Contains(got.stderr, row.vip) {
			t.Errorf("%s: exit code %d, stderr %s", row.vip, got.code, got.stderr)
		}
	}
	expect(t, run("--vip", "192.0.2.11,2001:db8::11"), exitOK)
	expect(t, run("--vip", "192.0.2.10"), exitOK) // which this host holds, by kvip's mark
	expect(t, run("--vip", "198.51.100.10", "--skip-host-checks"), exitOK)
}

// hold puts a VIP on the host as an agent does, for longer than the test takes.
func hold(t *testing.T, address string) {
	t.Helper()
	lan, err := link.Select("lan0", nil)
	if err != nil {
		t.Fatal(err)
	}
	a := vip.Address{Addr: netip.MustParseAddr(address), LinkIndex: lan.Index, LinkName: lan.Name}
	change := vip.Change{Address: a, Valid: time.Hour, Proto: vip.ControlPlaneProto}
	if err := errors.Join(vip.Netlink().Apply([]vip.Change{change})...); err != nil {
		t.Fatal(err)
	}
}
