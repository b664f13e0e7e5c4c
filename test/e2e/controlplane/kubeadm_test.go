package controlplane

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kvip/kvip/test/lab/cluster"
)

// TestKubeadmTakesWhatKvipWrites gives the real kubeadm what `kvip kubeadm` made and edited: it
// finds nothing to complain of, and the API server's certificate is for the VIPs. No cluster and no
// host takes part, so the configurations name a version: kubeadm would look for one in the
// internet.
func TestKubeadmTakesWhatKvipWrites(t *testing.T) {
	bin, err := cluster.Binaries(os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	kvip, err := cluster.Kvip(dir, os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	run := func(path string, args ...string) string {
		t.Helper()
		var out bytes.Buffer
		cmd := exec.CommandContext(t.Context(), path, args...)
		cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &out, &out
		if err := cmd.Run(); err != nil {
			t.Fatalf("%s %s: %v\n%s", filepath.Base(path), strings.Join(args, " "), err, &out)
		}
		return out.String()
	}
	kubeadm := filepath.Join(bin, "kubeadm")
	five, err := os.ReadFile("../../../pkg/kubeadm/testdata/five.yaml")
	if err != nil {
		t.Fatal(err)
	}
	// This line is there to be left alone; kubeadm would refuse it.
	own := strings.Replace(string(five), "unknownToKvip: [1, 0x10, 1e3, yes, ~]\n", "", 1)
	own = strings.Replace(own, "\netcd:\n", "\ncertificatesDir: "+dir+"/pki\netcd:\n", 1)
	const vips = "192.0.2.10,2001:db8::10"
	for name, text := range map[string]string{
		"own.yaml": own,
		"old.yaml": "apiVersion: kubeadm.k8s.io/v1beta3\nkind: " +
			"ClusterConfiguration\nkubernetesVersion: v1.36.3\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		run(kvip, "kubeadm", "init", "--skip-host-checks", "--manifest-dir", "manifests", "--vip", vips,
			"--config", name)
	}
	run(kvip, "kubeadm", "join", "--skip-host-checks", "--manifest-dir", "manifests", "--vip", vips,
		"--config", "own.yaml")
	// made.yaml has two documents; the version belongs to the first.
	run(kvip, "kubeadm", "init", "--skip-host-checks", "--manifest-dir", "other", "--vip",
		"2001:db8::10,192.0.2.10", "--port", "8443", "--output", "made.yaml",
		"--image", "localhost/kvip:test")
	made, err := os.ReadFile(filepath.Join(dir, "made.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	made = bytes.Replace(made, []byte("---\n"), []byte("kubernetesVersion: v1.36.3\n---\n"), 1)
	if err := os.WriteFile(filepath.Join(dir, "made.yaml"), made, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"own.yaml", "old.yaml", "made.yaml"} {
		if said := run(kubeadm, "config", "validate", "--config", name); !strings.HasSuffix(said,
			"ok\n") {
			t.Errorf("kubeadm says of %s: %s", name, said)
		}
	}
	run(kubeadm, "init", "phase", "certs", "ca", "--config", "own.yaml")
	run(kubeadm, "init", "phase", "certs", "apiserver", "--config", "own.yaml")
	checkCertificate(t, filepath.Join(dir, "pki", "apiserver.crt"), strings.Split(vips, ",")...)
}

// TestKubeadmRefusesWhatKvipRefuses: a file that kvip refuses for its form is one that kubeadm
// itself refuses, and the other way round.
func TestKubeadmRefusesWhatKvipRefuses(t *testing.T) {
	bin, err := cluster.Binaries(os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	kvip, err := cluster.Kvip(dir, os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	const own = "apiVersion: kubeadm.k8s.io/v1beta4\nkind: ClusterConfiguration\nkubernetesVersion: " +
		"v1.36.3\n"
	for name, row := range map[string]struct {
		text string
		good bool
	}{
		"own": {own, true},
		"init alone": {strings.Replace(own, "ClusterConfiguration\nkubernetesVersion: v1.36.3",
			"InitConfiguration", 1), true},
		"kubelet beside": {own +
			"---\napiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n", true},
		"kube-proxy beside": {own +
			"---\napiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n", true},
		"kind":             {"apiVersion: kind.x-k8s.io/v1alpha4\nkind: Cluster\n", false},
		"kind beside":      {own + "---\napiVersion: kind.x-k8s.io/v1alpha4\nkind: Cluster\n", false},
		"kubeconfig":       {"apiVersion: v1\nkind: Config\nclusters: []\n", false},
		"ConfigMap beside": {own + "---\napiVersion: v1\nkind: ConfigMap\n", false},
		"another group":    {strings.Replace(own, "kubeadm.k8s.io", "kubeadm.example", 1), false},
		"old version":      {strings.Replace(own, "v1beta4", "v1beta2", 1), false},
		"old kubelet beside": {own +
			"---\napiVersion: kubelet.config.k8s.io/v1alpha1\nkind: KubeletConfiguration\n", false},
		"typed kubelet beside": {own +
			"---\napiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\ncgroupDriver: 5\n",
			false},
		"typed":    {own + "apiServer: {certSANs: a}\n", false},
		"misspelt": {own + "networking: {podSubnt: 10.1.0.0/16}\n", false},
		"twice":    {own + "---\n" + own, false},
	} {
		file := filepath.Join(dir, strings.ReplaceAll(name, " ", "-")+".yaml")
		if err := os.WriteFile(file, []byte(row.text), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, args := range [][]string{
			{filepath.Join(bin, "kubeadm"), "config", "validate", "--config", file},
			{kvip, "kubeadm", "init", "--skip-host-checks", "--vip", "192.0.2.10", "--config", file,
				"--output", filepath.Join(dir, "out.yaml"), "--force",
				"--manifest-dir", filepath.Join(dir, "manifests")},
		} {
			if out, err := exec.CommandContext(t.Context(), args[0],
				args[1:]...).CombinedOutput(); (err == nil) != row.good {
				t.Errorf("%s: %s: %v\n%s", name, filepath.Base(args[0]), err, out)
			}
		}
	}
}

// checkCertificate says which of the addresses a certificate is not for.
func checkCertificate(t *testing.T, path string, addresses ...string) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(text)
	if block == nil {
		t.Fatalf("%s is not PEM", path)
	}
	certificate, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addresses {
		if err := certificate.VerifyHostname(net.ParseIP(a).String()); err != nil {
			t.Errorf("the API server's certificate: %v", err)
		}
	}
}
