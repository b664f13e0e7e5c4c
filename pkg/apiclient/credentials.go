package apiclient

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// ServerName is what the certificate of an API server is checked against, whatever
// address was dialled: every certificate that kubeadm makes names it.
const ServerName = "kubernetes"

// serviceAccountDir is where a pod finds its ServiceAccount's token and CA
// (Kubernetes documentation, "Accessing the Kubernetes API from a Pod").
const serviceAccountDir = "/var/run/secrets/kubernetes.io/serviceaccount"

// ErrNotYet says that no credentials are there. Before kubeadm has written them, and on
// nodes that will never have some of the files, that is a normal state.
var ErrNotYet = errors.New("no credentials yet")

// credentials are one way to authenticate, with every file read into memory.
type credentials struct {
	source string
	tls    rest.TLSClientConfig
	token  string
}

func (c credentials) equal(o credentials) bool {
	return c.source == o.source && c.token == o.token && c.tls.ServerName == o.tls.ServerName &&
		bytes.Equal(c.tls.CAData, o.tls.CAData) && bytes.Equal(c.tls.CertData, o.tls.CertData) && bytes.Equal(c.tls.KeyData, o.tls.KeyData)
}

// fromKubeconfig reads the current context of a kubeconfig file.
func fromKubeconfig(path string) (credentials, error) {
	file, err := clientcmd.LoadFromFile(path)
	if err != nil {
		return credentials{}, fmt.Errorf("read kubeconfig %s: %w", path, err)
	}
	if err := clientcmd.ResolveLocalPaths(file); err != nil {
		return credentials{}, fmt.Errorf("read kubeconfig %s: %w", path, err)
	}
	cfg, err := clientcmd.NewDefaultClientConfig(*file, &clientcmd.ConfigOverrides{}).ClientConfig()
	if err != nil {
		return credentials{}, fmt.Errorf("read kubeconfig %s: %w", path, err)
	}
	if cfg.ExecProvider != nil || cfg.AuthProvider != nil || cfg.Username != "" {
		return credentials{}, fmt.Errorf("read kubeconfig %s: its user must have a client certificate or a token", path)
	}
	return inline(path, cfg)
}

// inline reads the files that cfg refers to.
func inline(source string, cfg *rest.Config) (credentials, error) {
	if err := rest.LoadTLSFiles(cfg); err != nil {
		return credentials{}, fmt.Errorf("read files of kubeconfig %s: %w", source, err)
	}
	c := credentials{source: source, token: cfg.BearerToken, tls: rest.TLSClientConfig{
		ServerName: cfg.ServerName, CAData: cfg.CAData, CertData: cfg.CertData, KeyData: cfg.KeyData,
	}}
	if c.tls.ServerName == "" {
		c.tls.ServerName = ServerName
	}
	if cfg.BearerTokenFile == "" {
		return c, nil
	}
	token, err := os.ReadFile(cfg.BearerTokenFile)
	if err != nil {
		return credentials{}, fmt.Errorf("read token of kubeconfig %s: %w", source, err)
	}
	c.token = string(bytes.TrimSpace(token))
	return c, nil
}

// fromServiceAccount reads the token and CA that the kubelet mounts into a pod.
func fromServiceAccount(dir string) (credentials, error) {
	return inline(dir, &rest.Config{
		BearerTokenFile: filepath.Join(dir, "token"),
		TLSClientConfig: rest.TLSClientConfig{CAFile: filepath.Join(dir, "ca.crt")},
	})
}

// CheckKubeconfigs refuses files that will never work: those that cannot be read or
// parsed, and those whose very directory is missing. A missing file in a directory that
// exists is no error: kubeadm has not written it yet.
func CheckKubeconfigs(paths []string) error {
	for _, path := range paths {
		_, err := fromKubeconfig(path)
		if errors.Is(err, fs.ErrNotExist) {
			_, err = os.Stat(filepath.Dir(path))
		}
		if err != nil {
			return err
		}
	}
	return nil
}
