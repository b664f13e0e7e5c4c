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

	"github.com/kvip/kvip/pkg/apiclient"
	"github.com/kvip/kvip/pkg/backoff"
	"github.com/kvip/kvip/pkg/reporter"
	"github.com/kvip/kvip/pkg/required"
)

// Config of a Manager. Dir, Store, Router, Namespace, Name and Objects are required.
type Config struct {
	Dir Directory
	// Store was made with the same StateDir, and TokenManaged.
	Store *apiclient.Store
	// Router finds API servers.
	Router *apiclient.Router
	// Namespace and Name are those of the ServiceAccount.
	Namespace, Name string
	// Objects are its RBAC, including itself, in the order in which to apply them.
	Objects []any
	// Health receives problems. Nil discards them.
	Health *reporter.Reporter
	// Log receives changes of the token and problems. Nil discards them.
	Log *slog.Logger
	// OnExpiry is called with the expiry of the token in use, zero if there is none. It may be
	// nil.
	OnExpiry func(at time.Time)
}

const (
	reviewTimeout = 10 * time.Second // of one review of all permissions
	// grantTimeout is how long new permissions may take to reach the API server, which learns
	// of them by a watch.
	grantTimeout  = 5 * time.Second
	grantInterval = 50 * time.Millisecond
	// inconclusiveTimeout is when repeated denials count although the readiness of the API server is
	// unknown.
	inconclusiveTimeout = time.Second
	// verifiedFor is how long a confirmation of the token is trusted. With the default lease an
	// address lasts for 3 s after a renewal was sent, and the next one is due after 1 s: a
	// permission that is lost in between must be restored in the rest.
	verifiedFor = time.Second
)

// Manager issues, stores, renews and replaces the token.
type Manager struct {
	cfg         Config
	objects     []object
	permissions []permission

	// The following belong to Run.
	s                 snapshot
	token             token
	ca                []byte
	deniedBy          string    // host that denied the token
	inconclusiveSince time.Time // when a denial was first inconclusive; zero: the last one was not
	verifiedAt        time.Time
	denied            bool // the last conclusive verification denied the token
	logged            bool // that it is denied

	mu      sync.Mutex
	expires time.Time
}

// New returns a Manager that has read the directory once, so that a valid token is used from the
// first request on. An unusable directory is a problem, not an error: kvip works without.
func New(cfg Config) (*Manager, error) {
	if err := required.Fields("token manager", map[string]bool{
		"Dir": cfg.Dir == "", "Store": cfg.Store == nil, "Router": cfg.Router == nil,
		"Namespace": cfg.Namespace == "", "Name": cfg.Name == "",
		"Objects": len(cfg.Objects) == 0,
	}); err != nil {
		return nil, err
	}
	objects, err := encode(cfg.Objects)
	if err != nil {
		return nil, err
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.OnExpiry == nil {
		cfg.OnExpiry = func(time.Time) {}
	}
	if cfg.Health == nil {
		cfg.Health = reporter.NewRegistry(nil).Component("token manager")
	}
	m := &Manager{cfg: cfg, objects: objects, permissions: permissions(cfg.Objects)}
	m.s.jitter = rand.Float64()
	if err := m.load(); err != nil {
		m.setProblem(err)
	}
	return m, nil
}

// Expires returns when the token in use expires; zero if there is none, or if it contains no
// expiry.
func (m *Manager) Expires() time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.expires
}

// Run manages the token until ctx ends.
func (m *Manager) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		m.refresh()
		what, until := next(m.s)
		if what == wait {
			m.sleep(ctx, until)
			continue
		}
		if err := m.execute(ctx, what); ctx.Err() == nil {
			m.recordStep(err)
		}
	}
	return nil
}

// refresh brings the snapshot up to date.
func (m *Manager) refresh() {
	s := &m.s
	s.now = time.Now()
	s.bootstrap = len(m.cfg.Store.Kubeconfigs()) > 0
	host := m.cfg.Store.TakeDenial()
	if host != "" && s.token && s.now.Sub(m.verifiedAt) > verifiedFor {
		m.deniedBy, s.verified = host, false
		if s.now.Sub(s.attempted) > minPause { // verify at once, but not all the time
			s.failures = 0
		}
	}
	if s.token && s.expired() {
		m.cfg.Store.ClearToken()
		m.use(token{})
		s.verified, m.denied = false, false
	}
	m.followCA()
}

