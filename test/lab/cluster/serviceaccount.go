package cluster

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kvip/kvip/test/lab/netlab"
)

// serviceAccountDir is where a pod finds token and CA of its ServiceAccount; /var/run is /run.
const serviceAccountDir = "/run/secrets/kubernetes.io/serviceaccount"

// RunInCluster starts the executable as the kubelet would start the pod of a DaemonSet's
// manifest on the node: with token and CA of the pod's ServiceAccount, which must exist, and
// with nothing of the node's /run.
func (n *Node) RunInCluster(ctx context.Context, path string, manifest []byte) (*Agent, error) {
	cmd, err := n.InCluster(ctx, path, manifest)
	if err != nil {
		return nil, err
	}
	return n.RunAgent(cmd)
}

// InCluster returns what RunInCluster runs, for another command in the same container.
func (n *Node) InCluster(ctx context.Context, path string, manifest []byte) (netlab.Command, error) {
	pod, err := podOf(manifest)
	if err != nil {
		return netlab.Command{}, err
	}
	args, env, err := ArgsFromManifest(manifest, n.Name)
	if err != nil {
		return netlab.Command{}, err
	}
	dir, err := n.writeServiceAccount(ctx, pod.Namespace, pod.Spec.ServiceAccountName)
	if err != nil {
		return netlab.Command{}, err
	}
	cmd := n.kvipCommand(path, args, env)
	cmd.Tmpfs = append(cmd.Tmpfs, "/run")
	cmd.Mounts[serviceAccountDir] = dir
	return cmd, nil
}

// writeServiceAccount asks for a token, as the kubelet does, and writes it with the CA.
func (n *Node) writeServiceAccount(ctx context.Context, namespace, name string) (dir string, err error) {
	kube, err := n.c.Kube(n.server())
	if err != nil {
		return "", err
	}
	request, err := kube.CoreV1().ServiceAccounts(namespace).CreateToken(ctx, name, &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		return "", fmt.Errorf("request token of ServiceAccount %s/%s: %w", namespace, name, err)
	}
	dir = filepath.Join(n.Host.Dir, "serviceaccount")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("make directory of ServiceAccount: %w", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "token"), []byte(request.Status.Token), 0o600); err != nil {
		return "", fmt.Errorf("write token: %w", err)
	}
	return dir, copyFile(filepath.Join(dir, "ca.crt"), n.server().kubernetes("pki/ca.crt"))
}
