package tokenmanager

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"

	"github.com/kvip/kvip/pkg/apiclient"
)

// Config of a Manager.
type Config struct {
	Dir             Directory
	Store           *apiclient.Store  // made with the same StateDir, and Judged
	Namespace, Name string            // of the ServiceAccount
	Objects         []any             // its RBAC, itself among them, in the order in which to apply them
	Router          *apiclient.Router // finds API servers
	Log             *slog.Logger
	Expires         func(at time.Time) // told when the token in use expires; zero: there is none
}

// Manager keeps the token. Make it with New.
type Manager struct {
	cfg     Config
	objects []object
	rights  []authorizationv1.SelfSubjectAccessReviewSpec
	jitter  float64

	s        situation // of Run's goroutine
	token    token
	ca       []byte
	doubt    string    // host that refused the token
	doubtAt  time.Time // when it was first refused without a verdict
	doubtful bool
	sureAt   time.Time // when it was granted everything last
	told     bool      // that it is refused

	mu      sync.Mutex
	problem string
	expires time.Time
}

const (
	// attemptTimeout bounds one step at one API server.
	attemptTimeout = 10 * time.Second
	// grantWithin is how long fresh rights may take to reach the API server that is asked:
	// each learns of them by a watch.
	grantWithin = 5 * time.Second
	grantAgain  = 50 * time.Millisecond
	// sureAfter is when a token that is refused again and again counts as bad although the API
	// server does not tell whether it is ready.
	sureAfter = time.Second
	// sureFor is how long an API server's word that the token has all rights is believed. With the
	// default lease an address lasts for 3 s after a renewal was sent, and the next one is due
	// after 1 s: rights that are lost in between must be mended in the rest.
	sureFor = time.Second
)

// New returns a Keeper that has read the directory once, so that a valid token is used from the
// first request on. What is wrong with the directory is told and no error: kvip works without.
func New(cfg Config) (*Manager, error) {
	objects, err := encode(cfg.Objects)
	if err != nil {
		return nil, err
	}
	if cfg.Expires == nil {
		cfg.Expires = func(time.Time) {}
	}
	k := &Manager{cfg: cfg, objects: objects, rights: grants(cfg.Objects), jitter: rand.Float64()}
	if err := k.look(); err != nil {
		k.tell(err)
	}
	return k, nil
}

// Problem says what does not work at present, or nothing.
func (k *Manager) Problem() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.problem
}

// Expires is when the token in use expires; zero: there is none, or it does not say.
func (k *Manager) Expires() time.Time {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.expires
}

// Run keeps the token until ctx ends.
func (k *Manager) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		k.observe()
		what, until := next(k.s)
		if what == wait {
			k.sleep(ctx, until)
			continue
		}
		err := k.do(ctx, what)
		if ctx.Err() != nil {
			break
		}
		k.note(err)
	}
	return nil
}

// observe brings the situation up to date.
func (k *Manager) observe() {
	s := &k.s
	s.now, s.jitter = time.Now(), k.jitter
	s.bootstrap = len(k.cfg.Store.Kubeconfigs()) > 0
	if host := k.cfg.Store.TakeSuspicion(); host != "" && s.token && s.now.Sub(k.sureAt) > sureFor {
		k.doubt, s.verified = host, false
		if s.now.Sub(s.tried) > firstPause { // a doubt is looked into at once, but not all the time
			s.failed = 0
		}
	}
	s.token = k.token.text != ""
	s.issued, s.expires = k.token.issued, k.token.expires
	if s.token && s.expired() {
		k.cfg.Store.ClearToken()
		k.use(token{})
		s.token, s.verified, s.denied = false, false, false
	}
	k.followCA()
}

// followCA takes the CA over from the kubeconfigs when it changes there, so that the token goes
// on being used when the certificates of the API servers are replaced.
func (k *Manager) followCA() {
	files := k.cfg.Store.Kubeconfigs()
	known := func(c apiclient.Credentials) bool { return bytes.Equal(c.CA(), k.ca) }
	if k.token.text == "" || len(files) == 0 || len(files[0].CA()) == 0 || slices.ContainsFunc(files, known) {
		return
	}
	k.cfg.Log.Info("the kubeconfig names another CA, using it", "reason", files[0].Source())
	k.ca, k.s.stored = files[0].CA(), false
	k.cfg.Store.SetToken(k.own(k.token.text))
	if k.s.denied {
		k.cfg.Store.SetTokenValid(false)
	}
}

func (k *Manager) own(text string) apiclient.Credentials {
	return k.cfg.Dir.credentials(text, k.ca)
}

// sleep waits until a time, or until the store has news.
func (k *Manager) sleep(ctx context.Context, until time.Time) {
	var due <-chan time.Time
	if !until.IsZero() {
		timer := time.NewTimer(max(0, time.Until(until)))
		defer timer.Stop()
		due = timer.C
	}
	select {
	case <-ctx.Done():
	case <-due:
	case <-k.cfg.Store.Changes():
		if k.s.failed > 0 && time.Since(k.s.tried) > firstPause { // perhaps the file that was missing
			k.s.failed = 0
		}
	}
}

// do takes one step.
func (k *Manager) do(ctx context.Context, what step) error {
	switch what {
	case look:
		return k.look()
	case verify:
		return k.verify(ctx)
	case mint:
		return k.mint(ctx)
	case renew:
		return k.renew(ctx)
	default:
		return k.save()
	}
}

// note keeps the result of a step and tells of a change.
func (k *Manager) note(err error) {
	if errors.Is(err, errMend) {
		return
	}
	k.s.tried = time.Now()
	if err == nil {
		k.s.failed = 0
	} else {
		k.s.failed++
		k.s.unheard = unheard(err) || errors.Is(err, fs.ErrNotExist)
	}
	if err != nil || k.s.verified && k.s.stored {
		k.tell(err)
	}
}

// tell logs a problem once, and its end.
func (k *Manager) tell(err error) {
	text := ""
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		text = err.Error()
	}
	k.mu.Lock()
	old := k.problem
	k.problem = text
	k.mu.Unlock()
	switch {
	case text != "" && old == "":
		k.cfg.Log.Warn("cannot keep kvip's own token as it should be; trying again", "reason", text)
	case text != "" && text != old:
		k.cfg.Log.Debug("cannot keep kvip's own token as it should be; trying again", "reason", text)
	case text == "" && old != "":
		k.cfg.Log.Info("kvip's own token is as it should be again")
	}
}

// use makes t the token whose life is watched.
func (k *Manager) use(t token) {
	k.token = t
	k.mu.Lock()
	k.expires = t.expires
	k.mu.Unlock()
	k.cfg.Expires(t.expires)
}

// look reads the directory and uses what it finds there.
func (k *Manager) look() error {
	if err := k.cfg.Dir.secure(); err != nil {
		return err
	}
	text, ca, err := k.cfg.Dir.load()
	if err != nil {
		return err
	}
	t, err := parseToken(text)
	if err != nil {
		return err
	}
	if t.expired(time.Now()) {
		return fmt.Errorf("use token in %s: it has expired at %s", k.cfg.Dir, t.expires.Format(time.RFC3339))
	}
	k.ca = ca
	k.use(t)
	k.s.token, k.s.stored, k.s.verified, k.s.denied = true, true, false, false
	k.cfg.Store.SetToken(k.own(text))
	return nil
}

// save puts the token in use into the directory.
func (k *Manager) save() error {
	err := k.cfg.Dir.save(k.token.text, k.ca)
	k.s.stored = err == nil
	return err
}
