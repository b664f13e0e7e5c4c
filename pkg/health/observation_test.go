package health

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"reflect"
	"strings"
	"syscall"
	"testing"
)

const shutdownBody = `[+]ping ok
[+]log ok
[+]etcd ok
[-]shutdown failed: reason withheld
readyz check failed
`

func TestFromResponse(t *testing.T) {
	for _, c := range []struct {
		status int
		body   string
		want   Outcome
		detail string
	}{
		{200, "ok", OutcomeOK, "ready"},
		{204, "", OutcomeOK, "ready"},
		{429, "", OutcomeOK, "429"}, // E7: alive
		{401, "", OutcomeUnauthorized, "401"},
		{403, "", OutcomeUnauthorized, "403"},
		{500, shutdownBody, OutcomeShutdown, "shutting down"},
		{500, "[+]ping ok\n[-]etcd failed: reason withheld\n[-]informer-sync failed: x\n",
			OutcomeNotReady, "failed checks: etcd, informer-sync"},
		{500, "[+]shutdown ok\n[-]etcd failed: shutdown failed", OutcomeNotReady, "etcd"},
		{500, "shutdown failed", OutcomeNotReady, "HTTP 500"},
		{500, "[-]\n[-] failed\n", OutcomeNotReady, "HTTP 500"},
		{503, "", OutcomeNotReady, "HTTP 503"},
		{404, "404 page not found", OutcomeNotReady, "HTTP 404"},
		{302, "", OutcomeNotReady, "HTTP 302"},
	} {
		got := fromResponse(c.status, c.body)
		if got.Outcome != c.want || !strings.Contains(got.Detail, c.detail) {
			t.Errorf("%d %q: %+v, want outcome %d with %q", c.status, c.body, got, c.want, c.detail)
		}
	}
}

func TestFromError(t *testing.T) {
	op := func(err error) error {
		return fmt.Errorf("get: %w", &net.OpError{Op: "dial", Net: "tcp",
			Err: os.NewSyscallError("connect", err)})
	}
	for name, c := range map[string]struct {
		err  error
		want Outcome
	}{
		"refused":     {op(syscall.ECONNREFUSED), OutcomeRefused},
		"reset":       {op(syscall.ECONNRESET), OutcomeBroken},
		"closed":      {io.EOF, OutcomeBroken},
		"no route":    {op(syscall.EHOSTUNREACH), OutcomeCannotProbe},
		"no network":  {op(syscall.ENETUNREACH), OutcomeCannotProbe},
		"no address":  {op(syscall.EADDRNOTAVAIL), OutcomeCannotProbe},
		"deadline":    {context.DeadlineExceeded, OutcomeSlow},
		"i/o timeout": {op(os.ErrDeadlineExceeded), OutcomeSlow},
		"cancelled":   {context.Canceled, OutcomeSlow},
		"unknown CA": {fmt.Errorf("x: %w",
			&tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}}), OutcomeCertificate},
		"wrong name": {x509.HostnameError{Certificate: &x509.Certificate{}},
			OutcomeCertificate},
		"plain HTTP":     {tls.RecordHeaderError{Msg: "not TLS"}, OutcomeCertificate},
		"alert received": {errors.New("remote error: tls: bad certificate"), OutcomeCertificate},
		"no credentials": {fmt.Errorf("%w: load TLS credentials: %w", errCannotProbe,
			os.ErrNotExist), OutcomeCannotProbe},
	} {
		if got := fromError(c.err); got.Outcome != c.want || got.Detail == "" {
			t.Errorf("%s: %+v, want outcome %d", name, got, c.want)
		}
	}
}

// TestWorse: refused counts only if all candidates refuse (E7).
func TestWorse(t *testing.T) {
	for _, c := range []struct {
		seen []Outcome
		want Outcome
	}{
		{[]Outcome{OutcomeRefused, OutcomeRefused}, OutcomeRefused},
		{[]Outcome{OutcomeRefused, OutcomeCannotProbe}, OutcomeRefused},
		{[]Outcome{OutcomeCannotProbe, OutcomeCannotProbe}, OutcomeCannotProbe},
		{[]Outcome{OutcomeRefused, OutcomeBroken}, OutcomeBroken},
		{[]Outcome{OutcomeBroken, OutcomeRefused}, OutcomeBroken},
		{[]Outcome{OutcomeRefused, OutcomeSlow}, OutcomeSlow},
		{[]Outcome{OutcomeCertificate, OutcomeRefused}, OutcomeCertificate},
	} {
		var worst Observation
		for _, o := range c.seen {
			worst = worse(worst, Observation{Outcome: o})
		}
		if worst.Outcome != c.want {
			t.Errorf("%v: outcome %d, want %d", c.seen, worst.Outcome, c.want)
		}
	}
}

func FuzzFailedChecks(f *testing.F) {
	for _, seed := range []string{shutdownBody, "", "[-]", "[-]a failed", "[-] failed\n",
		"\r\n[-]x failed: failed\r\n"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, body string) {
		for _, name := range failedChecks(body) {
			if name == "" || !strings.Contains(body, "[-]"+name+" failed") {
				t.Fatalf("%q is not a failed check of %q", name, body)
			}
		}
		if a, b := failedChecks(body), failedChecks(body+"\n[+]more ok\n"); !reflect.DeepEqual(a,
			b) {
			t.Fatalf("%v became %v with one more passed check", a, b)
		}
	})
}
