package manifest

import (
	"fmt"
	"path"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/kvip/kvip/pkg/config"
	"github.com/kvip/kvip/templates"
)

// Pod returns the static pod for cfg, which is the same for every control-plane node. It returns a
// *config.UsageError for settings that a static pod cannot have: the kubelet gives it no
// ServiceAccount, so it needs a kubeconfig.
func Pod(cfg config.Config) (*corev1.Pod, error) {
	directories, err := kubeconfigDirectories(cfg.Kubeconfigs)
	if err != nil {
		return nil, err
	}
	return pod(cfg, directories)
}

// HardenedPod returns the static pod for a node where kvip has its own token already. It mounts
// only the state directory, which cfg must have, and no kubeconfig.
func HardenedPod(cfg config.Config) (*corev1.Pod, error) {
	cfg.Kubeconfigs = nil
	if cfg.StateDir == "" {
		return nil, &config.UsageError{
			Flag:   "state-dir",
			Reason: "a hardened pod has no credentials but the token in it",
			Hint:   "remove the flag for " + config.DefaultStateDir,
		}
	}
	return pod(cfg, nil)
}

// pod fills the template and mounts the directories, the state directory last.
func pod(cfg config.Config, directories []string) (*corev1.Pod, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.DaemonSet != "" {
		return nil, &config.UsageError{
			Flag:   "daemonset",
			Reason: "a static pod belongs to no DaemonSet",
			Hint:   "remove the flag",
		}
	}
	pod, err := decode[corev1.Pod](templates.StaticPod)
	if err != nil {
		return nil, err
	}
	if servicesOnly(cfg) {
		// It can run beside that of the control plane.
		pod.Name, pod.Labels[componentLabel] = ServicesAccount, "services"
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
	mountBGP(&pod.Spec, cfg)
	return pod, nil
}

// mountBGP mounts the directories of the files of BGP: of a file alone, the container would see the
// first version for ever, because programs replace files.
func mountBGP(spec *corev1.PodSpec, cfg config.Config) {
	if !cfg.ByBGP() {
		return
	}
	files := []string{cfg.BGPConfig}
	for _, p := range cfg.BGPPeers {
		files = append(files, p.PasswordFile)
	}
	mounted := map[string]bool{}
	for _, m := range spec.Containers[0].VolumeMounts {
		mounted[m.MountPath] = true
	}
	for _, file := range files {
		dir := path.Dir(path.Clean(file))
		if file == "" || mounted[dir] {
			continue
		}
		mounted[dir] = true
		mount(spec, fmt.Sprintf("bgp-%d", len(mounted)), dir, true)
	}
}

// kubeconfigDirectories returns the directories of the files, each once, in order. A mount of a
// file would prevent the start of the pod while the file does not exist, such as admin.conf before
// `kubeadm join`.
func kubeconfigDirectories(files []string) ([]string, error) {
	const flag = "kubeconfig"
	if len(files) == 0 {
		return nil, &config.UsageError{Flag: flag, Reason: "a static pod has no ServiceAccount",
			Hint: "remove the flag for kubeadm's files, or name a file on the nodes"}
	}
	var dirs []string
	for _, file := range files {
		dir := path.Dir(path.Clean(file))
		if !path.IsAbs(file) || dir == "/" {
			return nil, &config.UsageError{Flag: flag, Reason: fmt.Sprintf(
				"%q is not an absolute path of a file in a directory", file),
				Hint: "give an absolute path like /etc/kubernetes/admin.conf"}
		}
		if !slices.Contains(dirs, dir) {
			dirs = append(dirs, dir)
		}
	}
	return dirs, nil
}

// mount mounts the host's directory at the same path. The kubelet creates a missing directory.
func mount(spec *corev1.PodSpec, name, dir string, readOnly bool) {
	kind := corev1.HostPathDirectoryOrCreate
	spec.Volumes = append(spec.Volumes, corev1.Volume{
		Name:         name,
		VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: dir, Type: &kind}},
	})
	spec.Containers[0].VolumeMounts = append(spec.Containers[0].VolumeMounts,
		corev1.VolumeMount{Name: name, MountPath: dir, ReadOnly: readOnly})
}
