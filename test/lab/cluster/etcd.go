package cluster

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/kvip/kvip/test/lab/etcd"
)

// LeadEtcd makes the member of a node the leader of etcd.
func (c *Cluster) LeadEtcd(ctx context.Context, to *Node) error {
	members := make([]etcd.Member, len(c.Nodes))
	for i, n := range c.Nodes {
		members[i] = n.askEtcd
	}
	return etcd.Lead(ctx, to.askEtcd, members)
}

// askEtcd is the etcd.Member of the node, asked as by its API server.
func (n *Node) askEtcd(ctx context.Context, method string, body []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	conf, err := n.etcdTLS()
	if err != nil {
		return nil, err
	}
	tr := &http.Transport{DialContext: n.Host.Dial, TLSClientConfig: conf, DisableKeepAlives: true}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost,
		"https://127.0.0.1:2379/v3/maintenance/"+method, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	resp, err := tr.RoundTrip(req)
	if err != nil {
		return nil, fmt.Errorf("ask etcd of %s for %s: %w", n.Name, method, err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<16))
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("ask etcd of %s for %s: %s: %s", n.Name, method, resp.Status, text)
	}
	return text, err
}

func (n *Node) etcdTLS() (*tls.Config, error) {
	pair, err := tls.LoadX509KeyPair(n.kubernetes("pki/apiserver-etcd-client.crt"),
		n.kubernetes("pki/apiserver-etcd-client.key"))
	if err != nil {
		return nil, err
	}
	ca, err := os.ReadFile(n.kubernetes("pki/etcd/ca.crt"))
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(ca) {
		return nil, fmt.Errorf("etcd's CA of %s cannot be read", n.Name)
	}
	return &tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: roots}, nil
}
