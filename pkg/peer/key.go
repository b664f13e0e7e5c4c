package peer

import (
	"crypto/ecdh"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/netip"

	"github.com/kvip/kvip/pkg/netaddr"
)

// Limits of what an agent publishes.
const (
	maxID     = 512 // bytes of an identity
	keyLength = 32  // bytes of a public key (RFC 7748 5)
)

// Agent is what an agent publishes about its process.
type Agent struct {
	ID      string         // identity (E8)
	Address netip.AddrPort // to which the others send
	Key     string         // X25519 public key, base64 (RFC 4648 4)
}

// check reports what is not valid.
func (a Agent) check() error {
	if a.ID == "" || len(a.ID) > maxID {
		return fmt.Errorf("identity of %d bytes: want 1 to %d", len(a.ID), maxID)
	}
	if a.Address.Port() == 0 {
		return errors.New("the port is 0")
	}
	if err := netaddr.Check(a.Address.Addr()); err != nil {
		return err
	}
	_, err := parseKey(a.Key)
	return err
}

func parseKey(text string) (*ecdh.PublicKey, error) {
	b, err := base64.StdEncoding.DecodeString(text)
	if err == nil && len(b) != keyLength {
		err = fmt.Errorf("%d bytes: want %d", len(b), keyLength)
	}
	if err != nil {
		return nil, fmt.Errorf("public key: %w", err)
	}
	return ecdh.X25519().NewPublicKey(b)
}

// newKey makes the key of this process.
func newKey() (*ecdh.PrivateKey, error) {
	key, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make key: %w", err)
	}
	return key, nil
}

func publicText(key *ecdh.PrivateKey) string {
	return base64.StdEncoding.EncodeToString(key.PublicKey().Bytes())
}

// direction has what authenticates datagrams from one process to another.
type direction struct {
	mac    [sha256.Size]byte
	cookie [cookieLength]byte
}

// directions derives both directions between this process, with identity self, and another agent.
func directions(own *ecdh.PrivateKey, self string, other Agent) (to, from direction, err error) {
	public, err := parseKey(other.Key)
	if err != nil {
		return to, from, err
	}
	secret, err := own.ECDH(public) // fails for points of low order (RFC 7748 6.1)
	if err != nil {
		return to, from, fmt.Errorf("agree on a key with %s: %w", other.ID, err)
	}
	if to, err = derive(secret, self, other.ID, publicText(own), other.Key); err != nil {
		return to, from, err
	}
	from, err = derive(secret, other.ID, self, other.Key, publicText(own))
	return to, from, err
}

// derive returns the keys of one direction. They cover both identities and both public keys.
func derive(secret []byte, from, to, fromKey, toKey string) (d direction, err error) {
	info := fmt.Sprintf("kvip peer 1 %q %q %s %s", from, to, fromKey, toKey)
	b, err := hkdf.Key(sha256.New, secret, nil, info, len(d.mac)+len(d.cookie))
	if err != nil {
		return d, fmt.Errorf("derive keys: %w", err)
	}
	copy(d.mac[:], b)
	copy(d.cookie[:], b[len(d.mac):])
	return d, nil
}
