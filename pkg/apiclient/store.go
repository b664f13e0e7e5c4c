package apiclient

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"k8s.io/client-go/rest"
)

const (
	// rereadEvery is how often credential files are looked at again.
	rereadEvery = 5 * time.Second
	// awaitEvery is the same while there are none to use.
	awaitEvery = time.Second
)

// StoreConfig of a Store.
type StoreConfig struct {
	Kubeconfigs []string // tried in this order; empty: the pod's ServiceAccount
	// StateDir is where a token of kvip's own would be; whoever gets or reads one gives it to the
	// Store with Adopt. Empty: there is never one.
	StateDir string
	// TokenManaged says that somebody calls Doubt, and then Distrust or Trust: until then a refusal of the
	// own token changes nothing, because an API server that starts refuses everybody at first.
	TokenManaged bool
	Log    *slog.Logger
	OnChange  func(kind Kind, source string) // told of each change of the credentials in use; may be nil
}

// Store holds the credentials and one client per API server. It is safe for concurrent use. A token
// of its own comes first, as long as it is trusted; then the files, in their order.
type Store struct {
	cfg   StoreConfig
	saDir string
	wake  chan struct{}

	mu         sync.Mutex
	own        *Credentials
	distrusted bool   // the own token was refused by an API server that knows what it says
	doubt      string // host that refused the own token
	files      []Credentials
	use        int    // index of the file in use
	problem    string // last problem that was logged
	clients    map[string]*Server
	refused    map[string]bool // sources that an API server refused since the last change
	told       string          // kind and source that were last told
}

// NewStore returns a Store that has read its files once; what is missing may come later.
func NewStore(cfg StoreConfig) *Store {
	s := &Store{
		cfg: cfg, saDir: serviceAccountDir, clients: map[string]*Server{}, refused: map[string]bool{}, wake: make(chan struct{}, 1),
	}
	s.files, s.problem = s.load()
	if s.problem != "" {
		s.cfg.Log.Warn("cannot use some credentials", "reason", s.problem)
	}
	return s
}

// Run re-reads the files until ctx ends.
func (s *Store) Run(ctx context.Context) error {
	defer s.drop()
	for {
		s.reread()
		next := rereadEvery
		if kind, _ := s.InUse(); kind == None {
			next = awaitEvery
		}
		timer := time.NewTimer(next)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		}
	}
}

// reread loads every file and, if any changed, starts over with the first. Files that are not in
// use break no connection when they change.
func (s *Store) reread() {
	files, problem := s.load()
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.tell()
	s.note(problem)
	if same(files, s.files) {
		return
	}
	inUse := !s.usesOwn()
	s.cfg.Log.Info("credentials changed", "reason", "files re-read")
	s.rouse()
	s.files, s.use = files, 0
	clear(s.refused)
	if inUse {
		s.dropLocked()
	}
}

func (s *Store) note(problem string) {
	if problem != "" && problem != s.problem {
		s.cfg.Log.Warn("cannot use some credentials", "reason", problem)
	}
	s.problem = problem
}

// load reads all files; a missing file is no problem, anything else is.
func (s *Store) load() (all []Credentials, problem string) {
	if len(s.cfg.Kubeconfigs) == 0 {
		c, err := fromServiceAccount(s.saDir)
		switch {
		case err == nil:
			return []Credentials{c}, ""
		case s.cfg.StateDir != "": // a hardened static pod: it has no such token
			return nil, ""
		}
		return nil, err.Error()
	}
	var problems []string
	for _, path := range s.cfg.Kubeconfigs {
		c, err := fromKubeconfig(path)
		if err == nil {
			all = append(all, c)
		} else if _, missing := os.Stat(path); !errors.Is(missing, fs.ErrNotExist) {
			problems = append(problems, err.Error())
		}
	}
	return all, strings.Join(problems, "; ")
}

func same(a, b []Credentials) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if !a[i].equal(b[i]) {
			return false
		}
	}
	return true
}

// usesOwn is whether the own token is in use: without files also one that was refused, since
// there is nothing else and it may be accepted again.
func (s *Store) usesOwn() bool { return s.own != nil && (!s.distrusted || len(s.files) == 0) }

