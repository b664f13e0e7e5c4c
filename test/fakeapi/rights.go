package fakeapi

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

const (
	reviews  = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
	tokens   = "/api/v1/namespaces/kube-system/serviceaccounts/kvip/token"
	lastRole = "/clusterrolebindings/"
)

// rights is what a cluster knows of the ServiceAccount kvip.
type rights struct {
	granted bool          // its RBAC was applied
	lasts   time.Duration // lifetime of tokens
	lag     time.Duration // how far its clock is behind
	given   []string      // tokens
	applied []string      // paths, in order
}

// SetTokenLifetime sets the lifetime of tokens that are given from now on; it is an hour else.
func (s *Store) SetTokenLifetime(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rights.lasts = d
}

// SetClockLag sets the clock by which tokens are given behind that of everybody else.
func (s *Store) SetClockLag(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rights.lag = d
}

// RevokeRights takes all rights of the ServiceAccount away, until RBAC is applied again.
func (s *Store) RevokeRights() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rights.granted = false
}

// IssueToken makes a token of the ServiceAccount, with an age, and grants it all rights.
func (s *Store) IssueToken(age time.Duration) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rights.granted = true
	return s.give(time.Now().Add(-age))
}

// IssuedTokens returns all tokens that were given so far.
func (s *Store) IssuedTokens() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.rights.given)
}

// AppliedPaths returns the paths of all objects that were applied so far.
func (s *Store) AppliedPaths() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.rights.applied)
}

func (s *Store) give(issued time.Time) string {
	lasts := s.rights.lasts
	if lasts == 0 {
		lasts = time.Hour
	}
	claims := fmt.Sprintf(`{"iat":%d,"exp":%d}`, issued.Add(-s.rights.lag).Unix(),
		time.Now().Add(lasts-s.rights.lag).Unix())
	text := fmt.Sprintf("e30.%s.%d", base64.RawURLEncoding.EncodeToString([]byte(claims)),
		len(s.rights.given))
	s.rights.given = append(s.rights.given, text)
	return text
}

// forbidden is whether a token was given, and has no rights to ask for that.
func (s *Store) forbidden(token, path string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	open := path == reviews || path == "/readyz"
	return !open && !s.rights.granted && slices.Contains(s.rights.given, token)
}

// aboutRights serves what concerns the ServiceAccount; false: the request is about something else.
func (s *Server) aboutRights(w http.ResponseWriter, r *http.Request) bool {
	st := s.store
	st.mu.Lock()
	defer st.mu.Unlock()
	switch {
	case r.URL.Path == reviews && r.Method == http.MethodPost:
		answer(w, http.StatusCreated,
			object{"kind": "SelfSubjectAccessReview", "apiVersion": "authorization.k8s.io/v1",
				"status": object{"allowed": st.rights.granted}})
	case r.URL.Path == tokens && r.Method == http.MethodPost:
		text := st.give(time.Now())
		answer(w, http.StatusCreated,
			object{"kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1",
				"status": object{"token": text,
					"expirationTimestamp": time.Now().Add(time.Hour).UTC().Format(time.RFC3339)}})
	case r.Method == http.MethodPatch &&
		r.Header.Get("Content-Type") == "application/apply-patch+yaml" &&
		r.URL.Query().Get("fieldManager") == "kvip":
		st.rights.applied = append(st.rights.applied, r.URL.Path)
		st.rights.granted = st.rights.granted || strings.Contains(r.URL.Path, lastRole)
		var o object
		_ = json.NewDecoder(r.Body).Decode(&o) // it is sent back as it came
		answer(w, http.StatusOK, o)
	default:
		return false
	}
	return true
}
