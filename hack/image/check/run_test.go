package check

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
)

// TestRunsReadOnlyAndAlone runs the program of the image in a read-only root directory with no
// other file: without a shell, /proc, /dev, /etc and /tmp.
func TestRunsReadOnlyAndAlone(t *testing.T) {
	if os.Geteuid() != 0 {
		unavailable(t, "needs root: it mounts a file system")
	}
	if images[runtime.GOARCH] == 0 {
		unavailable(t, "no image for "+runtime.GOARCH)
	}
	content := program(t, runtime.GOARCH)
	config, err := image(t, runtime.GOARCH).ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	root := mountTmpfs(t)
	if err := os.WriteFile(filepath.Join(root, "kvip"), content, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("", root, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		t.Fatalf("mount read-only: %v", err)
	}
	if err := os.WriteFile(filepath.Join(root, "x"), nil, 0o644); !errors.Is(err, syscall.EROFS) {
		t.Fatalf("write file: %v; want a read-only file system", err)
	}
	version := config.Config.Labels["org.opencontainers.image.version"]
	revision := config.Config.Labels["org.opencontainers.image.revision"]
	for _, c := range []struct {
		args string
		uid  uint32
		want string
	}{
		{"version", 0, "kvip " + version + " (commit " + revision + ", " + runtime.Version()},
		{"version", 65534, "kvip " + version},
		{"manifest pod --vip 192.0.2.10", 0, "image: localhost/kvip:" + version},
	} {
		cmd := exec.Command(config.Config.Entrypoint[0], strings.Fields(c.args)...)
		cmd.Env, cmd.Dir = []string{}, "/"
		cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: root,
			Credential: &syscall.Credential{Uid: c.uid, Gid: c.uid}}
		if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), c.want) {
			t.Errorf("kvip %s as user %d: %v, %s\nwant %s", c.args, c.uid, err, out, c.want)
		}
	}
}

// mountTmpfs mounts an empty file system in a mount namespace of this thread. The goroutine stays
// on the thread until it ends, and the namespace ends with the thread.
func mountTmpfs(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	runtime.LockOSThread()
	if err := syscall.Unshare(syscall.CLONE_NEWNS); err != nil {
		t.Fatalf("make mount namespace: %v", err)
	}
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		t.Fatalf("make mounts private: %v", err)
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "mode=755"); err != nil {
		t.Fatalf("mount tmpfs: %v", err)
	}
	t.Cleanup(func() { // runs before the cleanup of TempDir, on this thread
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	return dir
}