// current returns the credentials in use.
func (s *Store) current() (Credentials, error) {
	switch {
	case s.usesOwn():
		return *s.own, nil
	case len(s.files) > 0:
		return s.files[s.use], nil
	case len(s.cfg.Kubeconfigs) > 0:
		why := ""
		if s.problem != "" {
			why = ": " + s.problem
		}
		return Credentials{}, fmt.Errorf("%w: none of %s can be read%s", ErrNoCredentials, strings.Join(s.cfg.Kubeconfigs, ", "), why)
	case s.cfg.StateDir != "":
		return Credentials{}, fmt.Errorf("%w: no valid token in %s and no --kubeconfig to get one with; use the manifest without --hardened until /readyz says that kvip uses its ServiceAccount",
			ErrNoCredentials, s.cfg.StateDir)
	}
	return Credentials{}, fmt.Errorf("%w: no ServiceAccount token in %s and no kubeconfig given", ErrNoCredentials, s.saDir)
}

// ReportDenied says that the API server at host answered 401 or 403 to what was asked with the
// credentials from source; unless that has to be judged first, the next ones are used from now on.
func (s *Store) ReportDenied(source, host string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.tell()
	if c, err := s.current(); err != nil || c.source != source {
		return
	}
	if s.usesOwn() && s.cfg.TokenManaged {
		s.doubt = host
		s.rouse()
		return
	}
	if !s.refused[source] {
		s.refused[source] = true
		s.cfg.Log.Warn("an API server refuses these credentials, trying the next ones", "reason", source)
	}
	s.rotate()
}

// rotate goes on to the next credentials: from the own token to the files, and round.
func (s *Store) rotate() {
	switch {
	case s.usesOwn() && len(s.files) > 0:
		s.distrusted = true
	case len(s.files) > 0 && s.use+1 == len(s.files) && s.own != nil && !s.cfg.TokenManaged:
		s.distrusted, s.use = false, 0
	case len(s.files) > 1:
		s.use = (s.use + 1) % len(s.files)
	default:
		return
	}
	s.dropLocked()
}

// Source names the credentials in use, or says why there are none.
func (s *Store) Source() string {
	_, source := s.InUse()
	return source
}

// InUse returns whose rights are used and where the credentials are from, or why there are none.
func (s *Store) InUse() (Kind, string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.inUse()
}

func (s *Store) inUse() (Kind, string) {
	c, err := s.current()
	if err != nil {
		return None, err.Error()
	}
	return c.kind, c.source
}

// tell reports the credentials in use if they are others than before. The caller holds the lock.
func (s *Store) tell() {
	kind, source := s.inUse()
	if now := string(kind) + " " + source; now != s.told {
		s.told = now
		s.cfg.Log.Info("credentials in use", "credentials", kind, "reason", source)
		if s.cfg.OnChange != nil {
			s.cfg.OnChange(kind, source)
		}
	}
}

// TLS returns a fresh client configuration: CA, client certificate and ServerName.
func (s *Store) TLS() (*tls.Config, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, err := s.current()
	if err != nil {
		return nil, err
	}
	cfg, err := rest.TLSConfigFor(&rest.Config{TLSClientConfig: c.tls})
	if err != nil {
		return nil, fmt.Errorf("use credentials of %s: %w", c.source, err)
	}
	return cfg, nil
}

// Authorization returns the value of the Authorization header, or "".
func (s *Store) Authorization() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c, err := s.current(); err == nil && c.token != "" {
		return "Bearer " + c.token
	}
	return ""
}

// PrunePool ends the clients on a lane of all hosts but these, as soon as their requests have ended: an API
// server that is not known any more needs no connection.
func (s *Store) PrunePool(lane string, hosts []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, c := range s.clients {
		if on, host := split(key); on == lane && !slices.Contains(hosts, host) {
			close(c.dropped)
			c.transport.CloseIdleConnections()
			delete(s.clients, key)
		}
	}
}

func (s *Store) drop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dropLocked()
}

func (s *Store) dropLocked() {
	for _, c := range s.clients {
		close(c.dropped)
		c.transport.CloseIdleConnections()
	}
	clear(s.clients)
}
