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
	ops := []string{"list", "watch", "update", "get-endpointslice", "create-event", "renew-node"}
	for _, kind := range []election.Kind{election.Create, election.Claim, election.Renew,
		election.Release, election.RequestTransfer, election.Read} {
		ops = append(ops, kind.String())
	}
	for _, op := range ops {
		if _, listed := operations[op]; !listed || !slices.Contains(list, requestOf(op)) {
			t.Errorf("operation %s is %v, which is not known", op, requestOf(op))
		}
	}
	cfg.VIPs, cfg.Services, cfg.KubeVIP = nil, true, true
	list = requests(cfg)
	collections := constants(t, "../svc/listwatch.go", "var (", "// listLease lists",
		`collection\{[^}]*\bname: "(\w+)"`)
	if len(collections) < 6 {
		t.Errorf("found only the collections %v", collections)
	}
	for _, resource := range collections {
		for _, verb := range []string{"list", "watch"} {
			if one := (metrics.Request{Verb: verb, Resource: resource}); !slices.Contains(list, one) {
				t.Errorf("%v is not known", one)
			}
		}
	}
	pair := regexp.MustCompile(`(?:\.count\(|\.send\(ctx, \S+, )"(\w+)", "(\w+)"`)
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
	for _, one := range []metrics.Request{ // the allocator names their kinds by constants
		{Verb: "patch", Resource: "bgppeers"}, {Verb: "patch", Resource: "bgpadvertisements"},
		{Verb: "patch", Resource: "ippools"}, {Verb: "list", Resource: "bgpnodestates"}, patchNodeStates,
	} {
		if !slices.Contains(list, one) {
			t.Errorf("%v is not known", one)
		}
	}
	if found < 15 {
		t.Errorf("found only %d requests of the allocator", found)
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

// TestRequestsDependOnTheJobs: a series that stays 0 for the agent's life has no reader.
func TestRequestsDependOnTheJobs(t *testing.T) {
	cfg := config.Default()
	if list := requests(cfg); len(list) != 0 {
		t.Errorf("without a job: %v", list)
	}
	renew := metrics.Request{Verb: "update", Resource: "leases"}
	patch := metrics.Request{Verb: "patch", Resource: "services"}
	local := metrics.Request{Verb: "get", Resource: "endpointslices"}
	for _, row := range []struct {
		name                string
		control, services   bool
		renew, patch, local bool
	}{
		{"control plane", true, false, true, false, true},
		{"Services", false, true, true, true, false},
		{"both", true, true, true, true, true},
	} {
		cfg := config.Default()
		if cfg.Services = row.services; row.control {
			cfg.VIPs = append(cfg.VIPs, vip4)
		}
		list := requests(cfg)
		for request, want := range map[metrics.Request]bool{
			renew: row.renew, patch: row.patch, local: row.local,
		} {
			if got := slices.Contains(list, request); got != want {
				t.Errorf("%s: %v: %v", row.name, request, got)
			}
		}
		for i, one := range list {
			if slices.Contains(list[:i], one) {
				t.Errorf("%s: %v is listed twice", row.name, one)
			}
		}
	}
}

// TestKnownLabelsDependOnTheJobs, and are words without duplicates.
func TestKnownLabelsDependOnTheJobs(t *testing.T) {
	cfg := config.Default()
	cfg.VIPs = append(cfg.VIPs, vip4)
	control := knownLabels(cfg)
	if control.Services || len(control.Refusals) != 0 || len(control.Transitions) == 0 ||
		len(control.HealthStates) == 0 {
		t.Errorf("control plane: %+v", control)
	}
	cfg.VIPs, cfg.Services = nil, true
	services := knownLabels(cfg)
	if !services.Services || len(services.Refusals) == 0 || len(services.Transitions) != 0 ||
		len(services.HealthStates) != 0 {
		t.Errorf("Services: %+v", services)
	}
	word := regexp.MustCompile(`^[A-Za-z][A-Za-z0-9-]*$`)
	for name, values := range map[string][]string{
		"transitions": control.Transitions, "health states": control.HealthStates,
		"refusals": services.Refusals, "codes": services.Codes, "frames": control.Frames,
	} {
		for i, value := range values {
			if !word.MatchString(value) || slices.Contains(values[:i], value) {
				t.Errorf("%s: %q is not a word, or listed twice", name, value)
			}
		}
	}
}

// TestReasonsOfTheAPIServerAreKnown: each status that kvip's requests lead to has its own code.
func TestReasonsOfTheAPIServerAreKnown(t *testing.T) {
	resource := schema.GroupResource{Resource: "leases"}
	for want, err := range map[string]error{
		"NotFound":           apierrors.NewNotFound(resource, "kvip"),
		"Conflict":           apierrors.NewConflict(resource, "kvip", errors.New("changed")),
		"AlreadyExists":      apierrors.NewAlreadyExists(resource, "kvip"),
		"Expired":            apierrors.NewResourceExpired("too old"),
		"TooManyRequests":    apierrors.NewTooManyRequests("later", 1),
		"Timeout":            apierrors.NewTimeoutError("slow", 1),
		"ServerTimeout":      apierrors.NewServerTimeout(resource, "update", 1),
		"InternalError":      apierrors.NewInternalError(errors.New("etcd")),
		"ServiceUnavailable": apierrors.NewServiceUnavailable("starting"),
	} {
		got := errorCode(fmt.Errorf("renew lease: %w", err))
		if got != want || !slices.Contains(codes(), got) {
			t.Errorf("%v: code %q, want %q, one of %q", err, got, want, codes())
		}
	}
}

// TestLeaseFailuresAreCounted under the request of their operation.
func TestLeaseFailuresAreCounted(t *testing.T) {
	a := testAgent(t, func(c *config.Config) { c.VIPs = append(c.VIPs, vip4) })
	refused := apierrors.NewForbidden(schema.GroupResource{Resource: "leases"}, "kvip", nil)
	for _, op := range []string{"renew", "claim", "read", "get-endpointslice"} {
		a.onLeaseFailure(op, refused)
	}
	a.onLeaseFailure("renew", errors.New("connection refused"))
	page := scrape(t, a.metrics)
	for _, line := range []string{
		`{code="Forbidden",resource="leases",verb="update"} 2`,
		`{code="Forbidden",resource="leases",verb="get"} 1`,
		`{code="Forbidden",resource="endpointslices",verb="get"} 1`,
		`{code="Unreachable",resource="leases",verb="update"} 1`,
		`{code="Forbidden",resource="leases",verb="create"} 0`,
	} {
		if !strings.Contains(page, "\nkvip_api_errors_total"+line+"\n") {
			t.Errorf("%s is not served", line)
		}
	}
}
