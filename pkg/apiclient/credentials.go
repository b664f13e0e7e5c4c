package apiclient

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// ServerName is what the certificate of an API server is checked against, whatever
// address was dialled: every certificate that kubeadm makes names it.
const ServerName = "kubernetes"

// serviceAccountDir is where a pod finds its ServiceAccount's token and CA
// (Kubernetes documentation, "Accessing the Kubernetes API from a Pod").
const serviceAccountDir = "/var/run/secrets/kubernetes.io/serviceaccount"

// ErrNoCredentials says that no credentials are there. Before kubeadm has written them, and on
// nodes that will never have some of the files, that is a normal state.
var ErrNoCredentials = errors.New("no credentials yet")

// Kind says whose rights credentials have.
type Kind string

// The kinds of credentials.
const (
	None           Kind = "none"           // there are no credentials
	Bootstrap      Kind = "bootstrap"      // of a kubeconfig, mostly an administrator's
	ServiceAccount Kind = "serviceaccount" // of a token: kvip's own, or the one that the kubelet gives a pod
)

// Credentials are one way to authenticate, with every file read into memory.
type Credentials struct {
	kind   Kind
	source string
	tls    rest.TLSClientConfig
	token  string
}

// TokenCredentials returns the credentials of a ServiceAccount's token, for servers with a certificate by ca
// (PEM). The source is for people: where the token is.
func TokenCredentials(source, token string, ca []byte) Credentials {
	return Credentials{kind: ServiceAccount, source: source, token: token, tls: rest.TLSClientConfig{ServerName: ServerName, CAData: ca}}
}

// Source is the file, or the directory, that the credentials are from.
func (c Credentials) Source() string { return c.source }

// CA returns the certificates that API servers are checked against, PEM.
func (c Credentials) CA() []byte { return c.tls.CAData }

// Anonymous returns nobody's credentials, with which the same servers are trusted.
func (c Credentials) Anonymous() Credentials {
	return Credentials{kind: None, source: "nobody", tls: rest.TLSClientConfig{ServerName: c.tls.ServerName, CAData: c.tls.CAData}}
}

// Server returns a client for host ("address:port") that is the caller's to close, unless a Store
// adopts it.
func (c Credentials) Server(host string) (*Server, error) {
	server, err := newServer(host, c)
	if err != nil {
		return nil, fmt.Errorf("use credentials of %s: %w", c.source, err)
	}
	return server, nil
}

func (c Credentials) equal(o Credentials) bool {
	return c.source == o.source && c.token == o.token && c.tls.ServerName == o.tls.ServerName &&
		bytes.Equal(c.tls.CAData, o.tls.CAData) && bytes.Equal(c.tls.CertData, o.tls.CertData) && bytes.Equal(c.tls.KeyData, o.tls.KeyData)
}

// fromKubeconfig reads the current context of a kubeconfig file.
func fromKubeconfig(path string) (Credentials, error) {
	file, err := clientcmd.LoadFromFile(path)
	if err != nil {
		return Credentials{}, fmt.Errorf("read kubeconfig %s: %w", path, err)
	}
	if err := clientcmd.ResolveLocalPaths(file); err != nil {
		return Credentials{}, fmt.Errorf("read kubeconfig %s: %w", path, err)
	}
	cfg, err := clientcmd.NewDefaultClientConfig(*file, &clientcmd.ConfigOverrides{}).ClientConfig()
	if err != nil {
		return Credentials{}, fmt.Errorf("read kubeconfig %s: %w", path, err)
	}
	if cfg.ExecProvider != nil || cfg.AuthProvider != nil || cfg.Username != "" {
		return Credentials{}, fmt.Errorf("read kubeconfig %s: %w", path, errNoUser)
	}
	c, err := inline(Bootstrap, path, cfg)
	if err == nil && c.token == "" && len(c.tls.CertData) == 0 {
		return Credentials{}, fmt.Errorf("read kubeconfig %s: its user has no credentials", path)
	}
	return c, err
}

// errNoUser says that a kubeconfig names a user that kvip can never be.
var errNoUser = errors.New("its user must have a client certificate or a token")

// CheckUsers returns what is wrong with files that are complete and will never work. A file that is empty,
// cut off, a directory or not there is none of those: somebody may be about to write it.
func CheckUsers(paths []string) error {
	for _, path := range paths {
		if _, err := fromKubeconfig(path); errors.Is(err, errNoUser) {
			return err
		}
	}
	return nil
}

// InPod reports whether the kubelet gave this process a ServiceAccount's token.
func InPod() bool {
	_, err := os.Stat(filepath.Join(serviceAccountDir, "token"))
	return err == nil
}

// inline reads the files that cfg refers to.
func inline(kind Kind, source string, cfg *rest.Config) (Credentials, error) {
	if err := rest.LoadTLSFiles(cfg); err != nil {
		return Credentials{}, fmt.Errorf("read files of kubeconfig %s: %w", source, err)
	}
	c := Credentials{kind: kind, source: source, token: cfg.BearerToken, tls: rest.TLSClientConfig{
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
		return Credentials{}, fmt.Errorf("read token of kubeconfig %s: %w", source, err)
	}
	c.token = string(bytes.TrimSpace(token))
	return c, nil
}

// fromServiceAccount reads the token and CA that the kubelet mounts into a pod.
func fromServiceAccount(dir string) (Credentials, error) {
	return inline(ServiceAccount, dir, &rest.Config{
		BearerTokenFile: filepath.Join(dir, "token"),
		TLSClientConfig: rest.TLSClientConfig{CAFile: filepath.Join(dir, "ca.crt")},
	})
}

// KubeconfigServers returns "address:port" of the servers that the files name, each once. A file that
// cannot be read has none. Their certificates are checked as those of any API server.
func KubeconfigServers(paths []string) (hosts []string) {
	for _, path := range paths {
		cfg, err := clientcmd.BuildConfigFromFlags("", path)
		if err != nil {
			continue
		}
		server, err := url.Parse(cfg.Host)
		if err != nil || server.Scheme != "https" || server.Hostname() == "" {
			continue
		}
		port := server.Port()
		if port == "" {
			port = "443"
		}
		if host := net.JoinHostPort(server.Hostname(), port); !slices.Contains(hosts, host) {
			hosts = append(hosts, host)
		}
	}
	return hosts
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
