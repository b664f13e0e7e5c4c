package cluster

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/kvip/kvip/test/lab/wait"
)

// etcdState is what a member says of the cluster: the identifiers of itself and of the leader.
type etcdState struct {
	Header struct {
		Member string `json:"member_id"`
	} `json:"header"`
	Leader string `json:"leader"`
}

// LeadEtcd makes the member of a node the leader of etcd.
func (c *Cluster) LeadEtcd(ctx context.Context, to *Node) error {
	return wait.Until(ctx, "etcd's leader on "+to.Name, 100*time.Millisecond, func() error {
		wanted, err := to.etcdState(ctx)
		if err != nil || wanted.Leader == wanted.Header.Member {
			return err
		}
		for _, n := range c.Nodes {
			s, err := n.etcdState(ctx)
			if err != nil || s.Leader != s.Header.Member {
				continue
			}
			body := map[string]string{"targetID": wanted.Header.Member}
			if err := n.askEtcd(ctx, "transfer-leadership", body, nil); err != nil {
				return err
			}
		}
		return errors.New("the leadership is being transferred")
	})
}

func (n *Node) etcdState(ctx context.Context) (s etcdState, err error) {
	err = n.askEtcd(ctx, "status", map[string]string{}, &s)
	return s, err
}

// askEtcd sends a request about maintenance to the JSON gateway of the node's member, as its API
// server would.
func (n *Node) askEtcd(ctx context.Context, what string, body, answer any) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	conf, err := n.etcdTLS()
	if err != nil {
		return err
	}
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	tr := &http.Transport{DialContext: n.Host.Dial, TLSClientConfig: conf, DisableKeepAlives: true}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost,
		"https://127.0.0.1:2379/v3/maintenance/"+what, bytes.NewReader(text))
	if err != nil {
		return err
	}
	resp, err := tr.RoundTrip(req)
	if err != nil {
		return fmt.Errorf("ask etcd of %s for %s: %w", n.Name, what, err)
	}
	defer func() { _ = resp.Body.Close() }()
	if text, err = io.ReadAll(io.LimitReader(resp.Body, 1<<16)); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("ask etcd of %s for %s: %s: %s", n.Name, what, resp.Status, text)
	}
	if answer == nil {
		return nil
	}
	return json.Unmarshal(text, answer)
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
