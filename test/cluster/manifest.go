package cluster

import (
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

// ArgsFromManifest reads a static pod as `kvip manifest pod` prints it and returns what the
// kubelet of a node would run: the arguments that the program of the only container gets,
// and its environment with the downward API's fields filled in.
func ArgsFromManifest(manifest []byte, nodeName string) (args, env []string, err error) {
	var pod corev1.Pod
	if err := yaml.UnmarshalStrict(manifest, &pod); err != nil {
		return nil, nil, fmt.Errorf("read pod manifest: %w", err)
	}
	if pod.Kind != "Pod" || len(pod.Spec.Containers) != 1 {
		return nil, nil, fmt.Errorf("read pod manifest: %s with %d containers, want a Pod with one", pod.Kind, len(pod.Spec.Containers))
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
		value, err := envValue(e, pod, nodeName)
		if err != nil {
			return nil, nil, err
		}
		env = append(env, e.Name+"="+value)
	}
	return args, env, nil
}

// envValue fills in what the kubelet knows when it starts a static pod.
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
