package benchreport

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Setting is what a figure was measured on.
type Setting struct {
	Kernel, Kubernetes, Etcd string
	Machine                  string // as in "2 cores of AMD EPYC 7B13, 24 GiB"
}

// ThisSetting finds out what figures are measured on. binaries is the directory of etcd and
// kube-apiserver, whose name has their versions.
func ThisSetting(binaries string) (Setting, error) {
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		return Setting{}, fmt.Errorf("ask for the kernel's version: %w", err)
	}
	cpu, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return Setting{}, err
	}
	mem, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return Setting{}, err
	}
	s := Setting{Kernel: unix.ByteSliceToString(uts.Release[:]),
		Machine: machine(runtime.NumCPU(), string(cpu), string(mem))}
	s.Kubernetes, s.Etcd = versions(filepath.Base(binaries))
	return s, nil
}

// versions reads "k8s-v1.36.3-etcd-v3.6.16-37cc2eaa24".
func versions(name string) (kubernetes, etcd string) {
	find := func(what string) string {
		if m := regexp.MustCompile(what + `-(v\d+\.\d+\.\d+)`).FindStringSubmatch(name); m != nil {
			return m[1]
		}
		return "unknown"
	}
	return find("k8s"), find("etcd")
}

// machine describes the hardware from /proc/cpuinfo and /proc/meminfo.
func machine(cores int, cpuinfo, meminfo string) string {
	model := runtime.GOARCH
	if m := regexp.MustCompile(`(?m)^model name\s*:\s*(.+)$`).FindStringSubmatch(cpuinfo); m != nil {
		model = strings.Join(strings.Fields(m[1]), " ")
	}
	memory := "unknown memory"
	if m := regexp.MustCompile(`(?m)^MemTotal:\s*(\d+) kB`).FindStringSubmatch(meminfo); m != nil {
		kib, _ := strconv.ParseFloat(m[1], 64) // digits
		memory = fmt.Sprintf("%.0f GiB", kib/(1<<20))
	}
	return fmt.Sprintf("%d cores of %s, %s", cores, model, memory)
}
