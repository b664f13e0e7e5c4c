package apiclient

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// ServerName is the name that the certificate of an API server must contain, whatever address is
// dialled. All certificates that kubeadm makes contain it.
const ServerName = "kubernetes"

// serviceAccountDir is where a pod finds its ServiceAccount's token and CA (Kubernetes
// documentation, "Accessing the Kubernetes API from a Pod").
const serviceAccountDir = "/var/run/secrets/kubernetes.io/serviceaccount"

// attemptTimeout bounds one request of Credentials.Do at one API server.
const attemptTimeout = 10 * time.Second

// ErrNoCredentials means that there are no credentials. That is normal before kubeadm has written
// them.
var ErrNoCredentials = errors.New("no credentials yet")

// Kind is the kind of credentials, and with it whose permissions they have.
type Kind string

// The kinds of credentials.
const (
	None           Kind = "none"           // there are no credentials
	Bootstrap      Kind = "bootstrap"      // a kubeconfig, usually an administrator's
	ServiceAccount Kind = "serviceaccount" // a token: kvip's own, or the one of a pod
)

// Credentials are one way to authenticate, with every file read into memory.
type Credentials struct {
	kind   Kind
	source string
	tls    rest.TLSClientConfig
	token  string
}

// TokenCredentials returns the credentials of a ServiceAccount's token, for servers with a
// certificate of ca (PEM). The source names the origin of the token in messages.
func TokenCredentials(source, token string, ca []byte) Credentials {
	return Credentials{
		kind: ServiceAccount, source: source, token: token,
		tls: rest.TLSClientConfig{ServerName: ServerName, CAData: ca},
	}
}

// Source returns the file or directory that the credentials are from.
func (c Credentials) Source() string { return c.source }

// CA returns the certificates that API servers are verified with, as PEM.
func (c Credentials) CA() []byte { return c.tls.CAData }

// Anonymous returns credentials without a user that trust the same servers.
func (c Credentials) Anonymous() Credentials {
	return Credentials{
		kind: None, source: "anonymous",
		tls: rest.TLSClientConfig{ServerName: c.tls.ServerName, CAData: c.tls.CAData},
	}
}

// Server returns a client for host ("address:port"). The caller closes it, or passes it to
// Store.SetToken.
func (c Credentials) Server(host string) (*Server, error) {
	server, err := newServer(host, c)
	if err != nil {
		return nil, fmt.Errorf("use credentials of %s: %w", c.source, err)
	}
	return server, nil
}

// Do sends a request to the first of the hosts that is reachable, on a connection of its own and
// with a timeout of 10 s.
func (c Credentials) Do(
	ctx context.Context, hosts []string, request func(context.Context, *Server) error,
) error {
	return firstReachable(ctx, hosts, func(host string) error {
		server, err := c.Server(host)
		if err != nil {
			return err
		}
		defer server.Close()
		ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
		defer cancel()
		return request(ctx, server)
	})
}

func (c Credentials) equal(o Credentials) bool {
	return c.source == o.source && c.token == o.token && c.tls.ServerName == o.tls.ServerName &&
		bytes.Equal(c.tls.CAData, o.tls.CAData) && bytes.Equal(c.tls.CertData, o.tls.CertData) &&
		bytes.Equal(c.tls.KeyData, o.tls.KeyData)
}

// fromKubeconfig reads the current context of a kubeconfig file.
func fromKubeconfig(path string) (c Credentials, err error) {
	defer func() {
		if err != nil {
			c, err = Credentials{}, fmt.Errorf("read kubeconfig %s: %w", path, err)
		}
	}()
	file, err := clientcmd.LoadFromFile(path)
	if err != nil {
		return c, err
	}
	if err := clientcmd.ResolveLocalPaths(file); err != nil {
		return c, err
	}
	overrides := &clientcmd.ConfigOverrides{}
	cfg, err := clientcmd.NewDefaultClientConfig(*file, overrides).ClientConfig()
	if err != nil {
		return c, err
	}
	if cfg.ExecProvider != nil || cfg.AuthProvider != nil || cfg.Username != "" {
		return c, errUser
	}
	c, err = inline(Bootstrap, path, cfg)
	if err == nil && c.token == "" && len(c.tls.CertData) == 0 {
		err = errors.New("its user has no credentials")
	}
	return c, err
}

// errUser means that a kubeconfig authenticates in a way that kvip does not support.
var errUser = errors.New("its user must have a client certificate or a token")

// CheckUsers returns an error for a complete kubeconfig whose user kvip does not support. A file
// that is missing, empty, truncated or a directory is not an error: it may be written later.
func CheckUsers(paths []string) error {
	for _, path := range paths {
		if _, err := fromKubeconfig(path); errors.Is(err, errUser) {
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
		return Credentials{}, fmt.Errorf("read certificates: %w", err)
	}
	c := Credentials{
		kind: kind, source: source, token: cfg.BearerToken,
		tls: rest.TLSClientConfig{
			ServerName: cfg.ServerName, CAData: cfg.CAData,
			CertData: cfg.CertData, KeyData: cfg.KeyData,
		},
	}
	if c.tls.ServerName == "" {
		c.tls.ServerName = ServerName
	}
	if cfg.BearerTokenFile == "" {
		return c, nil
	}
	token, err := os.ReadFile(cfg.BearerTokenFile)
	if err != nil {
		return Credentials{}, fmt.Errorf("read token: %w", err)
	}
	c.token = string(bytes.TrimSpace(token))
	return c, nil
}

// fromServiceAccount reads the token and CA that the kubelet mounts into a pod.
func fromServiceAccount(dir string) (Credentials, error) {
	c, err := inline(ServiceAccount, dir, &rest.Config{
		BearerTokenFile: filepath.Join(dir, "token"),
		TLSClientConfig: rest.TLSClientConfig{CAFile: filepath.Join(dir, "ca.crt")},
	})
	if err != nil {
		return c, fmt.Errorf("use ServiceAccount %s: %w", dir, err)
	}
	return c, nil
}

// KubeconfigServers returns "address:port" of the servers that the files name, without duplicates.
// It skips files that cannot be read. The certificates of these servers are verified like those of
// any API server.
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
		hosts = append(hosts, net.JoinHostPort(server.Hostname(), port))
	}
	return Union(hosts)
}

// CheckKubeconfigs returns an error for the first file that cannot be used.
func CheckKubeconfigs(paths []string) error {
	for _, path := range paths {
		if _, err := fromKubeconfig(path); err != nil {
			return err
		}
	}
	return nil
}
