package tokenmanager

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/kvip/kvip/pkg/apiclient"
)

// errMend says that a step has found what the next one mends, at once: it is no failure, and no
// success that would end the pauses between failures.
var errMend = errors.New("the token is refused")

var errNoServer = errors.New("no API server is known")

// verify asks an API server about the token in use: the one that refused it, or the node's own.
// A token that is refused for good is set aside; one that is accepted again is taken up again.
func (k *Manager) verify(ctx context.Context) error {
	hosts := k.hosts()
	if k.doubt != "" {
		hosts = []string{k.doubt}
	}
	creds := k.own(k.token.text)
	err := each(hosts, func(host string) error {
		return attempt(ctx, creds, host, func(ctx context.Context, server *apiclient.Server) error {
			return granted(ctx, creds, server, k.rights)
		})
	})
	k.judge(err)
	if err != nil && k.s.denied && k.s.bootstrap {
		if !k.told {
			k.told = true
			k.cfg.Log.Warn("kvip's own token is refused, using bootstrap credentials to mend that", "reason", err)
		}
		return errMend
	}
	return err
}

// judge draws the conclusion from what an API server said of the token.
func (k *Manager) judge(err error) {
	switch {
	case err == nil:
		k.told = false
		k.s.verified, k.s.denied, k.doubtful, k.doubt, k.sureAt = true, false, false, "", time.Now()
		k.cfg.Store.SetTokenValid(true)
	case errors.Is(err, errDenied) && !errors.Is(err, errUnsure), errors.Is(err, errUnsure) && k.doubtful && time.Since(k.doubtAt) >= sureAfter:
		k.s.denied, k.doubtful, k.doubt = true, false, ""
		k.cfg.Store.SetTokenValid(false)
	case errors.Is(err, errUnsure):
		if !k.doubtful {
			k.doubtful, k.doubtAt = true, time.Now()
		}
	default: // not reached, or not ready: that says nothing of the token
		k.doubtful, k.doubt = false, ""
	}
}

// mint applies RBAC and gets a token, with the first bootstrap credentials that may.
func (k *Manager) mint(ctx context.Context) (err error) {
	k.s.denied, k.s.verified = false, false // after a failure: perhaps somebody else has mended it
	for _, creds := range k.cfg.Store.Kubeconfigs() {
		if err = each(k.hosts(), func(host string) error { return k.mintAt(ctx, creds, host) }); !apiclient.IsDenied(err) {
			return err
		}
	}
	return err
}

func (k *Manager) mintAt(ctx context.Context, creds apiclient.Credentials, host string) error {
	var fresh token
	err := attempt(ctx, creds, host, func(ctx context.Context, server *apiclient.Server) (err error) {
		if err := apply(ctx, server, k.objects); err != nil {
			return err
		}
		fresh, err = request(ctx, server, k.cfg.Namespace, k.cfg.Name)
		return err
	})
	if err != nil {
		return fmt.Errorf("with %s at %s: %w", creds.Source(), host, err)
	}
	k.ca = creds.CA()
	return k.begin(ctx, fresh, host)
}

// begin uses a new token once the API server grants it everything, so that the first request
// with it is not refused, and on the connection that asked.
func (k *Manager) begin(ctx context.Context, fresh token, host string) error {
	if fresh.expired(time.Now()) {
		return fmt.Errorf("use a new token of %s: by this node's clock it expired at %s; set the clocks right", host, fresh.expires.UTC().Format(time.RFC3339))
	}
	creds := k.own(fresh.text)
	server, err := creds.Server(host)
	if err != nil {
		return err
	}
	for end := time.Now().Add(grantWithin); ; pause(ctx, grantAgain) {
		asking, cancel := context.WithTimeout(ctx, attemptTimeout)
		err = granted(asking, creds, server, k.rights)
		cancel()
		if err == nil {
			break
		}
		if !time.Now().Before(end) || ctx.Err() != nil {
			server.Close()
			return fmt.Errorf("use a new token at %s: %w", host, err)
		}
	}
	k.use(fresh)
	k.s.token, k.s.verified, k.s.denied, k.s.stored, k.doubt = true, true, false, false, ""
	k.sureAt, k.told = time.Now(), false
	k.cfg.Store.SetToken(creds, server)
	k.cfg.Log.Info("kvip has a new token of its own", "reason", "until "+fresh.expires.UTC().Format(time.RFC3339))
	return nil
}

// renew gets a new token with the present one.
func (k *Manager) renew(ctx context.Context) error {
	creds := k.own(k.token.text)
	err := each(k.hosts(), func(host string) error {
		var fresh token
		err := attempt(ctx, creds, host, func(ctx context.Context, server *apiclient.Server) (err error) {
			fresh, err = request(ctx, server, k.cfg.Namespace, k.cfg.Name)
			return err
		})
		if err != nil {
			return fmt.Errorf("at %s: %w", host, err)
		}
		return k.begin(ctx, fresh, host)
	})
	if apiclient.IsDenied(err) {
		k.s.verified = false
	}
	return err
}

// hosts are where to ask: the node's own API server and then its peers, by address; never the VIP,
// and never what a kubeconfig names (E11).
func (k *Manager) hosts() []string { return k.cfg.Router.DirectHosts() }

// each tries one host after the other until one is there at all.
func each(hosts []string, do func(host string) error) error {
	err := errNoServer
	for _, host := range hosts {
		if err = do(host); !unheard(err) {
			return err
		}
	}
	return err
}

// attempt does something with a client of its own, in bounded time.
func attempt(ctx context.Context, creds apiclient.Credentials, host string, do func(context.Context, *apiclient.Server) error) error {
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	server, err := creds.Server(host)
	if err != nil {
		return err
	}
	defer server.Close()
	return do(ctx, server)
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
