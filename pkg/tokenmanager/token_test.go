package tokenmanager

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
	"time"
)

// webToken returns a token with these claims and an invalid signature.
func webToken(issued, expires time.Time) string {
	claims := fmt.Sprintf(`{"iat":%d,"exp":%d}`, issued.Unix(), expires.Unix())
	return "e30." + base64.RawURLEncoding.EncodeToString([]byte(claims)) + ".c2ln"
}

func TestParseToken(t *testing.T) {
	got, err := parseToken(webToken(began, began.Add(time.Hour)) + "\n")
	if err != nil || !got.issued.Equal(began) || !got.expires.Equal(began.Add(time.Hour)) ||
		strings.HasSuffix(got.text, "\n") {
		t.Errorf("%+v, %v", got, err)
	}
	got, err = parseToken("e30.e30.x")
	if err != nil || !got.issued.IsZero() || !got.expires.IsZero() {
		t.Errorf("without claims: %+v, %v", got, err)
	}
	for text, want := range map[string]string{
		"": "not a JSON Web Token", "a.b": "not a JSON Web Token", "a.b.c.d": "not a JSON Web Token",
		"a.!.c": "decode its claims", "a.YQ.c": "read its claims",
	} {
		if _, err := parseToken(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

// TestTokenExpired: a token without an expiry never expires.
func TestTokenExpired(t *testing.T) {
	for _, c := range []struct {
		expires time.Time
		want    bool
	}{{time.Time{}, false}, {began.Add(1), false}, {began, true}, {began.Add(-1), true}} {
		if got := (token{expires: c.expires}).expired(began); got != c.want {
			t.Errorf("expires %v: %v", c.expires, got)
		}
	}
}

// FuzzParseToken: whatever a file contains, the result has no white space and no negative times.
func FuzzParseToken(f *testing.F) {
	f.Add(webToken(began, began.Add(time.Hour)))
	f.Add("e30.eyJpYXQiOi0xfQ.x")
	f.Add("a.b.c")
	f.Fuzz(func(t *testing.T, text string) {
		got, err := parseToken(text)
		if err != nil {
			return
		}
		if got.text != strings.TrimSpace(text) {
			t.Errorf("%q became %q", text, got.text)
		}
		for _, at := range []time.Time{got.issued, got.expires} {
			if !at.IsZero() && at.Unix() <= 0 {
				t.Errorf("%q: %v", text, at)
			}
		}
	})
}
