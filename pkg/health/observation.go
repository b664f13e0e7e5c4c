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

// Outcome is the result of one probe of the API server.
type Outcome int

// Outcomes of a probe.
const (
	// OutcomeOK: a ready answer, or one that proves as much (429: busy but serving).
	OutcomeOK Outcome = iota + 1
	// OutcomeUnauthorized: 401 or 403. The server is alive and rejects the probe's credentials.
	OutcomeUnauthorized
	// OutcomeNotReady: /readyz reports failed checks.
	OutcomeNotReady
	// OutcomeShutdown: not ready because of a graceful shutdown, which is final.
	OutcomeShutdown
	// OutcomeSlow: /readyz is unanswered for long while /livez/ping is answered.
	OutcomeSlow
	// OutcomeSilent: /livez/ping is unanswered too.
	OutcomeSilent
	// OutcomeHung: unanswered, and the process takes nothing that its sockets have for it.
	OutcomeHung
	// OutcomeOverloaded: not ready, from a server that answers /livez/ping late too: the failed
	// checks may only have timed out.
	OutcomeOverloaded
	// OutcomeAborted: the connection ended without a TLS alert, and a new one is not answered at once:
	// the kernel closes the sockets of a process that died, the listener last.
	OutcomeAborted
	// OutcomeRefused: nothing listens on any candidate address.
	OutcomeRefused
	// OutcomeBroken: connections are accepted but end without an answer.
	OutcomeBroken
	// OutcomeCertificate: the TLS handshake fails on a certificate.
	OutcomeCertificate
	// OutcomeCannotProbe: this side cannot probe (no candidate address, unreadable credentials).
	OutcomeCannotProbe
)

// Observation is one outcome with its detail, a fragment of a sentence.
type Observation struct {
	Outcome Outcome
	Detail  string
}

// fromResponse classifies an answer to /readyz. The body of a 500 lists each check as
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

// errCannotProbe marks errors of this side: the API server received no request.
var errCannotProbe = errors.New("cannot probe")

// fromError classifies a request without an answer from one address.
func fromError(err error) Observation {
	var timeout interface{ Timeout() bool }
	switch {
	case errors.Is(err, errCannotProbe):
		return Observation{OutcomeCannotProbe, err.Error()}
	case errors.Is(err, syscall.ECONNREFUSED):
		return Observation{OutcomeRefused, err.Error()}
	case errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EHOSTUNREACH),
		errors.Is(err, syscall.EADDRNOTAVAIL):
		return Observation{OutcomeCannotProbe, "no route to the API server: " + err.Error()}
	case errors.Is(err, context.Canceled), errors.Is(err, os.ErrDeadlineExceeded),
		errors.As(err, &timeout) && timeout.Timeout():
		return Observation{OutcomeSlow, err.Error()}
	case isCertificate(err):
		return Observation{OutcomeCertificate, err.Error()}
	default:
		return Observation{OutcomeBroken, err.Error()}
	}
}

// isCertificate reports whether one side rejected the other's certificate, rather than that the
// connection broke during the handshake.
func isCertificate(err error) bool {
	var (
		verification *tls.CertificateVerificationError
		invalid      x509.CertificateInvalidError
		authority    x509.UnknownAuthorityError
		hostname     x509.HostnameError
		header       tls.RecordHeaderError
		alert        tls.AlertError
	)
	return errors.As(err, &verification) || errors.As(err, &invalid) ||
		errors.As(err, &authority) ||
		errors.As(err, &hostname) || errors.As(err, &header) || errors.As(err, &alert) ||
		strings.Contains(err.Error(), "remote error: tls:")
}

// worse returns the observation to report when several addresses failed. An address that answers
// somehow outranks one that refuses, so that "refused" remains only if all addresses refuse (E7).
// An address without a route ranks lowest.
func worse(a, b Observation) Observation {
	if rank(b.Outcome) > rank(a.Outcome) {
		return b
	}
	return a
}

func rank(o Outcome) int {
	return slices.Index([]Outcome{
		OutcomeCannotProbe, OutcomeRefused, OutcomeBroken, OutcomeSlow, OutcomeCertificate,
	}, o)
}
