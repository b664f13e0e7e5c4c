package health

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"syscall"
)

// Outcome is what one look at the API server showed.
type Outcome int

const (
	// OutcomeOK: a ready answer, or one that proves as much (429: busy but serving).
	OutcomeOK Outcome = iota + 1
	// OutcomeUnauthorized: 401 or 403. It lives; our credentials are the trouble.
	OutcomeUnauthorized
	// OutcomeNotReady: an answer that says not ready.
	OutcomeNotReady
	// OutcomeShutdown: not ready because it shuts down. It will not come back.
	OutcomeShutdown
	// OutcomeSlow: /readyz unanswered for long while /livez/ping answers.
	OutcomeSlow
	// OutcomeSilent: /livez/ping unanswered too.
	OutcomeSilent
	// OutcomeHung: unanswered, and the process takes nothing that its sockets have for it.
	OutcomeHung
	// OutcomeLate: an answer that says not ready, of a server that was slow with /livez/ping
	// too: what failed may only have timed out.
	OutcomeLate
	// OutcomeRefused: nothing listens on any candidate address.
	OutcomeRefused
	// OutcomeBroken: connections are made but end without an answer.
	OutcomeBroken
	// OutcomeCertificate: the TLS handshake fails on a certificate.
	OutcomeCertificate
	// OutcomeBlind: this side cannot probe (no candidate address, unreadable credentials).
	OutcomeBlind
)

// Observation is one outcome with what was seen, a fragment of a sentence.
type Observation struct {
	Outcome Outcome
	Detail  string
}

// fromResponse judges an answer to /readyz. The body of a 500 lists each check as
// "[+]name ok" or "[-]name failed: reason" (k8s.io/apiserver, server/healthz).
func fromResponse(status int, body string) Observation {
	switch {
	case status >= 200 && status < 300:
		return Observation{OutcomeOK, "ready"}
	case status == http.StatusTooManyRequests:
		return Observation{OutcomeOK, "busy (HTTP 429)"}
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		return Observation{OutcomeUnauthorized, fmt.Sprintf("HTTP %d to the health probe", status)}
	}
	failed := failedChecks(body)
	if slices.Contains(failed, "shutdown") {
		return Observation{OutcomeShutdown, "the API server is shutting down"}
	}
	detail := fmt.Sprintf("HTTP %d", status)
	if len(failed) > 0 {
		detail += ", failed checks: " + strings.Join(failed, ", ")
	}
	return Observation{OutcomeNotReady, detail}
}

// failedChecks returns the names on the "[-]name failed" lines of a body.
func failedChecks(body string) []string {
	var names []string
	for line := range strings.Lines(body) {
		rest, ok := strings.CutPrefix(strings.TrimSpace(line), "[-]")
		if !ok {
			continue
		}
		if name, _, ok := strings.Cut(rest, " failed"); ok && name != "" {
			names = append(names, name)
		}
	}
	return names
}

// errBlind marks errors of this side: the API server was not even asked.
var errBlind = errors.New("cannot probe")

// fromError judges a request that got no answer from one address.
func fromError(err error) Observation {
	switch {
	case errors.Is(err, errBlind):
		return Observation{OutcomeBlind, err.Error()}
	case errors.Is(err, syscall.ECONNREFUSED):
		return Observation{OutcomeRefused, err.Error()}
	case errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.EADDRNOTAVAIL):
		return Observation{OutcomeBlind, "no way to the API server: " + err.Error()}
	case errors.Is(err, context.Canceled), errors.Is(err, os.ErrDeadlineExceeded), isTimeout(err):
		return Observation{OutcomeSlow, err.Error()}
	case isCertificate(err):
		return Observation{OutcomeCertificate, err.Error()}
	default:
		return Observation{OutcomeBroken, err.Error()}
	}
}

func isTimeout(err error) bool {
	var t interface{ Timeout() bool }
	return errors.As(err, &t) && t.Timeout()
}

// isCertificate tells trust trouble (ours with its certificate, or its alert about
// ours) from a connection that broke during the handshake.
func isCertificate(err error) bool {
	var (
		verification *tls.CertificateVerificationError
		invalid      x509.CertificateInvalidError
		authority    x509.UnknownAuthorityError
		hostname     x509.HostnameError
		header       tls.RecordHeaderError
		alert        tls.AlertError
	)
	return errors.As(err, &verification) || errors.As(err, &invalid) || errors.As(err, &authority) ||
		errors.As(err, &hostname) || errors.As(err, &header) || errors.As(err, &alert) ||
		strings.Contains(err.Error(), "remote error: tls:")
}

// worse picks the observation to report when several addresses failed. An address
// that answers somehow says more than one that refuses, so that "refused" stands only
// if no address does better (E7); one that cannot be reached at all says least.
func worse(a, b Observation) Observation {
	if rank(b.Outcome) > rank(a.Outcome) {
		return b
	}
	return a
}

func rank(o Outcome) int {
	return slices.Index([]Outcome{OutcomeBlind, OutcomeRefused, OutcomeBroken, OutcomeSlow, OutcomeCertificate}, o)
}
