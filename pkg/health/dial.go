package health

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/url"
	"slices"
	"time"
)

// connectTimeout is for TCP alone: a listener on this host accepts at once.
const connectTimeout = time.Second

// dialer makes connections as the configuration says.
type dialer struct{ cfg *Config }

func (d dialer) plain(ctx context.Context, network, address string) (net.Conn, error) {
	return (&net.Dialer{Timeout: connectTimeout, KeepAlive: -1}).DialContext(ctx, network, address)
}

func (d dialer) secure(ctx context.Context, network, address string) (net.Conn, error) {
	config, err := d.config(address)
	if err != nil {
		return nil, err
	}
	conn, err := d.plain(ctx, network, address)
	if err != nil {
		return nil, err
	}
	client := tls.Client(conn, config)
	if err := client.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, fmt.Errorf("handshake with %s: %w", address, err)
	}
	return client, nil
}

// trusted reports whether the credentials may be shown to the server at the address: it is one of
// the API server's own. Behind a URL that was given may be anybody.
func (c *Config) trusted(address string) bool {
	if c.URL == "" {
		return true
	}
	return c.URLs != nil && slices.ContainsFunc(c.URLs(), func(base string) bool {
		u, err := url.Parse(base)
		return err == nil && hostPort(u) == address
	})
}

// config asks for the TLS configuration anew: certificates may have been renewed (E7).
func (d dialer) config(address string) (*tls.Config, error) {
	config := &tls.Config{}
	if d.cfg.TLS != nil {
		given, err := d.cfg.TLS()
		if err != nil {
			return nil, fmt.Errorf("%w: load TLS credentials: %w", errBlind, err)
		}
		if given != nil {
			config = given.Clone()
		}
	}
	if !d.cfg.trusted(address) {
		config.Certificates, config.GetClientCertificate = nil, nil
	}
	config.NextProtos = []string{"http/1.1"}
	if config.ServerName == "" {
		host, _, err := net.SplitHostPort(address)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", errBlind, err)
		}
		config.ServerName = host
	}
	return config, nil
}
