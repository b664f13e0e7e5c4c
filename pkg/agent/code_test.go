package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/kvip/kvip/pkg/apiclient"
)

func TestErrorCode(t *testing.T) {
	dial := func(err error) error { return &net.OpError{Op: "dial", Err: err} }
	for want, err := range map[string]error{
		"Forbidden":     apierrors.NewForbidden(schema.GroupResource{Resource: "leases"}, "kvip", errors.New("no")),
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
