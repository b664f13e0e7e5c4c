package migrate

import (
	"fmt"
	"path"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/kvip/kvip/pkg/config"
	"github.com/kvip/kvip/pkg/kubevip"
)

// check refuses a pod that is not kube-vip, or not kube-vip alone.
func (w *workload) check() error {
	if n := len(w.spec.Containers); n != 1 {
		return w.refuse(w.path+"containers", "has %d entries, and kube-vip is one", n)
	}
	if n := len(w.spec.InitContainers); n > 0 {
		return w.refuse(w.path+"initContainers", "has %d entries, and kvip has none; remove them, and do by hand what they do", n)
	}
	c := w.spec.Containers[0]
	if c.Image == "" {
		return w.refuse(w.path+"containers[0].image", "is missing")
	}
	if len(c.EnvFrom) > 0 {
		return w.refuse(w.path+"containers[0].envFrom", "takes variables from an object that is not here; write them as env")
	}
	return nil
}

// environment returns what kube-vip was told, as NAME=value: by its flags, and then by its variables, which win.
func (w *workload) environment() ([]string, error) {
	c := w.spec.Containers[0]
	env, err := w.arguments(slices.Concat(c.Command, c.Args))
	if err != nil {
		return nil, err
	}
	for i, v := range c.Env {
		value, err := w.value(i, v)
		if err != nil {
			return nil, err
		}
		env = append(env, v.Name+"="+value)
	}
	if !kubevip.Detect(env) && !strings.Contains(path.Base(c.Image), "kube-vip") {
		return nil, w.refuse(w.path+"containers[0]", "is not kube-vip: neither its image %s nor its variables say so", c.Image)
	}
	return env, nil
}

// value returns what a variable is. The node's name is not the same everywhere, and kvip learns it in the same way.
func (w *workload) value(i int, v corev1.EnvVar) (string, error) {
	field := fmt.Sprintf("%scontainers[0].env[%d]", w.path, i)
	switch {
	case v.ValueFrom == nil && strings.Contains(v.Value, "$("):
		return "", w.refuse(field+".value", "of %s refers to another variable; write the value", v.Name)
	case v.ValueFrom == nil:
		return v.Value, nil
	case v.Name == "vip_nodename" && v.ValueFrom.FieldRef != nil && v.ValueFrom.FieldRef.FieldPath == "spec.nodeName":
		return "", nil
	}
	return "", w.refuse(field+".valueFrom", "of %s is known in the cluster alone; write the value", v.Name)
}

// arguments translates the flags behind the program's name, which the image may say, and its command.
func (w *workload) arguments(args []string) ([]string, error) {
	if len(args) > 0 && strings.HasPrefix(args[0], "/") {
		args = args[1:]
	}
	field := w.path + "containers[0].args"
	if len(args) == 0 || args[0] != "manager" {
		return nil, w.refuse(field, "is not kube-vip's manager: %q", args)
	}
	env, err := kubevip.Arguments(args[1:])
	if err != nil {
		return nil, w.refuse(field, "%v", err)
	}
	return env, nil
}

// onHost returns the node's file behind the container's kubeconfig, for what kvip's pod mounts is where the node has it.
// Where that is one of kubeadm's, it returns nothing: kvip tries them by itself.
func (w *workload) onHost(file string) string {
	if file == "" {
		file = kubevip.Kubeconfig
	}
	w.kubeconfig = file
	for _, mount := range w.spec.Containers[0].VolumeMounts {
		for _, v := range w.spec.Volumes {
			if v.Name != mount.Name || v.HostPath == nil {
				continue
			}
			if rest, below := strings.CutPrefix(file, mount.MountPath); below && (rest == "" || rest[0] == '/') {
				file = path.Join(v.HostPath.Path, rest)
			}
		}
	}
	if slices.Contains(config.AdminKubeconfigs(), file) {
		return ""
	}
	return file
}
