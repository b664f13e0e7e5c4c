package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/kvip/kvip/pkg/apiclient"
	"github.com/kvip/kvip/pkg/arp"
	"github.com/kvip/kvip/pkg/config"
	"github.com/kvip/kvip/pkg/election"
	"github.com/kvip/kvip/pkg/health"
	"github.com/kvip/kvip/pkg/metrics"
)

// constants returns the values that match pattern in a part of a source file.
func constants(t *testing.T, file, begin, end, pattern string) []string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	_, part, found := strings.Cut(string(text), begin)
	part, _, closed := strings.Cut(part, end)
	if !found || !closed {
		t.Fatalf("%s has no part from %q to %q", file, begin, end)
	}
	var values []string
	for _, match := range regexp.MustCompile(pattern).FindAllStringSubmatch(part, -1) {
		values = append(values, match[1])
	}
	slices.Sort(values)
	return values
}

// TestKnownLabelValuesAreComplete holds the lists against the constants that they are made of.
func TestKnownLabelValuesAreComplete(t *testing.T) {
	cfg := config.Default()
	cfg.VIPs, cfg.Services = append(cfg.VIPs, vip4), true
	k := knownLabels(cfg)
	for _, row := range []struct {
		what string
		have []string
		want []string
	}{
		{"transitions", k.Transitions, constants(t, "../election/reason.go", "// Reasons for taking.",
			"// Reasons for waiting.", `Reason = "(\w+)"`)},
		{"health states", k.HealthStates,
			constants(t, "../health/health.go", "// Codes that State.Code", "\n)", `Code\w+ += "([\w-]+)"`)},
		{"frames", k.Frames, constants(t, "../arp/arp.go", "// Kinds of frames", "\n)",
			`Kind\w+ += "([\w-]+)"`)},
	} {
		have := slices.Sorted(slices.Values(row.have))
		if len(row.want) == 0 || !slices.Equal(have, row.want) {
			t.Errorf("%s: known are %v, defined are %v", row.what, have, row.want)
		}
	}
	if k.HealthStates[0] != health.CodeUnknown || !slices.Equal(k.Frames, arp.Kinds()) {
		t.Errorf("at start the API server is %s", k.HealthStates[0])
	}
	for _, reason := range []string{"PoolExhausted", "NotAlive", "ForeignStatus"} {
		if !slices.Contains(k.Refusals, reason) {
			t.Errorf("a Service's reason %s is not known", reason)
		}
	}
	for _, code := range []string{"Forbidden", "Timeout", "Unreachable", "NoCredentials"} {
		if !slices.Contains(k.Codes, code) {
			t.Errorf("code %s is not known", code)
		}
	}
}

// TestEveryRequestIsKnown: an operation that the drivers tell of is one of the known requests.
func TestEveryRequestIsKnown(t *testing.T) {
	cfg := config.Default()
	cfg.VIPs = append(cfg.VIPs, vip4)
	list := requests(cfg)
	ops := []string{"list", "watch", "get-endpointslice", "create-event", "renew-node"}
	for _, kind := range []election.Kind{election.Create, election.Claim, election.Renew,
		election.Release, election.RequestTransfer, election.Read} {
		ops = append(ops, kind.String())
	}
	for _, op := range ops {
		if _, listed := operations[op]; !listed || !slices.Contains(list, requestOf(op)) {
			t.Errorf("operation %s is %v, which is not known", op, requestOf(op))
		}
	}
	cfg.VIPs, cfg.Services = nil, true
	list = requests(cfg)
	pair := regexp.MustCompile(`(?:\.count\(|\.do\(ctx, \S+, )"(\w+)", "(\w+)"`)
	files, err := filepath.Glob("../svc/allocator/*.go")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, match := range pair.FindAllStringSubmatch(string(text), -1) {
			found++
			if one := (metrics.Request{Verb: match[1], Resource: match[2]}); !slices.Contains(list, one) {
				t.Errorf("%s: %v is not known", file, one)
			}
		}
	}
	if found < 15 {
		t.Errorf("found only %d requests of the allocator", found)
	}
	if got := requestOf("patch"); got != (metrics.Request{Verb: "patch", Resource: "leases"}) {
		t.Errorf("an operation that is not listed is %v", got)
	}
}

func TestErrorCode(t *testing.T) {
	dial := func(err error) error { return &net.OpError{Op: "dial", Err: err} }
	for want, err := range map[string]error{
		"Forbidden": apierrors.NewForbidden(schema.GroupResource{Resource: "leases"}, "kvip",
			errors.New("no")),
		"Unauthorized":  apierrors.NewUnauthorized("expired"),
		"NoCredentials": apiclient.ErrNoCredentials,
		"Timeout":       context.DeadlineExceeded,
		"Unreachable":   dial(os.NewSyscallError("connect", syscall.ECONNREFUSED)),
	} {
		if got := errorCode(fmt.Errorf("renew lease: %w", err)); got != want {
			t.Errorf("%v: code %q, want %q", err, got, want)
		}
	}
	if got := errorCode(dial(os.ErrDeadlineExceeded)); got != "Timeout" {
		t.Errorf("a dial that timed out: code %q", got)
	}
}
