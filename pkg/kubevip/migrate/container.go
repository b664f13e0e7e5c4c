package migrate

import (
	"fmt"
	"path"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/kubernetes/third_party/forked/golang/expansion"

	"github.com/kvip/kvip/pkg/config"
	"github.com/kvip/kvip/pkg/kubevip"
)

// check refuses a pod with other containers than one of kube-vip.
func (w *workload) check() error {
	if n := len(w.spec.Containers); n != 1 {
		return w.invalid(w.path+"containers", "has %d entries, but kube-vip is one", n)
	}
	if n := len(w.spec.InitContainers); n > 0 {
		return w.invalid(w.path+"initContainers",
			"has %d entries, but kvip has none; remove them, and do their work by hand", n)
	}
	c := w.spec.Containers[0]
	if c.Image == "" {
		return w.invalid(w.path+"containers[0].image", "is missing")
	}
	if len(c.EnvFrom) > 0 {
		return w.invalid(w.path+"containers[0].envFrom",
			"refers to an object that is not available; write the variables as env")
	}
	return nil
}

// variables are a container's env.
type variables struct {
	values      map[string]string // available values
	used        map[string]bool   // referenced by another value or the command line
	node        map[string]bool   // whose value is the node's name
	unavailable []int             // indexes of those whose value only a cluster knows
}

// settings returns the flags and variables of kube-vip, in the form of kubevip.Parse, and notes
// about variables that kvip does not read.
func (w *workload) settings() (flags, env []string, notes []kubevip.Note, err error) {
	c := w.spec.Containers[0]
	known := w.variables(c.Env)
	args, err := w.expandAll(slices.Concat(c.Command, c.Args), known)
	if err != nil {
		return nil, nil, nil, err
	}
	if flags, err = w.arguments(args); err != nil {
		return nil, nil, nil, err
	}
	for _, v := range c.Env {
		if value, found := known.values[v.Name]; found {
			env = append(env, v.Name+"="+value)
		}
	}
	if !kubevip.Detect(slices.Concat(flags, env)) && !strings.Contains(path.Base(c.Image),
		"kube-vip") {
		return nil, nil, nil, w.invalid(w.path+"containers[0]",
			"is not kube-vip, judging by its image %s and its variables", c.Image)
	}
	for _, v := range c.Env {
		if value := known.values[v.Name]; value != "" && !known.used[v.Name] && !kubevip.IsKnown(v.Name) {
			note, _ := kubevip.WithoutValue(v.Name, flags, env)
			notes = append(notes, note)
		}
	}
	more, err := w.unavailable(known, flags, env)
	return flags, env, append(notes, more...), err
}

// variables reads env in order: a value may refer to earlier variables.
func (w *workload) variables(env []corev1.EnvVar) variables {
	known := variables{values: map[string]string{}, used: map[string]bool{}, node: map[string]bool{}}
	for i, v := range env {
		value, missing := known.expand(v.Value)
		switch {
		case v.ValueFrom != nil && v.ValueFrom.FieldRef != nil && v.ValueFrom.FieldRef.FieldPath ==
			"spec.nodeName",
			len(missing) == 1 && known.node[missing[0]] && v.Value == "$("+missing[0]+")":
			known.node[v.Name] = true
			if v.Name != "vip_nodename" && kubevip.IsKnown(v.Name) {
				known.unavailable = append(known.unavailable, i)
			}
		case v.Name == "bgp_peerpass" && v.ValueFrom != nil && v.ValueFrom.SecretKeyRef != nil:
			known.values[v.Name] = "(a Secret)" // the value is not read
		case v.ValueFrom != nil || len(missing) > 0:
			known.unavailable = append(known.unavailable, i)
		default:
			known.values[v.Name] = value
		}
	}
	return known
}

// expand replaces $(NAME), and returns the names without available value.
func (known variables) expand(value string) (text string, missing []string) {
	text = expansion.Expand(value, func(name string) string {
		found, ok := known.values[name]
		known.used[name] = true
		if !ok {
			missing = append(missing, name)
		}
		return found
	})
	return text, missing
}

