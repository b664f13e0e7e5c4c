package svc_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/kvip/kvip/pkg/apis/v1alpha1"
	"github.com/kvip/kvip/pkg/svc"
	"github.com/kvip/kvip/test/fakeapi"
	"github.com/kvip/kvip/test/fakeapi/fakecluster"
)

var routerSecret = v1alpha1.SecretReference{Name: "router"}

// passwordOf returns the password of a reference, or the error.
func passwordOf(c *svc.Cache, ref v1alpha1.SecretReference) string {
	text, err := c.BGP().Password(ref)
	if (text == "") == (err == nil) {
		panic(fmt.Sprintf("B12: password %q, error %v", text, err))
	}
	if err != nil {
		return "error: " + err.Error()
	}
	return text
}

// B12: without its password a peer has an error, and never an empty password.
func TestB12PasswordsFollowTheSecrets(t *testing.T) {
	e := fakecluster.New(t)
	e.PutPeer("a", "192.0.2.1", fakecluster.WithPassword("router"))
	c := e.RunCache()
	reads := func(want string) {
		t.Helper()
		e.Eventually("the password is read as "+want, func() bool {
			return strings.HasPrefix(passwordOf(c, routerSecret), want)
		})
	}
	changes := c.Changes()
	reads("error: secret kube-system/router does not exist: create it")
	for _, step := range []struct {
		name string
		put  func()
		want string
	}{
		{"appears", func() { e.PutSecret("router", "first") }, "first"},
		{"changes", func() { e.PutSecret("router", "second") }, "second"},
		{"of another type", func() {
			e.PutSecret("router", "x", func(s *corev1.Secret) { s.Type = corev1.SecretTypeOpaque })
		}, "error: secret kube-system/router has the type Opaque: create it with the type kubernetes.io"},
		{"without the key", func() {
			e.PutSecret("router", "x", func(s *corev1.Secret) { s.Data = nil })
		}, "error: secret kube-system/router has no password: set its key password"},
		{"too long", func() { e.PutSecret("router", strings.Repeat("x", 81)) },
			"error: secret kube-system/router has a password of 81 bytes"},
		{"empty", func() { e.PutSecret("router", "") },
			"error: secret kube-system/router has no password"},
		{"corrected", func() { e.PutSecret("router", strings.Repeat("x", 80)) }, "xxxxxxx"},
		{"is deleted", func() { e.Store.Delete(fakecluster.SecretPath("router")) },
			"error: secret kube-system/router does not exist"},
	} {
		step.put()
		reads(step.want)
		if now := c.Changes(); now == changes {
			t.Errorf("%s: not counted as a change", step.name)
		} else {
			changes = now
		}
	}
	if e.Log.Count("first")+e.Log.Count("second") > 0 {
		t.Errorf("a password is logged:\n%s", e.Log)
	}
}

// References are resolved in the agents' namespace. Two of them may name one Secret. A Secret that
// no peer names any more is not watched.
func TestReferencesToSecrets(t *testing.T) {
	e := fakecluster.New(t)
	e.PutSecret("router", "one")
	e.Put("/api/v1/namespaces/net/secrets/router", corev1.Secret{Type: corev1.SecretTypeBasicAuth,
		Data: map[string][]byte{"password": []byte("two")}})
	full := v1alpha1.SecretReference{Name: "router", Namespace: "kube-system"}
	other := v1alpha1.SecretReference{Name: "router", Namespace: "net"}
	with := func(ref v1alpha1.SecretReference) func(*v1alpha1.BGPPeerSpec) {
		return func(s *v1alpha1.BGPPeerSpec) { s.PasswordSecret = &ref }
	}
	e.PutPeer("a", "192.0.2.1", with(routerSecret))
	e.PutPeer("b", "192.0.2.2", with(full))
	e.PutPeer("c", "192.0.2.3", with(other))
	c := e.RunCache()
	e.Eventually("the passwords", func() bool {
		return passwordOf(c, routerSecret) == "one" && passwordOf(c, full) == "one" &&
			passwordOf(c, other) == "two"
	})
	e.PutPeer("a", "192.0.2.1")
	e.PutPeer("b", "192.0.2.2")
	e.Eventually("the end of the references", func() bool { return len(c.BGP().Passwords) == 1 })
	if _, err := c.BGP().Password(full); !errors.Is(err, svc.ErrPasswordPending) {
		t.Errorf("a Secret without a reference: %v", err)
	}
	e.PutSecret("router", "three")
	e.PutPeer("a", "192.0.2.1", with(routerSecret))
	e.Eventually("the new password", func() bool { return passwordOf(c, routerSecret) == "three" })
	c.Resync()
	e.PutSecret("router", "four")
	e.Eventually("the password after a Resync",
		func() bool { return passwordOf(c, routerSecret) == "four" })
}

