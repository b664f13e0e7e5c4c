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

	"github.com/kvip/kvip/pkg/backoff"
)

const (
	rereadInterval  = 5 * time.Second // of the credential files
	missingInterval = time.Second     // the same while there are no credentials
)

// StoreConfig of a Store. Every zero value is valid.
type StoreConfig struct {
	// Kubeconfigs are tried in this order. Empty means the ServiceAccount token of the pod.
	Kubeconfigs []string
	// StateDir is the directory of kvip's own token, for messages. Empty means that there is no
	// such token.
	StateDir string
	// TokenManaged makes a tokenmanager.Manager decide whether the own token is valid: a 401 or
	// 403 alone does not, because an API server that starts denies every request. It needs a
	// StateDir.
	TokenManaged bool
	// Log receives changes of the credentials. Nil discards them.
	Log *slog.Logger
	// OnChange is called after each change of the credentials in use. It may be nil.
	OnChange func(kind Kind, source string)
}

// Store holds the credentials and one client per API server and connection pool. kvip's own token
// comes first while it is valid, then the files in their order. It is safe for concurrent use.
type Store struct {
	cfg     StoreConfig
	saDir   string
	changes backoff.Signal

	mu           sync.Mutex
	token        *Credentials // kvip's own
	tokenInvalid bool         // the token manager has rejected it
	deniedBy     string       // host that denied it
	files        []Credentials
	use          int    // index of the file in use
	problem      string // last problem that was logged
	suspected    string // problem of the last read
	clients      map[clientKey]*Server
	denied       map[string]bool // sources that an API server denied since the last change
	reported     string          // kind and source at the last OnChange
}

type clientKey struct{ pool, host string }

// NewStore returns a Store that has read its files once. Missing files may appear later.
func NewStore(cfg StoreConfig) (*Store, error) {
	if cfg.TokenManaged && cfg.StateDir == "" {
		return nil, errors.New("make credential store: a managed token needs a state directory")
	}
	if slices.Contains(cfg.Kubeconfigs, "") {
		return nil, errors.New("make credential store: the path of a kubeconfig is empty")
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	s := &Store{
		cfg: cfg, saDir: serviceAccountDir, changes: backoff.NewSignal(),
		clients: map[clientKey]*Server{}, denied: map[string]bool{},
	}
	files, problem := s.load()
	s.files, s.suspected = files, problem
	s.logProblem(problem)
	return s, nil
}

// Run re-reads the files until ctx ends, and then closes all clients.
func (s *Store) Run(ctx context.Context) error {
	defer s.drop()
	for {
		s.reread()
		interval := rereadInterval
		if kind, _ := s.InUse(); kind == None || !s.settled() {
			interval = missingInterval
		}
		if !backoff.Sleep(ctx, interval) {
			return nil
		}
	}
}

// reread loads every file and starts over with the first one if any changed. A change of files
// that are not in use closes no connection. A file that cannot be read may be being written: it
// counts after a second read.
func (s *Store) reread() {
	files, problem := s.load()
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.suspected
	if s.suspected = problem; problem != "" && problem != before {
		return
	}
	defer s.reportChange()
	s.logProblem(problem)
	if slices.EqualFunc(files, s.files, Credentials.equal) {
		return
	}
	inUse := !s.usesToken()
	s.cfg.Log.Info("credential files changed")
	s.changes.Notify()
	s.files, s.use = files, 0
	clear(s.denied)
	if inUse {
		s.dropLocked()
	}
}

// settled reports whether the last read counts.
func (s *Store) settled() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.suspected == s.problem
}

// logProblem logs each new problem of the files once.
func (s *Store) logProblem(problem string) {
	if problem != "" && problem != s.problem {
		s.cfg.Log.Warn("cannot use some credentials", "err", problem)
	}
	s.problem = problem
}

