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

// variables are what a container's env says.
type variables struct {
	values    map[string]string // those whose value is known here
	used      map[string]bool   // those that another value or the command line refers to
	node      map[string]bool   // those that have the node's name
	elsewhere []int             // indexes of those whose value a cluster alone knows
}

// settings returns what kube-vip was told, by flags and by variables, as kubevip.From takes them, and notes about
// variables that kvip does not read.
func (w *workload) settings() (flags, env []string, notes []kubevip.Note, err error) {
	c := w.spec.Containers[0]
	known := w.variables(c.Env)
	args, err := w.expanded(slices.Concat(c.Command, c.Args), known)
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
	if !kubevip.Detect(slices.Concat(flags, env)) && !strings.Contains(path.Base(c.Image), "kube-vip") {
		return nil, nil, nil, w.refuse(w.path+"containers[0]", "is not kube-vip: neither its image %s nor its variables say so", c.Image)
	}
	for _, v := range c.Env {
		if value := known.values[v.Name]; value != "" && !known.used[v.Name] && !kubevip.IsKnown(v.Name) {
			note, _ := kubevip.WithoutValue(v.Name, flags, env)
			notes = append(notes, note)
		}
	}
	more, err := w.elsewhere(known, flags, env)
	return flags, env, append(notes, more...), err
}

// variables reads env in its order: a value may refer to variables before it.
func (w *workload) variables(env []corev1.EnvVar) variables {
	known := variables{values: map[string]string{}, used: map[string]bool{}, node: map[string]bool{}}
	for i, v := range env {
		value, missing := known.expand(v.Value)
		switch {
		case v.ValueFrom != nil && v.ValueFrom.FieldRef != nil && v.ValueFrom.FieldRef.FieldPath == "spec.nodeName",
			len(missing) == 1 && known.node[missing[0]] && v.Value == "$("+missing[0]+")":
			known.node[v.Name] = true
			if v.Name != "vip_nodename" && kubevip.IsKnown(v.Name) {
				known.elsewhere = append(known.elsewhere, i)
			}
		case v.ValueFrom != nil || len(missing) > 0:
			known.elsewhere = append(known.elsewhere, i)
		default:
			known.values[v.Name] = value
		}
	}
	return known
}

// expand replaces $(NAME), and returns which of the names have no value here.
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

// elsewhere names the variables that a cluster alone knows and that do not matter to kvip, and refuses the others.
func (w *workload) elsewhere(known variables, flags, env []string) (notes []kubevip.Note, err error) {
	for _, i := range known.elsewhere {
		v := w.spec.Containers[0].Env[i]
		note, enough := kubevip.WithoutValue(v.Name, flags, env)
		switch field := fmt.Sprintf("%scontainers[0].env[%d]", w.path, i); {
		case enough && note.Name != "":
			notes = append(notes, note)
		case enough:
		case v.ValueFrom != nil:
			return nil, w.refuse(field+".valueFrom", "of %s is known in the cluster alone; write the value", v.Name)
		default:
			return nil, w.refuse(field+".value", "of %s refers to another variable; write the value", v.Name)
		}
	}
	return notes, nil
}

// expanded replaces $(NAME) in the command line.
func (w *workload) expanded(args []string, known variables) (all []string, err error) {
	for _, arg := range args {
		text, missing := known.expand(arg)
		if len(missing) > 0 {
			return nil, w.refuse(w.path+"containers[0].args", "refers to $(%s), which is not known here; write the value", missing[0])
		}
		all = append(all, text)
	}
	return all, nil
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
	flags, err := kubevip.Arguments(args[1:])
	if err != nil {
		return nil, w.refuse(field, "%v", err)
	}
	return flags, nil
}

// inCluster reports whether a pod has its ServiceAccount and no kubeconfig, so that only an API server can have made it.
func (w *workload) inCluster(kubeconfig string) bool {
	if account := w.spec.ServiceAccountName; account == "" || account == "default" || kubeconfig != "" {
		return false
	}
	for _, mount := range w.spec.Containers[0].VolumeMounts {
		if slices.ContainsFunc(config.AdminKubeconfigs(), func(file string) bool { return below(file, mount.MountPath) }) {
			return false
		}
	}
	return true
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
			if v.Name == mount.Name && v.HostPath != nil && below(file, mount.MountPath) {
				file = path.Join(v.HostPath.Path, strings.TrimPrefix(file, mount.MountPath))
			}
		}
	}
	if slices.Contains(config.AdminKubeconfigs(), file) {
		return ""
	}
	return file
}

// below reports whether a path is the directory or file of a mount, or in it.
func below(file, mount string) bool {
	rest, found := strings.CutPrefix(file, strings.TrimSuffix(mount, "/"))
	return found && (rest == "" || rest[0] == '/')
}
