package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kvip/kvip/test/testutil"
)

// TestKubeconfigComesLater begins with a kubeconfig that is empty, cut off, a directory or absent,
// by
// --kubeconfig or in kube-vip's place: the agent waits, says for what, and uses the file that
// comes.
func TestKubeconfigComesLater(t *testing.T) {
	for _, row := range []struct {
		name    string
		inPlace bool
		begin   func(path string) error
		says    string
	}{
		{"Empty", false, func(path string) error { return os.WriteFile(path, nil, 0o600) },
			"no configuration"},
		{"CutOff", false, func(path string) error {
			return os.WriteFile(path,
				[]byte(kubeconfig[:len(kubeconfig)*2/3]), 0o600)
		},
			"admin.conf"},
		{"Directory", false, func(path string) error { return os.Mkdir(path, 0o700) }, "is a directory"},
		{"Absent", false, func(string) error { return nil }, "none of"},
		{"AbsentInPlaceOfKubeVIP", true, func(string) error { return nil },
			"none of /etc/kubernetes/admin.conf"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			ns := testutil.NewNetns(t)
			etc := t.TempDir()
			path := filepath.Join(etc, "kubernetes", "admin.conf")
			if !row.inPlace { // else even the directory comes later
				if err := os.Mkdir(filepath.Dir(path), 0o700); err != nil {
					t.Fatal(err)
				}
			}
			if err := row.begin(path); err != nil {
				t.Fatal(err)
			}
			var ended <-chan error
			if row.inPlace {
				_, ended = startManager(
					t,
					[]string{"unshare", "--mount", "/bin/sh", "-c", `mount --bind "$0" /etc && exec "$@"`, etc},
					[]string{"cp_enable=true", "vip_arp=true", "address=192.0.2.100", "vip_nodename=a"},
				)
			} else {
				_, ended = startManager(t, nil, nil, "--vip", "192.0.2.100", "--node-name", "a",
					"--kubeconfig", path, "--state-dir=")
			}
			readyz := func(want string) {
				t.Helper()
				var body string
				for end := time.Now().Add(30 * time.Second); !strings.Contains(body,
					want); time.Sleep(50 * time.Millisecond) {
					select {
					case err := <-ended:
						t.Fatalf("the agent ended: %v", err)
					default:
					}
					if time.Now().After(end) {
						t.Fatalf("/readyz says %q, want %q", body, want)
					}
					_, body, _ = fetch(ns, "127.0.0.1", "http://127.0.0.1:2113/readyz")
				}
			}
			readyz(row.says)
			if err := os.RemoveAll(path); err != nil {
				t.Fatal(err)
			}
			if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(kubeconfig), 0o600); err != nil {
				t.Fatal(err)
			}
			readyz("credentials: bootstrap (")
		})
	}
}