// followCA takes over a new CA from the kubeconfigs, so that the token stays usable when the
// certificates of the API servers are replaced.
func (m *Manager) followCA() {
	files := m.cfg.Store.Kubeconfigs()
	known := func(c apiclient.Credentials) bool { return bytes.Equal(c.CA(), m.ca) }
	if !m.s.token || len(files) == 0 || len(files[0].CA()) == 0 || slices.ContainsFunc(files, known) {
		return
	}
	m.cfg.Log.Info("CA of the kubeconfig changed, using it", "source", files[0].Source())
	m.ca, m.s.stored = files[0].CA(), false
	m.cfg.Store.SetToken(m.credentials())
	m.cfg.Store.SetTokenValid(!m.denied)
}

// credentials returns those of the token in use.
func (m *Manager) credentials() apiclient.Credentials {
	return m.cfg.Dir.credentials(m.token.text, m.ca)
}

// sleep waits until an instant, or until the Store changes.
func (m *Manager) sleep(ctx context.Context, until time.Time) {
	var due <-chan time.Time
	if !until.IsZero() {
		timer := time.NewTimer(max(0, time.Until(until)))
		defer timer.Stop()
		due = timer.C
	}
	select {
	case <-ctx.Done():
	case <-due:
	case <-m.cfg.Store.Changes():
		if time.Since(m.s.attempted) > minPause { // for example, a missing file was written
			m.s.failures = 0
		}
	}
}

// execute takes one step.
func (m *Manager) execute(ctx context.Context, what step) error {
	switch what {
	case load:
		return m.load()
	case verify:
		return m.verify(ctx)
	case issue:
		return m.issue(ctx)
	case renew:
		return m.renew(ctx)
	default:
		return m.save()
	}
}

// recordStep records the outcome of a step.
func (m *Manager) recordStep(err error) {
	m.s.attempted = time.Now()
	m.s.failures++
	m.s.unreachable = apiclient.IsUnreachable(err) || errors.Is(err, fs.ErrNotExist)
	if err == nil {
		m.s.failures = 0
	}
	if err != nil || m.s.verified && m.s.stored {
		m.setProblem(err)
	}
}

// setProblem logs the beginning and the end of a problem. A missing directory is not a problem.
func (m *Manager) setProblem(err error) {
	text := ""
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		text = err.Error()
	}
	_, old := m.cfg.Health.Status()
	m.cfg.Health.Impaired(text)
	const failing = "cannot maintain kvip's own token; trying again"
	switch {
	case text != "" && old == "":
		m.cfg.Log.Warn(failing, "err", text)
	case text != "" && text != old:
		m.cfg.Log.Debug(failing, "err", text)
	case text == "" && old != "":
		m.cfg.Log.Info("kvip's own token is maintained again")
	}
}

// use makes t the token in use; the zero token means none.
func (m *Manager) use(t token) {
	m.token = t
	m.s.token, m.s.issued, m.s.expires = t.text != "", t.issued, t.expires
	m.mu.Lock()
	m.expires = t.expires
	m.mu.Unlock()
	m.cfg.OnExpiry(t.expires)
}

// load uses the token of the directory.
func (m *Manager) load() error {
	if err := m.cfg.Dir.secure(); err != nil {
		return err
	}
	t, ca, err := m.cfg.Dir.load()
	if err != nil {
		return err
	}
	if t.expired(time.Now()) {
		return fmt.Errorf("use token in %s: it has expired at %s",
			m.cfg.Dir, t.expires.Format(time.RFC3339))
	}
	m.ca = ca
	m.use(t)
	m.s.stored, m.s.verified, m.denied = true, false, false
	m.cfg.Store.SetToken(m.credentials())
	return nil
}

// save writes the token in use into the directory.
func (m *Manager) save() error {
	err := m.cfg.Dir.save(m.token.text, m.ca)
	m.s.stored = err == nil
	return err
}

