package health

import (
	"context"
	"crypto/tls"
	"errors"
	"slices"
	"testing"
)

func TestTLSConfigOfADial(t *testing.T) {
	shared := &tls.Config{NextProtos: []string{"h2"}, MinVersion: tls.VersionTLS13}
	named := &tls.Config{ServerName: "kubernetes"}
	for name, c := range map[string]struct {
		hook   func() (*tls.Config, error)
		server string
	}{
		"no hook":     {nil, "2001:db8::1"},
		"nil config":  {func() (*tls.Config, error) { return nil, nil }, "2001:db8::1"},
		"no name":     {func() (*tls.Config, error) { return shared, nil }, "2001:db8::1"},
		"name is set": {func() (*tls.Config, error) { return named, nil }, "kubernetes"},
	} {
		got, err := dialer{&Config{TLS: c.hook}}.config("[2001:db8::1]:6443")
		if err != nil || got.ServerName != c.server || !slices.Equal(got.NextProtos, []string{"http/1.1"}) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	if shared.ServerName != "" || !slices.Equal(shared.NextProtos, []string{"h2"}) {
		t.Error("the caller's configuration was changed")
	}
}

func TestTLSConfigThatCannotBeMade(t *testing.T) {
	gone := errors.New("gone")
	for name, c := range map[string]struct {
		hook    func() (*tls.Config, error)
		address string
		cause   error
	}{
		"hook fails": {func() (*tls.Config, error) { return nil, gone }, "host:1", gone},
		"no port":    {nil, "host", errBlind},
	} {
		_, err := dialer{&Config{TLS: c.hook}}.config(c.address)
		if !errors.Is(err, errBlind) || !errors.Is(err, c.cause) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestHandshakeEndsWithItsContext: a hung server must not hold a dial.
func TestHandshakeEndsWithItsContext(t *testing.T) {
	url := listener(t, holdOpen(t))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		_, err := dialer{&Config{}}.secure(ctx, "tcp", url[len("https://"):])
		done <- err
	}()
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("ended with %v", err)
	}
}
