package health

import (
	"context"
	"crypto/tls"
	"fmt"
	"strings"
)

// Ready asks an API server once, on a connection of its own, whether it is ready. It
// returns nil if /readyz below baseURL answers 2xx, else an error that says what it
// answered. A nil config trusts the system's roots; authorization is the header's value
// or "". The context bounds the time.
func Ready(ctx context.Context, config *tls.Config, authorization, baseURL string) error {
	cfg := &Config{TLS: func() (*tls.Config, error) { return config, nil }}
	transport := newTransport(cfg)
	transport.DisableKeepAlives = true
	defer transport.CloseIdleConnections()
	status, body, err := get(ctx, transport, strings.TrimSuffix(baseURL, "/")+"/readyz", authorization)
	if err != nil {
		return fmt.Errorf("ask API server for readiness: %w", err)
	}
	if status < 200 || status > 299 {
		return fmt.Errorf("ask API server %s for readiness: %s", baseURL, fromResponse(status, body).Detail)
	}
	return nil
}