// load reads all files. A missing file is not a problem.
func (s *Store) load() (all []Credentials, problem string) {
	if len(s.cfg.Kubeconfigs) == 0 {
		c, err := fromServiceAccount(s.saDir)
		switch {
		case err == nil:
			return []Credentials{c}, ""
		case s.cfg.StateDir != "": // a hardened static pod has no ServiceAccount volume
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

// usesToken reports whether the own token is in use. Without files that includes a rejected one:
// there is nothing else, and it may be accepted again.
func (s *Store) usesToken() bool {
	return s.token != nil && (!s.tokenInvalid || len(s.files) == 0)
}

// current returns the credentials in use.
func (s *Store) current() (Credentials, error) {
	switch {
	case s.usesToken():
		return *s.token, nil
	case len(s.files) > 0:
		return s.files[s.use], nil
	case len(s.cfg.Kubeconfigs) > 0:
		reason := ""
		if s.problem != "" {
			reason = ": " + s.problem
		}
		return Credentials{}, fmt.Errorf("%w: none of %s can be read%s",
			ErrNoCredentials, strings.Join(s.cfg.Kubeconfigs, ", "), reason)
	case s.cfg.StateDir != "":
		return Credentials{}, fmt.Errorf("%w: "+
			"no valid token in %s and no --kubeconfig to get one with; use the manifest without "+
			"--hardened until /readyz shows that kvip uses its ServiceAccount",
			ErrNoCredentials, s.cfg.StateDir)
	}
	return Credentials{}, fmt.Errorf("%w: no ServiceAccount token in %s and no kubeconfig given",
		ErrNoCredentials, s.saDir)
}

// ReportDenied records that the API server at host answered 401 or 403 to a request with the
// credentials from source. The next credentials are used from now on, unless a token manager has
// to verify the own token first.
func (s *Store) ReportDenied(source, host string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.reportChange()
	if c, err := s.current(); err != nil || c.source != source {
		return
	}
	if s.usesToken() && s.cfg.TokenManaged {
		s.deniedBy = host
		s.changes.Notify()
		return
	}
	if !s.denied[source] {
		s.denied[source] = true
		s.cfg.Log.Warn("an API server refuses these credentials, trying the next ones",
			"source", source)
	}
	s.rotate()
}

// rotate switches to the next credentials: from the own token to the files, and round.
func (s *Store) rotate() {
	switch last := s.use+1 == len(s.files); {
	case s.usesToken() && len(s.files) > 0:
		s.tokenInvalid = true
	case last && s.token != nil && !s.cfg.TokenManaged:
		s.tokenInvalid, s.use = false, 0
	case len(s.files) > 1:
		s.use = (s.use + 1) % len(s.files)
	default:
		return
	}
	s.dropLocked()
}

// SetToken makes c, made by TokenCredentials, the own token. It is valid until SetTokenValid
// records otherwise. The Store takes over the clients, which were made of c: their connections are
// open, so the next request needs no handshake.
func (s *Store) SetToken(c Credentials, clients ...*Server) {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.reportChange()
	s.token, s.tokenInvalid, s.deniedBy = &c, false, ""
	delete(s.denied, c.source)
	s.dropLocked()
	for _, client := range clients {
		s.clients[clientKey{host: client.Host}] = client
	}
}

// SetTokenValid records whether API servers accept the own token. While they do not, bootstrap
// credentials are used, if there are any. It does nothing without a token.
func (s *Store) SetTokenValid(valid bool) { s.changeToken(!valid, false) }

// ClearToken removes the own token, for example because it has expired.
func (s *Store) ClearToken() { s.changeToken(false, true) }

func (s *Store) changeToken(invalid, remove bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.reportChange()
	used := s.usesToken()
	s.tokenInvalid = invalid
	if remove {
		s.token, s.deniedBy = nil, ""
	}
	if used != s.usesToken() {
		s.dropLocked()
	}
}

// TakeDenial returns the API server that has denied the own token since the last call, or "".
func (s *Store) TakeDenial() (host string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	host, s.deniedBy = s.deniedBy, ""
	return host
}

// Changes is notified after the own token was denied or a file has changed.
func (s *Store) Changes() <-chan struct{} { return s.changes }

// Kubeconfigs returns the credentials of the kubeconfigs that could be read, in their order.
func (s *Store) Kubeconfigs() []Credentials {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(s.files), func(c Credentials) bool {
		return c.kind != Bootstrap
	})
}

// InUse returns kind and source of the credentials in use. Without credentials the kind is None
// and the source is the reason.
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

// reportChange reports the credentials in use if they changed. The caller holds the lock.
func (s *Store) reportChange() {
	kind, source := s.inUse()
	now := string(kind) + " " + source
	if now == s.reported {
		return
	}
	s.reported = now
	s.cfg.Log.Info("credentials in use", "credentials", kind, "source", source)
	if s.cfg.OnChange != nil {
		s.cfg.OnChange(kind, source)
	}
}

// TLS returns a new client configuration: CA, client certificate and ServerName.
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

// ServerInPool returns the client for host ("address:port") with the credentials in use, and with a
// connection that requests of other pools do not use; "" is a pool too. Callers use it for one
// request: after a change of credentials there is a new client.
func (s *Store) ServerInPool(pool, host string) (*Server, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := clientKey{pool, host}
	if c, ok := s.clients[key]; ok {
		return c, nil
	}
	creds, err := s.current()
	if err != nil {
		return nil, err
	}
	server, err := creds.Server(host)
	if err != nil {
		return nil, err
	}
	s.clients[key] = server
	return server, nil
}

// PrunePool retires the clients of a pool for all hosts but these.
func (s *Store) PrunePool(pool string, hosts []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, c := range s.clients {
		if key.pool == pool && !slices.Contains(hosts, key.host) {
			c.retire()
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
		c.retire()
	}
	clear(s.clients)
}
