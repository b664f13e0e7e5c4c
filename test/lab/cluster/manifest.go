package cluster

import (
	"errors"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

// ArgsFromManifest reads a static pod or a DaemonSet as `kvip manifest` prints them. It returns the
// arguments and the environment that the kubelet of a node gives the only container, with the
// fields of the downward API.
func ArgsFromManifest(manifest []byte, nodeName string) (args, env []string, err error) {
	pod, err := podOf(manifest)
	if err != nil {
		return nil, nil, err
	}
	container := pod.Spec.Containers[0]
	if len(container.Command) > 0 {
		args = append(args, container.Command[1:]...) // the program itself is the image's
	}
	args = append(args, container.Args...)
	if len(args) == 0 {
		return nil, nil, errors.New("read pod manifest: the container has no arguments")
	}
	for _, e := range container.Env {
		value, err := envValue(e, *pod, nodeName)
		if err != nil {
			return nil, nil, err
		}
		env = append(env, e.Name+"="+value)
	}
	return args, env, nil
}

// podOf returns the pod of a manifest, or that of a DaemonSet in its namespace.
func podOf(manifest []byte) (*corev1.Pod, error) {
	var kind struct{ Kind string }
	if err := yaml.Unmarshal(manifest, &kind); err != nil {
		return nil, fmt.Errorf("read manifest: %w", err)
	}
	var pod corev1.Pod
	var err error
	switch kind.Kind {
	case "Pod":
		err = yaml.UnmarshalStrict(manifest, &pod)
	case "DaemonSet":
		var set appsv1.DaemonSet
		err = yaml.UnmarshalStrict(manifest, &set)
		pod.Name, pod.Namespace, pod.Spec = set.Name, set.Namespace, set.Spec.Template.Spec
	default:
		err = fmt.Errorf("%q is neither a Pod nor a DaemonSet", kind.Kind)
	}
	if err == nil && len(pod.Spec.Containers) != 1 {
		err = fmt.Errorf("%d containers, want one", len(pod.Spec.Containers))
	}
	if err != nil {
		return nil, fmt.Errorf("read pod manifest: %w", err)
	}
	return &pod, nil
}

// envValue returns the value that the kubelet gives a variable when it starts a static pod.
func envValue(e corev1.EnvVar, pod corev1.Pod, nodeName string) (string, error) {
	if e.ValueFrom == nil {
		return e.Value, nil
	}
	field := ""
	if ref := e.ValueFrom.FieldRef; ref != nil {
		field = ref.FieldPath
	}
	switch field {
	case "spec.nodeName":
		return nodeName, nil
	case "metadata.name":
		return pod.Name + "-" + nodeName, nil // the name of the mirror pod
	case "metadata.namespace":
		return pod.Namespace, nil
	}
	return "", fmt.Errorf("read pod manifest: cannot fill environment variable %s", e.Name)
}