// verify asks an API server for the permissions of the token: the one that denied it, or the first
// reachable one. A token that is denied is replaced, if there are bootstrap credentials.
func (m *Manager) verify(ctx context.Context) error {
	hosts := m.cfg.Router.DirectHosts()
	if m.deniedBy != "" {
		hosts = []string{m.deniedBy}
	}
	creds := m.credentials()
	err := creds.Do(ctx, hosts, func(ctx context.Context, s *apiclient.Server) error {
		return checkPermissions(ctx, creds, s, m.permissions)
	})
	m.conclude(err)
	if err == nil || !m.denied || !m.s.bootstrap {
		return err
	}
	if !m.logged {
		m.logged = true
		m.cfg.Log.Warn("kvip's own token is refused; issuing a new one with bootstrap credentials",
			"err", err)
	}
	return m.issue(ctx)
}

// conclude interprets the outcome of a verification.
func (m *Manager) conclude(err error) {
	inconclusive := errors.Is(err, errInconclusive)
	switch {
	case err == nil:
		m.s.verified, m.verifiedAt = true, time.Now()
		m.denied, m.logged, m.deniedBy, m.inconclusiveSince = false, false, "", time.Time{}
		m.cfg.Store.SetTokenValid(true)
	case inconclusive && m.inconclusiveSince.IsZero():
		m.inconclusiveSince = time.Now()
	case inconclusive && time.Since(m.inconclusiveSince) < inconclusiveTimeout:
	case errors.Is(err, errDenied):
		m.denied, m.deniedBy, m.inconclusiveSince = true, "", time.Time{}
		m.cfg.Store.SetTokenValid(false)
	default: // unreachable or not ready: no information about the token
		m.deniedBy, m.inconclusiveSince = "", time.Time{}
	}
}

// issue applies RBAC and requests a token, with the first bootstrap credentials that have the
// permissions.
func (m *Manager) issue(ctx context.Context) (err error) {
	m.denied, m.s.verified = false, false // verify again if this fails: the cause may be gone
	for _, creds := range m.cfg.Store.Kubeconfigs() {
		if err = m.replace(ctx, creds, m.objects); err == nil || !apiclient.IsDenied(err) {
			return err
		}
	}
	return err
}

// renew requests a new token with the present one.
func (m *Manager) renew(ctx context.Context) error {
	err := m.replace(ctx, m.credentials(), nil)
	if apiclient.IsDenied(err) {
		m.s.verified = false
	}
	return err
}

// replace applies the objects, requests a new token with creds, and uses it once the API server
// confirms all its permissions. So the first request with it is not denied, and goes over the
// connection of the confirmation.
func (m *Manager) replace(
	ctx context.Context, creds apiclient.Credentials, objects []object,
) (err error) {
	var host string
	defer func() {
		if err != nil {
			err = fmt.Errorf("issue token with %s at %s: %w", creds.Source(), host, err)
		}
	}()
	var fresh token
	err = creds.Do(ctx, m.cfg.Router.DirectHosts(),
		func(ctx context.Context, s *apiclient.Server) (err error) {
			host = s.Host
			if err := apply(ctx, s, objects); err != nil {
				return err
			}
			fresh, err = request(ctx, s, m.cfg.Namespace, m.cfg.Name)
			return err
		})
	if err != nil {
		return err
	}
	expiry := fresh.expires.UTC().Format(time.RFC3339)
	if fresh.expired(time.Now()) {
		return fmt.Errorf("by this node's clock it expired at %s; set the clocks right", expiry)
	}
	issued := m.cfg.Dir.credentials(fresh.text, creds.CA())
	server, err := issued.Server(host)
	if err != nil {
		return err
	}
	if err := m.awaitPermissions(ctx, issued, server); err != nil {
		server.Close()
		return err
	}
	m.ca = creds.CA()
	m.use(fresh)
	m.s.stored = false
	m.cfg.Store.SetToken(issued, server)
	m.conclude(nil)
	m.cfg.Log.Info("kvip has a new token", "expires", expiry)
	return nil
}

// awaitPermissions waits until an API server confirms all permissions of new credentials.
func (m *Manager) awaitPermissions(
	ctx context.Context, creds apiclient.Credentials, s *apiclient.Server,
) (err error) {
	for end := time.Now().Add(grantTimeout); ; {
		review, cancel := context.WithTimeout(ctx, reviewTimeout)
		err = checkPermissions(review, creds, s, m.permissions)
		cancel()
		if err == nil || !time.Now().Before(end) || !backoff.Sleep(ctx, grantInterval) {
			return err
		}
	}
}
