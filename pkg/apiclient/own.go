package apiclient

import "slices"

// This file is for whoever gets a token for kvip: it gives the Store one, judges refusals of it,
// and asks for the bootstrap credentials. Everybody else asks for a Server.

// SetToken makes c, from Token, the own token and uses it from now on. The clients, made of c, are
// kept: their connections are open already, so that the change costs the next request nothing.
func (s *Store) SetToken(c Credentials, clients ...*Server) {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.tell()
	s.own, s.distrusted, s.doubt = &c, false, ""
	delete(s.refused, c.source)
	s.dropLocked()
	for _, client := range clients {
		s.clients[client.Host] = client
	}
}

// Token returns the own token's credentials and whether there are any.
func (s *Store) Token() (Credentials, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.own == nil {
		return Credentials{}, false
	}
	return *s.own, true
}

// RejectToken says that the own token is refused for good: bootstrap credentials are used instead,
// where there are any.
func (s *Store) RejectToken() {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.tell()
	if s.own == nil || s.distrusted {
		return
	}
	used := s.usesOwn()
	s.distrusted = true
	if used && !s.usesOwn() {
		s.dropLocked()
	}
}

// Trust takes Distrust back.
func (s *Store) Trust() {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.tell()
	if s.own == nil || !s.distrusted {
		return
	}
	used := s.usesOwn()
	s.distrusted = false
	if !used {
		s.dropLocked()
	}
}

// ClearToken drops the own token, as one that has expired.
func (s *Store) ClearToken() {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.tell()
	if s.own == nil {
		return
	}
	used := s.usesOwn()
	s.own, s.distrusted, s.doubt = nil, false, ""
	if used {
		s.dropLocked()
	}
}

// TakeSuspicion returns the API server that has refused the own token since the last call, or "".
func (s *Store) TakeSuspicion() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	host := s.doubt
	s.doubt = ""
	return host
}

// Changes delivers something after the own token was refused or a file has changed.
func (s *Store) Changes() <-chan struct{} { return s.wake }

// rouse makes Wake deliver.
func (s *Store) rouse() {
	select {
	case s.wake <- struct{}{}:
	default: // it is on its way
	}
}

// Kubeconfigs returns the credentials that could be read from the kubeconfigs, in their order.
func (s *Store) Kubeconfigs() []Credentials {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(s.files), func(c Credentials) bool { return c.kind != Bootstrap })
}
