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
	reviewPath     = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
	tokenPath      = "/api/v1/namespaces/kube-system/serviceaccounts/kvip/token"
	bindingsPrefix = "/clusterrolebindings/"
)

// account is the state of the ServiceAccount kvip.
type account struct {
	granted       bool          // its RBAC is applied
	tokenLifetime time.Duration // 0 is an hour
	clockLag      time.Duration // of the clock that dates tokens
	issued        []string      // tokens
	applied       []string      // paths, in order
}

// SetTokenLifetime sets the lifetime of tokens that are issued later. The default is an hour.
func (s *Store) SetTokenLifetime(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.account.tokenLifetime = d
}

// SetClockLag sets the clock that dates tokens behind that of the clients.
func (s *Store) SetClockLag(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.account.clockLag = d
}

// RevokeRights removes all rights of the ServiceAccount, until RBAC is applied again.
func (s *Store) RevokeRights() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.account.granted = false
}

// IssueToken returns a new token of the ServiceAccount, issued some time ago, and grants all
// rights.
func (s *Store) IssueToken(age time.Duration) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.account.granted = true
	return s.account.issue(time.Now().Add(-age))
}

// IssuedTokens returns all tokens so far.
func (s *Store) IssuedTokens() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.account.issued)
}

// AppliedPaths returns the paths of all objects that were applied so far.
func (s *Store) AppliedPaths() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.account.applied)
}

// issue returns a token that expires a lifetime from now.
func (a *account) issue(issuedAt time.Time) string {
	lifetime := a.tokenLifetime
	if lifetime == 0 {
		lifetime = time.Hour
	}
	claims := fmt.Sprintf(`{"iat":%d,"exp":%d}`, issuedAt.Add(-a.clockLag).Unix(),
		time.Now().Add(lifetime-a.clockLag).Unix())
	token := fmt.Sprintf("e30.%s.%d", base64.RawURLEncoding.EncodeToString([]byte(claims)),
		len(a.issued))
	a.issued = append(a.issued, token)
	return token
}

// forbidden reports whether a token was issued here and has no right to a path.
func (s *Store) forbidden(token, path string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	public := path == reviewPath || path == "/readyz"
	return !public && !s.account.granted && slices.Contains(s.account.issued, token)
}

// serveAccount serves reviews, tokens and applied objects. It returns false for other requests.
func (s *Store) serveAccount(w http.ResponseWriter, r *http.Request) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case r.URL.Path == reviewPath && r.Method == http.MethodPost:
		writeJSON(w, http.StatusCreated, object{"kind": "SelfSubjectAccessReview",
			"apiVersion": "authorization.k8s.io/v1", "status": object{"allowed": s.account.granted}})
	case r.URL.Path == tokenPath && r.Method == http.MethodPost:
		writeJSON(w, http.StatusCreated, object{"kind": "TokenRequest",
			"apiVersion": "authentication.k8s.io/v1",
			"status": object{"token": s.account.issue(time.Now()),
				"expirationTimestamp": time.Now().Add(time.Hour).UTC().Format(time.RFC3339)}})
	case r.Method == http.MethodPatch &&
		r.Header.Get("Content-Type") == "application/apply-patch+yaml" &&
		r.URL.Query().Get("fieldManager") == "kvip":
		s.account.applied = append(s.account.applied, r.URL.Path)
		s.account.granted = s.account.granted || strings.Contains(r.URL.Path, bindingsPrefix)
		var o object
		_ = json.NewDecoder(r.Body).Decode(&o) // the answer is the body
		writeJSON(w, http.StatusOK, o)
	default:
		return false
	}
	return true
}
