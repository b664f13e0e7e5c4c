package tokenmanager

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
)

// token is a ServiceAccount's token with its validity.
type token struct {
	text            string
	issued, expires time.Time // zero: the token does not contain it
}

func (t token) expired(now time.Time) bool { return !t.expires.IsZero() && !now.Before(t.expires) }

// parseToken reads the claims of a JSON Web Token (RFC 7519, sections 3 and 4.1). It does not check
// the signature: only an API server can.
func parseToken(text string) (token, error) {
	parts := strings.Split(strings.TrimSpace(text), ".")
	if len(parts) != 3 {
		return token{}, errors.New("it is not a JSON Web Token")
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return token{}, fmt.Errorf("decode its claims: %w", err)
	}
	var claims struct {
		Issued  int64 `json:"iat"`
		Expires int64 `json:"exp"`
	}
	if err := json.Unmarshal(payload, &claims); err != nil {
		return token{}, fmt.Errorf("read its claims: %w", err)
	}
	t := token{text: strings.Join(parts, ".")}
	if claims.Issued > 0 {
		t.issued = time.Unix(claims.Issued, 0)
	}
	if claims.Expires > 0 {
		t.expires = time.Unix(claims.Expires, 0)
	}
	return t, nil
}
