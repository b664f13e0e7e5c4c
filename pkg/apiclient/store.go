package apiclient

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"k8s.io/client-go/rest"
)

// rereadEvery is how often credential files are looked at again.
const rereadEvery = 5 * time.Second

// Config of a Store.
type Config struct {
	Kubeconfigs []string // tried in this order; empty: the pod's ServiceAccount
	Log         *slog.Logger
}

// Store holds the credentials and one client per API server. It is safe for concurrent use.
type Store struct {
	cfg   Config
	saDir string

	mu      sync.Mutex
	all     []credentials
	use     int    // index of the credentials in use
	problem string // last problem that was logged
	clients map[string]*Server
	refused map[string]bool // sources that an API server refused since the last change
}

// NewStore returns a Store that has read its files once; what is missing may come later.
func NewStore(cfg Config) *Store {
	s := &Store{cfg: cfg, saDir: serviceAccountDir, clients: map[string]*Server{}, refused: map[string]bool{}}
	s.reread()
	return s
}

// Run re-reads the files until ctx ends.
func (s *Store) Run(ctx context.Context) error {
	tick := time.NewTicker(rereadEvery)
	defer tick.Stop()
	defer s.drop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			s.reread()
		}
	}
}

// reread loads every source and, if anything changed, starts over with the first.
func (s *Store) reread() {
	all, problem := s.load()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.note(problem)
	if same(all, s.all) {
		return
	}
	if s.all != nil {
		s.cfg.Log.Info("credentials changed, connecting anew", "reason", "files re-read")
	}
	s.all, s.use = all, 0
	clear(s.refused)
	s.dropLocked()
}

func (s *Store) note(problem string) {
	if problem != "" && problem != s.problem {
		s.cfg.Log.Warn("cannot use some credentials", "reason", problem)
	}
	s.problem = problem
}

// load reads all sources; a missing file is no problem, anything else is.
func (s *Store) load() (all []credentials, problem string) {
	if len(s.cfg.Kubeconfigs) == 0 {
		c, err := fromServiceAccount(s.saDir)
		if err != nil {
			return nil, err.Error()
		}
		return []credentials{c}, ""
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

func same(a, b []credentials) bool {
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

// current returns the credentials in use.
func (s *Store) current() (credentials, error) {
	if len(s.all) == 0 {
		if len(s.cfg.Kubeconfigs) == 0 {
			return credentials{}, fmt.Errorf("%w: no ServiceAccount token in %s and no --kubeconfig given", ErrNotYet, s.saDir)
		}
		return credentials{}, fmt.Errorf("%w: none of %s can be read", ErrNotYet, strings.Join(s.cfg.Kubeconfigs, ", "))
	}
	return s.all[s.use], nil
}

// Refused says that an API server answered 401 or 403 to what was asked with the
// credentials from source; the next ones are used from now on.
func (s *Store) Refused(source string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.all) == 0 || s.all[s.use].source != source {
		return
	}
	if !s.refused[source] {
		s.refused[source] = true
		s.cfg.Log.Warn("an API server refuses these credentials, trying the next ones", "reason", source)
	}
	if len(s.all) > 1 {
		s.use = (s.use + 1) % len(s.all)
		s.dropLocked()
	}
}

// Source names the credentials in use, or says why there are none.
func (s *Store) Source() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, err := s.current()
	if err != nil {
		return err.Error()
	}
	return c.source
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

func (s *Store) drop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dropLocked()
}

func (s *Store) dropLocked() {
	for _, c := range s.clients {
		c.transport.CloseIdleConnections()
	}
	clear(s.clients)
}
