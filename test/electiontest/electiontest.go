// Package electiontest provides the environment of the conformance suite for drivers of the
// election, on a fake or a real API server. It has no tests of its own.
package electiontest

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/retry"

	"github.com/kvip/kvip/pkg/apiclient"
	"github.com/kvip/kvip/pkg/boottime"
	"github.com/kvip/kvip/pkg/election/conformance"
	"github.com/kvip/kvip/pkg/election/kubelease"
	"github.com/kvip/kvip/test/testutil"
)

// namespace of the suite's Leases: every cluster has it.
const namespace = "kube-system"

var created atomic.Int64

// New returns an environment with a Lease of its own on the API server at host ("address:port").
// The credentials of kubeconfig need all verbs on Leases in kube-system. The Lease is deleted when
// the test ends.
func New(t *testing.T, kubeconfig, host string) conformance.Env {
	t.Helper()
	store := testutil.Must(apiclient.NewStore(apiclient.StoreConfig{
		Kubeconfigs: []string{kubeconfig},
	}))
	name := fmt.Sprintf("kvip-conformance-%d-%d", time.Now().Unix(), created.Add(1))
	by := editor{store: store, host: host, name: name}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := by.Delete(ctx); err != nil && !apierrors.IsNotFound(err) {
			t.Errorf("delete lease %s: %v", name, err)
		}
	})
	return conformance.Env{
		One: driver(t, store, host, name), Two: driver(t, store, host, name), Editor: by,
		Now:         boottime.Now,
		Transitions: func(history string) int { return len(kubelease.Transitions(history)) },
	}
}

func driver(t *testing.T, store *apiclient.Store, host, name string) conformance.Driver {
	t.Helper()
	router := testutil.Must(apiclient.NewRouter(apiclient.RouterConfig{
		Store: store, Local: func() []string { return []string{host} }, LocalFirst: true,
	}))
	return testutil.Must(kubelease.New(kubelease.Config{
		Namespace: namespace, Name: name, Router: router,
	}))
}

// editor implements conformance.Editor by client-go.
type editor struct {
	store      *apiclient.Store
	host, name string
}

func (e editor) Delete(ctx context.Context) error {
	server, err := e.store.ServerInPool("", e.host)
	if err != nil {
		return err
	}
	return server.Coordination.Leases(namespace).Delete(ctx, e.name, metav1.DeleteOptions{})
}

func (e editor) Annotate(ctx context.Context, key, value string) error {
	server, err := e.store.ServerInPool("", e.host)
	if err != nil {
		return err
	}
	leases := server.Coordination.Leases(namespace)
	return retry.RetryOnConflict(retry.DefaultRetry, func() error {
		l, err := leases.Get(ctx, e.name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if l.Annotations == nil {
			l.Annotations = map[string]string{}
		}
		l.Annotations[key] = value
		_, err = leases.Update(ctx, l, metav1.UpdateOptions{})
		return err
	})
}

func (e editor) Annotation(ctx context.Context, key string) (string, error) {
	server, err := e.store.ServerInPool("", e.host)
	if err != nil {
		return "", err
	}
	l, err := server.Coordination.Leases(namespace).Get(ctx, e.name, metav1.GetOptions{})
	if err != nil {
		return "", err
	}
	return strings.TrimSpace(l.Annotations[key]), nil
}
