package svc

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kvip/kvip/pkg/apiclient"
	"github.com/kvip/kvip/pkg/apis/v1alpha1"
	"github.com/kvip/kvip/pkg/backoff"
)

const (
	// maxSecrets is how many different Secrets are read: the first ones by namespace and name.
	maxSecrets = 64
	// maxPassword is the longest key of TCP MD5 (TCP_MD5SIG_MAXKEYLEN in include/uapi/linux/tcp.h).
	maxPassword = 80
)

// ErrPasswordPending is the error of a Password whose Secret was not read yet.
var ErrPasswordPending = errors.New("the Secret was not read yet")

// Password is the password in a Secret, or why there is none. No format prints it.
type Password struct {
	text *string // a pointer, which fmt does not follow inside of other values
	err  error
}

// Reveal returns the password, which is not empty, or why there is none.
func (p Password) Reveal() (string, error) {
	switch {
	case p.err != nil:
		return "", p.err
	case p.text == nil || *p.text == "":
		return "", ErrPasswordPending
	}
	return *p.text, nil
}

// String hides the password.
func (p Password) String() string {
	if _, err := p.Reveal(); err != nil {
		return "no password: " + err.Error()
	}
	return "(hidden)"
}

// GoString hides the password.
func (p Password) GoString() string { return p.String() }

// secret is the decoded part of a Secret.
type secret struct {
	metav1.ObjectMeta
	password Password
}

func readSecret(s *corev1.Secret) (*secret, bool) {
	result := &secret{ObjectMeta: identified(s)}
	text, has := s.Data[corev1.BasicAuthPasswordKey]
	var problem string
	switch {
	case s.Type != corev1.SecretTypeBasicAuth:
		problem = fmt.Sprintf("has the type %s: create it with the type %s", s.Type,
			corev1.SecretTypeBasicAuth)
	case !has || len(text) == 0:
		problem = "has no password: set its key " + corev1.BasicAuthPasswordKey
	case len(text) > maxPassword:
		problem = fmt.Sprintf("has a password of %d bytes: TCP MD5 takes at most %d", len(text),
			maxPassword)
	}
	if problem != "" {
		result.password.err = fmt.Errorf("secret %s/%s %s", s.Namespace, s.Name, problem)
		return result, true
	}
	password := string(text)
	result.password.text = &password
	return result, true
}

// sameSecret reports whether b has the password of a.
func sameSecret(a, b *secret) bool {
	x, errX := a.password.Reveal()
	y, errY := b.password.Reveal()
	return a.UID == b.UID && x == y && fmt.Sprint(errX) == fmt.Sprint(errY)
}

// secretName names a Secret.
type secretName struct{ namespace, name string }

// nameOf resolves the namespace of a reference.
func nameOf(ref v1alpha1.SecretReference) secretName {
	if ref.Namespace == "" {
		return secretName{metav1.NamespaceSystem, string(ref.Name)}
	}
	return secretName{string(ref.Namespace), string(ref.Name)}
}

func (n secretName) String() string { return n.namespace + "/" + n.name }

// passwordStores list and watch the Secrets that peers name, each alone by its name: a right for
// these names is enough. A watch delivers a change at once, and costs no requests until then, as
// polls of a thousand nodes would. A password that was read stays if the right is lost (B11, B13).
type passwordStores struct {
	cache *Cache
	wake  backoff.Signal // the peers changed

	mu     sync.RWMutex
	stores map[secretName]*store[*secret]
}

func newPasswordStores(c *Cache) *passwordStores {
	return &passwordStores{
		cache: c, wake: backoff.NewSignal(), stores: map[secretName]*store[*secret]{},
	}
}

// run reads the Secrets of the references until ctx ends. wake ends its wait for other references.
func (p *passwordStores) run(
	ctx context.Context, router *apiclient.Router, references func() []v1alpha1.SecretReference,
) {
	var group sync.WaitGroup
	defer group.Wait()
	ends := map[secretName]context.CancelFunc{}
	for ctx.Err() == nil {
		stores := p.update(references())
		for name, end := range ends {
			if stores[name] == nil {
				end()
				delete(ends, name)
			}
		}
		for name, s := range stores {
			if ends[name] == nil {
				own, end := context.WithCancel(ctx)
				ends[name] = end
				group.Go(func() { s.run(own, router) })
			}
		}
		select {
		case <-ctx.Done():
		case <-p.wake:
		}
	}
	for _, end := range ends {
		end()
	}
}

// update keeps the stores of the first Secrets that are referred to, and returns them.
func (p *passwordStores) update(
	references []v1alpha1.SecretReference,
) map[secretName]*store[*secret] {
	var names []secretName
	for _, ref := range references {
		names = append(names, nameOf(ref))
	}
	names = first(slices.Compact(sorted(names, secretName.String)), maxSecrets)
	p.mu.Lock()
	defer p.mu.Unlock()
	maps.DeleteFunc(p.stores, func(name secretName, _ *store[*secret]) bool {
		return !slices.Contains(names, name)
	})
	for _, name := range names {
		if p.stores[name] == nil {
			s := newStore(p.cache, listSecret(name.namespace, name.name), decoder(readSecret))
			s.same = sameSecret
			p.stores[name] = s
		}
	}
	return maps.Clone(p.stores)
}

// password returns the password that a reference names.
func (p *passwordStores) password(ref v1alpha1.SecretReference) Password {
	name := nameOf(ref)
	p.mu.RLock()
	s, full := p.stores[name], len(p.stores) >= maxSecrets
	p.mu.RUnlock()
	if s == nil {
		if full {
			return Password{err: fmt.Errorf("secret %s is one of more than %d: let BGPPeers share Secrets",
				name, maxSecrets)}
		}
		return Password{err: ErrPasswordPending}
	}
	found, ok := s.get(name.namespace, name.name)
	state := s.state()
	switch {
	case ok:
		return found.password
	case state.absent:
		return Password{err: fmt.Errorf("secret %s cannot be read: grant list and watch of it, with "+
			"`kvip manifest rbac --services --bgp-secret %s` for one in %s: %s", name, name.name,
			metav1.NamespaceSystem, state.problem)}
	case state.synced:
		return Password{err: fmt.Errorf("secret %s does not exist: create it with the type %s", name,
			corev1.SecretTypeBasicAuth)}
	}
	return Password{err: ErrPasswordPending}
}
