package manifest

import (
	"fmt"
	"path"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/kvip/kvip/pkg/config"
	"github.com/kvip/kvip/templates"
)

// Pod returns the static pod for cfg: the same file for every control-plane node, to be put into
// the kubelet's manifest directory. It returns a *config.UsageError for settings that a static pod
// cannot have; the kubelet gives it no ServiceAccount, so it needs a kubeconfig.
func Pod(cfg config.Config) (*corev1.Pod, error) {
	directories, err := kubeconfigDirectories(cfg.Kubeconfigs)
	if err != nil {
		return nil, err
	}
	return pod(cfg, directories)
}

// HardenedPod returns the static pod for a node where kvip has its own token already: without the
// kubeconfigs of cfg, and with nothing mounted but cfg's state directory, which it must have.
func HardenedPod(cfg config.Config) (*corev1.Pod, error) {
	cfg.Kubeconfigs = nil
	if cfg.StateDir == "" {
		return nil, &config.UsageError{Flag: "state-dir", Reason: "a hardened pod has no other credentials than the token in it",
			Hint: "leave the flag out for " + config.DefaultStateDir}
	}
	return pod(cfg, nil)
}

// pod fills the template and mounts the directories, the state directory last.
func pod(cfg config.Config, directories []string) (*corev1.Pod, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.DaemonSet != "" {
		return nil, &config.UsageError{Flag: "daemonset", Reason: "a static pod belongs to none", Hint: "leave the flag out"}
	}
	pod, err := decode[corev1.Pod](templates.StaticPod)
	if err != nil {
		return nil, err
	}
	if servicesAlone(cfg) {
		pod.Name, pod.Labels[component] = ServicesAccount, "services" // to stand beside that of the control plane
	}
	if err := fill(&pod.Spec, cfg); err != nil {
		return nil, err
	}
	for i, dir := range directories {
		mount(&pod.Spec, fmt.Sprintf("kubeconfig-%d", i), dir, true)
	}
	if cfg.StateDir != "" {
		mount(&pod.Spec, "state", path.Clean(cfg.StateDir), false)
	}
	return pod, nil
}

// kubeconfigDirectories returns the directories that hold the files, each once, in order. The
// directory is mounted because a file may not exist yet, as admin.conf before `kubeadm join`, and
// a mount of the file would then keep the pod from starting.
func kubeconfigDirectories(files []string) ([]string, error) {
	const flag = "kubeconfig"
	if len(files) == 0 {
		return nil, &config.UsageError{Flag: flag, Reason: "a static pod has no ServiceAccount",
			Hint: "leave the flag out for kubeadm's files or name a file on the nodes"}
	}
	var dirs []string
	for _, file := range files {
		dir := path.Dir(path.Clean(file))
		if !path.IsAbs(file) || dir == "/" {
			return nil, &config.UsageError{Flag: flag, Reason: fmt.Sprintf("%q is not a file in a directory that can be mounted", file),
				Hint: "give an absolute path like /etc/kubernetes/admin.conf"}
		}
		if !slices.Contains(dirs, dir) {
			dirs = append(dirs, dir)
		}
	}
	return dirs, nil
}

// mount makes the host's directory visible in the container at the same path. The kubelet makes
// it where it is missing; without a type of mount it would also make one where a file is missing.
func mount(spec *corev1.PodSpec, name, dir string, readOnly bool) {
	kind := corev1.HostPathDirectoryOrCreate
	spec.Volumes = append(spec.Volumes, corev1.Volume{
		Name:         name,
		VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: dir, Type: &kind}},
	})
	spec.Containers[0].VolumeMounts = append(spec.Containers[0].VolumeMounts,
		corev1.VolumeMount{Name: name, MountPath: dir, ReadOnly: readOnly})
}