// unavailable returns notes about variables that only a cluster knows, and refuses those that kvip
// needs.
func (w *workload) unavailable(known variables,
	flags, env []string) (notes []kubevip.Note, err error) {
	for _, i := range known.unavailable {
		v := w.spec.Containers[0].Env[i]
		note, enough := kubevip.WithoutValue(v.Name, flags, env)
		switch field := fmt.Sprintf("%scontainers[0].env[%d]", w.path, i); {
		case enough && note.Name != "":
			notes = append(notes, note)
		case enough:
		case isNodeAddress(v):
			notes = append(notes, kubevip.Note{Name: v.Name, Text: "kvip uses the node's own address"})
		case v.ValueFrom != nil:
			return nil, w.invalid(field+".valueFrom",
				"of %s is known in the cluster only; write the value", v.Name)
		default:
			return nil, w.invalid(field+".value",
				"of %s refers to another variable; write the value", v.Name)
		}
	}
	return notes, nil
}

// isNodeAddress reports whether a variable of BGP has the node's address, as kvip's default has it:
// a pod in the host's network has that address.
func isNodeAddress(v corev1.EnvVar) bool {
	if v.Name != "bgp_routerid" && v.Name != "bgp_sourceip" ||
		v.ValueFrom == nil || v.ValueFrom.FieldRef == nil {
		return false
	}
	return slices.Contains([]string{"status.hostIP", "status.podIP"}, v.ValueFrom.FieldRef.FieldPath)
}

// expandAll replaces $(NAME) in the command line.
func (w *workload) expandAll(args []string, known variables) (all []string, err error) {
	for _, arg := range args {
		text, missing := known.expand(arg)
		if len(missing) > 0 {
			return nil, w.invalid(w.path+"containers[0].args",
				"refers to $(%s), whose value is not available; write the value", missing[0])
		}
		all = append(all, text)
	}
	return all, nil
}

// arguments translates the flags after the program's name, which may be missing, and its command.
func (w *workload) arguments(args []string) ([]string, error) {
	if len(args) > 0 && strings.HasPrefix(args[0], "/") {
		args = args[1:]
	}
	field := w.path + "containers[0].args"
	if len(args) == 0 || args[0] != "manager" {
		return nil, w.invalid(field, "is not kube-vip's manager: %q", args)
	}
	flags, err := kubevip.Arguments(args[1:])
	if err != nil {
		return nil, w.invalid(field, "%v", err)
	}
	return flags, nil
}

// usesServiceAccount reports whether a pod uses its ServiceAccount and no kubeconfig, so that an
// API server created it.
func (w *workload) usesServiceAccount(kubeconfig string) bool {
	if account := w.spec.ServiceAccountName; account == "" || account == "default" ||
		kubeconfig != "" {
		return false
	}
	for _, mount := range w.spec.Containers[0].VolumeMounts {
		if slices.ContainsFunc(
			config.AdminKubeconfigs(),
			func(file string) bool { return isInMount(file, mount.MountPath) },
		) {
			return false
		}
	}
	return true
}

// hostKubeconfig returns the node's path of the container's kubeconfig: kvip's pod mounts files at
// the node's path. It returns "" for a file of kubeadm, which is kvip's default.
func (w *workload) hostKubeconfig(file string) string {
	if file == "" {
		file = kubevip.Kubeconfig
	}
	w.kubeconfig = file
	for _, mount := range w.spec.Containers[0].VolumeMounts {
		for _, v := range w.spec.Volumes {
			if v.Name == mount.Name && v.HostPath != nil && isInMount(file, mount.MountPath) {
				file = path.Join(v.HostPath.Path, strings.TrimPrefix(file, mount.MountPath))
			}
		}
	}
	if slices.Contains(config.AdminKubeconfigs(), file) {
		return ""
	}
	return file
}

// isInMount reports whether a path is that of a mount, or in it.
func isInMount(file, mount string) bool {
	rest, found := strings.CutPrefix(file, strings.TrimSuffix(mount, "/"))
	return found && (rest == "" || rest[0] == '/')
}