// A missing right is an error with the fix. It does not make the credentials suspect. A password
// that was read before stays (B13).
func TestForbiddenSecrets(t *testing.T) {
	e := fakecluster.New(t)
	e.PutSecret("router", "one")
	e.PutPeer("a", "192.0.2.1", fakecluster.WithPassword("router"))
	deny := fakeapi.DenyRule{Path: "/secrets", Code: http.StatusForbidden}
	e.Server.Deny(deny)
	c := e.RunCache()
	e.Eventually("the error", func() bool {
		return strings.HasPrefix(passwordOf(c, routerSecret), "error: secret kube-system/router cannot "+
			"be read: grant list and watch of it, with `kvip manifest rbac --services --bgp-secret router`")
	})
	if e.Log.Count("refuses these credentials") > 0 || !c.HasSyncedPools() || !c.BGP().Synced {
		t.Errorf("synced %v; log:\n%s", c.HasSyncedPools(), e.Log)
	}
	e.Server.Deny()
	e.Eventually("the password", func() bool { return passwordOf(c, routerSecret) == "one" })
	e.Server.Deny(deny)
	e.Server.EndWatches()
	e.Eventually("the loss of the right",
		func() bool { return e.Log.Count(`kind="secret kube-system/router"`) == 2 })
	if got := passwordOf(c, routerSecret); got != "one" {
		t.Errorf("after the loss of the right: %s", got)
	}
}

// No format prints a password, also not inside of other values.
func TestPasswordsAreHidden(t *testing.T) {
	e := fakecluster.New(t)
	e.PutSecret("router", "opensesame")
	e.PutPeer("a", "192.0.2.1", fakecluster.WithPassword("router"))
	c := e.RunCache()
	e.Eventually("the password", func() bool { return passwordOf(c, routerSecret) == "opensesame" })
	b := c.BGP()
	hidden := struct{ password svc.Password }{b.Passwords[routerSecret]}
	for _, value := range []any{b, &b, b.Passwords, b.Passwords[routerSecret], hidden, &hidden} {
		encoded, err := json.Marshal(value)
		texts := []string{fmt.Sprint(value), fmt.Sprintf("%+v", value), fmt.Sprintf("%#v", value),
			fmt.Sprintf("%s %q %x", value, value, value), string(encoded), fmt.Sprint(err)}
		var out strings.Builder
		slog.New(slog.NewTextHandler(&out, nil)).Info("x", "value", value)
		slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "value", value)
		for _, text := range append(texts, out.String()) {
			if strings.Contains(text, "opensesame") || strings.Contains(text, "6f70656e736573616d65") {
				t.Errorf("%T is printed as %s", value, text)
			}
		}
	}
	if got := fmt.Sprint(b.Passwords[routerSecret]); got != "(hidden)" {
		t.Errorf("a password is %s", got)
	}
	if got := fmt.Sprint(svc.Password{}); got != "no password: the Secret was not read yet" {
		t.Errorf("the zero value is %s", got)
	}
}
